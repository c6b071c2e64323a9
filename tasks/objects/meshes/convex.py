"""Whether a mesh is about its convex hull: no dents, no gaps."""

from __future__ import annotations

from typing import NamedTuple, Tuple

import numpy as np
from scipy.spatial import cKDTree

from tasks.objects.geometry import AT_ONCE, Hull, convex_hull, hull_faces, mass_properties
from tasks.objects.meshes.read import RawMesh

CONVEX_VOLUME = 0.95
"""A closed mesh counts as convex if it fills at least this share of its hull's volume."""
CONVEX_DEPTH = 0.02
"""Any mesh counts as convex if no place of its hull is further from it than about this share of its longest side.  What lies
inside then does not matter.  It also does if its surface is nowhere deeper below its hull, and it leaves no gaps."""
DENT = 0.0025
"""m.  Dents that are not deeper than this never count: no fingertip feels them, and scans of small things have such noise."""
CLOSED_GAPS = 0.02
"""Share of the hull's surface that a closed mesh may leave bare.  A ring or a frame leaves most of it."""
OPEN_GAPS = 0.25
"""The same of an open mesh: a scan has no bottom, where it stood."""


class Verdict(NamedTuple):
    """Whether a mesh is its hull."""

    convex: bool
    note: str
    """What the user should know about that; mostly empty."""


def tolerance_of(points: np.ndarray, dent: float = DENT) -> float:
    """m.  How deep a dent in a mesh with these points (n, 3) may be: at least `dent`, more if the mesh is large."""
    return max(CONVEX_DEPTH * float(np.ptp(points, axis=0).max()), dent)


def judge(mesh: RawMesh, points: np.ndarray, tolerance: float) -> Verdict:
    """Whether the mesh is about the hull of its points (n, 3).  Raises ValueError if that is flat."""
    import trimesh

    hull = convex_hull(points)
    closed = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    is_closed = bool(closed.is_volume)
    # Volumes of parts that overlap count twice, so that the sum can be too large and means nothing.
    if is_closed and CONVEX_VOLUME < closed.volume / mass_properties(hull)[0] < 1.001:
        return Verdict(True, "")
    places = np.concatenate([points, mesh.vertices[mesh.faces].mean(axis=1)])
    shallow = _is_shallow(places, hull, tolerance)
    all_covered, gaps = _gaps(mesh.vertices, mesh.faces, hull, tolerance)
    if all_covered:
        return Verdict(True, "")
    if not shallow or gaps > (CLOSED_GAPS if is_closed else OPEN_GAPS):
        return Verdict(False, "")
    if gaps <= CLOSED_GAPS:
        return Verdict(True, "")
    return Verdict(
        True,
        f"is open, about {100 * gaps:.0f} % of its outside is missing, and it becomes a solid: if it is a container, give its "
        "walls a thickness",
    )


def covers(mesh: RawMesh, faces: np.ndarray, hull: Hull, tolerance: float) -> bool:
    """Whether every place of the hull's surface is within about the tolerance of these faces (T, 3) of the mesh."""
    return _gaps(mesh.vertices, faces, hull, tolerance)[0]


def _is_shallow(places: np.ndarray, hull: Hull, tolerance: float) -> bool:
    """Whether all places (n, 3) are less than the tolerance below the hull's surface.

    Those near one of its corners are.  Few others are left of a dense mesh, and only these are compared with all planes.
    """
    # With compact nodes scipy ends the process where denormal numbers count as 0, as they do after torch 2.4 has compiled.
    corners = cKDTree(hull.vertices, compact_nodes=False)
    places = places[corners.query(places, distance_upper_bound=tolerance)[0] >= tolerance]
    if len(places) == 0:
        return True
    faces = hull_faces(hull)
    size = max(1, AT_ONCE // len(faces.offsets))
    return all(
        float((faces.offsets - places[i : i + size] @ faces.normals.T).min(axis=1).max()) < tolerance
        for i in range(0, len(places), size)
    )


def _gaps(vertices: np.ndarray, faces: np.ndarray, hull: Hull, tolerance: float) -> Tuple[bool, float]:
    """(whether no place of the hull's surface is further than about the tolerance from the faces, the share of it that is)."""
    import trimesh

    def dots(v: np.ndarray, f: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Corners and middles of small pieces of the triangles, and the pieces' areas."""
        used, inverse = np.unique(f, return_inverse=True)
        dense, pieces = trimesh.remesh.subdivide_to_size(
            v[used], inverse.reshape(f.shape), 1.5 * tolerance, max_iter=20
        )
        return dense, dense[pieces].mean(axis=1), trimesh.triangles.area(dense[pieces])

    corners, middles, _ = dots(vertices, faces)
    places = cKDTree(np.concatenate([corners, middles]), compact_nodes=False)
    corners, middles, areas = dots(hull.vertices, hull.triangles)
    far = places.query(middles)[0]
    all_covered = max(float(far.max()), float(places.query(corners)[0].max())) < 1.5 * tolerance
    return all_covered, float(areas[far >= 1.5 * tolerance].sum() / areas.sum())
