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
    v = torch.addcmul(torch.addcmul(torch.linalg.cross(av, bv), aw, bv), bw, av)
    return torch.cat([w, v], dim=-1)


def multiply_inverse(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product of a's inverse and b: the rotation b as the frame of a sees it."""
    aw, av = a[..., :1], a[..., 1:]
    bw, bv = b[..., :1], b[..., 1:]
    av, bv = torch.broadcast_tensors(av, bv)
    w = (a * b).sum(-1, keepdim=True)
    v = torch.addcmul(torch.addcmul(torch.linalg.cross(bv, av), aw, bv), bw, av, value=-1)
    return torch.cat([w, v], dim=-1)


def conjugate(q: Tensor) -> Tensor:
    """The inverse rotation."""
    return torch.cat([q[..., :1], -q[..., 1:]], dim=-1)


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """Vectors v (..., 3) from the frame of q into its parent."""
    return _turned(q, v, 1.0)


def rotate_inverse(q: Tensor, v: Tensor) -> Tensor:
    """Vectors v (..., 3) from the parent into the frame of q."""
    return _turned(q, v, -1.0)


def _turned(q: Tensor, v: Tensor, sense: float) -> Tensor:
    """v + 2 (w t + u x t), where q is (w, u) and t is u x v; with -w for w, a sense of -1, it is the inverse rotation."""
    w, u = q[..., :1], q[..., 1:]
    u, v = torch.broadcast_tensors(u, v)
    t = torch.linalg.cross(u, v)
    return torch.add(v, torch.addcmul(torch.linalg.cross(u, t), w, t, value=sense), alpha=2)


def about_z(angle: Tensor) -> Tensor:
    """Rotations by angle (...), rad, about z."""
    half = angle / 2
    zero = torch.zeros_like(half)
    return torch.stack([torch.cos(half), zero, zero, torch.sin(half)], dim=-1)


def canonical(q: Tensor) -> Tensor:
    """The one of q and -q whose w is not negative: the same rotation, one representation."""
    return torch.where(q[..., :1] < 0, -q, q)
