"""Strengths of disturbances: drawn for each episode, and widened by success."""

from __future__ import annotations

from typing import Any, Tuple

import pytest
import torch

from tasks.grasp.randomisation.config import RandomCfg, check
from tasks.grasp.randomisation.levels import KINDS, Levels, steps_of

CPU = torch.device("cpu")
WORLDS = 1000
EVERYWHERE = torch.ones(WORLDS, dtype=torch.bool)


def levels(evaluation: bool = False, **cfg: Any) -> Levels:
    torch.manual_seed(0)
    return Levels(RandomCfg(**cfg), WORLDS, evaluation, CPU)


def test_full_strength_is_one() -> None:
    of = levels()
    of.begin(EVERYWHERE)
    assert (of.of == 1).all()


def test_drawn_strengths_are_uniform_independent_and_kept_for_the_episode() -> None:
    of = levels(strength="drawn")
    of.begin(EVERYWHERE)
    first = of.of.clone()
    assert abs(float(first.mean()) - 0.5) < 0.02 and first.min() < 0.01 and first.max() > 0.99
    assert torch.corrcoef(first).sub(torch.eye(len(KINDS))).abs().max() < 0.12
    half = torch.arange(WORLDS) < 500
    of.begin(half)
    assert torch.equal(of.of[:, ~half], first[:, ~half]) and not (of.of[:, half] == first[:, half]).any()


def test_policies_are_measured_in_full_disturbances() -> None:
    of = levels(evaluation=True, strength="drawn", widen=True)
    of.begin(EVERYWHERE)
    assert (of.of == 1).all() and of.scale == 1 and of.state_dict() == {}


@pytest.mark.parametrize("share, then", [(0.9, 0.1), (0.7, 0.0), (0.2, 0.0)])
def test_it_widens_by_one_increment_when_enough_is_held(share: float, then: float) -> None:
    of = levels(widen=True, widen_increments=10, widen_above=0.8, narrow_below=0.5)
    held = torch.rand(WORLDS) < share
    nobody = torch.zeros_like(EVERYWHERE)
    of.report(EVERYWHERE[:WORLDS] & (torch.arange(WORLDS) < 999), held)
    of.begin(nobody)
    assert of.scale == 0, "too few episodes yet"
    of.report(torch.arange(WORLDS) == 999, held)
    of.begin(nobody)
    assert float(of.scale) == pytest.approx(then) and not of.recent.any()


def test_it_narrows_and_stays_between_its_ends() -> None:
    of = levels(widen=True, widen_increments=4)
    for held, right in ((True, 0.25), (True, 0.5), (False, 0.25), *((True, 1.0),) * 6, *((False, 0.0),) * 6):
        of.report(EVERYWHERE, EVERYWHERE & held)
        of.begin(EVERYWHERE)
        if right not in (0.0, 1.0):
            assert float(of.scale) == pytest.approx(right) and (of.of == of.scale).all()
        assert 0 <= float(of.scale) <= 1
    assert of.scale == 0


def test_the_scale_survives_a_checkpoint_and_an_old_one_begins_anew() -> None:
    of = levels(widen=True)
    of.report(EVERYWHERE, EVERYWHERE)
    of.begin(EVERYWHERE)
    of.report(EVERYWHERE & (torch.arange(WORLDS) < 7), EVERYWHERE)
    other = levels(widen=True)
    other.load_state_dict({})
    assert other.scale == 0
    other.load_state_dict({name: value.clone() for name, value in of.state_dict().items()})
    assert other.scale == of.scale > 0 and other.recent.tolist() == [7, 7]


def test_steps_are_equal_parts_of_a_level() -> None:
    level = torch.linspace(0, 1, 3001)
    steps = steps_of(2, level)
    assert torch.bincount(steps).tolist() == [1000, 1000, 1001]
    assert not steps_of(0, level).any()


@pytest.mark.parametrize(
    "cfg, message",
    [
        ({"mass": (2.0, 1.0)}, "--random.mass 2 1: give the lower end first"),
        ({"stiffness": (0.0, 1.0)}, "--random.stiffness 0 1"),
        ({"friction": (0.0, 0.3)}, "--random.friction 0 0.3"),
        ({"bias_time": 0.0}, "--random.bias-time 0: must be greater than 0"),
        ({"widen_above": 0.3}, "--random.narrow-below 0.5 and --random.widen-above 0.3"),
    ],
)
def test_settings_that_cannot_be_meant(cfg: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        check(RandomCfg(**cfg))


def test_what_is_on() -> None:
    assert not RandomCfg().active and not RandomCfg(strength="drawn", widen=True, bias_time=1.0).active
    on: Tuple[Any, ...] = (
        {"joint_bias": 0.1}, {"pose_every": 2}, {"occlusion_rate": 0.1}, {"action_jitter": 1}, {"push": 1.0},
        {"mass": (1.0, 2.0)}, {"friction": (0.3, 0.3)}, {"damping": (0.5, 1.0)}, {"force_noise": 0.1},
    )  # fmt: skip
    assert all(RandomCfg(**cfg).active for cfg in on)
    check(RandomCfg.sim2real())
