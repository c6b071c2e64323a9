"""Plays a policy without learning; each step is replayed as a CUDA graph if the task can be captured."""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor

from ppo_grasp.device.graphs import CapturedFunction, side_stream
from ppo_grasp.device.precision import tf32
from ppo_grasp.vec_task import VecTask


class PolicyRunner:
    """Plays a task with a policy (N, num_obs) -> (N, num_actions), whose parameters may change in place between calls."""

    def __init__(self, task: VecTask, policy: Callable[[Tensor], Tensor], graphs: bool = True) -> None:
        self.task, self.policy = task, policy
        self.obs = torch.zeros(task.num_envs, task.num_obs, device=task.device)
        self._step = CapturedFunction(self._advance, graphs and task.capturable, task.capture, "the evaluation's step")

    def _advance(self) -> None:
        with tf32():
            action = self.policy(self.obs)
        self.obs.copy_(self.task.step(action).obs)

    @torch.no_grad()
    def play(self, num_steps: int) -> None:
        """Resets the task and plays num_steps steps of every environment."""
        on_default = self.task.device.type == "cuda" and torch.cuda.current_stream() == torch.cuda.default_stream()
        if on_default:  # the default stream cannot be captured
            with side_stream(self.task.device):
                return self._play(num_steps)
        return self._play(num_steps)

    def _play(self, num_steps: int) -> None:
        self.obs.copy_(self.task.reset()[0])
        for _ in range(num_steps):
            self._step()
