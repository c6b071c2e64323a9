"""The pieces of household things.  Each is both a solid (a signed distance) and a sheet of triangles.  All lengths are cm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, List, Sequence, Tuple, Union

import numpy as np

Profile = Sequence[Tuple[float, float]]
"""Corners (r, z) of a shape that is turned around the z axis, from below upwards."""
SECTIONS = 20
"""Segments around the axis of a turned sheet."""


@dataclass(frozen=True)
class Piece:
    """A solid, and the sheet of triangles that a drawing would have for it."""

    distance: Callable[[np.ndarray], np.ndarray]
    """(N, 3) points -> (N,) signed distances, negative inside.  They must be exact near the surface only."""
    vertices: np.ndarray
    """(V, 3)"""
    faces: np.ndarray
    """(T, 3)"""

    def at(
        self, x: float = 0.0, y: float = 0.0, z: float = 0.0, *, rx: float = 0.0, ry: float = 0.0, rz: float = 0.0
    ) -> Piece:
        """The piece turned by degrees around x, then y, then z, and then moved."""
        turn = np.eye(3)
        for axis, degrees in enumerate((rx, ry, rz)):
            c, s, i, j = np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), (axis + 1) % 3, (axis + 2) % 3
            step = np.eye(3)
            step[i, i], step[i, j], step[j, i], step[j, j] = c, -s, s, c
            turn = step @ turn
        place, inner = np.array([x, y, z]), self.distance
        return Piece(lambda p: inner((p - place) @ turn), self.vertices @ turn.T + place, self.faces)


def box(x: float, y: float, z: float, r: float = 0.0) -> Piece:
    """A box with these full sides and its middle at the origin.  r: the radius of the solid's edges."""
    half = np.array([x, y, z]) / 2

    def distance(p: np.ndarray) -> np.ndarray:
        q = np.abs(p) - (half - r)
        return np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(axis=1), 0) - r

    corners = np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]) * half
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Piece(distance, corners, _cut(quads))


def ball(x: float, y: float, z: float) -> Piece:
    """An ellipsoid with these full axes."""
    radii = np.array([x, y, z]) / 2

    def distance(p: np.ndarray) -> np.ndarray:
        near = np.linalg.norm(p / radii, axis=1)
        return near * (near - 1) / np.maximum(np.linalg.norm(p / radii**2, axis=1), 1e-9)

    angle = np.linspace(-np.pi / 2, np.pi / 2, 11)
    vertices, faces = _turned(np.stack([np.cos(angle), np.sin(angle)], axis=1), 16)
    return Piece(distance, vertices * radii, faces)


def lathe(profile: Profile, squash: float = 1.0) -> Piece:
    """The solid inside a profile that is turned around z.  squash: a factor for y.  The sheet is open where the profile is."""
    line = np.asarray(profile, float)
    outline = np.concatenate([line, line[::-1] * (-1, 1)])  # the mirror image keeps the axis from being an edge
    vertices, faces = _turned(line, SECTIONS)
    return Piece(
        lambda p: _in_polygon(np.stack([np.hypot(p[:, 0], p[:, 1] / squash), p[:, 2]], axis=1), outline),
        vertices * (1, squash, 1), faces,
    )  # fmt: skip


def shell(profile: Profile, wall: float, squash: float = 1.0) -> Piece:
    """A wall along a profile that is turned around z.  Its sheet is in the middle of the wall."""
    line = np.asarray(profile, float)
    vertices, faces = _turned(line, SECTIONS)

    def distance(p: np.ndarray) -> np.ndarray:
        flat = np.stack([np.hypot(p[:, 0], p[:, 1] / squash), p[:, 2]], axis=1)
        return np.min([_to_segment(flat, a, b)[0] for a, b in zip(line[:-1], line[1:])], axis=0) - wall / 2

    return Piece(distance, vertices * (1, squash, 1), faces)


def tube(points: Sequence[Sequence[float]], *radii: float, smooth: int = 0) -> Piece:
    """Round rods along a line, with one radius or one for each point.  smooth: how many times the corners are cut off."""
    line = np.column_stack(
        [np.asarray(points, float), np.broadcast_to(radii if len(radii) > 1 else radii[0], len(points))]
    )
    for _ in range(smooth):
        middle = [f * line[:-1] + (1 - f) * line[1:] for f in (0.75, 0.25)]
        line = np.concatenate([line[:1], np.stack(middle, axis=1).reshape(-1, 4), line[-1:]])
    path, radius = line[:, :3], line[:, 3]

    def distance(p: np.ndarray) -> np.ndarray:
        found = np.full(len(p), np.inf)
        for a, b, ra, rb in zip(path[:-1], path[1:], radius[:-1], radius[1:]):
            gap, t = _to_segment(p, a, b)
            found = np.minimum(found, gap - (ra + t * (rb - ra)))
        return found

    ends = [
        path[[k, k, k]] + np.outer((1, 0.7, 0), radius[k] * _unit(path[k] - path[m])) for k, m in ((0, 1), (-1, -2))
    ]
    path = np.concatenate([ends[0], path[1:-1], ends[1][::-1]])
    radius = np.concatenate([radius[0] * np.array([0.02, 0.7, 1]), radius[1:-1], radius[-1] * np.array([1, 0.7, 0.02])])
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-12
    side = np.cross(along, np.eye(3)[np.abs(along).sum(axis=0).argmin()])
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-12
    other, angle = np.cross(along, side), 2 * np.pi * np.arange(8) / 8
    rings = path[:, None] + radius[:, None, None] * (
        np.cos(angle)[:, None] * side[:, None] + np.sin(angle)[:, None] * other[:, None]
    )
    return Piece(distance, rings.reshape(-1, 3), _grid(len(path), 8))


def plate(sections: Sequence[Tuple[float, float, float]], thick: float) -> Piece:
    """A flat thing in the x-y plane.  sections: (x, lowest y, highest y), with rising x."""
    s = np.asarray(sections, float)
    outline = np.concatenate([s[:, [0, 1]], s[::-1][:, [0, 2]]])

    def distance(p: np.ndarray) -> np.ndarray:
        q = np.stack([_in_polygon(p[:, :2], outline), np.abs(p[:, 2]) - thick / 2], axis=1)
        return np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(axis=1), 0)

    n, h = len(s), thick / 2
    vertices = np.stack(
        [np.column_stack([s[:, 0], s[:, c], np.full(n, z)]) for c, z in ((1, -h), (2, -h), (2, h), (1, h))], 1
    )
    return Piece(distance, vertices.reshape(-1, 3), np.concatenate([_grid(n, 4), _cut([(0, 3, 2, 1), tuple(4 * n - 4 + k for k in range(4))])]))  # fmt: skip


def less(piece: Piece, *others: Piece) -> Piece:
    """The piece without the others.  Its sheet keeps them as inner walls."""
    faces, start = [piece.faces], len(piece.vertices)
    for o in others:
        faces.append(o.faces[:, ::-1] + start)
        start += len(o.vertices)
    vertices = np.concatenate([piece.vertices, *[o.vertices for o in others]])
    return Piece(
        lambda p: np.max([piece.distance(p), *[-o.distance(p) for o in others]], axis=0), vertices, np.concatenate(faces)
    )  # fmt: skip


# --- scans -------------------------------------------------------------------------------------------------------------


def solid(pieces: Sequence[Piece], spacing: float) -> Tuple[np.ndarray, np.ndarray]:
    """A closed surface (vertices (V, 3), triangles (T, 3)) around the union of the pieces, by surface nets on a grid."""
    low = np.min([p.vertices.min(axis=0) for p in pieces], axis=0) - 2.5 * spacing
    high = np.max([p.vertices.max(axis=0) for p in pieces], axis=0) + 2.5 * spacing
    shape = np.ceil((high - low) / spacing).astype(int) + 1
    value = np.full(shape, 3 * spacing)
    for piece in pieces:  # each changes the grid near itself only
        a = np.maximum(((piece.vertices.min(axis=0) - low) / spacing).astype(int) - 3, 0)
        b = np.minimum(((piece.vertices.max(axis=0) - low) / spacing).astype(int) + 5, shape)
        place = np.stack(np.meshgrid(*[np.arange(i, j) for i, j in zip(a, b)], indexing="ij"), axis=-1)
        part = piece.distance(low + spacing * place.reshape(-1, 3)).reshape(place.shape[:3])
        view = value[a[0] : b[0], a[1] : b[1], a[2] : b[2]]
        np.minimum(view, part, out=view)
    total, count = np.zeros((*(shape - 1), 3)), np.zeros(shape - 1)
    crossed: List[Tuple[int, np.ndarray]] = []
    for axis in range(3):
        v = np.moveaxis(value, axis, 0)
        edges = np.argwhere(np.moveaxis((v[:-1] < 0) != (v[1:] < 0), 0, axis))
        further = edges + np.eye(3, dtype=int)[axis]
        start, end = value[tuple(edges.T)], value[tuple(further.T)]
        point = edges + (start / (start - end))[:, None] * np.eye(3)[axis]
        i, j = (axis + 1) % 3, (axis + 2) % 3
        for di, dj in ((0, 0), (1, 0), (1, 1), (0, 1)):
            cell = edges.copy()
            cell[:, i] -= di
            cell[:, j] -= dj
            np.add.at(total, tuple(cell.T), point)
            np.add.at(count, tuple(cell.T), 1)
        crossed.append((axis, np.where((start < 0)[:, None], edges, -edges - 1)))
    number = np.full(shape - 1, -1)
    number[count > 0] = np.arange((count > 0).sum())
    vertices = low + spacing * total[count > 0] / count[count > 0][:, None]
    triangles = []
    for axis, signed in crossed:
        outward = signed[:, 0] >= 0
        edges, i, j = np.where(outward[:, None], signed, -signed - 1), (axis + 1) % 3, (axis + 2) % 3
        ring = []
        for di, dj in ((0, 0), (1, 0), (1, 1), (0, 1)):
            cell = edges.copy()
            cell[:, i] -= di
            cell[:, j] -= dj
            ring.append(number[tuple(cell.T)])
        quad = np.stack(ring, axis=1)
        quad[~outward] = quad[~outward][:, ::-1]
        triangles += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return vertices, np.concatenate(triangles)


# --- helpers -----------------------------------------------------------------------------------------------------------


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def _to_segment(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """(distance (N,) of points to a segment, place along it (N,) from 0 to 1)."""
    t = np.clip((p - a) @ (b - a) / max(float((b - a) @ (b - a)), 1e-12), 0, 1)
    return np.linalg.norm(p - a - t[:, None] * (b - a), axis=1), t


def _in_polygon(p: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Signed distance (N,) of points (N, 2) to a closed polygon, negative inside."""
    gap, inside = np.full(len(p), np.inf), np.zeros(len(p), bool)
    for a, b in zip(outline, np.roll(outline, -1, axis=0)):
        gap = np.minimum(gap, _to_segment(p, a, b)[0])
        if a[1] != b[1]:
            crosses = (p[:, 1] < a[1]) != (p[:, 1] < b[1])
            inside ^= crosses & (p[:, 0] < a[0] + (p[:, 1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0]))
    return np.where(inside, -gap, gap)


def _cut(quads: Union[np.ndarray, Sequence[Sequence[int]]]) -> np.ndarray:
    q = np.asarray(quads)
    return np.concatenate([q[:, [0, 1, 2]], q[:, [0, 2, 3]]])


def _grid(rows: int, ring: int) -> np.ndarray:
    """Triangles between closed rings of vertices, one after the other."""
    k, n = np.meshgrid(np.arange(rows - 1), np.arange(ring), indexing="ij")
    a, b = (k * ring + n).ravel(), (k * ring + (n + 1) % ring).ravel()
    return _cut(np.stack([a, b, b + ring, a + ring], axis=1))


def _turned(line: np.ndarray, count: int) -> Tuple[np.ndarray, np.ndarray]:
    angle = 2 * np.pi * np.arange(count) / count
    around = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    return (line[:, 0, None, None] * around + line[:, 1, None, None] * (0, 0, 1)).reshape(-1, 3), _grid(
        len(line), count
    )
