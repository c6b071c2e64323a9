"""PPO's loss of the policy with its gradient written out.  Automatic differentiation would take three times as many kernels."""

from __future__ import annotations

from typing import Any, Tuple

import torch
from torch import Tensor

from ppo_grasp.actor_critic import gaussian_log_prob


def clipped_surrogate(
    mean: Tensor, std: Tensor, actions: Tensor, old_log_prob: Tensor, advantages: Tensor, clip: float
) -> Tuple[Tensor, Tensor]:
    """The loss, (): -mean(min(A r, A clamp(r, 1 - clip, 1 + clip))), and the ratios r = exp(log pi(a) - log pi_old(a)), (B,).

    Schulman et al. 2017, eq. 7.  The policy is a Gaussian with mean (B, A) and std (A,).  The loss has gradients to both; the
    ratios have none.  actions: (B, A); old_log_prob, advantages: (B,).
    """
    return _ClippedSurrogate.apply(mean, std, actions, old_log_prob, advantages, clip)  # type: ignore[no-untyped-call, no-any-return]


class _ClippedSurrogate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, std: Tensor, actions: Tensor, old_log_prob: Tensor, advantages: Tensor, clip: float
    ) -> Tuple[Tensor, Tensor]:
        ratio = torch.exp(gaussian_log_prob(actions, mean, std) - old_log_prob)
        surrogate = advantages * ratio
        clipped = advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
        ctx.save_for_backward(mean, std, actions, surrogate, clipped)
        ctx.mark_non_differentiable(ratio)
        ctx.set_materialize_grads(False)  # no tensor of zeros for the gradient of the ratios
        return -torch.minimum(surrogate, clipped).mean(), ratio

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tuple[Tensor, Tensor, None, None, None, None]:
        """With z = (a - mean) / std, log pi has the gradient z / std to the mean and (z^2 - 1) / std to the std."""
        mean, std, actions, surrogate, clipped = ctx.saved_tensors
        inv_std = std.reciprocal()
        z = (actions - mean) * inv_std
        # The gradient to the log-probability is -A r / B.  It is 0 where the clipped term is smaller, as that is constant.
        weight = (surrogate * (surrogate <= clipped) * (grads[0] / -len(surrogate))).unsqueeze(-1)
        weighted = weight * z
        to_std = (weighted * z).sum(0) - weight.sum()
        return weighted * inv_std, to_std * inv_std, None, None, None, None


def bound_loss(unbounded: Tensor, bound: float) -> Tensor:
    """(), of means before their tanh (B, A): their excess over the bound, squared, summed over actions, mean over samples."""
    return (unbounded.abs() - bound).clamp(min=0).square().sum(-1).mean()


def smoothness_loss(mean: Tensor, neighbours: Tensor) -> Tensor:
    """(), of means (B, A) and `means_of_neighbours` (B, A): squared differences, summed over actions, mean over samples."""
    return (mean - neighbours).square().sum(-1).mean()


def means_of_neighbours(means: Tensor, dones: Tensor) -> Tensor:
    """(T, N, A): at each step of means (T, N, A), the mean over the steps before and after.  dones (T, N).

    At the ends of the rollout and of an episode there is one neighbour.  A step without any is its own neighbour.  Means that
    are not finite are left out.

    The gradient of `smoothness_loss` is half of that of the squared differences over all pairs of consecutive steps, if the
    neighbours stay as they were when the rollout ended.  So the loss needs no second pass through the network.
    """
    finite = torch.isfinite(means).all(-1)
    usable = means.masked_fill(~finite.unsqueeze(-1), 0.0)
    joined = (~dones[:-1] & finite[:-1] & finite[1:]).to(means.dtype).unsqueeze(-1)  # t and t + 1 are of one episode
    none = torch.zeros_like(joined[:1])
    before, after = torch.cat([none, joined]), torch.cat([joined, none])
    total = before * usable.roll(1, 0) + after * usable.roll(-1, 0)
    count = before + after
    return torch.where(count > 0, total / count.clamp(min=1), means)
