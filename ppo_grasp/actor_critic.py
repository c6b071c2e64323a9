"""The networks: a tower for the actor and one for the critic, a bounded Gaussian over actions, and the normalisers."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppo_grasp.normalizer import RunningNormalizer


@dataclass
class ActorCriticCfg:
    """The sizes of the networks and the range of the exploration noise."""

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
    distribution: Literal["tanh", "gaussian"] = "tanh"
    """tanh: the mean passes a tanh, and the standard deviation stays between min_std and max_std.  gaussian: neither has bounds,
    as in stable-baselines3; what is beyond -1 and 1 is cut off by the task."""
    init_std: float = 0.6
    """Standard deviation of the actions at the start.  Actions range from -1 to 1."""
    min_std: float = 0.1
    """tanh: the standard deviation stays above this, so that exploration goes on and log-probabilities stay moderate."""
    max_std: float = 1.0
    """tanh: the standard deviation stays below this, also if there is an entropy bonus."""
    obs_clip: float = 10.0
    """Normalised observations are clipped to +- this, in standard deviations."""


class ActorCritic(nn.Module):
    """A Gaussian policy with one learnt std per action, and a value function with its own observation.

    `ActorCriticCfg.distribution` says what is bounded: the policy is N(tanh(actor(obs)), std) or N(actor(obs), std).

    The normalisers of both observations and of the value are part of the module, so that no checkpoint, export or evaluation
    can lose them.  Methods named `*_from_normalized` take observations that `normalize_*` has normalised.
    """

    def __init__(self, cfg: ActorCriticCfg) -> None:
        super().__init__()
        if cfg.distribution not in ("tanh", "gaussian"):
            raise ValueError(f"distribution {cfg.distribution!r}: must be tanh or gaussian")
        self._tanh = cfg.distribution == "tanh"
        if self._tanh and not cfg.min_std < cfg.init_std < cfg.max_std:
            raise ValueError(
                f"init_std {cfg.init_std} must lie between min_std {cfg.min_std} and max_std {cfg.max_std}"
            )
        if min(cfg.num_obs, cfg.num_critic_obs, cfg.num_actions) < 1:
            raise ValueError("num_obs, num_critic_obs and num_actions must be at least 1")
        self.cfg = cfg
        self.actor = _tower(cfg.num_obs, cfg.actor_hidden, cfg.num_actions, output_gain=0.01)
        self.critic = _tower(cfg.num_critic_obs, cfg.critic_hidden, 1, output_gain=1.0)
        logit = math.log(cfg.init_std)
        if self._tanh:
            share = (cfg.init_std - cfg.min_std) / (cfg.max_std - cfg.min_std)
            logit = math.log(share / (1.0 - share))
        self.std_logit = nn.Parameter(torch.full((cfg.num_actions,), logit))
        self.obs_normalizer = RunningNormalizer(cfg.num_obs, clip=cfg.obs_clip)
        self.critic_obs_normalizer = RunningNormalizer(cfg.num_critic_obs, clip=cfg.obs_clip)
        self.value_normalizer = RunningNormalizer(1)

    @property
    def std(self) -> Tensor:
        """(A,): min_std + (max_std - min_std) * sigmoid(std_logit); exp(std_logit) without bounds."""
        if not self._tanh:
            return torch.exp(self.std_logit)
        return self.cfg.min_std + (self.cfg.max_std - self.cfg.min_std) * torch.sigmoid(self.std_logit)

    def forward(self, obs: Tensor) -> Tensor:
        """The deterministic action, (N, A) within [-1, 1], of raw observations (N, num_obs).  An export does the same."""
        mean = self.mean_from_normalized(self.normalize_obs(obs))
        return mean if self._tanh else mean.clamp(-1.0, 1.0)

    act_deterministic = forward

    def act(self, obs: Tensor, noise: Optional[Tensor] = None) -> Tensor:
        """A sampled action (N, A) of raw observations (N, num_obs); noise: (N, A), standard normal; drawn here if None."""
        return self.act_from_normalized(self.normalize_obs(obs), noise)

    def act_from_normalized(self, obs: Tensor, noise: Optional[Tensor] = None) -> Tensor:
        """As `act`, of (N, padded num_obs)."""
        mean = self.mean_from_normalized(obs)
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
        """(..., num_obs) -> (..., padded num_obs), the input of the actor's tower."""
        return pad(self.obs_normalizer(obs))

    def normalize_critic_obs(self, critic_obs: Tensor) -> Tensor:
        """(..., num_critic_obs) -> (..., padded num_critic_obs), the input of the critic's tower."""
        return pad(self.critic_obs_normalizer(critic_obs))

    def mean_from_normalized(self, obs: Tensor) -> Tensor:
        """(..., padded num_obs) -> (..., A), float32 at any precision of the tower."""
        return self.mean_of(self.unbounded_mean(obs))

    def unbounded_mean(self, obs: Tensor) -> Tensor:
        """(..., padded num_obs) -> (..., A), float32: the mean before its tanh."""
        return self.actor(obs).float()  # type: ignore[no-any-return]

    def mean_of(self, unbounded: Tensor) -> Tensor:
        """The policy's mean of what `unbounded_mean` returned; any shape."""
        return torch.tanh(unbounded) if self._tanh else unbounded

    def value_from_normalized(self, critic_obs: Tensor) -> Tensor:
        """(..., padded num_critic_obs) -> (...), normalised, float32 at any precision of the tower."""
        return self.critic(critic_obs).float().squeeze(-1)

    @property
    def input_dtype(self) -> torch.dtype:
        """The type that the towers read and compute in."""
        return next(self.critic.parameters()).dtype

    def bfloat16_twin(self) -> ActorCritic:
        """A copy whose towers are in bfloat16 and read bfloat16.  It shares std_logit and the normalisers with this policy."""
        shared = (self.std_logit, self.obs_normalizer, self.critic_obs_normalizer, self.value_normalizer)
        twin = copy.deepcopy(self, {id(x): x for x in shared})
        twin.actor.bfloat16()
        twin.critic.bfloat16()
        return twin


def gaussian_log_prob(action: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density of a diagonal Gaussian, (...); action, mean: (..., A); std: (A,)."""
    normalizer = torch.log(std).sum() + 0.5 * math.log(2.0 * math.pi) * action.shape[-1]
    distance = (action - mean) * std.reciprocal()  # the gradient of a division costs more
    return -0.5 * distance.square().sum(-1) - normalizer


def gaussian_kl(old_mean: Tensor, old_std: Tensor, new_mean: Tensor, new_std: Tensor) -> Tensor:
    """KL(old || new) of diagonal Gaussians, exact, (...); means: (..., A); stds: (A,).

    There is no epsilon in the logarithm or the denominator: the stds have a floor, and with an epsilon small KLs would come
    out negative.
    """
    ratio = old_std / new_std
    of_stds = (0.5 * ratio.square() - torch.log(ratio) - 0.5).sum()
    return 0.5 * ((old_mean - new_mean) / new_std).square().sum(-1) + of_stds


def gaussian_entropy(std: Tensor) -> Tensor:
    """Differential entropy of a diagonal Gaussian in nats, (); std: (A,)."""
    return (torch.log(std) + 0.5 * math.log(2.0 * math.pi * math.e)).sum()


class Linear(nn.Linear):
    """nn.Linear, but the bias gets its gradient from a matrix product: torch's sum over the samples takes twice as long."""

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
    """Linear and ELU layers with orthogonal weights.  The input of the first is padded by `pad`."""
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


def pad(x: Tensor) -> Tensor:
    """Appends zeros to the last dimension up to a multiple of 8.  Rows then begin at 16 bytes, without which tensor cores are
    slow."""
    return F.pad(x, (0, _padding(x.shape[-1])))
