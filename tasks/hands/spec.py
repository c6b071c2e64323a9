"""What a hand is: one MJCF file and the names and poses that the task needs of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Tuple

import mujoco
import numpy as np


@dataclass(frozen=True)
class HandSpec:
    """A floating hand with D drives, 6 of them the base's, and F fingertips.

    With all base joints at zero the palm's frame is the world's: origin in the middle of the palm's inner face, z out of the
    back of the hand, x towards the fingers, so that the palm faces down.  Base joints are three slides x, y, z and three
    hinges about x, y, z, in this order from the world to the palm, so the slides are the palm's position.
    """

    name: str
    mjcf: Path
    base_joints: Tuple[str, ...]
    """6 names: slide x, y, z, hinge x, y, z."""
    finger_joints: Tuple[str, ...]
    """D - 6 driven joints of the fingers.  In the MJCF an actuator has the name of the joint that it drives."""
    coupled_joints: Mapping[str, str]
    """Distal joint -> the driven joint it follows one to one, through a fixed tendon."""
    palm_body: str
    palm_site: str
    fingertips: Tuple[str, ...]
    """F names for people, such as "thumb"; all tensors of fingertips have this order."""
    fingertip_bodies: Tuple[str, ...]
    """F distal bodies."""
    fingertip_sites: Tuple[str, ...]
    """F sites, the fingertips' frames: origin in the middle of the fingertip's rounded end."""
    fingertip_radius: Tuple[float, ...]
    """F radii of those ends, m."""
    palm_centre: Tuple[float, float, float]
    """A point before the palm, in the palm's frame, where a grasped object's surface should come to lie, m."""
    grip_yaw: float = 0.0
    """Direction from the thumb's tip to the fingers' in the pre-grasp, about the palm's z from its x, rad."""
    open_pose: Mapping[str, float] = field(default_factory=dict)
    """Finger joints at the evaluation start, rad; joints not named are 0."""
    pregrasp_pose: Mapping[str, float] = field(default_factory=dict)
    """Finger joints bent as before a grasp, thumb opposed, rad; joints not named are 0."""

    def drive_ranges(self) -> np.ndarray:
        """(D, 2) lower and upper limits of the drives' targets, as the MJCF has them, m or rad."""
        model = mujoco.MjModel.from_xml_path(str(self.mjcf))
        return np.array([model.actuator(name).ctrlrange for name in self.drives])

    @property
    def drives(self) -> Tuple[str, ...]:
        """The D driven joints in the order of actions, targets and observations: the base's 6, then the fingers'."""
        return self.base_joints + self.finger_joints

    @property
    def num_drives(self) -> int:
        """D"""
        return len(self.drives)

    @property
    def num_fingertips(self) -> int:
        """F"""
        return len(self.fingertips)
