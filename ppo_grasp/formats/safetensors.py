"""The safetensors format: tensors by name and texts by name, in a file that holds nothing that could be run.

A file is 8 bytes, little endian: the length of the header; the header, JSON: for each tensor `dtype`, `shape` and
`data_offsets`, from and to which byte after the header, and `__metadata__`, texts by name; then the tensors' bytes without gaps.
"""

from __future__ import annotations

import json
import math
import os
import struct
from typing import Any, Dict, List, Mapping, Tuple, Union

import torch
from torch import Tensor

PathLike = Union[str, "os.PathLike[str]"]

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
LARGEST_HEADER = 100_000_000
"""Bytes, the limit of the format."""


def to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A file's content.  The header is padded, so that the tensors begin at a multiple of 8 bytes, widest type first."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: Dict[str, Any] = {"__metadata__": dict(metadata)}
    parts: List[bytes] = []
    at = 0
    for name, x in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        parts.append(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        header[name] = {"dtype": names[x.dtype], "shape": list(x.shape), "data_offsets": [at, at + len(parts[-1])]}
        at += len(parts[-1])
    words = json.dumps(header).encode()
    words += b" " * (-len(words) % 8)
    return struct.pack("<Q", len(words)) + words + b"".join(parts)


def from_bytes(content: bytes) -> Tuple[Dict[str, Tensor], Dict[str, str]]:
    """Tensors and metadata of a file's content.  Raises ValueError, KeyError or TypeError if it is damaged."""
    length = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else LARGEST_HEADER + 1
    if length > min(LARGEST_HEADER, len(content) - 8):
        raise ValueError("the header's length is wrong")
    header = json.loads(content[8 : 8 + length])
    metadata, data = header.pop("__metadata__", {}), bytearray(content[8 + length :])
    tensors, end = {}, 0
    for name, about in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, (begin, stop) = DTYPES[about["dtype"]], about["shape"], about["data_offsets"]
        size = math.prod(shape) * torch.empty((), dtype=dtype).element_size()
        if begin != end or stop - begin != size or min(shape, default=0) < 0 or stop > len(data):
            raise ValueError(f"{name} is not where the header says")
        tensors[name] = torch.frombuffer(data, dtype=torch.uint8)[begin:stop].clone().view(dtype).reshape(shape)
        end = stop
    if end != len(data):
        raise ValueError("there are bytes that belong to no tensor")
    return tensors, metadata
