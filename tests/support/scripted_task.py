"""A task whose physics the test writes: what several files of tests play with."""

from __future__ import annotations

from typing import Any, Callable, List, Optional

import torch
from plain_mujoco import HAND, some_objects
from scripted_simulator import ScriptedSimulator
from torch import Tensor

from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.grasp.starts import StartCfg

LIFT, RADIUS, EPISODE, HOLD = 0.25, 0.05, 100, 15
OPEN_FINGERS = torch.zeros(18)
"""Joint positions of the open hand."""

Script = Callable[[ScriptedSimulator], None]


def scripted(num_envs: int, script: Optional[Script] = None, evaluation: bool = True, **cfg: Any) -> GraspTask:
    """Without starts inside grasps: a simulator without physics grasps nothing."""
    cfg.setdefault("start", StartCfg(grasp_fraction=0.0))
    return GraspTask(ScriptedSimulator(num_envs, script), HAND, some_objects(), GraspCfg(**cfg), evaluation)


def idle(task: GraspTask) -> Tensor:
    """Base still, fingers open."""
    action = torch.zeros(task.num_envs, 24)
    low, high = task.targets.low[6:], task.targets.high[6:]
    action[:, 6:] = 2 * (OPEN_FINGERS - low) / (high - low) - 1
    return action


def play(task: GraspTask, steps: int) -> List[Any]:
    """Steps with copies of what they returned."""
    result = []
    for _ in range(steps):
        step = task.step(idle(task))
        result.append(type(step)(*(tensor.clone() for tensor in step)))
    return result
