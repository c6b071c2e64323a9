"""Signed distances to the surfaces of objects, as `tasks.objects.distance` has them, in one kernel of Warp."""

from __future__ import annotations

import math
from typing import no_type_check

import warp as wp
from torch import Tensor

wp.set_module_options({"enable_backward": False, "default_grid_stride": False})

TOGETHER = wp.constant(8)
"""Faces that a thread reads at once.  Their reads overlap; a decision after each face would wait for each read."""


@wp.kernel
@no_type_check  # Warp's language, not Python's
def _signed_distance(
    faces: wp.array3d[wp.vec4],
    object_id: wp.array[wp.int64],
    points: wp.array2d[wp.vec3],
    gaps: wp.array2d[float],
):
    world, part, point = wp.tid()
    item = int(object_id[world])
    x = points[world, point]
    last = faces.shape[2] - 1
    deepest = -float(wp.inf)
    for first in range(0, last + 1, TOGETHER):
        plane = wp.vec4()
        for k in range(TOGETHER):
            plane = faces[item, part, wp.min(first + k, last)]
            deepest = wp.max(deepest, wp.dot(wp.vec3(plane[0], plane[1], plane[2]), x) - plane[3])
        if wp.length_sq(wp.vec3(plane[0], plane[1], plane[2])) == 0.0:
            break  # the rest of this part is padding, too
    wp.atomic_min(gaps, world, point, deepest)


def signed_distance(faces: Tensor, object_id: Tensor, points: Tensor) -> Tensor:
    """(N, M) m, signed distances from points to objects, launched on Warp's current stream.

    points: (N, M, 3) in the objects' frames.  object_id: (N,) int64, of a set with faces (V, P, F, 4), see `ObjectTensors`.
    It reads an object's own faces only.  Torch would multiply and compare all padded faces, some ten times as many.
    """
    gaps = points.new_full(points.shape[:2], math.inf)
    arguments = [
        wp.from_torch(faces, wp.vec4),
        wp.from_torch(object_id),
        wp.from_torch(points.contiguous(), wp.vec3),
        wp.from_torch(gaps),
    ]
    threads = (points.shape[0], faces.shape[1], points.shape[1])
    wp.launch(_signed_distance, threads, arguments, device=wp.device_from_torch(points.device))
    return gaps
