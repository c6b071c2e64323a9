"""Builds an `ObjectModel` from convex parts: reduces their vertices, chooses the frame, computes mass and stable poses."""

from __future__ import annotations

from typing import List, Optional, Sequence

import numpy as np

from tasks.objects.geometry import Hull, convex_hull, hull_faces, mass_properties, reduce_hull
from tasks.objects.model import DENSITY, MAX_PARTS, ObjectModel
from tasks.objects.poses import stable_poses

MASS_RANGE = (0.01, 1.0)
"""kg.  A mass that follows from a density is clipped to this range."""
LOADED_SHARE = 0.3
"""An object with an off-centre mass is a uniform body and a point mass; this share of its mass is the point."""


def build(
    name: str,
    kind: str,
    parts: Sequence[np.ndarray],
    *,
    density: float = DENSITY,
    mass: Optional[float] = None,
    volume: Optional[float] = None,
    com_shift: Optional[np.ndarray] = None,
    own_axes: bool = True,
    friction: Optional[float] = None,
) -> ObjectModel:
    """Builds an object from the convex hulls of `parts`, each (N, 3) m in any common frame.

    mass: kg; if None, density times volume, clipped to MASS_RANGE.
    density: kg/m^3, uniform over the parts.  Where parts overlap, the volume counts twice.
    volume: m^3, in place of the sum of the parts' volumes.
    com_shift: (3,) moves the centre of mass by this share of the extents along the final axes, at most half way to the surface.
    own_axes: whether the object keeps the axes of `parts`.  Otherwise it gets those of the smallest bounding box, unless the
    axis-aligned box has at most 5 % more volume.
    Hulls of more than MAX_HULL_VERTICES lose vertices, see `reduce_hull`.
    Raises ValueError for a part without volume.
    """
    hulls = [reduce_hull(convex_hull(points))[0] for points in parts]
    hulls = _without_enclosed(hulls)
    rotation = np.eye(3) if own_axes else _box_axes(np.concatenate([h.vertices for h in hulls]))
    points = np.concatenate([h.vertices for h in hulls]) @ rotation.T
    rotation = _sorted_axes(np.ptp(points, axis=0)) @ rotation
    points = np.concatenate([h.vertices for h in hulls]) @ rotation.T
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    hulls = [_moved(h, rotation, centre) for h in hulls]
    # The outer hull of several parts is not reduced: its vertices are some of theirs.
    outer = hulls[0] if len(hulls) == 1 else convex_hull(np.concatenate([h.vertices for h in hulls]))

    moments = [mass_properties(h) for h in hulls]
    total = sum(m[0] for m in moments)
    com = np.sum([m[0] * m[1] for m in moments], axis=0) / total
    second = np.sum([m[2] for m in moments], axis=0) / total - np.outer(com, com)
    inertia = np.trace(second) * np.eye(3) - second
    if mass is None:
        mass = float(np.clip(density * (total if volume is None else volume), *MASS_RANGE))
    if com_shift is not None:
        shift = _inside(outer, com, np.asarray(com_shift) * np.ptp(points, axis=0))
        lump = (1 - LOADED_SHARE) / LOADED_SHARE * (shift @ shift * np.eye(3) - np.outer(shift, shift))
        com, inertia = com + shift, (1 - LOADED_SHARE) * inertia + lump
    quat, height, prob = stable_poses(outer, com)
    return ObjectModel(
        name, kind, tuple(h.vertices for h in hulls), mass, com, mass * inertia, quat, height, prob, friction
    )  # fmt: skip


def _without_enclosed(hulls: List[Hull]) -> List[Hull]:
    """Leaves out hulls that lie inside another one."""
    kept = list(hulls)
    for hull in hulls:
        others = [hull_faces(h) for h in kept if h is not hull]
        if any((hull.vertices @ f.normals.T <= f.offsets + 1e-9).all() for f in others):
            kept = [h for h in kept if h is not hull]
    return kept


def _moved(hull: Hull, rotation: np.ndarray, centre: np.ndarray) -> Hull:
    return hull._replace(vertices=hull.vertices @ rotation.T - centre, normals=hull.normals @ rotation.T)


def _sorted_axes(extents: np.ndarray) -> np.ndarray:
    """(3, 3) rotation that brings the longest side to x and the second longest to y.  Nearly equal sides stay in order."""
    order = np.argsort(-np.round(extents / extents.max(), 9), kind="stable")
    rotation = np.eye(3)[order]
    if np.linalg.det(rotation) < 0:
        rotation[2] *= -1
    return rotation


def _box_axes(points: np.ndarray) -> np.ndarray:
    """(3, 3) rotation into the axes of the smallest box around (N, 3) points; the identity if their own box is nearly as small."""
    import trimesh  # imported here because it is slow, and a set from the cache does not need it

    to_box, extents = trimesh.bounds.oriented_bounds(points)
    if np.prod(np.ptp(points, axis=0)) <= 1.05 * np.prod(extents):
        return np.eye(3)
    return np.asarray(to_box)[:3, :3]


def _inside(hull: Hull, com: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Shortens the (3,) shift so that com moves at most half way to the hull's surface."""
    corner = hull.vertices[hull.triangles[:, 0]]
    gap = np.einsum("ij,ij->i", hull.normals, corner - com)
    return shift * min(1.0, 0.5 / max(float((hull.normals @ shift / np.maximum(gap, 1e-9)).max()), 0.5))


def merged_parts(parts: Sequence[np.ndarray], limit: int = MAX_PARTS) -> List[np.ndarray]:
    """Joins parts until at most `limit` are left.  Each time it joins the two whose common hull adds the least volume.

    parts: each (N, 3), with volume.
    """
    hulls = [convex_hull(p).vertices for p in parts]
    volumes = [mass_properties(convex_hull(p))[0] for p in hulls]

    def cost(i: int, j: int) -> float:
        return mass_properties(convex_hull(np.concatenate([hulls[i], hulls[j]])))[0] - volumes[i] - volumes[j]

    alive = list(range(len(hulls)))
    costs = {(i, j): cost(i, j) for k, i in enumerate(alive) for j in alive[k + 1 :]} if len(alive) > limit else {}
    while len(alive) > limit:
        i, j = min(costs, key=lambda pair: (costs[pair], pair))
        hulls.append(convex_hull(np.concatenate([hulls[i], hulls[j]])).vertices)
        volumes.append(mass_properties(convex_hull(hulls[-1]))[0])
        costs = {pair: c for pair, c in costs.items() if i not in pair and j not in pair}
        alive = [k for k in alive if k not in (i, j)]
        costs.update({(k, len(hulls) - 1): cost(k, len(hulls) - 1) for k in alive})
        alive.append(len(hulls) - 1)
    return [hulls[k] for k in alive]
