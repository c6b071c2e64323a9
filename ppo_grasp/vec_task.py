"""The contract between the engine and a task: thousands of environments step together, as tensors on one device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor


class Step(NamedTuple):
    """One control step of all N environments.  Where an episode ended, `obs` is already that of the next episode."""

    obs: Tensor
    """(N, num_obs), the policy's next view."""
    critic_obs: Tensor
    """(N, num_critic_obs), the critic's next view."""
    reward: Tensor
    """(N,)"""
    terminated: Tensor
    """(N,) bool, the episode is over and nothing follows it."""
    truncated: Tensor
    """(N,) bool, a time limit cut the episode off, so the value of what would follow is added.  Never with `terminated`."""
    final_critic_obs: Tensor
    """(N, num_critic_obs), the critic's view before the reset.  It equals `critic_obs` where no episode ended."""


class VecTask:
    """Base of all tasks.

    If `capturable`, a whole rollout is recorded once as a CUDA graph and then replayed.  So `step` must stay on the device,
    must not change a shape, and must not branch on a value.  Tensors from `reset` and `step` are valid until the next call.

    To have the time of the simulation reported by itself, call it inside `with named_range("physics"):`, from
    `ppo_grasp.device.ranges`.
    """

    num_envs: int
    num_obs: int
    num_critic_obs: int
    num_actions: int
    device: torch.device
    capturable: bool = False
    rank: int = 0
    num_ranks: int = 1
    """`num_ranks` processes train together, and this task belongs to process `rank`.  Each process has a task with num_envs
    environments.  The engine sets both numbers before the first `reset`.  A task's counter of steps counts those of all processes."""

    metric_names: Tuple[str, ...] = ()
    """Names of the rows of `metric_sums`.  If one is `failed_worlds`, the share of episodes that ended because their world
    diverged, training stops when that is most of them for long."""
    metric_sums: Tensor
    """(len(metric_names), 2) float32, sum and count of each metric.  The engine reports sum / count and then zeroes both."""

    def reset(self) -> Tuple[Tensor, Tensor]:
        """Starts new episodes everywhere; returns obs (N, num_obs) and critic_obs (N, num_critic_obs)."""
        raise NotImplementedError

    def step(self, action: Tensor) -> Step:
        """Advances all environments by one control step; action: (N, num_actions), mostly within [-1, 1]."""
        raise NotImplementedError

    def seed(self, seed: int) -> None:
        """Makes the next `reset` and the steps after it repeatable.  Seeds torch, from which tasks draw."""
        torch.manual_seed(seed)

    def compile(self) -> None:
        """Compiles the tensor code of `step` with torch.compile.  The engine calls it before the first `reset`, or never."""

    def capture(self) -> AbstractContextManager:
        """A context that the engine enters inside `torch.cuda.graph`, for simulators that must know that they are recorded."""
        return nullcontext()

    def diagnostics(self) -> Dict[str, float]:
        """Counters of trouble, such as overflows and diverged worlds.  They cost a copy to the host, so the engine asks rarely."""
        return {}

    def state_dict(self) -> Dict[str, Any]:
        """What a resumed run needs besides the running episodes: curriculum, counters.  Tensors and plain values."""
        return {}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restores `state_dict`."""

    def episodes_state(self) -> Optional[Dict[str, Any]]:
        """The running episodes with their simulation, so that a resumed run goes on in the middle of them.

        Tensors and plain values, between two steps.  None if the task cannot do that; a resumed run then starts new episodes.
        """
        return None

    def load_episodes_state(self, state: Dict[str, Any]) -> None:
        """Restores `episodes_state`, after a `reset`.  Raises ValueError if it is of another number of environments or of
        another world; the message says of which, and the task must be reset again."""
        raise ValueError("the task cannot go on with episodes")
