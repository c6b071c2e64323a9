"""Convex hulls in numpy: faces, volumes, moments and fewer vertices."""

from __future__ import annotations

from typing import NamedTuple, Tuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError

from tasks.objects.model import MAX_HULL_VERTICES

COPLANAR = 1e-3
"""rad.  Neighbouring triangles are one face if their normals differ by less than this."""
AT_ONCE = 10_000_000
"""Distances between points and planes that are computed at a time: 80 MB."""


class Hull(NamedTuple):
    """A convex hull as triangles."""

    vertices: np.ndarray
    """(V, 3) m.  All of them are corners of the hull."""
    triangles: np.ndarray
    """(T, 3) vertex numbers, counter-clockwise as seen from outside."""
    normals: np.ndarray
    """(T, 3) outward, unit."""
    neighbours: np.ndarray
    """(T, 3).  Column k is the triangle on the other side of the edge opposite to vertex k."""
    face: np.ndarray
    """(T,) the flat face that each triangle belongs to, 0 .. F - 1."""


class Faces(NamedTuple):
    """The flat faces of a hull.  A point x is inside if normal . x <= offset for all of them."""

    normals: np.ndarray
    """(F, 3) outward, unit."""
    offsets: np.ndarray
    """(F,) m"""


def convex_hull(points: np.ndarray) -> Hull:
    """The hull of (N, 3) points.  Raises ValueError if they are flat or fewer than four."""
    points = np.asarray(points, dtype=np.float64)
    try:
        raw = ConvexHull(points)
    except (QhullError, ValueError) as error:
        raise ValueError("points that span no volume") from error
    renumber = np.full(len(points), -1)
    renumber[raw.vertices] = np.arange(len(raw.vertices))
    vertices, triangles = points[raw.vertices], renumber[raw.simplices]
    normals, neighbours = raw.equations[:, :3], raw.neighbors.copy()
    a, b, c = vertices[triangles[:, 0]], vertices[triangles[:, 1]], vertices[triangles[:, 2]]
    flip = np.einsum("ij,ij->i", np.cross(b - a, c - a), normals) < 0
    triangles[flip] = triangles[flip][:, [0, 2, 1]]
    neighbours[flip] = neighbours[flip][:, [0, 2, 1]]

    count = len(triangles)
    flat = np.linalg.norm(normals[:, None] - normals[neighbours], axis=-1) < COPLANAR
    # A triangle is linked to its neighbour across a flat edge, and to itself across an edge that bends.
    linked = np.where(flat, neighbours, np.arange(count)[:, None])
    graph = csr_matrix((np.ones(3 * count), linked.ravel(), 3 * np.arange(count + 1)), shape=(count, count))
    return Hull(vertices, triangles, normals, neighbours, connected_components(graph, directed=False)[1])


def hull_faces(hull: Hull) -> Faces:
    """The hull's flat faces: coplanar triangles are one face, and no vertex is outside any face."""
    a, b, c = (hull.vertices[hull.triangles[:, k]] for k in range(3))
    normals = np.zeros((hull.face.max() + 1, 3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1, keepdims=True)
    np.add.at(normals, hull.face, (area + 1e-12 * area.max()) * hull.normals)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    size = max(1, AT_ONCE // len(hull.vertices))
    offsets = [(normals[i : i + size] @ hull.vertices.T).max(axis=1) for i in range(0, len(normals), size)]
    return Faces(normals, np.concatenate(offsets))


def mass_properties(hull: Hull) -> Tuple[float, np.ndarray, np.ndarray]:
    """(volume, centroid (3,), second moments (3, 3) about the origin, which are the integral of x x^T), at unit density.

    Sums over tetrahedra between the triangles and a common apex inside.  The second moments of a tetrahedron with its apex at
    the origin are det / 120 (sum v v^T + s s^T), where v are its corners and s is their sum.
    """
    apex = hull.vertices.mean(axis=0)
    corners = hull.vertices[hull.triangles] - apex
    det = np.abs(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])))
    volume = det.sum() / 6
    total = corners.sum(axis=1)
    first = (det[:, None] * total).sum(axis=0) / 24
    second = (np.einsum("t,tki,tkj->ij", det, corners, corners) + np.einsum("t,ti,tj->ij", det, total, total)) / 120
    centroid = first / volume + apex
    shift = np.outer(first, apex)
    return float(volume), centroid, second + shift + shift.T + volume * np.outer(apex, apex)


def reduce_hull(hull: Hull, limit: int = MAX_HULL_VERTICES) -> Tuple[Hull, float]:
    """The hull of at most `limit` of the vertices, and the largest distance (m) of a dropped vertex from that hull.

    Starts with the extreme vertices along axes and diagonals.  Then adds the vertex that stands out most, until none does or the
    limit is reached.  The result lies inside the original.  With 48 vertices a sphere of radius r loses about 0.06 r.
    """
    points = hull.vertices
    if len(points) <= limit:
        return hull, 0.0
    axes = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)])
    reach = points @ axes[:6].T
    chosen = list(dict.fromkeys(np.concatenate([reach.argmax(axis=0), reach.argmin(axis=0)]).tolist()))
    far = np.linalg.norm(points[:, None] - points[chosen], axis=2).min(axis=1)
    while len(chosen) < 4 or np.linalg.matrix_rank(points[chosen] - points[chosen[0]], tol=1e-3 * far.max()) < 3:
        chosen.append(int(far.argmax()))
        far = np.minimum(far, np.linalg.norm(points - points[chosen[-1]], axis=1))
    while True:
        reduced = convex_hull(points[chosen])
        faces = hull_faces(reduced)
        out = (points @ faces.normals.T - faces.offsets).max(axis=1)
        worst = float(out.max())
        if len(chosen) >= limit or worst < 1e-9:
            return reduced, max(worst, 0.0)
        chosen.append(int(out.argmax()))
