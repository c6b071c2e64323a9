"""The task's tensor code through torch.compile: traced in one piece, and the numbers of eager code."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import List, Tuple

import pytest
import torch
from plain_mujoco import HAND, some_objects
from scripted_simulator import ScriptedSimulator
from torch import Tensor

from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.randomisation.disturbances import Disturbances
from tasks.simulators.contract import COMPILE_OPTIONS, Simulator

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="as old a torch traces differently")

STEPS = 4
WORLDS = 10


def wander(sim: ScriptedSimulator) -> None:
    """The object moves by chance, out of some worlds; a world diverges."""
    sim.state.object_pos += 0.15 * torch.randn_like(sim.state.object_pos)
    sim.state.fingertip_wrench.normal_()
    sim.state.object_vel.normal_()
    sim.state.failed[3] = sim.time == 2


def played(simulator: Simulator, compiled: bool) -> List[Tensor]:
    """All that a few steps return and leave behind, from the same random numbers."""
    torch.manual_seed(0)
    task = GraspTask(simulator, HAND, some_objects(), GraspCfg(episode_steps=3))
    if compiled:
        task.compile()
    seen: List[Tensor] = [*task.reset()]
    for _ in range(STEPS):
        step = task.step(torch.randn(simulator.num_envs, 24))
        seen += [tensor.clone() for tensor in step]
        seen += [task.metric_sums.clone(), task.targets.position.clone(), task.simulator.state.object_id.clone()]
    return seen


def check(eager: List[Tensor], compiled: List[Tensor]) -> None:
    assert len(eager) == len(compiled) > 0
    for one, other in zip(eager, compiled):
        # Not bit by bit: compiled, the distance to a surface is summed in another order.
        torch.testing.assert_close(torch.nan_to_num(one), torch.nan_to_num(other), rtol=1e-5, atol=1e-6)
    ended = torch.stack(eager[5::9]) | torch.stack(eager[6::9])
    assert ended.any() and not ended.all(), "worlds must end and go on for this to say something"


def test_a_compiled_task_is_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without inductor, which may round differently: what is traced, mutations and random numbers included, is the same."""
    monkeypatch.setitem(COMPILE_OPTIONS, "backend", "aot_eager")
    monkeypatch.delitem(COMPILE_OPTIONS, "options")  # inductor's
    check(played(ScriptedSimulator(WORLDS, wander), False), played(ScriptedSimulator(WORLDS, wander), True))


def test_a_compiled_task_on_mujoco_warp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose kernels take what compiled code returns as it lies in memory."""
    pytest.importorskip("mujoco_warp")
    from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator

    monkeypatch.setitem(COMPILE_OPTIONS, "backend", "aot_eager")
    monkeypatch.delitem(COMPILE_OPTIONS, "options")  # inductor's
    results = [
        played(MujocoWarpSimulator(HAND, some_objects(), WORLDS, torch.device("cpu")), compiled)
        for compiled in (False, True)
    ]
    check(*results)


def test_disturbances_compile() -> None:
    """Traced in one piece, with their random numbers and what they write in place."""
    seen = []
    for compiled in (False, True):
        torch.manual_seed(0)
        random = replace(RandomCfg.sim2real(), widen=False, com=0.3, table_height=0.03, joint_friction=0.05)
        task = GraspTask(ScriptedSimulator(WORLDS, wander), HAND, some_objects(), GraspCfg(random=random))
        task.reset()
        found = task.disturbances
        assert found is not None

        def step(action: Tensor, task: GraspTask = task, found: Disturbances = found) -> Tuple[Tensor, ...]:
            acts = found.arriving(action)
            found.begin(action[:, 0] > 0.5, task.targets.holding(action))
            now = found.seen(action[:, 0] > 0.5, task.situation.read(task.episodes.goal), task.episodes.goal)
            return (acts, *vars(now.palm).values(), *vars(now.state).values())

        if compiled:
            step = torch.compile(step, fullgraph=True, dynamic=False, backend="aot_eager")
        torch.manual_seed(2)
        actions = torch.rand(3, WORLDS, 24)
        seen.append([value.clone() for action in actions for value in step(action)])
        seen[-1] += [value.clone() for value in found.running().values()]
    for one, other in zip(*seen):
        torch.testing.assert_close(one, other)
