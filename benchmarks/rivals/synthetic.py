"""A task of random numbers of the right shapes.  It costs next to nothing, so that only the engine is timed."""

from __future__ import annotations

from typing import Tuple

import torch
from torch import Tensor

from ppo_grasp.vec_task import Step, VecTask


class SyntheticTask(VecTask):
    """Observations drift, and actions push them.  The reward is for pushing them to zero.  Episodes have 100 steps."""

    capturable = True
    metric_names = ("reward_per_step",)

    def __init__(
        self,
        num_envs: int,
        device: torch.device,
        num_obs: int = 211,
        num_actions: int = 24,
        episode_steps: int = 100,
    ) -> None:
        self.num_envs, self.device = num_envs, device
        self.num_obs = self.num_critic_obs = num_obs
        self.num_actions = num_actions
        self.episode_steps = episode_steps
        self.state = torch.zeros(num_envs, num_obs, device=device)
        self.age = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self.metric_sums = torch.zeros(1, 2, device=device)

    def reset(self) -> Tuple[Tensor, Tensor]:
        """See `VecTask.reset`.  Environments begin at random times of their episodes, so that these do not end together."""
        self.state.normal_()
        self.age.copy_(torch.randint_like(self.age, self.episode_steps))
        return self.state, self.state

    def step(self, action: Tensor) -> Step:
        """See `VecTask.step`."""
        pushed = self.state[:, : self.num_actions] + 0.1 * action.clamp(-1.0, 1.0)
        noise = torch.randn_like(self.state)
        after = torch.cat([pushed, self.state[:, self.num_actions :]], dim=-1) + 0.02 * noise
        reward = -pushed.square().mean(-1)
        self.age.add_(1)
        truncated = self.age >= self.episode_steps
        terminated = (after[:, 0].abs() > 4.0) & ~truncated
        ended = truncated | terminated
        self.age.mul_(~ended)
        self.metric_sums[0, 0] += reward.sum()
        self.metric_sums[0, 1] += self.num_envs
        self.state.copy_(torch.where(ended[:, None], noise, after))
        return Step(self.state, self.state, reward, terminated, truncated, after)
