"""Running mean and variance, and normalising with them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ppo_grasp.distributed import ALONE, Ranks

_SMALLEST_STD = 1e-4  # do not magnify the noise of a feature that hardly varies
_CONSTANT_VAR = 1e-16  # a feature that never varied has no scale, and keeps its own


class RunningNormalizer(nn.Module):
    """Shifts and scales features to mean 0 and variance 1 over all samples seen so far; changes nothing before the first.

    A feature that never varied is shifted but not scaled.  One may be 0 in one simulator and not in the next, and scaled by next
    to nothing it would be all that the policy sees there.

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
        self.clip = clip
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
        n = usable * float(
            x.shape[0] * x.shape[1] * ranks.size
        )  # with 0 the merge below changes nothing, and the host need not know
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
        inv_std = self.moment_var.sqrt().clamp(min=_SMALLEST_STD).reciprocal()
        self.inv_std.copy_(torch.where(self.moment_var < _CONSTANT_VAR, torch.ones_like(inv_std), inv_std))
