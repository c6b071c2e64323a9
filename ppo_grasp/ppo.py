"""Proximal policy optimisation (Schulman et al. 2017).  An update takes a rollout and improves the policy, all on the device."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ppo_grasp.actor_critic import ActorCritic, gaussian_entropy, gaussian_kl, gaussian_log_prob, pad
from ppo_grasp.device.adam import Adam, Flat
from ppo_grasp.device.graphs import SecondStream
from ppo_grasp.device.precision import tf32
from ppo_grasp.device.ranges import named_range
from ppo_grasp.device.surrogate import bound_loss, clipped_surrogate, means_of_neighbours, smoothness_loss
from ppo_grasp.distributed import ALONE, Ranks
from ppo_grasp.normalizer import RunningNormalizer, StepNormalizer
from ppo_grasp.rollout import RolloutBuffer, bootstrap_time_limits, discounted_sums, gae
from ppo_grasp.run.config import PPOCfg
from ppo_grasp.vec_task import Step


class Batch(NamedTuple):
    """Samples of a rollout, all with the same first dimension B."""

    obs: Tensor
    """(B, padded num_obs), normalised."""
    critic_obs: Tensor
    """(B, padded num_critic_obs), normalised."""
    actions: Tensor
    """(B, A)"""
    old_mean: Tensor
    """(B, A), of the policy that acted."""
    old_log_prob: Tensor
    """(B,)"""
    advantages: Tensor
    """(B,)"""
    returns: Tensor
    """(B,), normalised: the critic's targets."""
    old_values: Tensor
    """(B,), normalised: the critic's values before the update."""
    neighbours: Tensor
    """(B, A), mean of `old_mean` over the steps before and after, within the episode."""


class PPO:
    """The optimiser and the update.

    `update` takes tensors and returns a tensor.  It gives the same result eagerly, with `compile_losses`, and captured in a
    CUDA graph.  The learning rate is a tensor on the device, in the optimiser and nowhere else.
    """

    stat_names: Tuple[str, ...] = (
        *("policy_loss", "entropy", "kl", "clip_fraction", "value_loss", "grad_norm"),
        *("nonfinite_steps", "kl_stopped_steps", "explained_variance", "learning_rate", "action_std", "reward"),
        "finite_weights",
    )
    """Names of what `update` returns.  Losses, `clip_fraction` and `grad_norm` are means over minibatches.  `kl` is the mean of
    the last epoch.  `*_steps` count skipped gradient steps.  `reward` is the mean per step before any normalisation.
    `finite_weights` is 1, or 0 if a parameter is not finite.
    Of several ranks each has an `explained_variance` and a `reward` of its own; all else is the same on all."""

    def __init__(
        self,
        policy: ActorCritic,
        cfg: PPOCfg,
        num_envs: int,
        compile_losses: bool = False,
        amp: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        """policy: already on its device; its parameters become views of one tensor.  amp: whether the learner's towers compute
        in bfloat16.  Log-probabilities, KL and losses stay float32, and so does the policy that acts.
        ranks: the processes that train together.  All policies become that of rank 0, and stay the same."""
        self.policy = policy
        self.ranks = ranks
        self.cfg = cfg
        # The learner has towers of its own.  Autocast would round every layer in every pass; this is one kernel per step.
        self._learner = policy.bfloat16_twin() if amp else policy
        self._max_kl = math.inf if cfg.max_kl is None else cfg.max_kl
        self.device = policy.std_logit.device
        self._actor_params, self._critic_params = (
            list(t.parameters()) for t in (self._learner.actor, self._learner.critic)
        )
        params = [*policy.actor.parameters(), *policy.critic.parameters(), policy.std_logit]
        self.optimizer = Adam(params, cfg.learning_rate, spare=5, eps=cfg.adam_eps)
        ranks.broadcast(self.optimizer.params.all)
        *self._tower_grads, self._std_grad = self.optimizer.grads.each
        self._rounded = Flat(params, torch.bfloat16) if amp else None
        if self._rounded is not None:
            self._rounded.hold([*self._actor_params, *self._critic_params])
        self.reward_normalizer = RunningNormalizer(1).to(self.device)
        self.discounted_return = torch.zeros(num_envs, device=self.device)
        self.step_normalizer: Optional[StepNormalizer] = None
        self._normal_obs: Callable[[Tensor], Tensor] = policy.normalize_obs
        self._normal_critic_obs: Callable[[Tensor], Tensor] = policy.normalize_critic_obs
        if cfg.normalize_at == "step" and ranks.size == 1:  # of several, every step would wait for all
            of_rewards = self.reward_normalizer if cfg.normalize_reward else None
            of_policy = (policy.obs_normalizer, policy.critic_obs_normalizer)
            self.step_normalizer = StepNormalizer(
                *of_policy, of_rewards, self.discounted_return, cfg.gamma, cfg.reward_clip
            )
            self._normal_obs = self._normal_critic_obs = pad
        self._one, self._value_coef = torch.tensor([1.0, cfg.value_coef], device=self.device).unbind()
        self._rate_limit = torch.tensor(cfg.max_learning_rate, device=self.device)
        self._actor_loss: Callable[[Batch, Tensor], Tuple[Tensor, Tensor, Tensor]] = self._eager_actor_loss
        self._actor_stats: Callable[[Batch, Tensor, Tensor, Tensor, Tensor], Tensor] = self._eager_actor_stats
        self._critic_loss: Callable[[Batch], Tensor] = self._eager_critic_loss
        if compile_losses:
            self._actor_loss = torch.compile(self._eager_actor_loss, fullgraph=True, dynamic=False)
            self._actor_stats = torch.compile(self._eager_actor_stats, fullgraph=True, dynamic=False)
            self._critic_loss = torch.compile(self._eager_critic_loss, fullgraph=True, dynamic=False)
        # Actor and critic share nothing, so their kernels may overlap: with small minibatches neither fills the GPU.
        self._second_stream = SecondStream(self.device)

    @property
    def learning_rate(self) -> Tensor:
        """(), on the device."""
        return self.optimizer.learning_rate

    def set_progress(self, progress: float) -> None:
        """Sets how much of the training is done, 0 to 1, for `anneal_from`.  A captured update follows it."""
        cfg = self.cfg
        left = 1.0 if cfg.anneal_from >= 1 else min(1.0, max(0.0, (1.0 - progress) / (1.0 - cfg.anneal_from)))
        self._rate_limit.fill_(cfg.min_learning_rate * (cfg.max_learning_rate / cfg.min_learning_rate) ** left)

    def begin(self, obs: Tensor, critic_obs: Tensor) -> Tuple[Tensor, Tensor]:
        """What a reset of the task returned, (N, num_obs) and (N, num_critic_obs), as rollouts keep it."""
        return (obs, critic_obs) if self.step_normalizer is None else self.step_normalizer.begin(obs, critic_obs)

    def act(self, obs: Tensor) -> Tensor:
        """A sampled action (N, A) of a rollout's row of observations (N, num_obs)."""
        if self.step_normalizer is None:
            return self.policy.act(obs)
        return self.policy.act_from_normalized(pad(obs))

    def keep(self, step: Step) -> Step:
        """A step of the task as rollouts keep it."""
        return step if self.step_normalizer is None else self.step_normalizer(step)

    def update(self, rollout: RolloutBuffer) -> Tensor:
        """Improves the policy with a rollout, then updates the normalisers; returns (len(stat_names),) statistics.

        The normalisers do not change before the last gradient step: old and new log-probabilities stay comparable.
        """
        self._round_parameters()
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
        finite_weights = torch.isfinite(self.optimizer.params.all.detach().sum()).float()  # a NaN or inf stays in a sum
        std = self.policy.std.detach().mean()
        reward = rollout.rewards.mean()
        if self.step_normalizer is not None:
            reward = self.step_normalizer.reward_sum / rollout.num_steps
            self.step_normalizer.reward_sum.zero_()
        after = torch.stack([explained, self.learning_rate, std, reward, finite_weights])
        return torch.cat([losses, skipped, after])

    def warm_up(self, rollout: RolloutBuffer) -> None:
        """Gives the normalisers their first statistics, without a gradient step.  Do not learn from this rollout afterwards."""
        self._round_parameters()
        with tf32():
            returns, _, _ = self._targets(rollout)
        self._update_normalizers(rollout, returns)

    @torch.no_grad()
    def _targets(self, rollout: RolloutBuffer) -> Tuple[Tensor, Tensor, Tensor]:
        """Returns, advantages and values, each (T, N), on the scale of discounted rewards."""
        cfg, policy = self.cfg, self.policy
        values = policy.denormalize_value(self._value(rollout.critic_obs))
        final_values = policy.denormalize_value(self._value(rollout.final_critic_obs))
        rewards = rollout.rewards
        if cfg.normalize_reward and self.step_normalizer is None:
            rewards = (rewards * self.reward_normalizer.inv_std).clamp(-cfg.reward_clip, cfg.reward_clip)
        rewards = bootstrap_time_limits(rewards, rollout.truncated, final_values, cfg.gamma)
        dones = rollout.terminated | rollout.truncated
        advantages = gae(rewards, values[:-1], dones, values[-1], cfg.gamma, cfg.lam)
        return advantages + values[:-1], advantages, values[:-1]

    @torch.no_grad()
    def _prepare(
        self, rollout: RolloutBuffer, returns: Tensor, advantages: Tensor, values: Tensor
    ) -> Tuple[Batch, Tensor]:
        """The rollout as samples, and the old std (A,).  All that does not depend on the parameters is computed here, once."""
        policy = self.policy
        if self.cfg.normalize_advantage and self.cfg.advantage_over == "rollout":
            mean, std = self.ranks.mean_and_std(advantages)
            advantages = (advantages - mean) / (std + 1e-8)
        obs = self._normal_obs(rollout.obs[:-1]).flatten(0, 1).to(self._learner.input_dtype)
        critic_obs = self._normal_critic_obs(rollout.critic_obs[:-1]).flatten(0, 1).to(self._learner.input_dtype)
        actions = rollout.actions.flatten(0, 1)
        old_std = policy.std.clone()
        # The learner computes the old means again: so the rounding to TF32 or bfloat16 cancels in the probability ratio.
        old_mean = self._learner.mean_from_normalized(obs)
        old_log_prob = gaussian_log_prob(actions, old_mean, old_std)
        targets = policy.normalize_value(returns.reshape(-1, 1)).squeeze(-1)
        old_values = policy.normalize_value(values.reshape(-1, 1)).squeeze(-1)
        neighbours = old_mean
        if self.cfg.smooth_coef:
            dones = rollout.terminated | rollout.truncated
            neighbours = means_of_neighbours(old_mean.unflatten(0, dones.shape), dones).flatten(0, 1)
        batch = Batch(
            obs, critic_obs, actions, old_mean, old_log_prob, advantages.flatten(), targets, old_values, neighbours
        )
        return batch, old_std

    def _optimize(self, batch: Batch, old_std: Tensor) -> Tuple[Tensor, Tensor]:
        """Runs all epochs; returns per-step statistics (steps, 6) and the mean KL of the last epoch, ()."""
        cfg = self.cfg
        num_samples = batch.obs.shape[0]
        num_minibatches = cfg.num_minibatches(num_samples)
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
        """Does one gradient step on a minibatch; returns the first 6 of `stat_names`, (6,)."""
        cfg, std_logit = self.cfg, self.policy.std_logit
        if cfg.normalize_advantage and cfg.advantage_over == "minibatch":
            advantages = batch.advantages
            batch = batch._replace(advantages=(advantages - advantages.mean()) / (advantages.std() + 1e-8))
        with self._second_stream.fork():
            value_loss = self._critic_loss(batch)
            critic_grads = torch.autograd.grad(value_loss, self._critic_params, self._value_coef)
        std = self.policy.std
        policy_loss, mean, ratio = self._actor_loss(batch, std)
        with self._second_stream.fork():  # the critic is done before the actor
            actor_stats = self._actor_stats(batch, old_std, mean.detach(), std.detach(), ratio)
        actor_loss = policy_loss - cfg.entropy_coef * gaussian_entropy(std) if cfg.entropy_coef else policy_loss
        *actor_grads, std_grad = torch.autograd.grad(actor_loss, [*self._actor_params, std_logit], self._one)
        self._second_stream.join()

        torch._foreach_copy_(self._tower_grads, [*actor_grads, *critic_grads])  # to float32
        self._std_grad.copy_(std_grad)
        if self.ranks.size > 1:  # the losses and the KL travel with the gradient, so that ranks skip the same steps
            means = self.optimizer.grads.spare
            means.copy_(torch.cat([policy_loss.detach()[None], actor_stats, value_loss.detach()[None]]))
            self.ranks.average(self.optimizer.grads.with_spare)
            policy_loss, actor_stats, value_loss = means[0], means[1:4], means[4]
        grad_norm = torch.linalg.vector_norm(self.optimizer.grads.all)
        usable = (grad_norm < math.inf) & (actor_stats[1] <= self._max_kl)  # false for NaN as well
        self.optimizer.step(clipping(grad_norm, cfg.max_grad_norm), skip=~usable)
        self._round_parameters()
        losses = torch.stack([policy_loss.detach(), value_loss.detach(), grad_norm])
        return torch.cat([losses[:1], actor_stats, losses[1:]])

    def _eager_actor_loss(self, batch: Batch, std: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """The clipped surrogate and its penalties (), the new means (B, A) and the probability ratios (B,)."""
        cfg = self.cfg
        unbounded = self._learner.unbounded_mean(batch.obs)
        mean = self._learner.mean_of(unbounded)
        loss, ratio = clipped_surrogate(mean, std, batch.actions, batch.old_log_prob, batch.advantages, cfg.clip)
        if cfg.bound_coef:
            loss = loss + cfg.bound_coef * bound_loss(unbounded, cfg.bound)
        if cfg.smooth_coef:
            loss = loss + cfg.smooth_coef * smoothness_loss(mean, batch.neighbours)
        return loss, mean, ratio

    @torch.no_grad()
    def _eager_actor_stats(self, batch: Batch, old_std: Tensor, mean: Tensor, std: Tensor, ratio: Tensor) -> Tensor:
        """(3,): entropy, KL(old || new), and the fraction of ratios outside the clip range."""
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
        """Adapts the learning rate to a KL, (), if the settings ask for that."""
        cfg = self.cfg
        if cfg.desired_kl is not None:
            lr = self.learning_rate
            adapted = adapt_learning_rate(lr, kl, cfg.desired_kl).clamp(min=cfg.min_learning_rate)
            lr.copy_(torch.minimum(adapted, self._rate_limit))

    def _update_normalizers(self, rollout: RolloutBuffer, returns: Tensor) -> None:
        ranks = self.ranks
        if self.cfg.normalize_value:
            self.policy.value_normalizer.update(returns.unsqueeze(-1), ranks)
        if self.step_normalizer is not None:
            return
        self.policy.obs_normalizer.update(rollout.obs[:-1], ranks)
        self.policy.critic_obs_normalizer.update(rollout.critic_obs[:-1], ranks)
        if self.cfg.normalize_reward:
            dones = rollout.terminated | rollout.truncated
            sums = discounted_sums(rollout.rewards, dones, self.discounted_return, self.cfg.gamma)
            self.reward_normalizer.update(sums[:-1].unsqueeze(-1), ranks)
            self.discounted_return.copy_(torch.nan_to_num(sums[-1], 0.0, 0.0, 0.0))  # a NaN would never leave: NaN x 0

    def _value(self, critic_obs: Tensor) -> Tensor:
        """The normalised value, (...), of a rollout's critic observations (..., num_critic_obs)."""
        inputs = self._normal_critic_obs(critic_obs).to(self._learner.input_dtype)
        return self._learner.value_from_normalized(inputs)

    @torch.no_grad()
    def _round_parameters(self) -> None:
        """Copies the parameters to the learner's towers, rounded to bfloat16.  Needed whenever the parameters have changed."""
        if self._rounded is not None:
            self._rounded.all.copy_(self.optimizer.params.all)

    def state_dict(self) -> Dict[str, Any]:
        """The optimiser with its learning rate, and the reward statistics."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "reward_normalizer": self.reward_normalizer.state_dict(),
            "discounted_return": self.discounted_return,
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restores `state_dict`, also on another kind of device or with another number of environments."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.reward_normalizer.load_state_dict(state["reward_normalizer"])
        if state["discounted_return"].shape == self.discounted_return.shape:
            self.discounted_return.copy_(state["discounted_return"])


def clipping(norm: Tensor, max_norm: float) -> Tensor:
    """The divisor, (), that makes a gradient of this norm no longer than max_norm; as in torch.nn.utils.clip_grad_norm_."""
    return ((norm + 1e-6) / max_norm).clamp(min=1.0)


def adapt_learning_rate(learning_rate: Tensor, kl: Tensor, desired_kl: float) -> Tensor:
    """The new learning rate, (): 1.5 times larger if KL is below half of desired_kl, 1.5 times smaller if it is above twice
    desired_kl.  A KL that is NaN changes nothing."""
    low, high = (kl < 0.5 * desired_kl).float(), (kl > 2.0 * desired_kl).float()
    return learning_rate * (1.0 + 0.5 * low - high / 3.0)
