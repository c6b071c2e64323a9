"""Running mean and variance, and normalising with them."""

from __future__ import annotations

import math
from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from ppo_grasp.distributed import ALONE, Ranks
from ppo_grasp.vec_task import Step

_SMALLEST_STD = 1e-4  # do not magnify the noise of a feature that hardly varies
_CONSTANT_VAR = 1e-16  # a feature that never varied has no scale, and keeps its own
_SB3_EPSILON, _SB3_COUNT = 1e-8, 1e-4  # of stable-baselines3's VecNormalize and RunningMeanStd


class RunningNormalizer(nn.Module):
    """Shifts and scales features to mean 0 and variance 1 over all samples seen so far; changes nothing before the first.

    A feature that never varied is shifted but not scaled.  It may vary in another simulator.  Divided by a standard deviation of
    almost 0, it would drown all other features there.

    The moments are float64, so that a billion samples far from zero keep their variance; `forward` uses float32.  All
    buffers are written in place, so that `update` and `forward` may be captured in a CUDA graph.
    """

    count: Tensor
    moment_mean: Tensor
    moment_var: Tensor
    mean: Tensor
    inv_std: Tensor

    def __init__(self, size: int, clip: float = math.inf) -> None:
        """size: number of features D.  clip: normalised values are clipped to +- this, in standard deviations."""
        super().__init__()
        self.size, self.clip = size, clip
        self._epsilon: Optional[float] = None
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("moment_mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("moment_var", torch.ones(size, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("inv_std", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., D) -> (..., D)."""
        x = (x - self.mean) * self.inv_std
        return x if math.isinf(self.clip) else x.clamp(-self.clip, self.clip)

    def denormalize(self, x: Tensor) -> Tensor:
        """The inverse of `forward`, but for the clipping; x: (..., D)."""
        return x / self.inv_std + self.mean

    def follow_stable_baselines3(self) -> None:
        """Scales as stable-baselines3's VecNormalize from now on: by 1 / sqrt(variance + 1e-8), whatever the variance.

        Without samples, mean 0 and variance 1 count as 1e-4 of a sample.
        """
        self._epsilon = _SB3_EPSILON
        self.count.clamp_(min=_SB3_COUNT)

    @torch.no_grad()
    def update(self, x: Tensor, ranks: Ranks = ALONE) -> None:
        """Adds samples x (..., S, D), and those of all other ranks, to the running moments (Chan et al. 1983).

        A batch with a NaN or inf is left out, on all ranks.
        """
        x = x.reshape(-1, *x.shape[-2:]).double()
        row_var, row_mean = torch.var_mean(x, dim=1, correction=0)  # row by row: one sum over all would be slow
        between, mean = torch.var_mean(row_mean, dim=0, correction=0)
        mean, var = ranks.pool(mean, row_var.mean(0) + between)
        usable = torch.isfinite(var).all()
        # A count of 0 makes the merge below change nothing, so the host need not know whether the batch is usable.
        n = usable * float(x.shape[0] * x.shape[1] * ranks.size)
        mean = torch.where(usable, mean, self.moment_mean)
        var = torch.where(usable, var, self.moment_var)

        total = self.count + n
        share = n / total.clamp(min=1.0)
        delta = mean - self.moment_mean
        merged_var = torch.lerp(self.moment_var, var, share) + delta.square() * share * (1.0 - share)
        self.moment_var.copy_(torch.where(total > 0, merged_var, self.moment_var))
        self.moment_mean.add_(delta * share)
        self.count.copy_(total)

        self.mean.copy_(self.moment_mean)
        if self._epsilon is not None:
            self.inv_std.copy_((self.moment_var + self._epsilon).rsqrt())
            return
        inv_std = self.moment_var.sqrt().clamp(min=_SMALLEST_STD).reciprocal()
        self.inv_std.copy_(torch.where(self.moment_var < _CONSTANT_VAR, torch.ones_like(inv_std), inv_std))


class StepNormalizer:
    """Normalises observations and rewards in every step of a rollout, as stable-baselines3's VecNormalize does.

    The statistics of a step take in what it saw before they normalise it.  So no two rows of a rollout have the same ones.
    Everything is written in place, for CUDA graphs.
    """

    def __init__(
        self,
        obs: RunningNormalizer,
        critic_obs: RunningNormalizer,
        reward: Optional[RunningNormalizer],
        discounted_return: Tensor,
        gamma: float,
        reward_clip: float,
    ) -> None:
        """obs, critic_obs: the policy's normalisers.  reward: of discounted returns; None leaves rewards as they are.
        discounted_return: (N,), the sum of each running episode's rewards.  reward_clip: normalised rewards stay within +- this.
        """
        self._obs, self._critic_obs, self._reward = obs, critic_obs, reward
        self._return, self._gamma, self._clip = discounted_return, gamma, reward_clip
        self.reward_sum = torch.zeros((), device=discounted_return.device)
        """Sum over steps of the mean reward before it was normalised.  Whoever reads it zeroes it."""
        for normalizer in filter(None, (obs, critic_obs, reward)):
            normalizer.follow_stable_baselines3()

    @torch.no_grad()
    def begin(self, obs: Tensor, critic_obs: Tensor) -> Tuple[Tensor, Tensor]:
        """What a reset of the task returned, (N, num_obs) and (N, num_critic_obs), normalised."""
        self._return.zero_()
        return self._seen(obs, critic_obs)

    @torch.no_grad()
    def __call__(self, step: Step) -> Step:
        """A step of the task, normalised."""
        obs, critic_obs = self._seen(step.obs, step.critic_obs)
        reward, final = step.reward, self._critic_obs(step.final_critic_obs[:, : self._critic_obs.size])
        self.reward_sum.add_(reward.mean())
        if self._reward is not None:
            self._return.mul_(self._gamma).add_(reward)
            self._reward.update(self._return[:, None])
            reward = (reward * self._reward.inv_std).clamp(-self._clip, self._clip)
            alive = ~(step.terminated | step.truncated) & torch.isfinite(self._return)  # a NaN would never leave
            torch.where(alive, self._return, torch.zeros_like(self._return), out=self._return)
        return step._replace(obs=obs, critic_obs=critic_obs, reward=reward, final_critic_obs=final)

    def _seen(self, obs: Tensor, critic_obs: Tensor) -> Tuple[Tensor, Tensor]:
        critic_obs = critic_obs[:, : self._critic_obs.size]
        self._obs.update(obs)
        self._critic_obs.update(critic_obs)
        return self._obs(obs), self._critic_obs(critic_obs)
