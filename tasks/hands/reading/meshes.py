"""Meshes of a hand's links: read and cut into convex parts as objects are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, List

import numpy as np

from tasks.hands.errors import HandError
from tasks.hands.reading import kept
from tasks.hands.reading.tree import Shape
from tasks.objects.geometry import Hull, convex_hull, mass_properties
from tasks.objects.meshes.cut import convex_parts
from tasks.objects.meshes.read import RawMesh, read_mesh
from tasks.objects.model import ObjectError

MOST_PARTS = 4
"""Of a mesh."""
DENT = 0.006
"""m.  Dents of a link that are not deeper than this are filled: most links then are one part, which is cut and simulated faster."""
WORTH = 0.9
"""The parts of a mesh are taken if together they have at most this share of its hull's volume."""
VERSION = b"2"
"""To be raised when the same mesh would be cut otherwise."""


def hulls(
    vertices: np.ndarray, faces: np.ndarray, pos: np.ndarray, turn: np.ndarray, what: str, cut: bool = True
) -> List[Shape]:
    """The convex parts of a mesh whose frame is (pos, turn) in the link's; without `cut` its hull is the only part.

    Raises HandError if it is flat or empty.
    """
    if len(faces) == 0 or not np.isfinite(vertices).all():
        raise HandError(f"{what}: has no faces, or corners that are no numbers; export the mesh again")
    try:
        whole = convex_hull(vertices[np.unique(faces)])
        corners = _cut(vertices, faces, whole) if cut else [whole.vertices]
    except ValueError as error:
        raise HandError(f"{what}: is flat; a collision mesh needs a volume") from error
    return [Shape("hull", np.zeros(0), np.zeros(3), np.eye(3), pos + part @ turn.T) for part in corners]


def _cut(vertices: np.ndarray, faces: np.ndarray, whole: Hull) -> List[np.ndarray]:
    """The corners (n, 3) of its convex parts, from the cache if the same mesh was cut before."""
    key = hashlib.sha256(VERSION + vertices.tobytes() + faces.tobytes()).hexdigest()[:24]
    found = kept.parts(key)
    if found is None:
        cut = convex_parts(RawMesh(vertices, faces, np.zeros(len(faces), int)), MOST_PARTS, dent=DENT)
        pieces = [convex_hull(part) for part in cut.parts]
        # Parts that fit badly overlap, and fill more than the hull does.
        share = sum(mass_properties(piece)[0] for piece in pieces) / mass_properties(whole)[0]
        found = [piece.vertices for piece in pieces] if len(pieces) > 1 and share <= WORTH else [whole.vertices]
        if cut.keep:
            kept.keep_parts(key, found)
    return found


def load(path: Path, scale: np.ndarray, pos: np.ndarray, turn: np.ndarray, what: str) -> List[Shape]:
    """The convex parts of a mesh file.  Raises HandError if it cannot be read."""
    if path.suffix.lower() not in (".obj", ".stl", ".ply", ".glb"):
        raise HandError(f"{what}: mesh {path.name} is no .obj, .stl, .ply or .glb: convert it")
    try:
        mesh = _read_glb(path) if path.suffix.lower() == ".glb" else read_mesh(path, path.read_bytes())
    except (ObjectError, OSError) as error:
        raise HandError(f"{what}: {' '.join(str(error).split())[:160]}") from error
    return hulls(mesh.vertices * scale, np.asarray(mesh.faces, int), pos, turn, f"{what}, mesh {path.name}")


def _read_glb(path: Path) -> RawMesh:
    """All meshes of its scene together.  Raises ObjectError."""
    import trimesh

    try:
        mesh: Any = trimesh.load(str(path), force="mesh")
        return RawMesh(np.asarray(mesh.vertices, float), np.asarray(mesh.faces, int), np.zeros(len(mesh.faces), int))
    except Exception as error:  # trimesh raises whatever its readers meet in a file
        raise ObjectError(f"{path.name} cannot be read: {error}") from error
