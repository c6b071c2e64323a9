"""The model of an object to grasp that all simulators and the task share: a few convex parts in one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np

MAX_HULL_VERTICES = 48
"""Most vertices of a convex part.  More would cost time in every simulator and hardly change what a finger feels."""

MAX_PARTS = 8
"""Most convex parts of an object, unless a user asks for more."""

LARGEST_MAX_PARTS = 64
"""As many may be asked for.  Each costs time in every control step, see docs/performance.md."""

DENSITY = 400.0
"""kg/m^3, for objects without a given mass.  A full box or bottle has 300 to 1000, an empty one 50 to 200."""


class ObjectError(ValueError):
    """An object set or a mesh cannot be used.  The message is one line that says what to do."""


@dataclass(frozen=True)
class ObjectModel:
    """A rigid object of convex parts.

    Its frame has the axes of the box that bounds all parts, x along the longest side and y along the second longest.  The origin
    is the centre of that box.
    """

    name: str
    kind: str
    """The family of shapes, used by curricula and tables: sphere, cube, cylinder, hull, bottle, mesh, ..."""
    parts: Tuple[np.ndarray, ...]
    """Each (V, 3) float64, m: the vertices of a convex hull in the object's frame, at most MAX_HULL_VERTICES."""
    mass: float
    """kg"""
    com: np.ndarray
    """(3,) centre of mass in the object's frame, m."""
    inertia: np.ndarray
    """(3, 3) about the centre of mass, in the object's axes, kg m^2."""
    rest_quat: np.ndarray
    """(S, 4) quaternions (w, x, y, z) of the stable orientations on a plane."""
    rest_height: np.ndarray
    """(S,) m, the height of the frame's origin above the plane in each orientation."""
    rest_prob: np.ndarray
    """(S,) the probability of each orientation after a drop; they sum to 1."""
    friction: Optional[float] = None
    """The coefficient of sliding friction; if None, the task draws one."""

    @property
    def half_extents(self) -> np.ndarray:
        """(3,) half sides of the bounding box along the frame's axes, m."""
        return np.concatenate(self.parts).max(axis=0)
