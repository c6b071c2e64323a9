"""The networks: two ELU towers, a bounded Gaussian over actions, and the normalisers that belong to them."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppo_grasp.normalizer import RunningNormalizer


@dataclass
class ActorCriticCfg:
    """Sizes of the towers and the range of the exploration noise."""

    num_obs: int = 0
    """Size of the actor's observation; the trainer fills it in from the task."""
    num_critic_obs: int = 0
    """Size of the critic's observation; the trainer fills it in from the task."""
    num_actions: int = 0
    """Size of the action; the trainer fills it in from the task."""
    actor_hidden: Tuple[int, ...] = (512, 512, 256)
    """Widths of the actor's hidden layers."""
    critic_hidden: Tuple[int, ...] = (512, 512, 256)
    """Widths of the critic's hidden layers."""
    init_std: float = 0.6
    """Standard deviation of the actions at the start, within (min_std, max_std)."""
    min_std: float = 0.1
    """Floor of the standard deviation: exploration never dies, and log-probabilities stay tame."""
    max_std: float = 1.0
    """Ceiling of the standard deviation: an entropy bonus cannot run away."""
    obs_clip: float = 10.0
    """Bound on normalised observations, in standard deviations."""


class ActorCritic(nn.Module):
    """Policy N(tanh(actor(obs)), std) with one learnt std per action, and a value function with its own tower and inputs.

    Normalisers of both observations and of the value are part of the module, so that no checkpoint, export or evaluation
    can lose them.  Methods named `*_from_normalized` take observations that went through `normalize_*` already.
    """

    def __init__(self, cfg: ActorCriticCfg) -> None:
        super().__init__()
        if not cfg.min_std < cfg.init_std < cfg.max_std:
            raise ValueError(
                f"init_std {cfg.init_std} must lie between min_std {cfg.min_std} and max_std {cfg.max_std}"
            )
        if min(cfg.num_obs, cfg.num_critic_obs, cfg.num_actions) < 1:
            raise ValueError("num_obs, num_critic_obs and num_actions must be at least 1")
        self.cfg = cfg
        self.actor = _tower(cfg.num_obs, cfg.actor_hidden, cfg.num_actions, output_gain=0.01)
        self.critic = _tower(cfg.num_critic_obs, cfg.critic_hidden, 1, output_gain=1.0)
        share = (cfg.init_std - cfg.min_std) / (cfg.max_std - cfg.min_std)
        self.std_logit = nn.Parameter(torch.full((cfg.num_actions,), math.log(share / (1.0 - share))))
        self.obs_normalizer = RunningNormalizer(cfg.num_obs, clip=cfg.obs_clip)
        self.critic_obs_normalizer = RunningNormalizer(cfg.num_critic_obs, clip=cfg.obs_clip)
        self.value_normalizer = RunningNormalizer(1)

    @property
    def std(self) -> Tensor:
        """(A,), smoothly bounded: min_std + (max_std - min_std) * sigmoid(std_logit)."""
        return self.cfg.min_std + (self.cfg.max_std - self.cfg.min_std) * torch.sigmoid(self.std_logit)

    def forward(self, obs: Tensor) -> Tensor:
        """The deterministic action, (N, A) within [-1, 1], of raw observations (N, num_obs).  This is what is exported."""
        return self.mean_from_normalized(self.normalize_obs(obs))

    act_deterministic = forward

    def act(self, obs: Tensor, noise: Optional[Tensor] = None) -> Tensor:
        """A sampled action (N, A) of raw observations (N, num_obs); noise: (N, A) standard normal, drawn here if absent."""
        mean = self.forward(obs)
        return torch.addcmul(mean, self.std, torch.randn_like(mean) if noise is None else noise)

    def value(self, critic_obs: Tensor) -> Tensor:
        """The normalised value, (N,), of raw critic observations (N, num_critic_obs); see `denormalize_value`."""
        return self.value_from_normalized(self.normalize_critic_obs(critic_obs))

    def denormalize_value(self, value: Tensor) -> Tensor:
        """From the critic's scale to that of discounted returns; any shape."""
        return self.value_normalizer.denormalize(value)

    def normalize_value(self, value: Tensor) -> Tensor:
        """From the scale of discounted returns to the critic's; any shape."""
        return self.value_normalizer(value)

    def normalize_obs(self, obs: Tensor) -> Tensor:
        """(..., num_obs) -> (..., padded num_obs), what the actor's tower reads."""
        return _pad(self.obs_normalizer(obs), self.cfg.num_obs)

    def normalize_critic_obs(self, critic_obs: Tensor) -> Tensor:
        """(..., num_critic_obs) -> (..., padded num_critic_obs), what the critic's tower reads."""
        return _pad(self.critic_obs_normalizer(critic_obs), self.cfg.num_critic_obs)

    def mean_from_normalized(self, obs: Tensor) -> Tensor:
        """(..., padded num_obs) -> (..., A), float32 whatever the precision inside the tower."""
        return torch.tanh(self.actor(obs).float())

    def value_from_normalized(self, critic_obs: Tensor) -> Tensor:
        """(..., padded num_critic_obs) -> (...), normalised, float32 whatever the precision inside the tower."""
        return self.critic(critic_obs).float().squeeze(-1)

    @property
    def input_dtype(self) -> torch.dtype:
        """What the towers compute in and read."""
        return next(self.critic.parameters()).dtype

    def bfloat16_twin(self) -> ActorCritic:
        """This policy with towers of its own in bfloat16, which read bfloat16; std_logit and the normalisers are shared."""
        shared = (self.std_logit, self.obs_normalizer, self.critic_obs_normalizer, self.value_normalizer)
        twin = copy.deepcopy(self, {id(x): x for x in shared})
        twin.actor.bfloat16()
        twin.critic.bfloat16()
        return twin


def gaussian_log_prob(action: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density of a diagonal Gaussian, (...); action, mean: (..., A); std: (A,)."""
    normalizer = torch.log(std).sum() + 0.5 * math.log(2.0 * math.pi) * action.shape[-1]
    return -0.5 * ((action - mean) * std.reciprocal()).square().sum(-1) - normalizer  # the gradient of / is dearer


def gaussian_kl(old_mean: Tensor, old_std: Tensor, new_mean: Tensor, new_std: Tensor) -> Tensor:
    """KL(old || new) of diagonal Gaussians, exact, (...); means: (..., A); stds: (A,).

    No epsilon in the logarithm or the denominator: the stds have a floor, and an epsilon makes small KLs come out negative.
    """
    ratio = old_std / new_std
    of_stds = (0.5 * ratio.square() - torch.log(ratio) - 0.5).sum()
    return 0.5 * ((old_mean - new_mean) / new_std).square().sum(-1) + of_stds


def gaussian_entropy(std: Tensor) -> Tensor:
    """Differential entropy of a diagonal Gaussian in nats, (); std: (A,)."""
    return (torch.log(std) + 0.5 * math.log(2.0 * math.pi * math.e)).sum()


class Linear(nn.Linear):
    """nn.Linear, whose bias gets its gradient by a matrix product: torch's sum over the samples takes twice as long."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in_features)."""
        if x.dim() != 2 or not torch.is_grad_enabled():
            return super().forward(x)
        return _LinearFunction.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call, no-any-return]


class _LinearFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tuple[Optional[Tensor], Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        (grad,) = grads
        to_bias = grad.new_ones(1, len(grad)) @ grad
        return grad @ weight if ctx.needs_input_grad[0] else None, grad.t() @ x, to_bias.squeeze(0)


def _tower(inputs: int, hidden: Tuple[int, ...], outputs: int, output_gain: float) -> nn.Sequential:
    """Linear and ELU layers with orthogonal weights; the first takes its inputs padded by `_pad`."""
    layers: list[nn.Module] = []
    widths = (inputs, *hidden)
    for fan_in, fan_out in zip(widths[:-1], widths[1:]):
        layers += [_orthogonal(fan_in, fan_out, math.sqrt(2.0)), nn.ELU(inplace=True)]
    layers.append(_orthogonal(widths[-1], outputs, output_gain))
    first = layers[0]
    assert isinstance(first, nn.Linear)
    padded = Linear(inputs + _padding(inputs), first.out_features)
    with torch.no_grad():
        padded.weight.zero_()
        padded.weight[:, :inputs] = first.weight
        padded.bias.zero_()
    layers[0] = padded
    return nn.Sequential(*layers)


def _orthogonal(fan_in: int, fan_out: int, gain: float) -> Linear:
    layer = Linear(fan_in, fan_out)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _padding(size: int) -> int:
    return -size % 8


def _pad(x: Tensor, size: int) -> Tensor:
    """Appends zeros to x (..., size) up to a multiple of 8: rows on 16-byte boundaries, without which tensor cores are slow."""
    return F.pad(x, (0, _padding(size)))
