"""TF32 for the networks' matrix products, and for nothing else."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import torch


@contextmanager
def tf32() -> Iterator[None]:
    """Lets float32 matrix products inside the block run on TF32 tensor cores; restores the setting after it.

    Never set globally: a simulator or task that rotates vectors with matrix products would lose 13 bits of mantissa.
    """
    matmul = torch.backends.cuda.matmul
    # torch >= 2.9 replaced `allow_tf32`, and reading the one after writing the other is an error there.
    name, value = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else ("allow_tf32", True)
    before = getattr(matmul, name)
    setattr(matmul, name, value)
    try:
        yield
    finally:
        setattr(matmul, name, before)
