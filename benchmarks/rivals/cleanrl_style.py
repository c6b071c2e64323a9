"""PPO in one file, in the style of CleanRL.  All tensors stay on the device; nothing is recorded as a graph."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Tuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.utils.tensorboard import SummaryWriter

from ppo_grasp.adapters.stepped import SteppedTask
from rivals.meter import Meter
from rivals.settings import Settings


def layer(fan_in: int, fan_out: int, gain: float = math.sqrt(2.0)) -> nn.Linear:
    """A linear layer with orthogonal weights."""
    linear = nn.Linear(fan_in, fan_out)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


def tower(inputs: int, hidden: Tuple[int, ...], outputs: int, gain: float) -> nn.Sequential:
    """A network of ELU layers."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip((inputs, *hidden[:-1]), hidden):
        layers += [layer(fan_in, fan_out), nn.ELU()]
    return nn.Sequential(*layers, layer(hidden[-1], outputs, gain))


class Agent(nn.Module):
    """Actor, critic and a standard deviation for each action."""

    def __init__(self, num_obs: int, num_actions: int, s: Settings) -> None:
        super().__init__()
        self.actor = tower(num_obs, s.hidden, num_actions, gain=0.01)
        self.critic = tower(num_obs, s.hidden, 1, gain=1.0)
        self.log_std = nn.Parameter(torch.full((num_actions,), math.log(s.init_std)))

    def distribution(self, obs: Tensor) -> Normal:
        """The distribution of actions."""
        return Normal(self.actor(obs), self.log_std.exp(), validate_args=False)

    def value(self, obs: Tensor) -> Tensor:
        """(B,)"""
        return self.critic(obs).squeeze(-1)


class Observations:
    """Normalises observations by their running mean and variance and clips them, like the wrappers of CleanRL's script."""

    def __init__(self, num_obs: int, device: torch.device) -> None:
        self.mean, self.var = torch.zeros(num_obs, device=device), torch.ones(num_obs, device=device)
        self.count = torch.full((), 1e-4, device=device)

    def learn(self, obs: Tensor) -> Tensor:
        """Adds a batch (N, num_obs) to the statistics, and returns it normalised."""
        var, mean = torch.var_mean(obs, dim=0, correction=0)
        total, delta = self.count + len(obs), mean - self.mean
        between = delta.square() * self.count * len(obs) / total
        self.var = (self.var * self.count + var * len(obs) + between) / total
        self.mean, self.count = self.mean + delta * len(obs) / total, total
        return self.normal(obs)

    def normal(self, obs: Tensor) -> Tensor:
        """(N, num_obs)"""
        return ((obs - self.mean) / (self.var + 1e-8).sqrt()).clamp(-10.0, 10.0)


def run(env: SteppedTask, s: Settings, meter: Meter, directory: Path) -> None:
    """Trains until the meter ends it.  Observations are normalised; values and rewards are not."""
    torch.manual_seed(s.seed)
    device = env.device
    agent = Agent(env.num_obs, env.num_actions, s).to(device)
    optimizer = torch.optim.Adam(agent.parameters(), lr=s.learning_rate, eps=1e-5)
    writer = SummaryWriter(str(directory))
    seen = Observations(env.num_obs, device)
    meter.policy = lambda obs: agent.actor(seen.normal(obs))

    shape = (s.num_steps, s.num_envs)
    obs = torch.zeros(*shape, env.num_obs, device=device)
    actions = torch.zeros(*shape, env.num_actions, device=device)
    log_probs, rewards, dones, values, advantages = (torch.zeros(shape, device=device) for _ in range(5))
    episode_return = torch.zeros(s.num_envs, device=device)
    next_obs, next_done = seen.learn(env.reset()), torch.zeros(s.num_envs, device=device)
    iteration = 0

    while True:
        iteration += 1
        finished_return = torch.zeros(2, device=device)
        for t in range(s.num_steps):
            obs[t], dones[t] = next_obs, next_done
            with torch.no_grad():
                distribution = agent.distribution(next_obs)
                action = distribution.sample()
                values[t] = agent.value(next_obs)
            actions[t], log_probs[t] = action, distribution.log_prob(action).sum(-1)
            out = env.step(action)
            next_obs, next_done = seen.learn(out.obs), (out.terminated | out.truncated).float()
            with torch.no_grad():  # bootstraps episodes that the time limit ended
                rewards[t] = out.reward + s.gamma * agent.value(seen.normal(out.final_obs)) * out.truncated
            episode_return += out.reward
            finished_return += torch.stack([(episode_return * next_done).sum(), next_done.sum()])
            episode_return *= 1.0 - next_done

        meter.begin_update()
        with torch.no_grad():
            after, alive, running = agent.value(next_obs), 1.0 - next_done, torch.zeros(s.num_envs, device=device)
            for t in reversed(range(s.num_steps)):
                delta = rewards[t] + s.gamma * after * alive - values[t]
                running = delta + s.gamma * s.lam * alive * running
                advantages[t] = running
                after, alive = values[t], 1.0 - dones[t]
            returns = advantages + values

        flat = [x.flatten(0, 1) for x in (obs, actions, log_probs, advantages, returns)]
        for _ in range(s.num_epochs):
            order = torch.randperm(s.batch_size, device=device)
            for start in range(0, s.batch_size, s.minibatch_size):
                rows = order[start : start + s.minibatch_size]
                b_obs, b_actions, b_log_probs, b_advantages, b_returns = (x[rows] for x in flat)
                ratio = (agent.distribution(b_obs).log_prob(b_actions).sum(-1) - b_log_probs).exp()
                b_advantages = (b_advantages - b_advantages.mean()) / (b_advantages.std() + 1e-8)
                clipped = ratio.clamp(1.0 - s.clip, 1.0 + s.clip)
                policy_loss = -torch.min(b_advantages * ratio, b_advantages * clipped).mean()
                value_loss = (agent.value(b_obs) - b_returns).square().mean()
                optimizer.zero_grad()
                (policy_loss + value_loss).backward()
                nn.utils.clip_grad_norm_(agent.parameters(), s.max_grad_norm)
                optimizer.step()

        total, count = finished_return.tolist()
        writer.add_scalar("losses/policy_loss", policy_loss.item(), iteration)
        writer.add_scalar("losses/value_loss", value_loss.item(), iteration)
        if count:
            writer.add_scalar("charts/episodic_return", total / count, iteration)
        meter.end_update()
