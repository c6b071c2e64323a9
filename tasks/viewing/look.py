"""The look of a scene, in videos, in MuJoCo's window and in the browser: colours, lights, where hands stand, and the camera."""

from __future__ import annotations

import math
from typing import NamedTuple, Tuple

import numpy as np

from tasks.simulators.contract import TABLE_HEIGHT

OBJECT_COLOURS = (
    (0.16, 0.46, 0.86),
    (0.10, 0.58, 0.52),
    (0.55, 0.35, 0.78),
    (0.90, 0.70, 0.15),
    (0.82, 0.24, 0.34),
    (0.35, 0.60, 0.22),
)
"""Objects take turns.  None is like the hand's colours, so that a grasp can be seen."""
TABLE_COLOUR, LINE_COLOUR, HORIZON_COLOUR, SKY_COLOUR = (
    (0.80, 0.81, 0.82),
    (0.70, 0.72, 0.74),
    (0.52, 0.55, 0.59),
    (0.36, 0.41, 0.48),
)
GOAL_COLOUR, REACHED_COLOUR = (0.10, 0.62, 0.32), (0.20, 0.90, 0.40)
GOAL_RADIUS, GOAL_WIRE = 0.05, 0.0011
"""m.  The goal is three thin rings of opaque wire, so that an object hides what is behind it."""
FORCE_COLOUR = (0.85, 0.10, 0.45)
FORCE_LENGTH = 0.01
"""m of an arrow for each N of force."""

SPACING = 0.42
"""m between hands that are shown side by side."""
LOOK_AT_HEIGHT = 0.24
"""m, between the table and the goal."""
DISTANCE = 0.66
"""m from there to the camera, for one hand."""
AZIMUTH, ELEVATION = 182.0, -24.0
"""deg, MuJoCo's: from above, and from where thumb and fingers close, so that the back of the hand hides neither."""
ELEVATION_OF_MANY = -30.0
"""deg, for several hands, so that the rows do not hide each other."""
WIDE, TALL, DEEP = 0.25, 0.40, 0.1
"""m, what a hand needs in the picture: to the sides, from the table up to where it lifts its object, and away from the camera."""
MARGIN, WIDE_PICTURE = 0.93, 16 / 9
"""Share of the picture that hands fill, and the picture's width over its height."""
SWING, SWING_SECONDS = 22.0, 16.0
"""deg to either side, and the period: the camera of a video turns slowly."""
FIELD_OF_VIEW = 42.0
"""deg, vertical."""


class Light(NamedTuple):
    """A spotlight on the middle of the table.  With more hands it stands further away."""

    place: Tuple[float, float, float]
    """m"""
    brightness: float
    casts_shadow: bool


LIGHTS = (Light((0.75, 1.05, 1.9), 0.55, True), Light((-1.3, -0.9, 1.1), 0.20, False))
"""One that casts shadows, and a weak one for what lies in them."""
CUTOFF, EXPONENT = 60.0, 3.0
"""deg, half the angle of a spotlight; and how much darker it is at its edge."""
AMBIENT = 0.40
"""Light from everywhere."""


class View(NamedTuple):
    """Where a camera stands, as MuJoCo has it."""

    look_at: Tuple[float, float, float]
    distance: float
    azimuth: float
    """deg"""
    elevation: float
    """deg"""

    @property
    def position(self) -> np.ndarray:
        """(3,) m, of the camera."""
        turn, tilt = math.radians(self.azimuth), math.radians(self.elevation)
        towards = np.array([math.cos(tilt) * math.cos(turn), math.cos(tilt) * math.sin(turn), math.sin(tilt)])
        return np.asarray(self.look_at) - self.distance * towards


def grid(count: int) -> Tuple[int, int]:
    """Rows and columns of so many hands."""
    columns = max(1, math.ceil(math.sqrt(count)))
    return -(-count // columns), columns


def places(count: int) -> np.ndarray:
    """(count, 2) m, where so many hands stand on the table: a grid about the origin, the first row the furthest from the camera."""
    rows, columns = grid(count)
    index = np.arange(count)
    found = np.stack([index // columns, index % columns], axis=1).astype(float)
    return SPACING * (found - np.array([(rows - 1) / 2, (columns - 1) / 2]))


def object_colour(number: int) -> Tuple[float, float, float]:
    """Red, green and blue, 0 to 1, of the object with this number in its set."""
    return OBJECT_COLOURS[number % len(OBJECT_COLOURS)]


def view(count: int = 1, seconds: float = 0.0) -> View:
    """The camera for so many hands, at a time of a video; at 0 s it stands where a window's begins."""
    swing = SWING * math.sin(2 * math.pi * seconds / SWING_SECONDS)
    if count == 1:
        return View((0.0, 0.0, TABLE_HEIGHT + LOOK_AT_HEIGHT), DISTANCE, AZIMUTH + swing, ELEVATION)
    look_at = (0.0, 0.0, TABLE_HEIGHT + LOOK_AT_HEIGHT - 0.06)
    return View(look_at, _distance_for_all(count, look_at[2]), AZIMUTH + swing, ELEVATION_OF_MANY)


def _distance_for_all(count: int, height: float) -> float:
    """m from the middle at this height from which all hands are in the picture, with a margin."""
    half = np.array([DEEP / 2, 0.0])
    towards, aside = np.concatenate([places(count) + half, places(count) - half]).T
    low, high = TABLE_HEIGHT - height, TABLE_HEIGHT + TALL - height
    tilt, tall = math.radians(-ELEVATION_OF_MANY), MARGIN * math.tan(math.radians(FIELD_OF_VIEW / 2))
    needed = [(np.abs(aside) + WIDE / 2) / (tall * WIDE_PICTURE) + towards * math.cos(tilt) + high * math.sin(tilt)]
    for up in (low, high):
        shown = up * math.cos(tilt) - towards * math.sin(tilt)
        needed.append(np.abs(shown) / tall + towards * math.cos(tilt) + up * math.sin(tilt))
    return float(np.max(needed))


def rings(segments: int = 48, around: int = 6) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The goal's three rings about the origin: points (V, 3), outward normals (V, 3) and triangles (T, 3)."""
    turn = np.arange(segments) * 2 * np.pi / segments
    bend = np.arange(around) * 2 * np.pi / around
    out = np.stack([np.cos(turn), np.sin(turn), np.zeros(segments)], axis=1)
    normals = np.cos(bend)[None, :, None] * out[:, None] + np.sin(bend)[None, :, None] * np.array([0.0, 0.0, 1.0])
    points = (GOAL_RADIUS * out)[:, None] + GOAL_WIRE * normals
    a = np.arange(segments)[:, None] * around + np.arange(around)[None]
    b = (np.arange(segments)[:, None] + 1) % segments * around + np.arange(around)[None]
    a1, b1 = np.roll(a, -1, axis=1), np.roll(b, -1, axis=1)
    faces = np.concatenate([np.stack([a, b, b1], -1).reshape(-1, 3), np.stack([a, b1, a1], -1).reshape(-1, 3)])
    flat = points.reshape(-1, 3), normals.reshape(-1, 3)
    orders = ([0, 1, 2], [2, 0, 1], [1, 2, 0])  # even permutations keep the triangles' sense
    count = len(flat[0])
    return (
        np.concatenate([flat[0][:, o] for o in orders]),
        np.concatenate([flat[1][:, o] for o in orders]),
        np.concatenate([faces + k * count for k in range(3)]),
    )
