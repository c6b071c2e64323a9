"""Torch's random state: read, set, and exchanged for another one for a while."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Dict, Iterator, Optional

import torch
from torch import Tensor

RandomState = Dict[str, Optional[Tensor]]
"""`cpu` and `cuda`: the states of torch's default generators, uint8 tensors on the CPU; `cuda` is None without a GPU."""


def random_state(device: torch.device) -> RandomState:
    """The state of the default generators that work on `device` draws from.  Nothing waits for the device."""
    on_cuda = device.type == "cuda"
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state(device) if on_cuda else None}


def set_random_state(device: torch.device, state: RandomState) -> None:
    """Restores `random_state`.  A captured CUDA graph follows it.  A state from another kind of device is left out."""
    cpu, cuda = state["cpu"], state["cuda"]
    if cpu is not None:
        torch.set_rng_state(cpu)
    if cuda is not None and device.type == "cuda":
        torch.cuda.set_rng_state(cuda, device)


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
        """Inside, torch's default generators go on from `state`.  After an error `state` is what it was."""
        before = random_state(self.device)
        set_random_state(self.device, self.state)
        try:
            yield
            self.state = random_state(self.device)
        finally:
            set_random_state(self.device, before)
