"""Shapes of one convex part, and the building blocks of all shapes.

Each family is a function that draws the proportions of an object and returns its convex parts.  The unit of length does not
matter, because `generate.py` scales the object.  z is up where a shape has an upper side.
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np

from tasks.objects.geometry import convex_hull, reduce_hull

Parts = List[np.ndarray]
"""Each (V, 3), the vertices of one convex part."""


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draws a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


# --- building blocks ---------------------------------------------------------------------------------------------------


def box_points(half: Sequence[float], centre: Sequence[float] = (0, 0, 0)) -> np.ndarray:
    """(8, 3) corners of a box of the given half sides."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    return signs * np.asarray(half) + np.asarray(centre)


def ring(radius: float, z: float, count: int, squash: float = 1.0) -> np.ndarray:
    """(count, 3) points of a circle around the z axis.  squash: a factor for y."""
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([radius * np.cos(angle), squash * radius * np.sin(angle), np.full(count, z)], axis=1)


def frustum(r0: float, r1: float, z0: float, z1: float, count: int = 24, squash: float = 1.0) -> np.ndarray:
    """(2 count, 3) vertices of a slice of a cone, from radius r0 at z0 to radius r1 at z1."""
    return np.concatenate([ring(r0, z0, count, squash), ring(r1, z1, count, squash)])


def ball_points() -> np.ndarray:
    """(42, 3) unit vectors: the corners of an icosahedron and the middles of its edges.  The ends of the axes are among them."""
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
    """A cylinder, or a capsule whose round ends reach `radius` beyond start and end.  At most 48 vertices for count <= 10."""
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


def upright(profile: Sequence[Tuple[float, float]], count: int = 16, squash: float = 1.0) -> Parts:
    """A stack of cone slices along z.  profile: points (radius, z); there is a slice between each two of them."""
    return [frustum(r0, r1, z0, z1, count, squash) for (r0, z0), (r1, z1) in zip(profile[:-1], profile[1:])]


def tilt(points: np.ndarray, angle: float, axis: int = 1) -> np.ndarray:
    """Turns (V, 3) points by an angle, rad, about a coordinate axis."""
    i, j = [k for k in range(3) if k != axis]
    turned = points.copy()
    turned[:, i] = np.cos(angle) * points[:, i] - np.sin(angle) * points[:, j]
    turned[:, j] = np.sin(angle) * points[:, i] + np.cos(angle) * points[:, j]
    return turned


# --- one convex part ---------------------------------------------------------------------------------------------------


def cube(rng: np.random.Generator) -> Parts:
    return [box_points((0.5, 0.5, 0.5))]


def box(rng: np.random.Generator) -> Parts:
    return [box_points((log_uniform(rng, 1, 3), 1, log_uniform(rng, 0.45, 1)))]


def slab(rng: np.random.Generator) -> Parts:
    return [box_points((log_uniform(rng, 1, 2.5), 1, log_uniform(rng, 0.2, 0.45)))]


def bevelled_box(rng: np.random.Generator) -> Parts:
    """A box with bevelled edges."""
    half = np.array([log_uniform(rng, 1, 2.5), 1, log_uniform(rng, 0.3, 1)])
    cut = rng.uniform(0.12, 0.45) * half.min()
    return [np.concatenate([box_points(half - cut * (np.arange(3) != k)) for k in range(3)])]


def bar(rng: np.random.Generator) -> Parts:
    """Long and thin, square or round."""
    length = log_uniform(rng, 4, 9)
    if rng.random() < 0.5:
        return [box_points((length, 1, rng.uniform(0.6, 1)))]
    return [frustum(1, 1, -length, length, 16)]


def sphere(rng: np.random.Generator) -> Parts:
    return [ball_points()]


def ellipsoid(rng: np.random.Generator) -> Parts:
    return [ball_points() * (log_uniform(rng, 1, 2.2), 1, log_uniform(rng, 0.45, 1))]


def cylinder(rng: np.random.Generator) -> Parts:
    return [frustum(0.5, 0.5, 0, log_uniform(rng, 0.6, 3))]


def disc(rng: np.random.Generator) -> Parts:
    return [frustum(0.5, 0.5, 0, log_uniform(rng, 0.2, 0.6), squash=rng.uniform(0.75, 1))]


def capsule(rng: np.random.Generator) -> Parts:
    return [rod((0, 0, 0), (0, 0, log_uniform(rng, 0.8, 6)), 1, rounded=True)]


def cone(rng: np.random.Generator) -> Parts:
    """A cone without its tip."""
    return [frustum(1, rng.uniform(0.1, 0.8), 0, log_uniform(rng, 1, 4), squash=rng.uniform(0.7, 1))]


def prism(rng: np.random.Generator) -> Parts:
    """An upright prism with 3, 5, 6 or 8 sides, often tapered."""
    count = int(rng.choice([3, 5, 6, 8]))
    taper = 1.0 if rng.random() < 0.6 else rng.uniform(0.5, 0.9)
    return [frustum(1, taper, 0, log_uniform(rng, 0.6, 4), count, rng.uniform(0.6, 1))]


def wedge(rng: np.random.Generator) -> Parts:
    """A ramp with a blunt tip."""
    points = box_points((log_uniform(rng, 1, 2.5), rng.uniform(0.5, 1), 0.7))
    points[(points[:, 0] > 0) & (points[:, 2] > 0), 2] *= rng.uniform(-0.8, 0.4)
    return [points]


def hull(rng: np.random.Generator) -> Parts:
    """The hull of random points in a stretched ball or box."""
    count = int(rng.integers(7, 41))
    if rng.random() < 0.5:
        points = rng.uniform(-1, 1, (count, 3))
    else:
        points = rng.normal(size=(count, 3))
        points *= rng.uniform(0.6, 1, (count, 1)) / np.linalg.norm(points, axis=1, keepdims=True)
    return [points * (log_uniform(rng, 1, 2.5), 1, log_uniform(rng, 0.5, 1))]


def superquadric(rng: np.random.Generator) -> Parts:
    """(|x/a|^(2/e2) + |y/b|^(2/e2))^(e2/e1) + |z/c|^(2/e1) = 1, Barr 1981: boxes, balls, octahedra and all between them."""
    e1, e2 = rng.uniform(0.25, 1.9, 2)
    v, u = np.meshgrid(np.linspace(-0.5, 0.5, 9)[1:-1] * np.pi, np.arange(16) * np.pi / 8)

    def power(x: np.ndarray, e: float) -> np.ndarray:
        return np.sign(x) * np.abs(x) ** e

    x, y = power(np.cos(v), e1) * power(np.cos(u), e2), power(np.cos(v), e1) * power(np.sin(u), e2)
    points = np.stack([x, y, power(np.sin(v), e1)], axis=-1).reshape(-1, 3)
    points = np.concatenate([points, [[0, 0, 1], [0, 0, -1]]]) * (log_uniform(rng, 1, 2), 1, log_uniform(rng, 0.5, 2))
    return [reduce_hull(convex_hull(points))[0].vertices]
