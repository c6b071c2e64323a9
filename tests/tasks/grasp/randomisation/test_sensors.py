"""Sensor errors: their statistics, their units, and that they add up to what is seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from plain_mujoco import HAND
from scipy.spatial.transform import Rotation
from torch import Tensor

from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.randomisation.levels import KINDS
from tasks.grasp.randomisation.sensors import SensorErrors, turn_between, turned
from tasks.simulators.contract import SimState

WORLDS, DT, CPU = 4000, 1 / 30, torch.device("cpu")
FULL = torch.ones(len(KINDS), WORLDS)
EVERYWHERE, NOWHERE = torch.ones(WORLDS, dtype=torch.bool), torch.zeros(WORLDS, dtype=torch.bool)


def sensors(**cfg: Any) -> SensorErrors:
    torch.manual_seed(0)
    return SensorErrors(HAND, RandomCfg(**cfg), WORLDS, DT, CPU)


@pytest.mark.parametrize(
    "option, name, size, unit",
    [
        ("joint_noise", "joint_pos", 18, 1.0),
        ("joint_noise", "tip_turn", 15, 1.0),
        ("joint_vel_noise", "joint_vel", 18, 1.0),
        ("object_noise", "object_pos", 3, 1.0),
        ("object_turn_noise", "object_turn", 3, 1.0),
        ("tip_noise", "tip_pos", 15, 1.0),
    ],
)
def test_noise_has_its_standard_deviation_and_is_new_in_each_step(
    option: str, name: str, size: int, unit: float
) -> None:
    of = sensors(**{option: 0.07})
    first, second = (of.draw(begun, FULL)[name].double() for begun in (EVERYWHERE, NOWHERE))
    assert first.shape == (WORLDS, size)
    assert float(first.std()) == pytest.approx(0.07 * unit, rel=0.03) and abs(float(first.mean())) < 0.002
    assert abs(float((first * second).mean())) < 0.02 * 0.07**2 * 3
    others = [key for key, value in of.draw(NOWHERE, FULL).items() if value.any()]
    assert set(others) == ({"joint_pos", "tip_turn"} if option == "joint_noise" else
                           {"joint_vel", "tip_vel"} if option == "joint_vel_noise" else {name})  # fmt: skip


def test_forces_torques_and_drives_have_their_units() -> None:
    of = sensors(force_noise=0.5, joint_vel_noise=0.3)
    errors = of.draw(EVERYWHERE, FULL)
    wrench = errors["wrench"].reshape(WORLDS, 5, 6).double()
    assert float(wrench[..., :3].std()) == pytest.approx(0.5, rel=0.03)
    assert float(wrench[..., 3:].std()) == pytest.approx(0.005, rel=0.03)
    drive = errors["drive_force"].double()
    assert float(drive[:, :3].std()) == pytest.approx(0.5, rel=0.03)
    assert float(drive[:, 3:].std()) == pytest.approx(0.05, rel=0.03)
    vel = errors["tip_vel"].reshape(WORLDS, 5, 6).double()
    assert float(vel[..., :3].std()) == pytest.approx(0.03, rel=0.03)
    assert float(vel[..., 3:].std()) == pytest.approx(0.3, rel=0.03)


def test_bias_is_stationary_and_forgets_in_its_time() -> None:
    """An Ornstein-Uhlenbeck process: its standard deviation stays, its correlation is exp(-t / T)."""
    of = sensors(joint_bias=0.04, bias_time=0.5)
    first = of.draw(EVERYWHERE, FULL)["joint_pos"].clone().double()
    for _ in range(12):
        last = of.draw(NOWHERE, FULL)["joint_pos"].double()
    assert float(first.std()) == pytest.approx(0.04, rel=0.03) == float(last.std())
    correlation = float((first * last).mean()) / 0.04**2
    assert correlation == pytest.approx(math.exp(-12 * DT / 0.5), abs=0.02)


def test_a_new_episode_has_another_bias_and_the_others_keep_theirs() -> None:
    of = sensors(joint_bias=0.04, bias_time=1e6)
    first = of.draw(EVERYWHERE, FULL)["joint_pos"].clone()
    begun = torch.arange(WORLDS) % 2 == 0
    second = of.draw(begun, FULL)["joint_pos"]
    torch.testing.assert_close(first[~begun], second[~begun], atol=1e-3, rtol=0.0)
    assert abs(float((first[begun] * second[begun]).mean())) < 0.05 * 0.04**2


def test_levels_scale_each_kind() -> None:
    of = sensors(joint_noise=0.1, object_noise=0.1)
    levels = torch.zeros(len(KINDS), WORLDS)
    levels[KINDS.index("joints"), : WORLDS // 2] = 0.5
    errors = of.draw(EVERYWHERE, levels)
    assert not errors["object_pos"].any() and not errors["joint_pos"][WORLDS // 2 :].any()
    assert float(errors["joint_pos"][: WORLDS // 2].std()) == pytest.approx(0.05, rel=0.05)


def test_what_is_seen_is_the_truth_and_the_errors() -> None:
    of = sensors(joint_noise=0.1, joint_vel_noise=0.2, tip_noise=0.01, force_noise=0.3)
    state = SimState.zeros(HAND, WORLDS, CPU)
    for value in vars(state).values():
        if value.is_floating_point():
            value.normal_()
    for name in ("palm_quat", "object_quat", "fingertip_quat"):
        getattr(state, name).copy_(torch.nn.functional.normalize(getattr(state, name), dim=-1))
    before = {name: value.clone() for name, value in vars(state).items()}
    errors = of.draw(EVERYWHERE, FULL)
    seen = of.seen(state, errors)
    for name, value in before.items():
        assert torch.equal(getattr(state, name), value), f"the truth, {name}, must stay"
    for name in ("palm_pos", "palm_quat", "object_pos", "object_quat", "object_vel", "object_id", "failed"):
        assert torch.equal(getattr(seen, name), before[name]), name
    assert torch.equal(seen.joint_pos[:, :6], state.joint_pos[:, :6]), "the arm's pose is known"
    torch.testing.assert_close(seen.joint_pos[:, 6:] - state.joint_pos[:, 6:], errors["joint_pos"])
    torch.testing.assert_close(seen.fingertip_pos - state.fingertip_pos, errors["tip_pos"].view(-1, 5, 3))
    torch.testing.assert_close(seen.fingertip_wrench - state.fingertip_wrench, errors["wrench"].view(-1, 5, 6))
    turn = rotation(seen.fingertip_quat) * rotation(state.fingertip_quat).inv()
    np.testing.assert_allclose(turn.as_rotvec(), errors["tip_turn"].reshape(-1, 3).numpy(), atol=1e-5)


def rotation(quat: Tensor) -> Rotation:
    return Rotation.from_quat(quat.reshape(-1, 4).double().numpy()[:, [1, 2, 3, 0]])


def test_turns_are_scipys() -> None:
    """Also for no turn at all, and for turns near half a turn."""
    random = np.random.default_rng(0)
    by = random.normal(size=(200, 3))
    by[0] = 0.0
    by *= np.minimum(1.0, 3.0 / np.linalg.norm(by, axis=1).clip(1e-9))[:, None]
    old = Rotation.random(200, random_state=0)
    quat = torch.tensor(old.as_quat()[:, [3, 0, 1, 2]], dtype=torch.float32)
    new = turned(quat, torch.tensor(by, dtype=torch.float32))
    right = Rotation.from_rotvec(by) * old
    assert (rotation(new) * right.inv()).magnitude().max() < 1e-5
    back = turn_between(quat, new).double().numpy()
    np.testing.assert_allclose(back, (right * old.inv()).as_rotvec(), atol=2e-5)
