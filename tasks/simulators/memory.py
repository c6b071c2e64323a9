"""How much memory a training will need, and how many hands would fit."""

from __future__ import annotations

from typing import Optional

import torch

GPU = (1.7e9, 260e3)
"""Bytes of a training on a GPU: those that do not depend on the number of hands, and those of one hand.  Measured on an H100
with the default settings: 2.9 GB with 4096 hands and 512 for evaluation, 6.1 GB with 16,384."""
PROCESSOR = (0.37e9, 380e3)
"""The same on a processor: 0.49 GB with 256 hands and 64 for evaluation, 1.96 GB with 4096."""
TOO_MUCH = 1.5
"""A training that needs this many times the free memory is refused.  The forecast is not exact enough for a smaller factor."""


def free_bytes(on_gpu: bool) -> Optional[float]:
    """Memory that is free now, on the GPU or in the machine; None if the system does not tell."""
    if on_gpu and torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    try:
        with open("/proc/meminfo") as file:
            words = next(line for line in file if line.startswith("MemAvailable:")).split()
        return 1024.0 * float(words[1])
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def forecast(num_envs: int, eval_envs: int, on_gpu: bool, processes: int, free: Optional[float]) -> str:
    """A line about what is needed and what would fit.  Raises ValueError if it cannot fit.

    processes: how many share the memory.  free: `free_bytes`.
    """
    base, per_hand = GPU if on_gpu else PROCESSOR
    needed = processes * (base + per_hand * (num_envs + eval_envs))
    said = f"{num_envs:,} hands need about {_gigabytes(needed)}"
    if free is None:
        return said
    most = int((free / processes - base) / per_hand) - eval_envs
    fit = f"up to {_rounded(most):,} would fit" if most > 0 else "none fit with these --eval-envs"
    line = f"{said}, {_gigabytes(free)} free: {fit}"
    if needed > TOO_MUCH * free:
        raise ValueError(f"--num-envs {num_envs}: {line}")
    return line


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"


def _rounded(count: int) -> int:
    """Two digits: more would promise too much."""
    unit = 10 ** max(0, len(str(count)) - 2)
    return count // unit * unit
