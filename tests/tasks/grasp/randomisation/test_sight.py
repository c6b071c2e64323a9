"""The object's seen pose: held while it is out of sight, and its velocity between sights."""

from __future__ import annotations

from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from plain_mujoco import HAND
from scipy.spatial.transform import Rotation
from torch import Tensor

from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.randomisation.sight import Sight
from tasks.simulators.contract import SimState

DT, CPU = 1 / 30, torch.device("cpu")


def no_errors(count: int) -> Dict[str, Tensor]:
    return {"object_pos": torch.zeros(count, 3), "object_turn": torch.zeros(count, 3)}


def watched(
    steps: int, count: int = 1, level: float = 1.0, begun_at: int = 0, pose_filter: float = 0.0, **cfg: Any
) -> List[SimState]:
    """What is seen of an object that moves by 1 cm a step along x and turns by 0.1 rad about z."""
    sight, state = Sight(RandomCfg(**cfg), count, DT, CPU, pose_filter), SimState.zeros(HAND, count, CPU)
    seen = []
    for step in range(steps):
        state.object_pos[:, 0] = 0.01 * step
        turn = Rotation.from_rotvec([0, 0, 0.1 * step]).as_quat()[[3, 0, 1, 2]]
        state.object_quat.copy_(torch.tensor(turn))
        begun = torch.full((count,), step in (0, begun_at))
        found = sight.seen(begun, state, no_errors(count), torch.full((count,), level))
        seen.append(SimState(**{name: value.clone() for name, value in vars(found).items()}))
    return seen


def test_a_pose_that_is_seen_every_third_step_is_held_in_between() -> None:
    seen = watched(10, pose_every=3)
    x = [float(state.object_pos[0, 0]) for state in seen]
    np.testing.assert_allclose(x, [0, 0, 0, 0.03, 0.03, 0.03, 0.06, 0.06, 0.06, 0.09], atol=1e-7)
    turns = Rotation.from_quat([state.object_quat[0, [1, 2, 3, 0]].numpy() for state in seen]).as_rotvec()[:, 2]
    np.testing.assert_allclose(turns, 10 * np.array(x), atol=1e-6)
    for step, state in enumerate(seen):
        moving = 0.0 if step < 3 else 1.0
        np.testing.assert_allclose(state.object_vel[0], moving * np.array([0.3, 0, 0, 0, 0, 3.0]), atol=1e-4)


def test_a_filter_is_a_low_pass_of_position_and_turn() -> None:
    """y(t) = f y(t - 1) + (1 - f) x(t); the turn is about one axis, so that it is the same for its angle."""
    seen, y = watched(8, pose_filter=0.6), 0.0
    for step, state in enumerate(seen):
        y = 0.6 * y + 0.4 * 0.01 * step
        assert float(state.object_pos[0, 0]) == pytest.approx(y, abs=1e-7)
        turn = Rotation.from_quat(state.object_quat[0, [1, 2, 3, 0]].numpy()).as_rotvec()
        np.testing.assert_allclose(turn, [0, 0, 10 * y], atol=1e-6)


def test_an_episode_that_begins_sees_the_object_at_once_and_at_rest() -> None:
    seen = watched(6, pose_every=3, begun_at=4)
    assert [round(float(state.object_pos[0, 0]), 4) for state in seen] == [0, 0, 0, 0.03, 0.04, 0.04]
    assert not seen[4].object_vel.any()


@pytest.mark.parametrize("level, every", [(0.0, 1), (0.4, 2), (1.0, 3)])
def test_a_level_makes_sights_rarer(level: float, every: int) -> None:
    x = [round(100 * float(state.object_pos[0, 0])) for state in watched(7, level=level, pose_every=3)]
    assert x == [every * (step // every) for step in range(7)]


def test_occlusions_come_as_often_and_last_as_long_as_they_should() -> None:
    torch.manual_seed(0)
    seen = watched(60, 2000, occlusion_rate=0.6, occlusion_steps=5)
    x = torch.stack([state.object_pos[:, 0] for state in seen])
    in_sight = (x - 0.01 * torch.arange(60.0)[:, None]).abs() < 1e-6
    assert in_sight[0].all()
    # In a cycle: geometric with p = rate dt in sight, then 1 to 5 steps out of it, mean 3, the next one possibly at once.
    begins = (in_sight[20:-1] & ~in_sight[21:]).float().mean() / in_sight[20:-1].float().mean()
    assert float(begins) == pytest.approx(0.6 * DT, rel=0.1)
    p = 0.6 * DT
    assert float((~in_sight[20:]).float().mean()) == pytest.approx(3 / (3 + (1 - p) / p), rel=0.1)
    run = 0
    longest = 0
    for step in in_sight[:, :200].T.tolist():
        for visible in step:
            run = 0 if visible else run + 1
            longest = max(longest, run)
    assert 4 <= longest <= 15


def test_noise_is_that_of_the_last_sight() -> None:
    sight, state = Sight(RandomCfg(pose_every=2), 1, DT, CPU), SimState.zeros(HAND, 1, CPU)
    at = []
    for step in range(4):
        errors = no_errors(1)
        errors["object_pos"][:] = step
        at.append(float(sight.seen(torch.tensor([step == 0]), state, errors, torch.ones(1)).object_pos[0, 0]))
    assert at == [0, 0, 2, 2]
