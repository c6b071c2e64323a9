"""The buffer that a rollout fills, and the advantages computed from it."""

from __future__ import annotations

import torch
from torch import Tensor

from ppo_grasp.vec_task import Step


class RolloutBuffer:
    """Holds T steps of N environments in tensors that stay where they are.

    obs and critic_obs have T + 1 rows: row t is the view before step t, and row T is the view after the last step.
    A critic that sees less than the task shows it gets the first num_critic_obs numbers.
    """

    def __init__(
        self, num_steps: int, num_envs: int, num_obs: int, num_critic_obs: int, num_actions: int, device: torch.device
    ) -> None:
        def rows(count: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros((count, num_envs, *shape), dtype=dtype, device=device)

        self.num_steps = num_steps
        self.num_envs = num_envs
        self._num_critic_obs = num_critic_obs
        self.obs = rows(num_steps + 1, num_obs)
        self.critic_obs = rows(num_steps + 1, num_critic_obs)
        self.actions = rows(num_steps, num_actions)
        self.rewards = rows(num_steps)
        self.terminated = rows(num_steps, dtype=torch.bool)
        self.truncated = rows(num_steps, dtype=torch.bool)
        self.final_critic_obs = rows(num_steps, num_critic_obs)

    def begin(self) -> None:
        """Starts a rollout where the last one ended: row T becomes row 0."""
        self.obs[0].copy_(self.obs[-1])
        self.critic_obs[0].copy_(self.critic_obs[-1])

    def restart(self, obs: Tensor, critic_obs: Tensor) -> None:
        """Makes the next rollout start from a reset of the task; obs: (N, num_obs), critic_obs: (N, num_critic_obs)."""
        self.obs[-1].copy_(obs)
        self.critic_obs[-1].copy_(critic_obs[:, : self._num_critic_obs])

    def record(self, t: int, action: Tensor, step: Step) -> None:
        """Copies step t into the buffer; action: (N, A)."""
        self.actions[t].copy_(action)
        self.obs[t + 1].copy_(step.obs)
        self.critic_obs[t + 1].copy_(step.critic_obs[:, : self._num_critic_obs])
        self.rewards[t].copy_(step.reward)
        self.terminated[t].copy_(step.terminated)
        self.truncated[t].copy_(step.truncated)
        self.final_critic_obs[t].copy_(step.final_critic_obs[:, : self._num_critic_obs])


def bootstrap_time_limits(rewards: Tensor, truncated: Tensor, final_values: Tensor, gamma: float) -> Tensor:
    """Adds the discounted value of what a time limit cut off to its reward, (T, N).  Pardo et al. 2018.

    rewards, truncated, final_values: (T, N); final_values: the critic's value before the reset.
    """
    return rewards + gamma * torch.where(truncated, final_values, torch.zeros_like(final_values))


def gae(rewards: Tensor, values: Tensor, dones: Tensor, last_value: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalised advantage estimates, (T, N).  Schulman et al. 2016, eq. 16.

    rewards, values, dones: (T, N); last_value: (N,).  A done at t ends the sum after t.
    """
    discount = gamma * (1.0 - dones.to(rewards.dtype))
    next_values = torch.cat([values[1:], last_value.unsqueeze(0)])
    deltas = rewards + discount * next_values - values
    decay = lam * discount
    advantages = [deltas[-1]]
    for t in range(len(rewards) - 2, -1, -1):
        advantages.append(torch.addcmul(deltas[t], decay[t], advantages[-1]))
    return torch.stack(advantages[::-1])


def discounted_sums(rewards: Tensor, dones: Tensor, start: Tensor, gamma: float) -> Tensor:
    """Discounted sums of rewards since each episode's start, (T + 1, N).

    rewards, dones: (T, N); start: (N,), the sums at the end of the last rollout.  Row t includes the reward of step t.  Row T
    is the next rollout's `start`: it is row T - 1, but 0 where the last step ended an episode.
    """
    sums, running = [], start
    alive = 1.0 - dones.to(rewards.dtype)
    for t in range(len(rewards)):
        running = rewards[t] + gamma * running
        sums.append(running)
        running = running * alive[t]
    return torch.stack([*sums, running])
