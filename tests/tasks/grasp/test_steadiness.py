"""How steady an episode's end was, against the same in plain numpy over a scripted motion."""

from __future__ import annotations

import math
from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from scripted_simulator import ScriptedSimulator
from scripted_task import EPISODE, HOLD, scripted

from tasks.grasp.environment import GraspTask

WORLDS = 6
DT = 1 / 30


@pytest.fixture(scope="module")
def played() -> Dict[str, Any]:
    """Random motion of everything at the goal, its size another in each world, and what was seen of it."""
    seen: Dict[str, List[np.ndarray]] = {
        name: [] for name in ("speed", "turn", "tips", "hand", "joint_vel", "drive_force")
    }
    random = torch.Generator().manual_seed(0)
    size = torch.tensor([0.0, 0.02, 0.06, 0.02, 0.02, 0.02])[:, None]

    def move(sim: ScriptedSimulator) -> None:
        state, last = sim.state, sim.time > EPISODE - HOLD
        state.object_pos.copy_(task.episodes.goal.pos)
        state.object_vel.copy_(torch.rand(WORLDS, 6, generator=random) * size)
        state.object_vel[3, 3:] = 0.0
        state.object_vel[3, 3] = 0.499
        if sim.time == EPISODE - HOLD + 1:  # the first step that counts
            state.object_vel[4, 3] = 0.6
        if sim.time == EPISODE - HOLD:  # the last that does not
            state.object_vel[5, 0] = 3.0
        state.fingertip_wrench.normal_(generator=random)
        state.hand_force.uniform_(0.0, 30.0, generator=random)
        state.joint_vel.normal_(generator=random)
        state.drive_force.normal_(generator=random)
        if last or sim.time > EPISODE - HOLD - 2:
            seen["joint_vel"].append(state.joint_vel.double().numpy().copy())
        if last:
            seen["speed"].append(state.object_vel[:, :3].double().norm(dim=-1).numpy())
            seen["turn"].append(state.object_vel[:, 3:].double().norm(dim=-1).numpy())
            seen["hand"].append(state.hand_force.double().numpy().copy())
            seen["tips"].append(state.fingertip_wrench[..., :3].double().norm(dim=-1).sum(-1).numpy())
            seen["drive_force"].append(state.drive_force.double().numpy().copy())

    task = scripted(WORLDS, move)
    task.reset()
    task.simulator.follow = False
    weight = 9.81 * task.library.mass[task.simulator.state.object_id].double().numpy()
    actions = 1.2 * torch.randn(EPISODE, WORLDS, 24, generator=random)
    for action in actions:
        task.step(action)
    arrays = {name: np.stack(values) for name, values in seen.items()}
    return {"task": task, "weight": weight, "actions": actions.clamp(-1, 1).double().numpy()[-HOLD - 1 :], **arrays}


def test_still_is_below_both_speeds_for_the_whole_time(played: Dict[str, Any]) -> None:
    right = (played["speed"] < 0.05).all(0) & (played["turn"] < 0.5).all(0)
    assert right.tolist() == [True, True, False, True, False, True]
    record = played["task"].episodes.record
    assert record.still.tolist() == right.tolist() and record.held.all()
    task: GraspTask = played["task"]
    sums = dict(zip(task.metric_names, task.metric_sums.tolist()))
    assert sums["still_success_rate"] == [4, WORLDS] and sums["success_rate"] == [WORLDS, WORLDS]


def test_means_over_the_last_steps(played: Dict[str, Any]) -> None:
    actions = played["actions"]
    change = np.abs(np.diff(actions, axis=0))
    velocity = played["joint_vel"][..., 3:]
    jerk = (velocity[2:] - 2 * velocity[1:-1] + velocity[:-2]) / DT**2
    assert len(jerk) == HOLD and len(change) == HOLD
    right = {
        "grip_force": played["hand"].mean(0),
        "grip_to_weight": played["hand"].mean(0) / played["weight"],
        "force_std": played["hand"].std(0, ddof=1),
        "fingertip_force": played["tips"].mean(0),
        "action_rate": change.mean((0, 2)),
        "base_action_rate": change[..., :6].mean((0, 2)),
        "sign_changes": (np.sign(actions[1:, :, :6]) != np.sign(actions[:-1, :, :6])).mean((0, 2)),
        "saturated_share": (np.abs(actions[1:]) > 0.95).mean((0, 2)),
        "object_speed": played["speed"].mean(0),
        "object_turn": played["turn"].mean(0),
        "joint_jerk": np.sqrt((jerk**2).mean(2)).mean(0),
        "drive_torque": np.sqrt((played["drive_force"][..., 6:] ** 2).mean(2)).mean(0),
    }
    for name, values in right.items():
        np.testing.assert_allclose(
            getattr(played["task"].episodes.record, name).numpy(), values, rtol=2e-4, err_msg=name
        )


def test_grip_in_the_metrics_is_of_the_last_step(played: Dict[str, Any]) -> None:
    task: GraspTask = played["task"]
    sums = dict(zip(task.metric_names, task.metric_sums.tolist()))
    hand, tips = played["hand"][-1], played["tips"][-1]
    right = {"grip_force_n": hand, "fingertip_force_n": tips, "grip_to_weight": hand / played["weight"]}
    for name, values in right.items():
        assert sums[name] == pytest.approx([values.sum(), WORLDS], rel=1e-5)


def test_a_world_that_diverged_spoils_nothing() -> None:
    def diverge(sim: ScriptedSimulator) -> None:
        sim.state.failed[1] = sim.time == 5
        if sim.time == 5:
            sim.state.object_vel[1] = math.nan
            sim.state.joint_vel[1] = math.inf

    task = scripted(2, diverge)
    task.reset()
    for _ in range(8):
        task.step(torch.zeros(2, 24))
    assert (
        torch.isfinite(task.episodes.last_steps.values).all()
        and torch.isfinite(task.episodes.last_steps.velocities).all()
    )
