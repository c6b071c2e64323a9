"""Simulators that are watched: nothing changes but that they tell, and that the user may push."""

from __future__ import annotations

from dataclasses import fields
from typing import List

import numpy as np
import pytest
import torch
from scripted_simulator import ScriptedSimulator

from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.grasp.randomisation.config import RandomCfg
from tasks.hands import get_hand
from tasks.objects import load_objects
from tasks.viewing.errors import RenderingError
from tasks.viewing.watched import Snapshot, WatchedSimulator, between, snapshot, some_of, watched

HAND, OBJECTS = get_hand("shadow"), load_objects("primitives", count=5)


def make(worlds: int = 3, random: RandomCfg = RandomCfg()) -> GraspTask:  # noqa: B008 frozen
    simulator = WatchedSimulator(ScriptedSimulator(worlds))
    return GraspTask(simulator, HAND, OBJECTS, GraspCfg(episode_steps=6, random=random), evaluation=True)


def test_a_watched_simulator_plays_as_the_other() -> None:
    """The same seeds give the same observations, disturbances included."""
    disturbed = RandomCfg(push=5.0, stiffness=(0.8, 1.2), com=0.1, table_height=0.02, joint_friction=0.1)
    seen = []
    for wrap in (lambda simulator: simulator, WatchedSimulator):
        torch.manual_seed(1)
        task = GraspTask(wrap(ScriptedSimulator(3)), HAND, OBJECTS, GraspCfg(random=disturbed), evaluation=True)
        task.seed(2)
        obs = [task.reset()[0]]
        obs += [task.step(0.1 * torch.ones(3, task.num_actions)).obs for _ in range(8)]
        inner = getattr(task.simulator, "simulator", task.simulator)
        seen.append((torch.stack(obs), inner.force.clone(), inner.factors.clone(), inner.joint_friction.clone()))
    for mine, other in zip(*seen):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


def test_it_tells_of_steps_and_of_resets() -> None:
    task = make()
    told: List[str] = []
    simulator = watched(task)
    simulator.after_step = lambda: told.append("step")
    simulator.before_reset = lambda mask: told.append(f"reset {int(mask.sum())}")
    task.reset()
    for _ in range(6):
        task.step(torch.zeros(3, task.num_actions))
    assert told.count("step") == 6
    assert told[0] == "reset 3" and told[-1] == "reset 3", "all episodes end with the sixth step"


def test_a_users_push_comes_on_top_and_ends() -> None:
    task = make()
    simulator = watched(task)
    inner = simulator.simulator
    task.reset()
    simulator.push(torch.full((3, 3), 2.0))
    simulator.push_by_hand((0, 0, 5), seconds=2 / 30)
    forces = []
    for _ in range(4):
        simulator.step(simulator.state.joint_pos.clone())
        forces.append(inner.force[1].tolist())  # type: ignore[attr-defined]
    assert forces == [[2, 2, 7], [2, 2, 7], [2, 2, 2], [2, 2, 2]]
    inner.pushes_objects = False
    with pytest.raises(RenderingError, match="scripted cannot push"):
        WatchedSimulator(inner).push_by_hand((1, 0, 0), 0.1)


def test_a_plain_simulator_is_not_watched() -> None:
    task = GraspTask(ScriptedSimulator(1), HAND, OBJECTS, GraspCfg(), evaluation=True)
    with pytest.raises(RenderingError, match="not made to be watched"):
        watched(task)


def test_the_next_turn_brings_the_next_objects() -> None:
    """An evaluation deals objects in turn: with each reset, and with `next_turn`."""
    task = make(2)
    met = [task.reset() and task.simulator.state.object_id.tolist()]
    for _ in range(2):
        for _ in range(6):
            task.step(torch.zeros(2, task.num_actions))
        task.next_turn()
        met.append(task.simulator.state.object_id.tolist())
    assert met == [[0, 1], [2, 3], [4, 0]]


def random_snapshot(seed: int) -> Snapshot:
    random = np.random.default_rng(seed)
    quats = random.normal(size=(4, 6, 4))
    quats /= np.linalg.norm(quats, axis=-1, keepdims=True)
    return Snapshot(
        joint_pos=random.normal(size=(4, 24)),
        object_pos=random.normal(size=(4, 3)),
        object_quat=quats[:, 0],
        object_id=np.arange(4) + seed,
        fingertip_pos=random.normal(size=(4, 5, 3)),
        fingertip_quat=quats[:, 1:],
        fingertip_force=random.normal(size=(4, 5, 3)),
        goal=random.normal(size=(4, 3)),
        reached=random.random(4) > 0.5,
    )


def test_between_two_moments() -> None:
    """The ends are the ends; quaternions stay of length 1 and go the short way; new episodes are not blended."""
    a, b = random_snapshot(0), random_snapshot(1)
    none, one = np.zeros(4, bool), np.array([False, True, False, False])
    for share, end in ((0.0, a), (1.0, b)):
        found = between(a, b, share, none)
        np.testing.assert_allclose(found.joint_pos, end.joint_pos)
        np.testing.assert_allclose(np.abs((found.object_quat * end.object_quat).sum(-1)), 1)
    half = between(a, b, 0.5, one)
    np.testing.assert_allclose(half.object_pos[[0, 2, 3]], (a.object_pos + b.object_pos)[[0, 2, 3]] / 2)
    np.testing.assert_allclose(half.object_pos[1], b.object_pos[1])
    np.testing.assert_allclose(np.linalg.norm(half.fingertip_quat, axis=-1), 1)
    turned = np.abs((half.object_quat * b.object_quat).sum(-1))
    assert (turned >= np.abs((a.object_quat * b.object_quat).sum(-1)) - 1e-9).all(), (
        "no further from the end than before"
    )
    np.testing.assert_array_equal(half.object_id, b.object_id)


def test_worlds_can_be_kept_as_they_were() -> None:
    a, b = random_snapshot(0), random_snapshot(1)
    b.keep(np.array([True, False, False, True]), a)
    for f in fields(Snapshot):
        np.testing.assert_array_equal(getattr(b, f.name)[[0, 3]], getattr(a, f.name)[[0, 3]])
        np.testing.assert_array_equal(getattr(b, f.name)[[1, 2]], getattr(random_snapshot(1), f.name)[[1, 2]])


def test_a_snapshot_is_a_copy() -> None:
    task = make()
    task.reset()
    shown = snapshot(task, (2, 0))
    before = shown.joint_pos.copy()
    task.simulator.state.joint_pos.add_(1.0)
    np.testing.assert_array_equal(shown.joint_pos, before)
    np.testing.assert_array_equal(shown.object_id, [2, 0])


def test_what_is_above_a_raised_table_is_shown_above_the_usual_one() -> None:
    """The same draws with and without: only the heights differ, and not from each other."""
    shown = []
    for random in (RandomCfg(com=0.1), RandomCfg(com=0.1, table_height=0.1)):
        torch.manual_seed(0)
        task = make(random=random)
        task.reset()
        shown.append(snapshot(task, (2, 0)))
        state = task.simulator.state.object_pos[[2, 0], 2].numpy()
    usual = task.first_start
    assert usual is not None
    np.testing.assert_allclose(shown[1].object_pos, usual.object_pos[[2, 0]].numpy(), atol=1e-6)
    assert np.abs(shown[1].object_pos[:, 2] - state).min() > 1e-4, "they are raised"
    for name in ("object_pos", "joint_pos", "goal"):
        over = getattr(shown[1], name)[:, 2] - getattr(shown[0], name)[:, 2]
        np.testing.assert_allclose(over, shown[1].object_pos[:, 2] - shown[0].object_pos[:, 2], atol=1e-6)
    tips, palm = shown[1].fingertip_pos[..., 2], shown[1].joint_pos[:, None, 2]
    np.testing.assert_allclose(tips, np.broadcast_to(palm, tips.shape), atol=1e-6)


def test_some_of_a_set() -> None:
    torch.manual_seed(0)
    assert len(some_of(OBJECTS, 3)) == 3 and len(some_of(OBJECTS, 99)) == len(OBJECTS)
    assert len({o.name for o in some_of(OBJECTS, 5).objects}) == 5
