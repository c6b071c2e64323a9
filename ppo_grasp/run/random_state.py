"""Torch's random state: read, set, kept for each process, and exchanged for another one for a while."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional, Sequence

import torch
from torch import Tensor

from ppo_grasp.distributed import Ranks

RandomState = Dict[str, Optional[Tensor]]
"""`cpu` and `cuda`: the states of torch's default generators, uint8 tensors on the CPU; `cuda` is None without a GPU."""


def random_state(device: torch.device) -> RandomState:
    """The state of the default generators that work on `device` draws from.  Nothing waits for the device."""
    on_cuda = device.type == "cuda"
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state(device) if on_cuda else None}


def set_random_state(state: RandomState, device: torch.device) -> None:
    """Restores `random_state`.  A captured CUDA graph follows it.  A state from another kind of device is left out."""
    cpu, cuda = state["cpu"], state["cuda"]
    if cpu is not None:
        torch.set_rng_state(cpu)
    if cuda is not None and device.type == "cuda":
        torch.cuda.set_rng_state(cuda, device)


def resume_random_state(ranks: Ranks, states: Sequence[RandomState], seed: int, device: torch.device) -> None:
    """Goes on with the random numbers of a checkpoint.

    states: `random_state` of each rank when it was written.  With as many ranks as then each goes on with its own.  With another
    number rank 0 goes on, and the others begin anew with numbers of their own.  seed: changes with the iteration.
    """
    if len(states) == ranks.size or ranks.rank == 0:
        set_random_state(states[ranks.rank], device)
    else:
        torch.manual_seed(ranks.seed(seed))


class OwnRandomState:
    """Random numbers of its own for a piece of work, so that doing the work changes nothing that others draw."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self.state: RandomState = {
            "cpu": torch.Generator().manual_seed(seed).get_state(),
            "cuda": torch.Generator(device).manual_seed(seed).get_state() if device.type == "cuda" else None,
        }

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Inside, torch's default generators go on from `state`.  After an error `state` is what it was.

        On a GPU this exchanges two numbers on the host: the seed and how many numbers were drawn.  A replay of a captured
        graph reads both when it is issued, so that it follows the exchange.
        """
        before = random_state(self.device)
        set_random_state(self.state, self.device)
        try:
            yield
            self.state = random_state(self.device)
        finally:
            set_random_state(before, self.device)

    def load(self, state: Any) -> None:
        """Goes on from a `random_state`; what is of another kind of device is left out."""
        self.state = {name: state[name] if self.state[name] is not None else None for name in self.state}
