"""The task with each control step as one recorded CUDA graph, as a user of a GPU simulator would do it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple, Tuple

import torch
from torch import Tensor

from ppo_grasp.device.graphs import CapturedFunction
from ppo_grasp.vec_task import Step, VecTask


class ActorsView(VecTask):
    """A task whose critic sees what the actor sees, for engines that know one observation only."""

    def __init__(self, task: VecTask) -> None:
        """task: the critic's observation must begin with the actor's."""
        self.task = task
        self.num_envs, self.num_obs, self.num_actions = task.num_envs, task.num_obs, task.num_actions
        self.num_critic_obs = task.num_obs
        self.device, self.capturable = task.device, task.capturable
        self.metric_names = task.metric_names
        if task.metric_names:
            self.metric_sums = task.metric_sums

    def reset(self) -> Tuple[Tensor, Tensor]:
        """See `VecTask.reset`."""
        obs, _ = self.task.reset()
        return obs, obs

    def step(self, action: Tensor) -> Step:
        """See `VecTask.step`."""
        step = self.task.step(action)
        return step._replace(critic_obs=step.obs, final_critic_obs=step.final_critic_obs[:, : self.num_obs])

    def capture(self) -> AbstractContextManager:
        """See `VecTask.capture`."""
        return self.task.capture()


class Outcome(NamedTuple):
    """What a step returns.  Later steps do not overwrite it."""

    obs: Tensor
    """(N, num_obs), after resets"""
    reward: Tensor
    """(N,)"""
    terminated: Tensor
    """(N,) bool"""
    truncated: Tensor
    """(N,) bool"""
    final_obs: Tensor
    """(N, num_obs), before resets; valid until the next step"""


class SteppedTask:
    """Steps a task.  On a GPU the whole step with physics, rewards and resets is one CUDA graph."""

    def __init__(self, task: VecTask) -> None:
        self.task = task
        self.num_envs, self.num_obs, self.num_actions = task.num_envs, task.num_obs, task.num_actions
        self.device = task.device
        self.action = torch.zeros(task.num_envs, task.num_actions, device=task.device)
        self._on_graph = task.capturable and task.device.type == "cuda"
        self._step = CapturedFunction(lambda: task.step(self.action), self._on_graph, task.capture, "the task's step")

    @torch.inference_mode(False)
    @torch.no_grad()
    def prepare(self) -> None:
        """Records the step, so that the recording is in no engine's time.  Raises RuntimeError if that fails."""
        self.task.reset()
        self._step()
        self._step()
        if self._on_graph and not self._step.enabled:
            raise RuntimeError(
                "the task's step could not be recorded as a CUDA graph, which would be unfair to this engine"
            )

    @torch.inference_mode(False)
    @torch.no_grad()
    def reset(self) -> Tensor:
        """Starts every environment anew and returns the observation (N, num_obs)."""
        return self.task.reset()[0].clone()

    @torch.inference_mode(False)
    @torch.no_grad()
    def step(self, action: Tensor) -> Outcome:
        """One control step; action: (N, num_actions)."""
        self.action.copy_(action)
        step = self._step()
        return Outcome(
            step.obs.clone(),
            step.reward.clone(),
            step.terminated.clone(),
            step.truncated.clone(),
            step.final_critic_obs,
        )
