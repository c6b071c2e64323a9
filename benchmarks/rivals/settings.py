"""Settings that are the same for every engine, and what is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Tuple


@dataclass(frozen=True)
class Settings:
    """Batch, network and hyper-parameters.

    The value loss is not clipped and has weight 1.  There is no entropy bonus.  The learning rate is constant.  Observations and
    values are normalised where the engine offers it.
    """

    num_envs: int = 4096
    num_steps: int = 16
    minibatch_size: int = 16384
    num_epochs: int = 5
    hidden: Tuple[int, ...] = (512, 512, 256)
    """Widths of the ELU layers of actor and critic.  Both see the actor's observation."""
    init_std: float = 0.6
    learning_rate: float = 3e-4
    gamma: float = 0.99
    lam: float = 0.95
    clip: float = 0.2
    max_grad_norm: float = 1.0
    seed: int = 0
    rl_games_compile: bool = True

    @property
    def batch_size(self) -> int:
        """Samples in an iteration."""
        return self.num_envs * self.num_steps

    @property
    def num_minibatches(self) -> int:
        """Minibatches in an epoch."""
        return self.batch_size // self.minibatch_size


@dataclass(frozen=True)
class Plan:
    """How long each measurement takes."""

    warm_up: int = 5
    """Iterations before anything counts, for recordings, compilers and caches."""
    iterations: int = 20
    """Iterations timed for the throughput, and as many for the learner alone."""
    phase_seconds: float = 20.0
    """s.  Each timing ends after this long, but not before three iterations."""
    equal_seconds: float = 0.0
    """s.  Train this long after the warm-up, then evaluate; 0 does neither."""


@dataclass(frozen=True)
class Job:
    """The work of one process."""

    engine: str
    settings: Settings = field(default_factory=Settings)
    plan: Plan = field(default_factory=Plan)
    sim: str = "auto"
    """A simulator, or "none" for random numbers in its place."""
    objects: str = "mixed"
    device: str = "cuda"
    eval_episodes: int = 1024
    tf32: bool = True
