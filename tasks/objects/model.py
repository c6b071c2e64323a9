"""An object to grasp, as every simulator and the rewards see it: a few convex parts in one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np

MAX_HULL_VERTICES = 48
"""Vertices of one convex part; more cost time in every simulator and change nothing a finger feels."""

MAX_PARTS = 8
"""Convex parts of one object."""


class ObjectError(ValueError):
    """An object set or a mesh that cannot be used; its text is one line that says what to do."""


@dataclass(frozen=True)
class ObjectModel:
    """A rigid object of convex parts.

    The frame: origin at the centre of the box that bounds all parts along the frame's axes; x along that box's longest side,
    y along its second.
    """

    name: str
    kind: str
    """Family, for curricula and tables: sphere, cube, cylinder, hull, bottle, mesh, ..."""
    parts: Tuple[np.ndarray, ...]
    """Each (V, 3) float64, the vertices of one convex hull in the object's frame, m; V <= MAX_HULL_VERTICES."""
    mass: float
    """kg"""
    com: np.ndarray
    """(3,) centre of mass in the object's frame, m."""
    inertia: np.ndarray
    """(3, 3) about the centre of mass, in the object's axes, kg m^2."""
    rest_quat: np.ndarray
    """(S, 4) stable orientations on a plane, (w, x, y, z)."""
    rest_height: np.ndarray
    """(S,) height of the frame's origin above the plane in each."""
    rest_prob: np.ndarray
    """(S,) how likely each is when dropped; sums to 1."""
    friction: Optional[float] = None
    """Sliding friction, if known; otherwise the task draws it."""

    @property
    def half_extents(self) -> np.ndarray:
        """(3,) half sides of the bounding box along the frame's axes, m."""
        return np.concatenate(self.parts).max(axis=0)
