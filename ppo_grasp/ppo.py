"""Proximal policy optimisation (Schulman et al. 2017): a rollout in, a better policy out, nothing read by the host."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Literal, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ppo_grasp.actor_critic import ActorCritic, gaussian_entropy, gaussian_kl, gaussian_log_prob
from ppo_grasp.device.adam import Adam, Flat
from ppo_grasp.device.graphs import Aside
from ppo_grasp.device.precision import tf32
from ppo_grasp.device.ranges import named_range
from ppo_grasp.normalizer import RunningNormalizer
from ppo_grasp.rollout import RolloutBuffer, bootstrap_time_limits, discounted_sums, gae
from ppo_grasp.surrogate import clipped_surrogate


@dataclass
class PPOCfg:
    """Hyper-parameters of the rollout and the update.  `PPOCfg()` is what trains best; `PPOCfg.recipe()` the published one."""

    num_steps: int = 8
    """Steps of every environment per iteration, T.  Short rollouts mean many updates per environment step."""
    num_epochs: int = 5
    """Passes over the rollout per iteration."""
    minibatch_size: int = 16384
    """Samples per gradient step, rounded so that a whole number of equal minibatches covers the rollout."""
    learning_rate: float = 3e-4
    """Adam's learning rate at the start."""
    min_learning_rate: float = 1e-5
    """The adaptive rule never goes below."""
    max_learning_rate: float = 1e-3
    """The adaptive rule never goes above."""
    anneal_from: float = 0.5
    """Share of the training after which the adaptive rule's ceiling falls, by the same factor a step, to the least learning
    rate at the end: late steps of full size only shake a policy that is nearly done.  1 never anneals."""
    desired_kl: Optional[float] = 0.016
    """KL(old || new) per sample that the learning rate is steered to; None keeps the learning rate constant."""
    kl_rule: Literal["epoch", "minibatch"] = "epoch"
    """When the learning rate is adapted: after each epoch, by its mean KL, or after each minibatch, by its own."""
    max_kl: Optional[float] = 0.1
    """Gradient steps are skipped where the minibatch's KL has passed this; None never skips."""
    gamma: float = 0.98
    """Discount per step."""
    lam: float = 0.95
    """Decay of generalised advantage estimation."""
    clip: float = 0.2
    """Range of the probability ratio, 1 - clip to 1 + clip, beyond which a sample has no gradient."""
    clip_value_loss: bool = False
    """Whether to also clip how far a value may move from its old one, by `clip` normalised units."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    value_coef: float = 1.0
    """Weight of the mean squared error of the (normalised) value."""
    max_grad_norm: float = 1.0
    """The gradient of all parameters together is scaled down to this length."""
    normalize_advantage: bool = True
    """Whether advantages are shifted and scaled to zero mean and unit variance over the rollout."""
    normalize_reward: bool = False
    """Whether rewards are divided by the running std of the discounted return, and clipped to +-reward_clip."""
    reward_clip: float = 10.0
    """Bound on normalised rewards."""

    @staticmethod
    def recipe() -> PPOCfg:
        """The published recipe: constant learning rate, small minibatches, normalised rewards."""
        return PPOCfg(
            num_steps=16, minibatch_size=2048, desired_kl=None, max_kl=None, gamma=0.99, normalize_reward=True
        )


class Batch(NamedTuple):
    """Samples of a rollout, all with the same first dimension B."""

    obs: Tensor
    """(B, padded num_obs), normalised"""
    critic_obs: Tensor
    """(B, padded num_critic_obs), normalised"""
    actions: Tensor
    """(B, A)"""
    old_mean: Tensor
    """(B, A), of the policy that acted"""
    old_log_prob: Tensor
    """(B,)"""
    advantages: Tensor
    """(B,)"""
    returns: Tensor
    """(B,), normalised: what the critic should say"""
    old_values: Tensor
    """(B,), normalised: what it said"""


class PPO:
    """The optimiser and the update.

    `update` is a function of tensors that returns a tensor; it is the same eager, with `compile_losses`, and captured in a
    CUDA graph.  The learning rate lives in the optimiser as a tensor on the device, and nowhere else.
    """

    stat_names: Tuple[str, ...] = (
        *("policy_loss", "entropy", "kl", "clip_fraction", "value_loss", "grad_norm"),
        *("nonfinite_steps", "kl_stopped_steps", "explained_variance", "learning_rate", "action_std", "reward"),
    )
    """Names of what `update` returns.  Losses, KL and norms are means over minibatches; `*_steps` count skipped gradient
    steps; `kl` is of the last epoch; `reward` is the mean per step before any normalisation."""

    def __init__(
        self, policy: ActorCritic, cfg: PPOCfg, num_envs: int, compile_losses: bool = False, amp: bool = False
    ) -> None:
        """policy: on its device already, where its parameters become views of one tensor; amp: bfloat16 inside the towers, in
        the learner only; log-probabilities, KL and losses stay float32."""
        self.policy = policy
        self.cfg = cfg
        # The learner's towers: autocast would cast every layer in every pass, where this is one kernel per gradient step.
        self._learner = policy.bfloat16_twin() if amp else policy
        self._max_kl = math.inf if cfg.max_kl is None else cfg.max_kl
        self.device = policy.std_logit.device
        self._actor_params, self._critic_params = (
            list(t.parameters()) for t in (self._learner.actor, self._learner.critic)
        )
        params = [*policy.actor.parameters(), *policy.critic.parameters(), policy.std_logit]
        self.optimizer = Adam(params, cfg.learning_rate)
        *self._tower_grads, self._std_grad = self.optimizer.grads.each
        self._rounded = Flat(params, torch.bfloat16) if amp else None
        if self._rounded is not None:
            self._rounded.take_over([*self._actor_params, *self._critic_params])
        self.reward_normalizer = RunningNormalizer(1).to(self.device)
        self.discounted_return = torch.zeros(num_envs, device=self.device)
        self._one, self._value_coef = torch.tensor([1.0, cfg.value_coef], device=self.device).unbind()
        self._rate_limit = torch.tensor(cfg.max_learning_rate, device=self.device)
        self._actor_loss: Callable[[Batch, Tensor], Tuple[Tensor, Tensor, Tensor]] = self._eager_actor_loss
        self._actor_stats: Callable[[Batch, Tensor, Tensor, Tensor, Tensor], Tensor] = self._eager_actor_stats
        self._critic_loss: Callable[[Batch], Tensor] = self._eager_critic_loss
        if compile_losses:
            self._actor_loss = torch.compile(self._eager_actor_loss, fullgraph=True, dynamic=False)
            self._actor_stats = torch.compile(self._eager_actor_stats, fullgraph=True, dynamic=False)
            self._critic_loss = torch.compile(self._eager_critic_loss, fullgraph=True, dynamic=False)
        # The two towers share nothing, so their kernels may run side by side: at small minibatches neither fills the GPU.
        self._aside = Aside(self.device)

    @property
    def learning_rate(self) -> Tensor:
        """(), on the device."""
        return self.optimizer.learning_rate

    def set_progress(self, progress: float) -> None:
        """Tells how much of the training is done, 0 to 1, for `anneal_from`; takes effect without a new capture."""
        cfg = self.cfg
        left = 1.0 if cfg.anneal_from >= 1 else min(1.0, max(0.0, (1.0 - progress) / (1.0 - cfg.anneal_from)))
        self._rate_limit.fill_(cfg.min_learning_rate * (cfg.max_learning_rate / cfg.min_learning_rate) ** left)

    def update(self, rollout: RolloutBuffer) -> Tensor:
        """Improves the policy by a rollout, then lets the normalisers see it; returns (len(stat_names),) statistics.

        The normalisers stay frozen until the last gradient step, so that old and new log-probabilities are comparable.
        """
        self._follow()
        with tf32():
            with named_range("gae"):
                returns, advantages, values = self._targets(rollout)
            with named_range("minibatches"):
                batch, old_std = self._prepare(rollout, returns, advantages, values)
                per_step, kl = self._optimize(batch, old_std)
            explained = 1.0 - (returns - values).var() / returns.var().clamp(min=1e-12)
        with named_range("normalizers"):
            self._update_normalizers(rollout, returns)
        grad_norm, step_kl = per_step[:, 5], per_step[:, 2]
        finite = torch.isfinite(grad_norm)
        losses = torch.nanmean(per_step.masked_fill(~finite.unsqueeze(-1), math.nan), dim=0)
        losses[2].copy_(kl)
        skipped = torch.stack([(~finite).sum(), (finite & (step_kl > self._max_kl)).sum()]).float()
        after = torch.stack([explained, self.learning_rate, self.policy.std.detach().mean(), rollout.rewards.mean()])
        return torch.cat([losses, skipped, after])

    def warm_up(self, rollout: RolloutBuffer) -> None:
        """Gives the normalisers their first statistics, without a gradient step; the rollout is then best discarded."""
        self._follow()
        with tf32():
            returns, _, _ = self._targets(rollout)
        self._update_normalizers(rollout, returns)

    @torch.no_grad()
    def _targets(self, rollout: RolloutBuffer) -> Tuple[Tensor, Tensor, Tensor]:
        """Returns, advantages and values, all (T, N), on the scale of discounted rewards."""
        cfg, policy = self.cfg, self.policy
        values = policy.denormalize_value(self._value(rollout.critic_obs))
        final_values = policy.denormalize_value(self._value(rollout.final_critic_obs))
        rewards = rollout.rewards
        if cfg.normalize_reward:
            rewards = (rewards * self.reward_normalizer.inv_std).clamp(-cfg.reward_clip, cfg.reward_clip)
        rewards = bootstrap_time_limits(rewards, rollout.truncated, final_values, cfg.gamma)
        dones = rollout.terminated | rollout.truncated
        advantages = gae(rewards, values[:-1], dones, values[-1], cfg.gamma, cfg.lam)
        return advantages + values[:-1], advantages, values[:-1]

    @torch.no_grad()
    def _prepare(
        self, rollout: RolloutBuffer, returns: Tensor, advantages: Tensor, values: Tensor
    ) -> Tuple[Batch, Tensor]:
        """The rollout as samples, with everything that does not depend on the parameters computed once; and the old std."""
        policy = self.policy
        if self.cfg.normalize_advantage:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        obs = policy.normalize_obs(rollout.obs[:-1]).flatten(0, 1).to(self._learner.input_dtype)
        critic_obs = policy.normalize_critic_obs(rollout.critic_obs[:-1]).flatten(0, 1).to(self._learner.input_dtype)
        actions = rollout.actions.flatten(0, 1)
        old_std = policy.std.clone()
        # Computed by the learner rather than kept from the rollout: rounding to TF32 or bfloat16 then cancels in the ratio.
        old_mean = self._learner.mean_from_normalized(obs)
        old_log_prob = gaussian_log_prob(actions, old_mean, old_std)
        targets = policy.normalize_value(returns.reshape(-1, 1)).squeeze(-1)
        old_values = policy.normalize_value(values.reshape(-1, 1)).squeeze(-1)
        batch = Batch(obs, critic_obs, actions, old_mean, old_log_prob, advantages.flatten(), targets, old_values)
        return batch, old_std

    def _optimize(self, batch: Batch, old_std: Tensor) -> Tuple[Tensor, Tensor]:
        """All epochs; returns per-step statistics (steps, 6) and the mean KL of the last epoch, ()."""
        cfg = self.cfg
        num_samples = batch.obs.shape[0]
        num_minibatches = max(1, round(num_samples / cfg.minibatch_size))
        size = num_samples // num_minibatches
        per_step: List[Tensor] = []
        kl = old_std.new_zeros(())
        for _ in range(cfg.num_epochs):
            order = torch.rand(num_samples, device=self.device).argsort()
            shuffled = [x.index_select(0, order) for x in batch]
            for start in range(0, num_minibatches * size, size):
                stats = self._step(Batch(*(x[start : start + size] for x in shuffled)), old_std)
                per_step.append(stats)
                if cfg.kl_rule == "minibatch":
                    self._adapt(stats[2])
            kl = torch.stack(per_step[-num_minibatches:])[:, 2].mean()
            if cfg.kl_rule == "epoch":
                self._adapt(kl)
        return torch.stack(per_step), kl

    def _step(self, batch: Batch, old_std: Tensor) -> Tensor:
        """One gradient step on a minibatch; returns (6,) statistics: the first of `stat_names`."""
        cfg, std_logit = self.cfg, self.policy.std_logit
        with self._aside():
            value_loss = self._critic_loss(batch)
            critic_grads = torch.autograd.grad(value_loss, self._critic_params, self._value_coef)
        std = self.policy.std
        policy_loss, mean, ratio = self._actor_loss(batch, std)
        with self._aside():  # the critic is done sooner
            actor_stats = self._actor_stats(batch, old_std, mean.detach(), std.detach(), ratio)
        actor_loss = policy_loss - cfg.entropy_coef * gaussian_entropy(std) if cfg.entropy_coef else policy_loss
        *actor_grads, std_grad = torch.autograd.grad(actor_loss, [*self._actor_params, std_logit], self._one)
        self._aside.join()

        torch._foreach_copy_(self._tower_grads, [*actor_grads, *critic_grads])  # to float32
        self._std_grad.copy_(std_grad)
        grad_norm = torch.linalg.vector_norm(self.optimizer.grads.all)
        usable = (grad_norm < math.inf) & (actor_stats[1] <= self._max_kl)  # false for NaN, too
        self.optimizer.step(clipping(grad_norm, cfg.max_grad_norm), skip=~usable)
        self._follow()
        losses = torch.stack([policy_loss.detach(), value_loss.detach(), grad_norm])
        return torch.cat([losses[:1], actor_stats, losses[1:]])

    def _eager_actor_loss(self, batch: Batch, std: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """The clipped surrogate, (), and what it was made of: means (B, A) and probability ratios (B,)."""
        mean = self._learner.mean_from_normalized(batch.obs)
        loss, ratio = clipped_surrogate(mean, std, batch.actions, batch.old_log_prob, batch.advantages, self.cfg.clip)
        return loss, mean, ratio

    @torch.no_grad()
    def _eager_actor_stats(self, batch: Batch, old_std: Tensor, mean: Tensor, std: Tensor, ratio: Tensor) -> Tensor:
        """(3,): entropy, KL(old || new), fraction of ratios beyond the clip range."""
        kl = gaussian_kl(batch.old_mean, old_std, mean, std).mean()
        clip_fraction = ((ratio - 1.0).abs() > self.cfg.clip).float().mean()
        return torch.stack([gaussian_entropy(std), kl, clip_fraction])

    def _eager_critic_loss(self, batch: Batch) -> Tensor:
        """Mean squared error of the normalised value, ()."""
        values = self._learner.value_from_normalized(batch.critic_obs)
        if not self.cfg.clip_value_loss:
            return F.mse_loss(values, batch.returns)
        near_old = batch.old_values + (values - batch.old_values).clamp(-self.cfg.clip, self.cfg.clip)
        return torch.maximum((values - batch.returns).square(), (near_old - batch.returns).square()).mean()

    def _adapt(self, kl: Tensor) -> None:
        cfg = self.cfg
        if cfg.desired_kl is not None:
            lr = self.learning_rate
            adapted = adapt_learning_rate(lr, kl, cfg.desired_kl).clamp(min=cfg.min_learning_rate)
            lr.copy_(torch.minimum(adapted, self._rate_limit))

    def _update_normalizers(self, rollout: RolloutBuffer, returns: Tensor) -> None:
        self.policy.obs_normalizer.update(rollout.obs[:-1])
        self.policy.critic_obs_normalizer.update(rollout.critic_obs[:-1])
        self.policy.value_normalizer.update(returns.unsqueeze(-1))
        if self.cfg.normalize_reward:
            dones = rollout.terminated | rollout.truncated
            sums = discounted_sums(rollout.rewards, dones, self.discounted_return, self.cfg.gamma)
            self.reward_normalizer.update(sums[:-1].unsqueeze(-1))
            self.discounted_return.copy_(sums[-1])

    def _value(self, critic_obs: Tensor) -> Tensor:
        """The normalised value, (...), of raw critic observations (..., num_critic_obs)."""
        inputs = self.policy.normalize_critic_obs(critic_obs).to(self._learner.input_dtype)
        return self._learner.value_from_normalized(inputs)

    @torch.no_grad()
    def _follow(self) -> None:
        """Rounds the parameters for the learner's towers, after they changed."""
        if self._rounded is not None:
            self._rounded.all.copy_(self.optimizer.params.all)

    def state_dict(self) -> Dict[str, Any]:
        """Optimiser with its learning rate, and the reward statistics."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "reward_normalizer": self.reward_normalizer.state_dict(),
            "discounted_return": self.discounted_return,
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restores what `state_dict` returned, possibly on another kind of device or with another number of environments."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.reward_normalizer.load_state_dict(state["reward_normalizer"])
        if state["discounted_return"].shape == self.discounted_return.shape:
            self.discounted_return.copy_(state["discounted_return"])


def clipping(norm: Tensor, max_norm: float) -> Tensor:
    """What a gradient of this length is to be divided by to be no longer than max_norm, (); as torch.nn.utils.clip_grad_norm_."""
    return ((norm + 1e-6) / max_norm).clamp(min=1.0)


def adapt_learning_rate(learning_rate: Tensor, kl: Tensor, desired_kl: float) -> Tensor:
    """1.5 times larger where KL is below half the desired one, 1.5 times smaller where above twice it, (); a NaN changes nothing."""
    low, high = (kl < 0.5 * desired_kl).float(), (kl > 2.0 * desired_kl).float()
    return learning_rate * (1.0 + 0.5 * low - high / 3.0)
