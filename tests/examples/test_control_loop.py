"""The control loop of examples/ sees and does what the task does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain_mujoco import HAND, some_objects
from scripted_simulator import ScriptedSimulator
from torch import Tensor

from ppo_grasp import shipped_policy
from ppo_grasp.export import main as export
from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
import control_loop

OF_MEASURED = (
    *("joint_pos", "joint_vel", "palm_pos", "palm_quat", "fingertip_pos", "fingertip_quat", "fingertip_vel"),
    *("object_pos", "object_quat"),
)


def unit(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, 4), dim=-1)


def scatter(sim: ScriptedSimulator) -> None:
    """Everything is anywhere, and lags its targets."""
    state = sim.state
    state.palm_quat.copy_(unit(sim.num_envs))
    state.object_quat.copy_(unit(sim.num_envs))
    state.fingertip_quat.copy_(unit(sim.num_envs, 5))
    state.fingertip_vel.normal_()
    state.object_pos += 0.02 * torch.randn_like(state.object_pos)
    state.joint_pos.lerp_(sim.targets, 0.5)


def measured(task: GraspTask) -> Any:
    state = task.simulator.state
    return control_loop.Measured(*(getattr(state, name)[0].double().numpy() for name in OF_MEASURED))


@pytest.mark.parametrize("history", [0, 3])
def test_it_sees_and_does_what_the_task_does(history: int) -> None:
    torch.manual_seed(0)
    cfg = GraspCfg(hidden_inputs=("proprioception+pose",), history=history)
    task = GraspTask(ScriptedSimulator(1, scatter), HAND, some_objects(), cfg, evaluation=True)
    task.simulator.follow = False  # type: ignore[attr-defined]
    obs, _ = task.reset()
    random = np.random.default_rng(0)
    actions = random.uniform(-1.3, 1.3, (20, 1, 24)).astype(np.float32)
    seen = []

    def policy(given: np.ndarray) -> np.ndarray:
        seen.append(given[0])
        return actions[len(seen) - 1]

    loop = control_loop.Controller(policy, HAND, cfg)
    loop.begin(measured(task))
    for action in actions:
        targets = loop.step(measured(task))
        np.testing.assert_allclose(seen[-1], obs[0].numpy(), atol=2e-5)
        obs = task.step(torch.as_tensor(action)).obs
        np.testing.assert_allclose(targets, task.simulator.targets[0].numpy(), atol=2e-5)  # type: ignore[attr-defined]


def test_it_holds_still_where_something_is_not_finite_and_moves_no_faster_than_allowed() -> None:
    task = GraspTask(ScriptedSimulator(1), HAND, some_objects(), evaluation=True)
    task.reset()
    loop = control_loop.Controller(lambda obs: np.ones((1, 24)), HAND, task.cfg, most_per_step=0.05)
    now = measured(task)
    loop.begin(now)
    first = loop.step(now).copy()
    assert np.abs(first - now.joint_pos)[6:].max() == pytest.approx(0.05)
    now.object_pos[0] = np.nan
    assert (loop.step(now) == first).all()
    now.object_pos[0] = 0.0
    loop.policy = lambda obs: np.full((1, 24), np.inf)
    assert (loop.step(now) == first).all()


def test_the_exported_policy_grasps_in_the_loop(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
    export(["--checkpoint", str(shipped_policy()), "--out", str(tmp_path / "policy.onnx")])
    rise, gap = control_loop.main(str(tmp_path / "policy.onnx"))
    assert rise > 0.2 and gap < 0.05
