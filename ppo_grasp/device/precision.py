"""TF32 for the networks' matrix products, and for nothing else."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import torch


@contextmanager
def tf32() -> Iterator[None]:
    """Lets float32 matrix products inside the block run on TF32 tensor cores; restores the setting after it.

    Never set globally: a simulator or task that rotates vectors with matrix products would lose 13 bits of mantissa.
    torch >= 2.9 has a second name for the setting, but its compiler still reads this one, and refuses a mixture.
    """
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def has_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are fast there: on NVIDIA's GPUs since Ampere."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
