"""Shapes at the limits of what a hand can hold: wide and flat, thin, long and top-heavy, or with loops.  See `simple.py`."""

from __future__ import annotations

import numpy as np

from tasks.objects.shapes.compounds import arc, chain
from tasks.objects.shapes.simple import Parts, ball_points, box_points, frustum, log_uniform, rod, tilt


def carton(rng: np.random.Generator) -> Parts:
    """A box like those of cereals or books.  It lies on its widest side most of the time."""
    return [box_points((rng.uniform(1.05, 1.8), 1, rng.uniform(0.3, 0.6)))]


def plate(rng: np.random.Generator) -> Parts:
    """A shallow dish.  Its sides slope outwards, so that fingers get under the rim."""
    rim, foot = rng.uniform(0.15, 0.45), rng.uniform(0.5, 0.8)
    return [frustum(foot, 1, 0, rim, 20, rng.uniform(0.7, 1) if rng.random() < 0.4 else 1)]


def card(rng: np.random.Generator) -> Parts:
    """A thin slab: telephones, remote controls, spectacle cases."""
    half = np.array([log_uniform(rng, 1.3, 4), 1, rng.uniform(0.12, 0.45)])
    cut = rng.uniform(0.1, 0.9) * half[2]
    return [np.concatenate([box_points(half - cut * (np.arange(3) != k)) for k in range(3)])]


def cutlery(rng: np.random.Generator) -> Parts:
    """A thin shaft with a flat head: knives, spoons, forks, spatulas, brushes."""
    shaft, head, wide = rng.uniform(4, 9), rng.uniform(2, 4), rng.uniform(0.6, 1.8)
    thick = rng.uniform(0.3, 0.55)
    if rng.random() < 0.5:
        grip = rod((0, 0, 0), (shaft, 0, 0), thick, 8)
    else:
        grip = box_points((shaft / 2, 0.6, thick), (shaft / 2, 0, 0))
    blade = box_points((head / 2, wide, rng.uniform(0.25, thick)))
    blade[blade[:, 0] > 0] *= (1, rng.uniform(0.3, 1), rng.uniform(0.6, 1))
    return [grip, tilt(blade, rng.uniform(-0.1, 0.1)) + np.array([shaft + 0.45 * head, 0, 0])]


def pliers(rng: np.random.Generator) -> Parts:
    """Two flat bars that cross, like scissors, pliers and clamps, sometimes with grips at their ends."""
    angle, cross, thick = rng.uniform(0.1, 0.5), rng.uniform(0.55, 0.75), rng.uniform(0.03, 0.075)
    parts: Parts = []
    for side in (-1, 1):
        bar = box_points((1, rng.uniform(0.06, 0.12), thick), (1 - 2 * cross, 0, side * 0.5 * thick))
        parts.append(tilt(bar, side * angle / 2, axis=2))
        if rng.random() < 0.6:
            grip = box_points((0.35, 0.14, 1.3 * thick), (-2 * cross + 0.4, 0, side * 0.5 * thick))
            parts.append(tilt(grip, side * angle / 2, axis=2))
    return parts


def club(rng: np.random.Generator) -> Parts:
    """A long handle with a heavy head at its end, in line or across: dryers, brushes, ladles, torches, bats."""
    length, grip = rng.uniform(3, 6), rng.uniform(0.28, 0.5)
    handle = rod((0, 0, 0), (length, 0, 0), grip, 8, rounded=rng.random() < 0.5)
    draw = rng.random()
    if draw < 0.35:
        head = ball_points() * (rng.uniform(0.7, 1.3), rng.uniform(0.6, 1), rng.uniform(0.5, 1))
    elif draw < 0.7:
        head = box_points((rng.uniform(0.4, 1), rng.uniform(0.5, 1), rng.uniform(0.4, 0.9)))
    else:
        head = tilt(frustum(rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.9), -1, 1, 14), rng.uniform(0, np.pi / 2))
    return [handle, head + np.array([length, 0, rng.uniform(-0.3, 0.3)])]


def tote(rng: np.random.Generator) -> Parts:
    """A bag with a thin loop, upright or fallen over."""
    wide, deep, high = rng.uniform(0.9, 1.4), rng.uniform(0.25, 0.6), rng.uniform(0.7, 1.1)
    bag = box_points((wide, deep, high))
    bag[bag[:, 2] > 0] *= (rng.uniform(0.75, 1.1), rng.uniform(0.15, 0.9), 1)
    loop = arc((0, 0, 0.95 * high), rng.uniform(0.35, 0.7) * wide, rng.uniform(0.4, 1.1), 0, np.pi, 5)
    return [bag, *chain(loop, rng.uniform(0.05, 0.09))]


def hoop(rng: np.random.Generator) -> Parts:
    """A bow with something at its ends, like headphones or a basket's handle."""
    bow = arc((0, 0, 0), 1, rng.uniform(0.8, 1.2), -0.2, np.pi + 0.2, 4)
    parts = chain(bow, rng.uniform(0.1, 0.16), rng.uniform(0.1, 0.25) if rng.random() < 0.5 else None)
    cup, deep = rng.uniform(0.3, 0.5), rng.uniform(0.1, 0.25)
    for end in (bow[0], bow[-1]):
        parts.append(tilt(frustum(cup, cup, -deep, deep, 12), np.pi / 2) + end)
    return parts
