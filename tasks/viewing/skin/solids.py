"""Signed distances of solids, in numpy: what a geom of a hand is, with round edges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Sequence, Tuple

import mujoco
import numpy as np

Distance = Callable[[np.ndarray], np.ndarray]
"""Points (..., 3) in the body's frame -> signed distances (...), m; negative inside."""
EDGE = 0.0075
"""m, radius of the edges of boxes and meshes, at most."""
EDGE_SHARE = 0.45
"""That radius, at most, as a share of the shortest half side."""


@dataclass(frozen=True)
class Solid:
    """A solid in a body's frame."""

    distance: Distance
    low: np.ndarray
    """(3,) corners of a box around it, m; and `high`."""
    high: np.ndarray
    thickness: float
    """m, half of its shortest side."""


def geom_solid(model: mujoco.MjModel, geom: int) -> Solid:
    """What a geom collides as, in its body's frame.  Boxes, cylinders and meshes get round edges.

    The formulas of capsules, boxes and cylinders are the exact distances; those of ellipsoids and meshes are bounds.
    """
    kind, size = mujoco.mjtGeom(int(model.geom_type[geom])), model.geom_size[geom].copy()
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
    own, half = _in_own_frame(model, geom, kind, size)
    frame, pos = turn.reshape(3, 3), model.geom_pos[geom].copy()
    reach = np.abs(frame) @ half
    return Solid(lambda p: own((p - pos) @ frame), pos - reach, pos + reach, float(half.min()))


def _in_own_frame(
    model: mujoco.MjModel, geom: int, kind: mujoco.mjtGeom, size: np.ndarray
) -> Tuple[Distance, np.ndarray]:
    """The distance in the geom's frame, and half the sides of a box around it."""
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return lambda p: np.linalg.norm(p, axis=-1) - size[0], np.full(3, size[0])
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return lambda p: rod(p, size[1]) - size[0], np.array([size[0], size[0], size[0] + size[1]])
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return lambda p: ellipsoid(p, size), size
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        half = np.array([size[0], size[0], size[1]])
        return lambda p: drum(p, size[0], size[1], edge_of(half)), half
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return lambda p: box(p, size, edge_of(size)), size
    mesh = int(model.geom_dataid[geom])
    points = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]].astype(float)
    return hull(points), np.abs(points).max(axis=0)


def edge_of(half: np.ndarray) -> float:
    """The radius of the edges of something with half sides (3,)."""
    return min(EDGE, EDGE_SHARE * float(np.min(half)))


def rod(p: np.ndarray, half_length: float) -> np.ndarray:
    """Distance to the segment of the z axis from -half_length to half_length."""
    z = p[..., 2] - np.clip(p[..., 2], -half_length, half_length)
    return np.sqrt(p[..., 0] ** 2 + p[..., 1] ** 2 + z**2)


def box(p: np.ndarray, half: np.ndarray, edge: float) -> np.ndarray:
    """A box with half sides (3,) and round edges."""
    return _outside(np.abs(p) - (half - edge)) - edge


def drum(p: np.ndarray, radius: float, half_length: float, edge: float) -> np.ndarray:
    """A cylinder about z with round edges."""
    across = np.hypot(p[..., 0], p[..., 1]) - (radius - edge)
    return _outside(np.stack([across, np.abs(p[..., 2]) - (half_length - edge)], axis=-1)) - edge


def ellipsoid(p: np.ndarray, half: np.ndarray) -> np.ndarray:
    """The usual first-order bound: k0 (k0 - 1) / k1, with k0 = |p / r| and k1 = |p / r^2|."""
    k0 = np.linalg.norm(p / half, axis=-1)
    return k0 * (k0 - 1) / (np.linalg.norm(p / half**2, axis=-1) + 1e-9)


def hull(points: np.ndarray) -> Distance:
    """The convex hull of points (V, 3), its edges rounded by a smooth maximum over its planes: log of the sum of exponentials."""
    from scipy.spatial import ConvexHull

    found = ConvexHull(points, qhull_options="QJ").equations
    # Triangles of one face have nearly the same plane, which is to count once.
    _, first = np.unique(np.round(found * [100, 100, 100, 1e4]), axis=0, return_index=True)
    planes = found[first]
    width = min(EDGE, EDGE_SHARE * float(np.ptp(points, axis=0).min()) / 2) / 4

    def distance(p: np.ndarray) -> np.ndarray:
        gaps = p @ planes[:, :3].T + planes[:, 3]
        most = gaps.max(axis=-1)
        return most + width * np.log(np.exp((gaps - most[..., None]) / width).sum(axis=-1))

    return distance


def _outside(q: np.ndarray) -> np.ndarray:
    """The distance to the corner region q <= 0."""
    return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(axis=-1), 0)


def union(solids: Sequence[Solid], blend: float) -> Solid:
    """All solids as one, with fillets of about `blend` m where they meet: the polynomial smooth minimum."""

    def distance(p: np.ndarray) -> np.ndarray:
        result = solids[0].distance(p)
        for solid in solids[1:]:
            other = solid.distance(p)
            nearness = np.maximum(blend - np.abs(result - other), 0) / blend
            result = np.minimum(result, other) - nearness**2 * blend / 4
        return result

    low, high = np.min([s.low for s in solids], axis=0), np.max([s.high for s in solids], axis=0)
    return Solid(distance, low - blend / 4, high + blend / 4, min(s.thickness for s in solids))


@dataclass(frozen=True)
class Ball:
    """A ball in a body's frame."""

    place: np.ndarray
    """(3,) m"""
    radius: float

    def distance(self, p: np.ndarray) -> np.ndarray:
        """(...) m, to its surface."""
        return np.linalg.norm(p - self.place, axis=-1) - self.radius

    def solid(self) -> Solid:
        """The ball as a solid."""
        return Solid(self.distance, self.place - self.radius, self.place + self.radius, self.radius)


def without(solid: Solid, balls: Sequence[Ball], rounding: float) -> Solid:
    """A solid without what is in the balls, with edges rounded over so many m."""

    def distance(p: np.ndarray) -> np.ndarray:
        result = solid.distance(p)
        for ball in balls:
            result = smooth_max(result, -ball.distance(p), rounding)
        return result

    return replace(solid, distance=distance)


def inside(solid: Solid, ball: Ball, rounding: float) -> Solid:
    """What of a solid is in a ball."""
    low, high = np.maximum(solid.low, ball.place - ball.radius), np.minimum(solid.high, ball.place + ball.radius)
    return Solid(lambda p: smooth_max(solid.distance(p), ball.distance(p), rounding), low, high, solid.thickness)


def smooth_max(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """The larger of two distances, with the edge between them rounded over `width` m."""
    return np.maximum(a, b) + np.maximum(width - np.abs(a - b), 0) ** 2 / (4 * width)


def gradient(distance: Distance, points: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """(V, 3) unit normals of the level sets, by central differences."""
    slopes = [distance(points + step * axis) - distance(points - step * axis) for axis in np.eye(3)]
    found = np.stack(slopes, axis=-1)
    return found / (np.linalg.norm(found, axis=-1, keepdims=True) + 1e-12)
