"""Meshes of a hand's links: read and cut into convex parts as objects are."""

from __future__ import annotations

from pathlib import Path
from typing import List

import numpy as np

from tasks.hands.errors import HandError
from tasks.hands.reading.tree import Shape
from tasks.objects.geometry import convex_hull
from tasks.objects.meshes.cut import convex_parts
from tasks.objects.meshes.read import RawMesh, read_mesh
from tasks.objects.model import ObjectError

MOST_PARTS = 4
"""Of a link; a mesh that would need more becomes its hull."""


def hulls(vertices: np.ndarray, faces: np.ndarray, pos: np.ndarray, turn: np.ndarray, what: str) -> List[Shape]:
    """The convex parts of a mesh whose frame is (pos, turn) in the link's.  Raises HandError if it is flat or empty."""
    if len(faces) == 0 or not np.isfinite(vertices).all():
        raise HandError(f"{what}: has no faces, or corners that are no numbers; export the mesh again")
    mesh = RawMesh(np.asarray(vertices, float), np.asarray(faces, int), np.zeros(len(faces), int))
    try:
        convex_hull(mesh.vertices)
        parts = convex_parts(mesh).parts
        if len(parts) > MOST_PARTS:
            parts = [mesh.vertices[np.unique(mesh.faces)]]
        corners = [convex_hull(part).vertices for part in parts]
    except ValueError as error:
        raise HandError(f"{what}: is flat; a collision mesh needs a volume") from error
    return [Shape("hull", np.zeros(0), np.zeros(3), np.eye(3), pos + part @ turn.T) for part in corners]


def load(path: Path, scale: np.ndarray, pos: np.ndarray, turn: np.ndarray, what: str) -> List[Shape]:
    """The convex parts of a mesh file.  Raises HandError if it cannot be read."""
    if path.suffix.lower() not in (".obj", ".stl", ".ply"):
        raise HandError(f"{what}: mesh {path.name} is no .obj, .stl or .ply: convert it")
    try:
        mesh = read_mesh(path, path.read_bytes())
    except (ObjectError, OSError) as error:
        raise HandError(f"{what}: {' '.join(str(error).split())[:160]}") from error
    return hulls(mesh.vertices * scale, mesh.faces, pos, turn, f"{what}, mesh {path.name}")
