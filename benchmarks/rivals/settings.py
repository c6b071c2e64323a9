"""What is the same for every engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Tuple


@dataclass(frozen=True)
class Settings:
    """Batch, network and hyper-parameters.  The value loss is not clipped and weighs 1, there is no entropy bonus, the learning
    rate is constant, observations are normalised where the engine offers it, and so are values."""

    num_envs: int = 4096
    num_steps: int = 16
    minibatch_size: int = 16384
    num_epochs: int = 5
    hidden: Tuple[int, ...] = (512, 512, 256)
    """Of the actor's and the critic's ELU tower each; both see the actor's observation."""
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
        """Samples per iteration."""
        return self.num_envs * self.num_steps

    @property
    def num_minibatches(self) -> int:
        """Per epoch."""
        return self.batch_size // self.minibatch_size


@dataclass(frozen=True)
class Plan:
    """How much is measured; the first iterations are thrown away."""

    warm_up: int = 5
    """Iterations before anything counts: captures, compilers, caches."""
    iterations: int = 20
    """Iterations timed for the throughput, and again for the learner alone."""
    phase_seconds: float = 20.0
    """Either timing ends after this long, but not before three iterations."""
    equal_seconds: float = 0.0
    """Train this long after the warm-up, then evaluate; 0 does neither."""


@dataclass(frozen=True)
class Job:
    """What one process does."""

    engine: str
    settings: Settings = field(default_factory=Settings)
    plan: Plan = field(default_factory=Plan)
    sim: str = "auto"
    """A simulator, or "none" for random numbers in its place."""
    objects: str = "mixed"
    device: str = "cuda"
    eval_episodes: int = 1024
    tf32: bool = True
