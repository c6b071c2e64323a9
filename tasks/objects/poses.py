"""Computes the poses in which an object comes to rest on a plane, and how likely each is after a drop."""

from __future__ import annotations

from typing import Tuple

import numpy as np
from scipy.spatial.transform import Rotation

from tasks.objects.geometry import Hull, hull_faces

MAX_POSES = 16
"""Most poses of an object.  A ball of facets has one for every facet, so neighbours are joined until few enough are left."""
MIN_PROBABILITY = 0.02
"""Poses less probable than this are left out."""
SAME_POSE = np.radians(6.0)
"""rad.  Poses closer than this are one pose."""
MIN_MARGIN = 5e-4
"""m.  A pose is stable if the centre of mass is at least this far inside the edge of the support."""
MIN_TILT = np.radians(3.0)
"""rad.  A pose is stable if a tilt by this angle leaves the centre of mass inside the edge.  The facets of a cylinder with 24 sides
topple at 7.5 degrees."""


def face_probabilities(hull: Hull, com: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """(probability (F,) that an object comes to rest on each face, margin (F,) m from com to the edge of that face).

    Quasi-static: the probability of landing on a face first is its share of the solid angle around the centre of mass.  If the
    centre of mass projects outside that face, the object topples over the nearest edge to the next face, until it is stable.
    Goldberg et al., Part pose statistics: estimators and experiments, 1999.  com (3,) must be inside the hull.
    """
    faces = hull_faces(hull)
    count = len(faces.offsets)
    corners = hull.vertices[hull.triangles]
    a, b, c = np.moveaxis(corners - com, 1, 0)
    la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
    triple = np.einsum("ij,ij->i", a, np.cross(b, c))
    dots = [np.einsum("ij,ij->i", x, y) for x, y in ((a, b), (a, c), (b, c))]
    angle = 2 * np.arctan2(triple, la * lb * lc + dots[0] * lc + dots[1] * lb + dots[2] * la)  # Van Oosterom, Strackee
    first = np.bincount(hull.face, angle, count) / (4 * np.pi)

    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) + 1e-18
    weight = np.bincount(hull.face, area, count)
    middle = (
        np.stack([np.bincount(hull.face, area * m, count) for m in corners.mean(axis=1).T], axis=1) / weight[:, None]
    )
    foot = com + (faces.offsets - faces.normals @ com)[:, None] * faces.normals

    # Edges between different faces, as seen from the first one.
    edge_face = np.repeat(hull.face, 3)
    edge_other = hull.face[hull.neighbours.ravel()]
    start = corners[:, [1, 2, 0]].reshape(-1, 3)
    end = corners[:, [2, 0, 1]].reshape(-1, 3)
    border = edge_face != edge_other
    edge_face, edge_other, start, end = edge_face[border], edge_other[border], start[border], end[border]
    outward = np.cross(end - start, faces.normals[edge_face])
    outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-18
    inner = np.einsum("ij,ij->i", outward, start - middle[edge_face])
    reach = np.einsum("ij,ij->i", outward, foot[edge_face] - middle[edge_face])
    crossing = reach / np.maximum(inner, 1e-12)  # > 1 if the way from the middle to the foot crosses this edge

    order = np.lexsort((crossing, edge_face))
    last = order[np.searchsorted(edge_face[order], np.arange(count), side="right") - 1]
    below = np.arange(count)
    topples = crossing[last] > 1
    below[topples] = edge_other[last][topples]
    for _ in range(int(np.ceil(np.log2(count))) + 1):
        below = below[below]
    margin = np.full(count, np.inf)
    np.minimum.at(margin, edge_face, inner - reach)
    probability = np.bincount(below, first, count)
    probability[topples] = 0  # rounding can leave some in a circle of faces
    return probability / probability.sum(), margin


def stable_poses(hull: Hull, com: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(quaternions (S, 4) w x y z, heights of the origin (S,) m, probabilities (S,)), most probable first; S <= MAX_POSES.

    hull: of the whole object.  com: (3,) inside it.  Poses that nearly coincide are joined to the most probable of them, as are
    the many facets of round bodies.  The yaw of a pose has no meaning: it is what the shortest rotation gives.
    """
    faces = hull_faces(hull)
    probability, margin = face_probabilities(hull, com)
    raised = faces.offsets - faces.normals @ com
    firm = (margin > np.maximum(MIN_MARGIN, np.tan(MIN_TILT) * raised)) & (probability > 0)
    if not firm.any():
        firm = probability >= probability.max()
    # Rounding before sorting keeps the order of equal probabilities the same on all machines.
    ids = np.flatnonzero(firm)
    ids = ids[np.lexsort((ids, -np.round(probability[ids], 6)))]
    cosine = faces.normals[ids] @ faces.normals[ids].T
    tolerance = SAME_POSE
    while True:
        leaders, mass, free = [], [], np.ones(len(ids), bool)
        for i in range(len(ids)):
            if free[i]:
                members = free & (cosine[i] > np.cos(tolerance))
                members[i] = True
                leaders.append(ids[i])
                mass.append(probability[ids[members]].sum())
                free &= ~members
        if len(leaders) <= MAX_POSES:
            break
        tolerance *= 1.25
    share = np.asarray(mass) / np.sum(mass)
    keep = np.flatnonzero(share >= min(MIN_PROBABILITY, share.max()))
    keep = keep[np.argsort(-share[keep], kind="stable")]
    down = np.asarray(leaders)[keep]
    return _turn_down(faces.normals[down]), faces.offsets[down], share[keep] / share[keep].sum()


def narrow_sides(points: np.ndarray, quats: np.ndarray) -> np.ndarray:
    """(S,) direction in the plane, rad from x, in which points (V, 3) turned by quats (S, 4) are narrowest, in steps of 5 degrees."""
    angles = np.radians(np.arange(0, 180, 5))
    across = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=1)
    turned = Rotation.from_quat(quats[:, [1, 2, 3, 0]]).as_matrix()
    widths = np.ptp(np.einsum("vi,sji,aj->sav", points, turned, across), axis=2)
    return angles[widths.argmin(axis=1)]


def _turn_down(normals: np.ndarray) -> np.ndarray:
    """(S, 4) the shortest rotations that turn (S, 3) normals to -z."""
    nx, ny, nz = normals.T
    quats = np.stack([1 - nz, -ny, nx, np.zeros_like(nx)], axis=1)
    quats[nz > 1 - 1e-9] = (0.0, 1.0, 0.0, 0.0)
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)
