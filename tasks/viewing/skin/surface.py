"""The surface of a solid as a mesh: naive surface nets, then moved onto the surface itself."""

from __future__ import annotations

from typing import Tuple

import numpy as np

from tasks.viewing.skin.solids import Solid, gradient

NEWTON_STEPS = 3


def mesh(solid: Solid, cell: float) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (V, 3), outward unit normals (V, 3) and triangles (T, 3) of a solid's surface, in cells of `cell` m.

    Each cell of a grid that the surface passes through has a vertex at the mean of the crossings of its edges, and each edge
    that it crosses has a quad of the four cells around it (Gibson 1998).  Newton steps along the gradient then put the vertices
    onto the surface, so that a coarse grid does for a smooth picture.
    """
    low = solid.low - 1.5 * cell
    counts = np.ceil((solid.high + 1.5 * cell - low) / cell).astype(int) + 1
    axes = [start + cell * np.arange(count) for start, count in zip(low, counts)]
    values = solid.distance(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    inside = values < 0
    cells = tuple(counts - 1)
    total, number = np.zeros((*cells, 3)), np.zeros(cells)
    quads = []
    index = np.arange(int(np.prod(cells))).reshape(cells)
    for axis in range(3):
        first = [slice(None)] * 3
        second = list(first)
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        a, b = values[tuple(first)], values[tuple(second)]
        at = np.argwhere(inside[tuple(first)] != inside[tuple(second)])
        before, after = a[tuple(at.T)], b[tuple(at.T)]
        place = at.astype(float)
        place[:, axis] += before / (before - after)
        u, v = (axis + 1) % 3, (axis + 2) % 3
        around = []
        for du, dv in ((-1, -1), (0, -1), (0, 0), (-1, 0)):
            owner = at.copy()
            owner[:, u] += du
            owner[:, v] += dv
            np.add.at(total, tuple(owner.T), place)
            np.add.at(number, tuple(owner.T), 1)
            around.append(index[tuple(owner.T)])
        quad = np.stack(around, axis=1)
        quads.append(np.where((before < 0)[:, None], quad, quad[:, ::-1]))
    used = np.flatnonzero(number.ravel())
    rank = np.zeros(number.size, dtype=int)
    rank[used] = np.arange(len(used))
    points = low + cell * (total.reshape(-1, 3)[used] / number.ravel()[used][:, None])
    faces = rank[np.concatenate(quads)]
    for _ in range(NEWTON_STEPS):
        points = points - solid.distance(points)[:, None] * gradient(solid.distance, points)
    return points, gradient(solid.distance, points), np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
