"""The settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Optional

from ppo_grasp.actor_critic import ActorCriticCfg
from ppo_grasp.ppo import PPOCfg


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
