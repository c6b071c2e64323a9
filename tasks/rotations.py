"""Unit quaternions (w, x, y, z) as tensors (..., 4); leading dimensions broadcast."""

from __future__ import annotations

import torch
from torch import Tensor


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product a b: the rotation b followed by a."""
    aw, av = a[..., :1], a[..., 1:]
    bw, bv = b[..., :1], b[..., 1:]
    av, bv = torch.broadcast_tensors(av, bv)
    w = aw * bw - (av * bv).sum(-1, keepdim=True)
    return torch.cat([w, aw * bv + bw * av + torch.linalg.cross(av, bv)], dim=-1)


def conjugate(q: Tensor) -> Tensor:
    """The inverse rotation."""
    return torch.cat([q[..., :1], -q[..., 1:]], dim=-1)


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """Vectors v (..., 3) from the frame of q into its parent."""
    w, u = q[..., :1], q[..., 1:]
    u, v = torch.broadcast_tensors(u, v)
    t = 2 * torch.linalg.cross(u, v)
    return v + w * t + torch.linalg.cross(u, t)


def rotate_inverse(q: Tensor, v: Tensor) -> Tensor:
    """Vectors v (..., 3) from the parent into the frame of q."""
    return rotate(conjugate(q), v)


def about_z(angle: Tensor) -> Tensor:
    """Rotations by angle (...), rad, about z."""
    half = angle / 2
    zero = torch.zeros_like(half)
    return torch.stack([torch.cos(half), zero, zero, torch.sin(half)], dim=-1)


def canonical(q: Tensor) -> Tensor:
    """The one of q and -q whose w is not negative: the same rotation, one representation."""
    return torch.where(q[..., :1] < 0, -q, q)
