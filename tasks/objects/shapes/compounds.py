"""Shapes of several convex parts: vessels, beams, tools, things with handles.  See `simple.py` for what a family is."""

from __future__ import annotations

from typing import List, Optional, Sequence

import numpy as np

from tasks.objects.shapes import simple
from tasks.objects.shapes.simple import Parts, ball_points, box_points, frustum, log_uniform, ring, rod, tilt, upright


def chain(points: np.ndarray, radius: float, flat: Optional[float] = None) -> Parts:
    """Rods with round ends along a line of (n, 3) points.  flat: if given, boxes of this half height (along y) in place of rods."""
    parts: List[np.ndarray] = []
    for p, q in zip(points[:-1], points[1:]):
        if flat is None:
            parts.append(rod(p, q, radius, 8, rounded=True))
        else:
            d = q - p
            length = float(np.linalg.norm(d))
            bar = box_points((length / 2 + 0.8 * radius, flat, radius))
            parts.append(tilt(bar, float(np.arctan2(d[2], d[0]))) + (p + q) / 2)
    return parts


def arc(centre: Sequence[float], rx: float, rz: float, start: float, stop: float, count: int) -> np.ndarray:
    """(count, 3) points of an ellipse's arc in the plane y = centre[1].  Angles, rad, go from x to z."""
    angle = np.linspace(start, stop, count)
    return np.asarray(centre, float) + np.stack([rx * np.cos(angle), 0 * angle, rz * np.sin(angle)], axis=1)


def handle(rng: np.random.Generator, x: float, z: float, height: float, reach: float) -> Parts:
    """Three rods or bars from (x, z - height / 2) to (x, z + height / 2), curved outwards along x."""
    points = arc((x, 0, z), reach, height / 2, -np.pi / 2, np.pi / 2, 4)
    radius = rng.uniform(0.1, 0.16) * max(height, reach)
    return chain(points, radius, rng.uniform(1, 1.8) * radius if rng.random() < 0.5 else None)


# --- round about an axis -----------------------------------------------------------------------------------------------


def bottle(rng: np.random.Generator) -> Parts:
    """A body, a shoulder and a neck, sometimes with a wider cap."""
    body, shoulder, neck = log_uniform(rng, 1.2, 4), rng.uniform(0.3, 1), rng.uniform(0.3, 1)
    waist, throat = rng.uniform(0.85, 1.05), rng.uniform(0.25, 0.55)
    profile = [(1, 0), (waist, body), (throat, body + shoulder), (throat, body + shoulder + neck)]
    parts = upright(profile, squash=rng.uniform(0.5, 1) if rng.random() < 0.4 else 1)
    if rng.random() < 0.5:
        top = body + shoulder + neck
        parts.append(frustum(1.25 * throat, 1.2 * throat, top - 0.5 * neck, top + 0.1, 12))
    return parts


def vase(rng: np.random.Generator) -> Parts:
    """Three or four cone slices of random radii and heights."""
    count = int(rng.integers(3, 5))
    radii = rng.uniform(0.4, 1, count + 1)
    heights = np.concatenate([[0], np.cumsum(rng.uniform(0.3, 1.2, count))])
    return upright(list(zip(radii, heights)))


def jar(rng: np.random.Generator) -> Parts:
    """A can or pot with a lid or a foot of another radius."""
    height, lid, other = log_uniform(rng, 0.7, 3), rng.uniform(0.2, 0.5), rng.uniform(0.6, 1.25)
    count = int(rng.choice([6, 8, 20]))
    return [frustum(1, rng.uniform(0.9, 1.1), 0, height, count), frustum(other, other, height, height + lid, 20)]


def goblet(rng: np.random.Generator) -> Parts:
    """A foot, a stem and a cup."""
    stem, cup, rim = rng.uniform(1, 2.5), rng.uniform(1.2, 2.2), rng.uniform(0.8, 1.1)
    profile = [(0.25, stem), (1, stem + 0.45 * cup), (rim, stem + cup)]
    foot = frustum(rng.uniform(0.75, 1), 0.4, 0, 0.25, 20)
    return [foot, frustum(0.22, 0.18, 0.2, stem + 0.1, 8), *upright(profile, 20)]


def bowl(rng: np.random.Generator) -> Parts:
    """A floor with a wall of six segments."""
    foot, height, count = rng.uniform(0.45, 0.9), rng.uniform(0.5, 1.4), 6
    thick = rng.uniform(0.12, 0.2)
    parts = [frustum(foot, foot + 0.15 * (1 - foot), 0, thick, 12)]
    for k in range(count):
        angles = 2 * np.pi * (k + np.array([0.0, 0.5, 1.0])) / count
        around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        low, high = np.full((3, 1), 0.0), np.full((3, 1), height)
        rings = [(foot, low), (foot - thick, low), (1, high), (1 - thick, high)]
        parts.append(np.concatenate([np.concatenate([r * around, z], axis=1) for r, z in rings]))
    return parts


def tray(rng: np.random.Generator) -> Parts:
    """An open box: a floor and four walls."""
    x, y, z, thick = log_uniform(rng, 1, 2), 1.0, log_uniform(rng, 0.3, 1.2), rng.uniform(0.1, 0.18)
    parts = [box_points((x, y, thick), (0, 0, thick))]
    for s in (-1, 1):
        parts += [
            box_points((x, thick, z), (0, s * (y - thick), z)),
            box_points((thick, y, z), (s * (x - thick), 0, z)),
        ]
    return parts


# --- with handles ------------------------------------------------------------------------------------------------------


def mug(rng: np.random.Generator) -> Parts:
    """A filled cup with a handle of three pieces."""
    height, taper = rng.uniform(1.5, 2.8), rng.uniform(0.85, 1.2)
    grip = handle(rng, 0.93 * (1 + taper) / 2, height / 2, rng.uniform(0.5, 0.75) * height, rng.uniform(0.55, 0.9))
    return [frustum(1, taper, 0, height, 20), *grip]


def pitcher(rng: np.random.Generator) -> Parts:
    """A tall body with a spout's lip and a handle."""
    height, mouth = rng.uniform(2.2, 3.5), rng.uniform(0.6, 0.9)
    lip = np.concatenate([ring(mouth, height, 12), ring(0.8 * mouth, 0.7 * height, 12), [[-1.3 * mouth, 0, height]]])
    return [
        frustum(1, mouth, 0, height, 16),
        lip,
        *handle(rng, 0.75, 0.5 * height, 0.6 * height, rng.uniform(0.6, 0.9)),
    ]


def teapot(rng: np.random.Generator) -> Parts:
    """A round body with a lid's knob, a spout and a handle."""
    tall = rng.uniform(0.65, 1)
    body = ball_points() * (1, 1, tall)
    body[:, 2] = np.maximum(body[:, 2], -0.75 * tall)
    knob = frustum(0.15, 0.2, 0.9 * tall, 1.25 * tall, 8)
    spout = tilt(frustum(0.3, 0.13, 0, 1.1, 10), -rng.uniform(0.6, 1)) * (-1, 1, 1) - (0.65, 0, 0.2 * tall)
    if spout[:, 0].mean() > 0:
        spout = tilt(frustum(0.3, 0.13, 0, 1.1, 10), 0.8) - (0.65, 0, 0.2 * tall)
    return [body, knob, spout, *handle(rng, 0.85, 0, 1.1 * tall, rng.uniform(0.5, 0.75))]


def pan(rng: np.random.Generator) -> Parts:
    """A disc with a long handle."""
    deep, length = rng.uniform(0.3, 0.9), rng.uniform(1.2, 2.4)
    grip = rod(
        (0.8, 0, 0.7 * deep), (1 + length, 0, rng.uniform(0.6, 1) * deep), rng.uniform(0.14, 0.2), 8, rounded=True
    )
    return [frustum(rng.uniform(0.75, 1), 1, 0, deep, 20), grip]


def purse(rng: np.random.Generator) -> Parts:
    """A bag that narrows upwards, with an arched handle."""
    wide, deep, high = rng.uniform(1, 1.5), rng.uniform(0.35, 0.6), rng.uniform(0.8, 1.2)
    bag = box_points((wide, deep, high / 2))
    bag[bag[:, 2] > 0] *= (rng.uniform(0.7, 1), rng.uniform(0.3, 0.8), 1)
    grip = arc((0, 0, 0.42 * high), rng.uniform(0.4, 0.65) * wide, rng.uniform(0.4, 0.9), 0, np.pi, 5)
    return [bag, *chain(grip, rng.uniform(0.07, 0.11), rng.uniform(0.08, 0.16))]


# --- beams -------------------------------------------------------------------------------------------------------------


def _beam(start: Sequence[float], end: Sequence[float], thick: float, deep: float) -> np.ndarray:
    """A box along the line from start to end, which lies in the x-z plane."""
    p, q = np.asarray(start, float), np.asarray(end, float)
    d = q - p
    bar = box_points((float(np.linalg.norm(d)) / 2, deep, thick))
    return tilt(bar, float(np.arctan2(d[2], d[0]))) + (p + q) / 2


def angle_piece(rng: np.random.Generator) -> Parts:
    """An L, sometimes with an obtuse angle."""
    t, deep = rng.uniform(0.15, 0.35), rng.uniform(0.15, 0.5)
    bend = np.pi / 2 if rng.random() < 0.7 else rng.uniform(1.2, 2.4)
    arm = rng.uniform(0.8, 2)
    tip = (arm * np.cos(bend), 0, arm * np.sin(bend))
    return [_beam((-t, 0, 0), (2, 0, 0), t, deep), _beam((0, 0, 0), tip, t, deep)]


def tee(rng: np.random.Generator) -> Parts:
    """A T, sometimes off its middle."""
    t, deep, x = rng.uniform(0.15, 0.35), rng.uniform(0.15, 0.5), rng.uniform(-0.4, 0.4)
    return [_beam((-1, 0, 0), (1, 0, 0), t, deep), _beam((x, 0, 0), (x, 0, rng.uniform(1, 2.2)), t, deep)]


def channel(rng: np.random.Generator) -> Parts:
    """A U."""
    t, deep, wide = rng.uniform(0.15, 0.3), rng.uniform(0.2, 0.6), rng.uniform(0.7, 1.4)
    arms = [_beam((s * wide, 0, 0), (s * wide, 0, rng.uniform(0.7, 1.8)), t, deep) for s in (-1, 1)]
    return [_beam((-wide - t, 0, 0), (wide + t, 0, 0), t, deep), *arms]


def cross(rng: np.random.Generator) -> Parts:
    """Two or three beams through a point."""
    t, deep = rng.uniform(0.18, 0.35), rng.uniform(0.18, 0.35)
    parts = [box_points((1, deep, t)), box_points((t, deep, rng.uniform(0.6, 1)))]
    if rng.random() < 0.5:
        parts.append(box_points((t, rng.uniform(0.6, 1), t)))
    return parts


def bracket(rng: np.random.Generator) -> Parts:
    """A bent bar: three or four pieces of an arc, like a banana or a boomerang."""
    points = arc((0, 0, 0), 1, rng.uniform(0.7, 1), 0, rng.uniform(1.2, 2.6), int(rng.integers(4, 6)))
    radius = rng.uniform(0.15, 0.3)
    return chain(points, radius, rng.uniform(0.7, 1.3) * radius if rng.random() < 0.3 else None)


# --- tools and things --------------------------------------------------------------------------------------------------


def hammer(rng: np.random.Generator) -> Parts:
    """A shaft with a head across it, sometimes with a tapered end."""
    shaft, head, thick = rng.uniform(2.2, 4), rng.uniform(0.8, 1.2), rng.uniform(0.22, 0.4)
    grip = rng.uniform(0.2, 0.32)
    parts = [frustum(grip, 0.8 * grip, 0, shaft, 12, rng.uniform(0.7, 1))]
    if rng.random() < 0.5:
        parts.append(tilt(frustum(thick, thick, -head, 0.6 * head, 12), np.pi / 2) + np.array([0, 0, shaft]))
    else:
        parts.append(box_points((0.8 * head, thick, thick), (-0.2 * head, 0, shaft)))
    if rng.random() < 0.6:
        claw = box_points((0.4 * head, thick, thick), (0.85 * head, 0, shaft))
        claw[claw[:, 0] > 0.85 * head, 2] = shaft + thick * np.array([-0.9, -0.6, -0.9, -0.6])
        parts.append(claw)
    return parts


def wrench(rng: np.random.Generator) -> Parts:
    """A flat bar with an open jaw at one end and a disc at the other."""
    length, deep, thick = rng.uniform(2.5, 4.5), rng.uniform(0.25, 0.4), rng.uniform(0.25, 0.4)
    parts = [box_points((length / 2, deep, thick), (length / 2, 0, 0))]
    parts += [_beam((length - 0.1, 0, s * 0.3), (length + 0.8, 0, s * 0.65), 0.22, deep) for s in (-1, 1)]
    if rng.random() < 0.6:
        parts.append(tilt(frustum(0.6, 0.6, -deep, deep, 12), np.pi / 2, axis=0))
    return parts


def screwdriver(rng: np.random.Generator) -> Parts:
    """A thick handle and a thin shaft."""
    grip, shaft, thin = rng.uniform(2, 3.5), rng.uniform(1.5, 4), rng.uniform(0.2, 0.4)
    count = int(rng.choice([6, 8, 16]))
    return [
        frustum(0.8, 1, 0, 0.8 * grip, count),
        frustum(1, 0.6, 0.8 * grip, grip, count),
        frustum(thin, thin, grip, grip + shaft, 8),
    ]


def knife(rng: np.random.Generator) -> Parts:
    """A handle with a flat blade, like a knife, a spatula or a brush."""
    grip, blade = rng.uniform(1.5, 2.5), rng.uniform(1.5, 3)
    wide, thin = rng.uniform(0.35, 0.9), rng.uniform(0.15, 0.25)
    head = box_points((blade / 2, wide, thin), (grip + blade / 2, 0, 0))
    head[head[:, 0] > grip + 0.5 * blade] *= (1, rng.uniform(0.5, 1), 1)
    return [rod((0, 0, 0), (grip, 0, 0), rng.uniform(0.3, 0.4), 8, rounded=True), head]


def drill(rng: np.random.Generator) -> Parts:
    """A barrel above a grip, with a chuck and a foot: power tools, spray heads, dryers."""
    barrel, grip, wide = rng.uniform(1.6, 2.4), rng.uniform(1.2, 2), rng.uniform(0.35, 0.5)
    lean = rng.uniform(-0.1, 0.35)
    parts = [
        box_points((barrel / 2, wide, wide))
        if rng.random() < 0.4
        else tilt(frustum(wide, wide, -barrel / 2, barrel / 2, 12), np.pi / 2)
    ]
    foot = (-0.3 * barrel - grip * np.sin(lean), 0, -grip * np.cos(lean))
    parts.append(_beam((-0.3 * barrel, 0, 0), foot, 0.9 * wide, 0.75 * wide))
    tip = tilt(frustum(0.35 * wide, 0.7 * wide, 0, 0.6, 10), np.pi / 2)
    parts.append(tip * (np.sign(tip[:, 0].mean()), 1, 1) + (barrel / 2, 0, 0))
    if rng.random() < 0.5:
        parts.append(box_points((1.4 * wide, wide, 0.3 * wide), foot))
    return parts


def camera(rng: np.random.Generator) -> Parts:
    """A body with a lens, sometimes with a hump or a grip."""
    wide, high, deep = rng.uniform(1.1, 1.6), rng.uniform(0.75, 1), rng.uniform(0.3, 0.6)
    lens, reach = rng.uniform(0.4, 0.65) * high, rng.uniform(0.3, 1.6)
    tube = tilt(frustum(lens, rng.uniform(0.85, 1.05) * lens, 0, deep + reach, 16), np.pi / 2, axis=0)
    parts = [box_points((wide, deep, high)), tube * (1, np.sign(tube[:, 1].mean()), 1) + (rng.uniform(-0.3, 0.3), 0, 0)]
    if rng.random() < 0.5:
        parts.append(frustum(0.5, 0.3, 0.9 * high, 1.35 * high, 4))
    if rng.random() < 0.5:
        parts.append(box_points((0.2 * wide, 0.35 * deep, 0.9 * high), (0.8 * wide, 1.2 * deep, 0)))
    return parts


def shoe(rng: np.random.Generator) -> Parts:
    """A sole, a toe that slopes down and an ankle."""
    wide, high = rng.uniform(0.32, 0.45), rng.uniform(0.6, 1.2)
    outline = ring(1, 0, 12) * (1.1, wide, 1)
    sole = np.concatenate([outline, outline + np.array([0, 0, 0.25])])
    toe = np.concatenate([0.93 * outline + np.array([0, 0, 0.2]), box_points((0.35, 0.7 * wide, 0.1), (-0.3, 0, 0.45))])
    ankle = box_points((0.38, 0.75 * wide, high / 2), (-0.6, 0, 0.2 + high / 2))
    ankle[ankle[:, 2] > 0.5] *= (1, 0.85, 1)
    return [sole, toe, ankle]


def dumbbell(rng: np.random.Generator) -> Parts:
    """Two weights on a bar."""
    length, bar = rng.uniform(1.6, 3.2), rng.uniform(0.25, 0.5)
    ends: Parts = []
    for s in (-1, 1):
        r = rng.uniform(0.7, 1)
        if rng.random() < 0.5:
            ends.append(r * ball_points() + (0, 0, s * length / 2))
        else:
            ends.append(frustum(r, r, s * length / 2 - 0.3, s * length / 2 + 0.3, int(rng.choice([6, 16]))))
    return [frustum(bar, bar, -length / 2, length / 2, 10), *ends]


def toy(rng: np.random.Generator) -> Parts:
    """A body with a head and legs or wings: figures, cars, planes."""
    body = (
        ball_points() * (1, rng.uniform(0.5, 0.7), rng.uniform(0.45, 0.7))
        if rng.random() < 0.6
        else box_points((1, 0.5, 0.4))
    )
    head = rng.uniform(0.35, 0.5) * ball_points() + (rng.uniform(0.7, 1), 0, rng.uniform(0.3, 0.7))
    spread = rng.uniform(0.5, 1.1)
    limbs = [box_points((0.2, spread / 2 + 0.2, 0.13), (x, 0, rng.uniform(-0.5, -0.2))) for x in (-0.55, 0.45)]
    return [body, head, *limbs]


def pile(rng: np.random.Generator) -> Parts:
    """Two to four random convex pieces that overlap: shapes that no other family has."""
    makers = (simple.hull, simple.box, simple.cylinder, simple.ellipsoid, simple.cone, simple.prism)
    parts: Parts = []
    for _ in range(int(rng.integers(2, 5))):
        piece = makers[int(rng.integers(len(makers)))](rng)[0]
        piece = (piece - piece.mean(axis=0)) / np.ptp(piece, axis=0).max() * rng.uniform(0.5, 1)
        for axis in range(3):
            piece = tilt(piece, rng.choice([0, np.pi / 2]) if rng.random() < 0.6 else rng.uniform(0, np.pi), axis)
        if parts:  # it starts from a point well inside an earlier piece
            former = parts[int(rng.integers(len(parts)))]
            weights = rng.dirichlet(np.full(len(former), 0.25))
            piece = piece + 0.8 * (weights @ former) + 0.2 * former.mean(axis=0)
        parts.append(piece)
    return parts
