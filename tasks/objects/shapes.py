"""Procedural shapes: each family draws the proportions of one object and returns its convex parts.

The unit of length is free, as `generate.py` scales the whole; z is up where a shape has an up.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np

from tasks.objects.geometry import convex_hull, reduce_hull

Parts = List[np.ndarray]
"""Each (V, 3), the vertices of one convex part."""


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


# --- building blocks ---------------------------------------------------------------------------------------------------


def box_points(half: Sequence[float], centre: Sequence[float] = (0, 0, 0)) -> np.ndarray:
    """(8, 3) corners of a box of the given half sides."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    return signs * np.asarray(half) + np.asarray(centre)


def ring(radius: float, z: float, count: int, squash: float = 1.0) -> np.ndarray:
    """(count, 3) points of a circle about the z axis; squash scales its y."""
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([radius * np.cos(angle), squash * radius * np.sin(angle), np.full(count, z)], axis=1)


def frustum(r0: float, r1: float, z0: float, z1: float, count: int = 24, squash: float = 1.0) -> np.ndarray:
    """(2 count, 3) vertices of a cone's slice between z0 (radius r0) and z1 (radius r1)."""
    return np.concatenate([ring(r0, z0, count, squash), ring(r1, z1, count, squash)])


def ball_points() -> np.ndarray:
    """(42, 3) unit vectors: an icosahedron's corners and the middles of its edges, among them both ends of each axis."""
    golden = (1 + 5**0.5) / 2
    corners = np.array([(0, s, t * golden) for s in (-1, 1) for t in (-1, 1)])
    corners = np.concatenate([np.roll(corners, k, axis=1) for k in range(3)])
    gaps = np.linalg.norm(corners[:, None] - corners, axis=2)
    i, j = np.nonzero(np.triu(np.abs(gaps - 2) < 1e-6))
    points = np.concatenate([corners, (corners[i] + corners[j]) / 2])
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def rod(
    start: Sequence[float], end: Sequence[float], radius: float, count: int = 10, rounded: bool = False
) -> np.ndarray:
    """A cylinder, or a capsule whose round ends reach `radius` beyond start and end; at most 48 vertices up to count 10."""
    p, q = np.asarray(start, float), np.asarray(end, float)
    z = (q - p) / np.linalg.norm(q - p)
    x = np.cross(z, np.eye(3)[np.abs(z).argmin()])
    x /= np.linalg.norm(x)
    frame = np.stack([x, np.cross(z, x), z])
    cap = [ring(radius, 0, count)]
    if rounded:
        cap += [ring(radius * np.cos(a), radius * np.sin(a), n) for a, n in ((0.6, count - 2), (1.1, count // 2))]
        cap.append(np.array([[0, 0, radius]]))
    points = np.concatenate(cap)
    return np.concatenate([points * (1, 1, -1) @ frame + p, points @ frame + q])


# --- one convex part ---------------------------------------------------------------------------------------------------


def cube(rng: np.random.Generator) -> Parts:
    return [box_points((0.5, 0.5, 0.5))]


def box(rng: np.random.Generator) -> Parts:
    return [box_points((log_uniform(rng, 1, 2.5), 1, log_uniform(rng, 0.45, 1)))]


def sphere(rng: np.random.Generator) -> Parts:
    return [ball_points()]


def cylinder(rng: np.random.Generator) -> Parts:
    return [frustum(0.5, 0.5, 0, log_uniform(rng, 0.6, 3))]


def hull(rng: np.random.Generator) -> Parts:
    """Of random points in a stretched ball or box."""
    count = int(rng.integers(7, 41))
    if rng.random() < 0.5:
        points = rng.uniform(-1, 1, (count, 3))
    else:
        points = rng.normal(size=(count, 3))
        points *= rng.uniform(0.6, 1, (count, 1)) / np.linalg.norm(points, axis=1, keepdims=True)
    return [points * (log_uniform(rng, 1, 2.5), 1, log_uniform(rng, 0.5, 1))]
