"""Where the camera of the videos stands."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.simulators.contract import TABLE_HEIGHT
from tasks.viewing import look


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 9, 16, 25, 36])
def test_all_hands_are_in_the_picture_and_fill_it(count: int) -> None:
    """Table and goal of each hand, seen by a pinhole camera."""
    view = look.view(count)
    ahead = np.asarray(view.look_at) - view.position
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    up = np.cross(right, ahead)
    tall = np.tan(np.radians(look.FIELD_OF_VIEW / 2))
    places = look.places(count)
    corners = [
        (x + along, y + aside, TABLE_HEIGHT + height)
        for x, y in places
        for along in (-0.05, 0.05)
        for aside in (-0.12, 0.12)
        for height in (0.0, 0.3)
    ]
    rays = np.array(corners) - view.position
    depth = rays @ ahead
    across, upward = rays @ right / depth / tall / (16 / 9), rays @ up / depth / tall
    assert np.abs(across).max() < 1 and np.abs(upward).max() < 1
    assert max(np.abs(across).max(), np.abs(upward).max()) > 0.6
