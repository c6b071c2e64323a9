"""A control problem with a known answer: the double integrator with quadratic cost, and its optimal return by Riccati."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import numpy as np
import torch
from torch import Tensor

from ppo_grasp.vec_task import Step, VecTask

DT = 0.2
FORCE = 4.0
"""Acceleration of an action of 1."""
COST_POSITION = 1.0
COST_ACTION = 1.2
REACH = 0.5
"""Starts are uniform in [-REACH, REACH] x [-REACH, REACH], from where the optimal action stays within [-1, 1]."""

A = np.array([[1.0, DT], [0.0, 1.0]])
B = np.array([[0.5 * FORCE * DT**2], [FORCE * DT]])
Q = np.diag([COST_POSITION, 0.0])
R = np.array([[COST_ACTION]])


def riccati(gamma: float) -> Tuple[np.ndarray, np.ndarray]:
    """Cost matrix P and gain K (u = -K x) of the infinite-horizon problem discounted by gamma, by value iteration."""
    P = np.zeros((2, 2))
    for _ in range(5000):
        K = gamma * np.linalg.solve(R + gamma * B.T @ P @ B, B.T @ P @ A)
        P = Q + K.T @ R @ K + gamma * (A - B @ K).T @ P @ (A - B @ K)
    return P, K


def optimal_return(gamma: float) -> float:
    """Mean discounted return of the best policy over the distribution of starts."""
    return -float(np.trace(riccati(gamma)[0])) * REACH**2 / 3.0  # the variance of a uniform distribution


class DoubleIntegrator(VecTask):
    """A mass on a line, pushed to the origin.  Episodes end by the time limit alone, which the policy does not see."""

    num_obs = 2
    num_critic_obs = 3
    num_actions = 1
    capturable = True
    metric_names = ("distance", "never")

    def __init__(self, num_envs: int, time_limit: int, device: str = "cpu", rest_every_limit: bool = False) -> None:
        """rest_every_limit: all episodes start together, in a state that is a function of how many there were before:
        resuming at such a moment is exact even with new episodes."""
        self.num_envs = num_envs
        self.time_limit = time_limit
        self.device = torch.device(device)
        self.rest_every_limit = rest_every_limit
        self.state = torch.zeros(num_envs, 2, device=device)
        self.age = torch.zeros(num_envs, dtype=torch.long, device=device)
        self.episodes = torch.zeros((), dtype=torch.long, device=device)
        self.metric_sums = torch.zeros(2, 2, device=device)

    def _starts(self) -> Tensor:
        if not self.rest_every_limit:
            return REACH * (2.0 * torch.rand(self.num_envs, 2, device=self.device) - 1.0)
        first = 2 * self.num_envs * self.rank  # worlds are numbered over all ranks
        n = torch.arange(first, first + 2 * self.num_envs, device=self.device).reshape(self.num_envs, 2)
        return REACH * torch.sin(12.9898 * n + 78.233 * self.episodes)

    def _critic_obs(self, state: Tensor) -> Tensor:
        return torch.cat([state, state.square().sum(-1, keepdim=True)], dim=-1)

    def reset(self) -> Tuple[Tensor, Tensor]:
        self.state.copy_(self._starts())
        self.age.zero_()
        if not self.rest_every_limit:
            self.age.copy_(torch.randint_like(self.age, self.time_limit))
        return self.state, self._critic_obs(self.state)

    def step(self, action: Tensor) -> Step:
        u = action.clamp(-1.0, 1.0)
        position, velocity = self.state.unbind(-1)
        reward = -(COST_POSITION * position.square() + COST_ACTION * u.squeeze(-1).square())
        acceleration = FORCE * u.squeeze(-1)
        after = torch.stack(
            [position + DT * velocity + 0.5 * DT**2 * acceleration, velocity + DT * acceleration], dim=-1
        )
        self.age.add_(1)
        truncated = self.age >= self.time_limit
        self.age.mul_(~truncated)
        self.episodes.add_(truncated.any())
        self.metric_sums[0, 0] += position.abs().sum()
        self.metric_sums[0, 1] += self.num_envs
        self.state.copy_(torch.where(truncated.unsqueeze(-1), self._starts(), after))
        critic_obs, final = self._critic_obs(self.state), self._critic_obs(after)
        return Step(self.state, critic_obs, reward, torch.zeros_like(truncated), truncated, final)

    def state_dict(self) -> Dict[str, Any]:
        return {"episodes": self.episodes}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        self.episodes.copy_(state["episodes"])

    def episodes_state(self) -> Dict[str, Any]:
        return {"state": self.state.clone(), "age": self.age.clone()}

    def load_episodes_state(self, state: Dict[str, Any]) -> None:
        if state["age"].shape != self.age.shape:
            raise ValueError("the number of environments is another")
        self.state.copy_(state["state"])
        self.age.copy_(state["age"])


@torch.no_grad()
def measured_return(policy: Any, gamma: float, grid: int = 21) -> float:
    """Mean discounted return of a policy (N, 2) -> (N, 1) from a grid of starts with the distribution's second moments."""
    axis = torch.linspace(-1.0, 1.0, grid, dtype=torch.float64)
    axis = (axis * REACH * (1.0 / 3.0 / axis.square().mean()).sqrt()).float()
    task = DoubleIntegrator(grid * grid, time_limit=10**9)
    task.state.copy_(torch.cartesian_prod(axis, axis))
    total = torch.zeros(grid * grid, dtype=torch.float64)
    for t in range(400):
        total += gamma**t * task.step(policy(task.state)).reward.double()
    return float(total.mean())
