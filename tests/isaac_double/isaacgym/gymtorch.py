"""Turns descriptors into torch tensors and back, by their addresses alone, as the real one does."""

from __future__ import annotations

import ctypes
import weakref
from typing import Optional

import numpy as np
import torch

from isaacgym._types import Tensor

_CTYPES = {
    torch.float32: ctypes.c_float,
    torch.float64: ctypes.c_double,
    torch.int32: ctypes.c_int32,
    torch.int64: ctypes.c_int64,
}


def wrap_tensor(gym_tensor: Tensor, offsets: object = None, counts: object = None) -> Optional[torch.Tensor]:
    """A view of the memory, or None if there is none (T29)."""
    if gym_tensor is None or gym_tensor.array.size == 0:
        return None
    return torch.from_numpy(gym_tensor.array)


def unwrap_tensor(torch_tensor: torch.Tensor) -> Tensor:
    """Keeps the address, not the tensor (T10)."""
    if not torch_tensor.is_contiguous():
        raise RuntimeError("T7: Input tensor must be contiguous")
    owner = torch_tensor if torch_tensor._base is None else torch_tensor._base
    kind = _CTYPES.get(torch_tensor.dtype)
    if kind is None:
        raise RuntimeError(f"T7: unsupported data type {torch_tensor.dtype}")
    count = torch_tensor.numel()
    memory = (kind * count).from_address(torch_tensor.data_ptr()) if count else (kind * 0)()
    array = np.ctypeslib.as_array(memory).reshape(tuple(torch_tensor.shape))
    dtype = str(torch_tensor.dtype).replace("torch.", "")
    return Tensor(array, dtype, weakref.ref(owner), str(torch_tensor.device))
