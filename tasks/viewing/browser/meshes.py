"""Meshes as a browser takes them: glTF binaries with normals and materials."""

from __future__ import annotations

from typing import Sequence, Tuple

import numpy as np
import trimesh

from tasks.objects import ObjectModel
from tasks.objects.geometry import convex_hull
from tasks.viewing.skin import SkinPart

SMOOTH_BELOW = 50.0
"""deg.  Faces of an object that meet at a smaller angle are shaded as one smooth surface."""
ROUGHNESS = {"palm": 0.55, "link": 0.42, "joint": 0.25, "tip": 0.8}

Colour = Tuple[float, float, float]
Surface = Tuple[np.ndarray, np.ndarray, np.ndarray]
"""Points (V, 3), unit normals (V, 3) and triangles (T, 3)."""


def glb(surfaces: Sequence[Surface], colours: Sequence[Colour], roughness: Sequence[float]) -> bytes:
    """A glTF binary of several surfaces, each of one colour."""
    scene = trimesh.Scene()
    for index, ((points, normals, faces), colour, rough) in enumerate(zip(surfaces, colours, roughness)):
        material = trimesh.visual.material.PBRMaterial(
            baseColorFactor=[*(linear(c) for c in colour), 1.0], metallicFactor=0.0, roughnessFactor=rough
        )
        mesh = trimesh.Trimesh(
            points,
            faces,
            vertex_normals=normals,
            process=False,
            visual=trimesh.visual.TextureVisuals(uv=np.zeros((len(points), 2)), material=material),
        )
        scene.add_geometry(mesh, node_name=f"part_{index}", geom_name=f"part_{index}")
    return scene.export(file_type="glb", include_normals=True)


def linear(colour: float) -> float:
    """A colour of a screen, 0 to 1, as the light that glTF wants: the sRGB curve."""
    return colour / 12.92 if colour <= 0.04045 else ((colour + 0.055) / 1.055) ** 2.4


def skin_glb(parts: Sequence[SkinPart]) -> bytes:
    """The skin of one body."""
    surfaces = [(part.points, part.normals, part.faces) for part in parts]
    return glb(surfaces, [part.colour for part in parts], [ROUGHNESS[part.kind] for part in parts])


def object_mesh(item: ObjectModel) -> Tuple[np.ndarray, np.ndarray]:
    """Points (V, 3) and triangles (T, 3) of an object's parts.  Triangles share a point where a browser is to shade smoothly."""
    points, faces, count = [], [], 0
    for part in item.parts:
        hull = convex_hull(part)
        own, triangles = creased(hull.vertices, hull.triangles)
        points.append(own)
        faces.append(triangles + count)
        count += len(own)
    return np.concatenate(points).astype(np.float32), np.concatenate(faces).astype(np.uint32)


def creased(points: np.ndarray, faces: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Splits the points of a mesh at its edges: triangles share a point only if they meet there nearly level."""
    corners = points[faces]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    unit = area / (np.linalg.norm(area, axis=-1, keepdims=True) + 1e-12)
    level = unit @ unit.T > np.cos(np.radians(SMOOTH_BELOW))
    normals = np.empty((len(faces), 3, 3))
    for corner in range(3):
        meets = (faces[None, :, :] == faces[:, corner, None, None]).any(-1)
        normals[:, corner] = (meets & level) @ area
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-12
    keys = np.concatenate([faces.reshape(-1, 1), np.round(1e4 * normals.reshape(-1, 3))], axis=1)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return corners.reshape(-1, 3)[first], inverse.reshape(-1, 3)
