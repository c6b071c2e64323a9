"""Steps a task for another library's loop: on a GPU a control step is one recorded CUDA graph."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Dict, NamedTuple, Optional, Tuple, Union

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

    def seed(self, seed: int) -> None:
        """See `VecTask.seed`."""
        self.task.seed(seed)

    def capture(self) -> AbstractContextManager:
        """See `VecTask.capture`."""
        return self.task.capture()


class Outcome(NamedTuple):
    """What a step returns.  No later step overwrites the first four."""

    obs: Tensor
    """(N, num_obs), after resets."""
    reward: Tensor
    """(N,)"""
    terminated: Tensor
    """(N,) bool"""
    truncated: Tensor
    """(N,) bool"""
    critic_obs: Tensor
    """(N, num_critic_obs), after resets.  The next step overwrites it."""
    final_obs: Tensor
    """(N, num_obs), before resets.  The next step overwrites it."""


class SteppedTask:
    """Steps a task.  On a GPU the whole step with physics, rewards and resets is one CUDA graph."""

    def __init__(self, task: VecTask) -> None:
        """task: its critic's observation begins with the actor's, which is where `final_obs` comes from.

        Raises ValueError for a task whose critic sees less than its actor.
        """
        if task.num_critic_obs < task.num_obs:
            raise ValueError("the critic's observation must begin with the actor's, and here it is shorter")
        self.task = task
        self.num_envs, self.num_obs, self.num_actions = task.num_envs, task.num_obs, task.num_actions
        self.num_critic_obs = task.num_critic_obs
        self.device = task.device
        self.action = torch.zeros(task.num_envs, task.num_actions, device=task.device)
        self.critic_obs = torch.zeros(0)
        """(N, num_critic_obs) after the last reset or step."""
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
    def reset(self, seed: Optional[int] = None) -> Tensor:
        """Starts every environment anew.  Returns (N, num_obs).  seed: see `VecTask.seed`."""
        if seed is not None:
            self.task.seed(seed)
        obs, self.critic_obs = self.task.reset()
        return obs.clone()

    @torch.inference_mode(False)
    @torch.no_grad()
    def step(self, action: Tensor) -> Outcome:
        """One control step.  action: (N, num_actions)."""
        self.action.copy_(action)
        step = self._step()
        self.critic_obs = step.critic_obs
        return Outcome(
            step.obs.clone(),
            step.reward.clone(),
            step.terminated.clone(),
            step.truncated.clone(),
            step.critic_obs,
            step.final_critic_obs[:, : self.num_obs],
        )

    @torch.inference_mode(False)
    @torch.no_grad()
    def metrics(self) -> Dict[str, float]:
        """The task's own metrics since the last call, by name: success rates, reward terms.  It waits for the device."""
        if not self.task.metric_names:
            return {}
        sums = self.task.metric_sums.tolist()
        self.task.metric_sums.zero_()
        return {name: total / count for name, (total, count) in zip(self.task.metric_names, sums) if count > 0}


Task = Union[VecTask, SteppedTask]


def stepped(task: Task) -> SteppedTask:
    """The task as one that is stepped.  One that is already so stays as it is, with its recorded step."""
    return task if isinstance(task, SteppedTask) else SteppedTask(task)
