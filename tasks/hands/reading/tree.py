"""A hand's description as plain data, whichever format it came from: links, joints and shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

import mujoco
import numpy as np


@dataclass
class Shape:
    """A solid of a link."""

    kind: str
    """"box", "sphere", "capsule" or "hull"."""
    size: np.ndarray
    """Half sides; radius; radius and half length.  Unused for a hull."""
    pos: np.ndarray
    """(3,) in the link's frame."""
    turn: np.ndarray
    """(3, 3)"""
    points: np.ndarray
    """(V, 3) in the link's frame: its corners, or points all over its surface."""


@dataclass
class Joint:
    """One axis of motion."""

    name: str
    kind: str
    """"hinge" or "slide"."""
    axis: np.ndarray
    anchor: np.ndarray
    low: float
    high: float
    effort: Optional[float] = None
    """N m or N, None if the file does not say."""
    armature: float = 0.0


@dataclass
class Link:
    """A rigid body.  Its joints act in their order from the parent to itself."""

    name: str
    parent: int
    """Number in the tree, -1 for the root; parents come before their children."""
    pos: np.ndarray
    turn: np.ndarray
    joints: List[Joint] = field(default_factory=list)
    mass: float = 0.0
    """kg, not a number if the file does not say."""
    com: np.ndarray = field(default_factory=lambda: np.zeros(3))
    inertia: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))
    """(3, 3) kg m^2, about the centre of mass, in the link's axes."""
    shapes: List[Shape] = field(default_factory=list)


@dataclass
class Coupling:
    """A joint that follows another one: angle = offset + ratio * that of `source`."""

    source: str
    ratio: float = 1.0
    offset: float = 0.0


@dataclass
class Tree:
    """The links and couplings of a file."""

    links: List[Link]
    couplings: Dict[str, Coupling] = field(default_factory=dict)
    driven: Optional[List[str]] = None
    """Joints with actuators; None if the file has no actuators, and then all joints that follow no other are driven."""
    notes: List[str] = field(default_factory=list)
    """What was changed or guessed, for people."""

    def joints(self) -> Dict[str, Joint]:
        """All joints by name."""
        return {joint.name: joint for link in self.links for joint in link.joints}

    def frames(self, angles: Optional[Dict[str, float]] = None) -> List[Tuple[np.ndarray, np.ndarray]]:
        """(pos, turn) of each link in the root's frame; joints not named are at 0."""
        found: List[Tuple[np.ndarray, np.ndarray]] = []
        for link in self.links:
            pos, turn = (np.zeros(3), np.eye(3)) if link.parent < 0 else found[link.parent]
            pos, turn = pos + turn @ link.pos, turn @ link.turn
            for joint in link.joints:
                value = (angles or {}).get(joint.name, 0.0)
                if joint.kind == "slide":
                    pos = pos + turn @ (value * joint.axis)
                else:
                    bend = about(joint.axis, value)
                    pos = pos + turn @ (joint.anchor - bend @ joint.anchor)
                    turn = turn @ bend
            found.append((pos, turn))
        return found


def about(axis: np.ndarray, angle: float) -> np.ndarray:
    """(3, 3) rotation about a unit axis."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def to_matrix(quat: np.ndarray) -> np.ndarray:
    """(3, 3) of a quaternion (w, x, y, z)."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(quat, dtype=float))
    return matrix.reshape(3, 3)


def to_quat(turn: np.ndarray) -> np.ndarray:
    """(4,) of a rotation."""
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(turn).ravel())
    return quat


def joined(parts: List[Tuple[float, np.ndarray, np.ndarray]]) -> Tuple[float, np.ndarray, np.ndarray]:
    """(mass, centre of mass, inertia about it) of several such parts together, all in one frame."""
    mass = sum(m for m, _, _ in parts)
    if mass <= 0:
        return 0.0, np.zeros(3), np.zeros((3, 3))
    com = sum((m * c for m, c, _ in parts), np.zeros(3)) / mass
    inertia = np.zeros((3, 3))
    for m, c, i in parts:
        d = c - com
        inertia += i + m * (d @ d * np.eye(3) - np.outer(d, d))
    return mass, com, inertia


def box_points(half: np.ndarray) -> np.ndarray:
    """(8, 3) corners of a box of these half sides."""
    return np.array(np.meshgrid(*[(-h, h) for h in half])).reshape(3, -1).T


def ball_points() -> np.ndarray:
    """Points on the unit sphere."""
    angles = np.linspace(0, 2 * np.pi, 13)[:-1]
    rings = [
        (np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e))
        for e in np.radians((-60, -30, 0, 30, 60))
        for a in angles
    ]
    return np.array([*rings, (0.0, 0.0, 1.0), (0.0, 0.0, -1.0)])


def make_shapes(kind: str, size: np.ndarray, pos: np.ndarray, turn: np.ndarray) -> List[Shape]:
    """A primitive as shapes that all simulators know: a long cylinder becomes a capsule, a short one a box."""
    size = np.asarray(size, dtype=float)
    if kind == "cylinder":
        radius, half = size[0], size[1]
        if half > radius:
            kind, size = "capsule", np.array([radius, half - radius])
        else:
            kind, size = "box", np.array([0.9 * radius, 0.9 * radius, half])
    if kind == "box":
        points = box_points(size)
    elif kind == "capsule":
        points = np.concatenate([size[0] * ball_points() + [0, 0, s * size[1]] for s in (1, -1)])
    elif kind == "ellipsoid":
        kind, points = "hull", ball_points() * size
    else:
        points = size[0] * ball_points()
    return [Shape(kind, size, pos, turn, pos + points @ turn.T)]
