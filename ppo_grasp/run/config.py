"""The settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Optional

from ppo_grasp.actor_critic import ActorCriticCfg


@dataclass
class PPOCfg:
    """Settings of the rollout and the update.  `PPOCfg()` trains best; `PPOCfg.recipe()` is the published one."""

    num_steps: int = 8
    """Steps of each environment per iteration.  Short rollouts mean many updates per environment step."""
    num_epochs: int = 5
    """Passes over the rollout per iteration."""
    minibatch_size: int = 16384
    """Samples per gradient step.  It is rounded, so that equal minibatches cover the rollout."""
    learning_rate: float = 3e-4
    """Adam's learning rate at the start.  The adaptive rule changes it, unless desired_kl is None."""
    min_learning_rate: float = 1e-5
    """The adaptive rule goes no lower."""
    max_learning_rate: float = 1e-3
    """The adaptive rule goes no higher."""
    anneal_from: float = 0.5
    """Share of the training, 0 to 1, after which max_learning_rate falls: by the same factor each step, to min_learning_rate
    at the end.  Large steps late in training only shake a policy that is nearly done.  1: it never falls."""
    desired_kl: Optional[float] = 0.016
    """The learning rate is adapted to bring KL(old || new), nats per sample, near this.  None: it stays constant."""
    kl_rule: Literal["epoch", "minibatch"] = "epoch"
    """When the learning rate is adapted: after each epoch by the epoch's mean KL, or after each minibatch by its KL."""
    max_kl: Optional[float] = 0.1
    """A gradient step is skipped if its minibatch's KL, nats per sample, is above this.  None: no step is skipped."""
    gamma: float = 0.98
    """Discount of rewards per step."""
    lam: float = 0.95
    """Decay of generalised advantage estimation."""
    clip: float = 0.2
    """A sample has no gradient once its probability ratio has left the range from 1 - clip to 1 + clip."""
    clip_value_loss: bool = False
    """Whether to clip the value's distance from its old value, too, to `clip` in normalised units."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    value_coef: float = 1.0
    """Weight of the value's mean squared error, in normalised units."""
    bound_coef: float = 0.005
    """Weight of the bound loss: how far the mean, before its tanh, goes beyond `bound`, squared and summed over actions.  Without
    it actions come to stand at their limits, because there the noise of exploration has no effect."""
    bound: float = 1.5
    """Bound on the mean before its tanh; tanh(1.5) is 0.905."""
    smooth_coef: float = 0.1
    """Weight of the smoothness loss: how far the mean is from those of the steps before and after, squared and summed over
    actions.  Without it the deterministic policy trembles: under noise it learns to correct every error at once, and without
    noise it then corrects its own corrections."""
    max_grad_norm: float = 1.0
    """The gradient of all parameters together is scaled down to this norm if it is longer."""
    adam_eps: float = 1e-8
    """Added to the denominator of Adam's step."""
    normalize_advantage: bool = True
    """Whether advantages are shifted and scaled to mean 0 and variance 1."""
    advantage_over: Literal["rollout", "minibatch"] = "rollout"
    """Over what: the whole rollout, or each minibatch by itself."""
    normalize_value: bool = True
    """Whether the critic learns values with mean 0 and variance 1."""
    normalize_reward: bool = False
    """Whether rewards are divided by the running standard deviation of the discounted return, and then clipped."""
    reward_clip: float = 10.0
    """Normalised rewards are clipped to +-this."""
    normalize_at: Literal["update", "step"] = "update"
    """When the statistics of observations and rewards change: after each update, or in every step, as in stable-baselines3's
    VecNormalize.  Of several processes they change after each update."""

    def num_minibatches(self, num_samples: int) -> int:
        """Of an epoch over so many samples."""
        return max(1, round(num_samples / self.minibatch_size))

    @staticmethod
    def recipe() -> PPOCfg:
        """The published recipe: constant learning rate, small minibatches, normalised rewards, all as stable-baselines3
        computes it."""
        return PPOCfg(
            num_steps=16,
            minibatch_size=2048,
            desired_kl=None,
            max_kl=None,
            gamma=0.99,
            adam_eps=1e-5,
            advantage_over="minibatch",
            normalize_value=False,
            normalize_reward=True,
            normalize_at="step",
            bound_coef=0.0,
            smooth_coef=0.0,
        )


@dataclass
class TrainerCfg:
    """How long to train, what to write when, and how to run it."""

    total_timesteps: int = 50_000_000
    """Environment steps in all, over all environments of all processes.  Those before a resume count."""
    max_minutes: Optional[float] = None
    """Minutes from the start of the process after which training ends, even if steps are left."""
    eval_interval: int = 4_000_000
    """Environment steps between two evaluations."""
    checkpoint_interval: int = 5_000_000
    """Environment steps between two writes of checkpoint_last.pt, which is also written after the first
    iteration, at the end, and when a signal stops training."""
    keep_every: Optional[int] = None
    """Environment steps after which a checkpoint is kept under a name of its own, checkpoint_STEPS.pt.  Of all others only the
    last and the best are kept."""
    save_on: Literal["SIGUSR1", "SIGUSR2"] = "SIGUSR1"
    """Signal after which checkpoint_last.pt is written and training goes on, for those who know that a machine will stop."""
    seed: int = 0
    """Seed of all random numbers."""
    graphs: bool = True
    """Whether to replay rollout and update as CUDA graphs, if the device and the task can."""
    compile: bool = False
    """Whether to compile the task's tensor code and the losses with torch.compile.  The start takes longer, then kernels are fewer."""
    privileged_critic: bool = True
    """Whether the critic sees what the task shows it alone.  If not, it sees what the policy sees."""
    amp: bool = True
    """Whether the learner's networks compute in bfloat16, if the GPU has it."""
    rank_timeout: float = 60.0
    """Seconds without an answer from another process of torchrun after which it counts as dead.  Training then saves and ends."""
    profile: bool = False
    """Whether to mark what training is doing for Nsight Systems, with NVTX ranges."""
    ppo: PPOCfg = field(default_factory=PPOCfg)
    """The algorithm."""
    network: ActorCriticCfg = field(default_factory=ActorCriticCfg)
    """The networks."""
