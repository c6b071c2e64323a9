"""What the engine asks of a task: thousands of environments stepped as one, everything a tensor on one device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Dict, NamedTuple, Tuple

import torch
from torch import Tensor


class Step(NamedTuple):
    """One control step of all N environments.  Environments whose episode ended are already reset in `obs`."""

    obs: Tensor
    """(N, num_obs), what the policy sees next."""
    critic_obs: Tensor
    """(N, num_critic_obs), what the critic sees next."""
    reward: Tensor
    """(N,)"""
    terminated: Tensor
    """(N,) bool, true ends: nothing follows."""
    truncated: Tensor
    """(N,) bool, time limits: the episode would have gone on, so its value is bootstrapped.  Never with `terminated`."""
    final_critic_obs: Tensor
    """(N, num_critic_obs), the critic's view before any reset; equals `critic_obs` where no episode ended."""


class VecTask:
    """Base of all tasks.

    `step` neither leaves the device, nor changes a shape, nor branches on a value, if `capturable`: then a whole rollout
    is recorded once as a CUDA graph and replayed.  Tensors returned by `reset` and `step` are valid until the next call.
    """

    num_envs: int
    num_obs: int
    num_critic_obs: int
    num_actions: int
    device: torch.device
    capturable: bool = False

    metric_names: Tuple[str, ...] = ()
    """Names of the rows of `metric_sums`."""
    metric_sums: Tensor
    """(len(metric_names), 2) float32: sum and count since the engine last zeroed it; the engine reports sum / count."""

    def reset(self) -> Tuple[Tensor, Tensor]:
        """Starts every environment anew; returns obs (N, num_obs) and critic_obs (N, num_critic_obs)."""
        raise NotImplementedError

    def step(self, action: Tensor) -> Step:
        """Advances every environment by one control step; action (N, num_actions), nominally within [-1, 1]."""
        raise NotImplementedError

    def compile(self) -> None:
        """Lets torch.compile fuse what `step` does with tensors; called before the first `reset`, if at all."""

    def capture(self) -> AbstractContextManager:
        """Entered inside `torch.cuda.graph` around what is recorded, for simulators that must know of it."""
        return nullcontext()

    def diagnostics(self) -> Dict[str, float]:
        """Health counters that cost a copy to the host (overflows, diverged worlds); asked for rarely."""
        return {}

    def state_dict(self) -> Dict[str, Any]:
        """What must survive a resume besides the simulation itself: curriculum, counters.  Tensors and plain values."""
        return {}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
