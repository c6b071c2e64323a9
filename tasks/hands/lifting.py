"""A scripted grasp in MuJoCo C: the hand comes down, closes, lifts and holds.  Tells whether a hand can grasp at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Tuple
from xml.etree import ElementTree

import mujoco
import numpy as np

from tasks.hands.spec import HandSpec

TABLE = 0.05
"""m, height of the table's top."""
CLEARANCE = 0.07
"""m between the object's top and the palm before the hand comes down, as the task's pre-grasp starts have it."""
LIFT = 0.15
"""m"""


@dataclass(frozen=True)
class Thing:
    """What is lifted: a sphere, a box or an upright cylinder."""

    shape: str
    size: Tuple[float, ...]
    """m: radius; half sides; radius and half height."""
    mass: float = 0.2
    friction: float = 0.8

    @property
    def half_height(self) -> float:
        """m"""
        return self.size[0] if self.shape == "sphere" else self.size[-1]

    @property
    def name(self) -> str:
        """For people, such as "sphere of 7 cm"."""
        return f"{self.shape} of {200 * self.size[0]:.0f} cm"


@dataclass(frozen=True)
class Grip:
    """How a hand closes: two poses of the fingers, and where the object is then, in the palm's frame."""

    pregrasp: Mapping[str, float]
    closed: Mapping[str, float]
    """Targets of the drives, rad; inside the object, so that the fingers press."""
    centre: Tuple[float, float]
    """m, x and y of the object."""
    depth: float
    """m from the palm's inner face to the object's middle."""


def scene(hand: HandSpec, thing: Thing) -> mujoco.MjModel:
    """Hand, table and object, with the contacts of the task's physics and steps of 1/120 s."""
    root = ElementTree.parse(hand.mjcf).getroot()
    world = root.find("worldbody")
    assert world is not None
    ElementTree.SubElement(
        root, "option", timestep=str(1 / 120), integrator="implicitfast", cone="elliptic", impratio="10"
    )
    contact = {
        "contype": "2", "conaffinity": "3", "condim": "4", "priority": "1", "solref": "0.01 1",
        "solimp": "0.95 0.99 0.001 0.5 2", "friction": f"{thing.friction} 0.01 0.0001",
    }  # fmt: skip
    ElementTree.SubElement(world, "geom", {"type": "plane", "size": "1 1 0.1", "pos": f"0 0 {TABLE}", **contact})
    body = ElementTree.SubElement(world, "body", name="thing", pos=f"0 0 {TABLE + thing.half_height}")
    ElementTree.SubElement(body, "freejoint")
    size = " ".join(str(x) for x in thing.size)
    ElementTree.SubElement(body, "geom", {"type": thing.shape, "size": size, "mass": str(thing.mass), **contact})
    return mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))


def lifts(hand: HandSpec, grip: Grip, thing: Thing, hold: float = 1.0) -> bool:
    """Whether the object is still in the hand `hold` seconds after it was lifted."""
    model = scene(hand, thing)
    data = mujoco.MjData(model)
    controls = [model.actuator(name).id for name in hand.drives]
    low, high = model.actuator_ctrlrange[controls].T
    above = TABLE + 2 * thing.half_height + CLEARANCE
    # Not so deep that the palm would touch the object.
    down = TABLE + max(thing.half_height + grip.depth, 2 * thing.half_height + 0.008)
    bent, closed = (_targets(hand, pose) for pose in (grip.pregrasp, grip.closed))

    def targets(height: float, share: float) -> np.ndarray:
        goal = bent + share * (closed - bent)
        goal[:3] = -grip.centre[0], -grip.centre[1], height
        return np.clip(goal, low, high)

    start = targets(above, 0.0)
    for name, value in zip(hand.drives, start):
        data.joint(name).qpos[0] = value
    for name, source in hand.coupled_joints.items():
        data.joint(name).qpos[0] = hand.coupling(name) * data.joint(source).qpos[0]
    while data.time < 2.2 + hold:
        lowered = min(1.0, data.time / 0.5)
        share = min(1.0, max(0.0, (data.time - 0.6) / 0.5))
        rise = LIFT * min(1.0, max(0.0, (data.time - 1.4) / 0.8))
        data.ctrl[controls] = targets(above + lowered * (down - above) + rise, share)
        mujoco.mj_step(model, data)
    height = float(data.body("thing").xpos[2]) - TABLE - thing.half_height
    return bool(height > LIFT - 0.04 and np.linalg.norm(data.body("thing").cvel) < 0.3)


def _targets(hand: HandSpec, pose: Mapping[str, float]) -> np.ndarray:
    return np.array([0.0] * 6 + [pose.get(name, 0.0) for name in hand.finger_joints])
