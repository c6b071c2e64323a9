"""What a hand is: an MJCF file, and the names and poses in it that the task needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Tuple

import mujoco
import numpy as np


@dataclass(frozen=True)
class HandSpec:
    """A floating hand with D drives, 6 of them the base's, and F fingertips.

    The palm's frame has its origin in the middle of the palm's inner face, x towards the fingers, and z out of the back of the
    hand.  With all base joints at zero it is the world's frame, and so the palm faces down.  The base joints are three slides
    along x, y, z and then three hinges about x, y, z, from the world to the palm.  So the slides are the palm's position.
    """

    name: str
    mjcf: Path
    base_joints: Tuple[str, ...]
    """6 names: slide x, y, z, hinge x, y, z."""
    finger_joints: Tuple[str, ...]
    """D - 6 driven joints of the fingers.  In the MJCF an actuator has the name of the joint that it drives."""
    coupled_joints: Mapping[str, str]
    """Coupled joint -> the driven joint whose angle it follows, by a fixed tendon."""
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
    """m, a point before the palm, in the palm's frame, where the surface of a grasped object should be."""
    grip_yaw: float = 0.0
    """rad, direction from the thumb's tip to the fingers' in the pre-grasp: about the palm's z, from its x."""
    open_pose: Mapping[str, float] = field(default_factory=dict)
    """rad, finger joints at the evaluation start.  Joints that are not named are 0."""
    pregrasp_pose: Mapping[str, float] = field(default_factory=dict)
    """rad, finger joints bent as before a grasp, with the thumb opposed.  Joints that are not named are 0."""
    closed_pose: Mapping[str, float] = field(default_factory=dict)
    """rad, targets of finger joints that press on a grasped object; joints that are not named stay as before a grasp.  If it is
    empty, scripted grasps bend each joint towards its upper limit."""

    coupling_ratios: Mapping[str, float] = field(default_factory=dict)
    """Coupled joint -> how far it turns for each radian of the joint that it follows; 1 for joints not named."""

    def coupling(self, joint: str) -> float:
        """The ratio of a coupled joint."""
        return self.coupling_ratios.get(joint, 1.0)

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
        """D, the number of drives."""
        return len(self.drives)

    @property
    def num_fingertips(self) -> int:
        """F, the number of fingertips."""
        return len(self.fingertips)
