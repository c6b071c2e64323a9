"""Draws a contact sheet of objects."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence, Union

import numpy as np

from tasks.objects.geometry import convex_hull
from tasks.objects.model import ObjectError, ObjectModel


def contact_sheet(objects: Sequence[ObjectModel], path: Union[str, Path], columns: int = 10) -> None:
    """Draws each object in its most probable rest pose to a picture file.  Parts have different colours.

    Raises ObjectError if matplotlib is not installed.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from mpl_toolkits.mplot3d.art3d import Poly3DCollection
    except ImportError as error:
        raise ObjectError("pictures need matplotlib: pip install matplotlib") from error
    rows = -(-len(objects) // columns)
    figure = Figure(figsize=(1.6 * columns, 1.75 * rows), dpi=80)
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1 - 0.2 / (1.75 * rows), wspace=0, hspace=0.12)
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    for i, thing in enumerate(objects):
        axes = figure.add_subplot(rows, columns, i + 1, projection="3d")
        turn = rotation(thing.rest_quat[0])
        for k, part in enumerate(thing.parts):
            hull = convex_hull(part @ turn.T)
            faces = Poly3DCollection(hull.vertices[hull.triangles], facecolors=[colours[k % 10]], shade=True)
            axes.add_collection3d(faces)
        reach = 0.8 * max(float(np.linalg.norm(thing.half_extents)), 0.04)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
        axes.set_axis_off()
        axes.view_init(25, -60)
        axes.set_box_aspect((1, 1, 1), zoom=1.5)
        size = " x ".join(f"{200 * h:.0f}" for h in thing.half_extents)
        axes.set_title(f"{thing.name}\n{size} cm, {1000 * thing.mass:.0f} g", fontsize=6.5, pad=-8)
    figure.savefig(str(path))


def rotation(quat: np.ndarray) -> np.ndarray:
    """(3, 3) matrix of a quaternion (w, x, y, z)."""
    w, x, y, z = quat
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
