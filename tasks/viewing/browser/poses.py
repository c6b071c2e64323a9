"""Where all bodies of a hand are, by MuJoCo's forward kinematics on the hand's model alone."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import mujoco
import numpy as np

from tasks.hands.spec import HandSpec


class HandPoses:
    """Turns positions of the driven joints into poses of bodies.  Coupled joints are put where they belong."""

    def __init__(self, hand: HandSpec, bodies: Sequence[str]) -> None:
        """bodies: names, in the order of the poses."""
        self._model = model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
        self._data = mujoco.MjData(model)
        self._bodies = [model.body(name).id for name in bodies]
        self._driven = [int(model.joint(name).qposadr[0]) for name in hand.drives]
        drives = list(hand.drives)
        self._coupled: List[Tuple[int, int, float]] = [
            (int(model.joint(name).qposadr[0]), drives.index(source), hand.coupling(name))
            for name, source in hand.coupled_joints.items()
        ]

    def __call__(self, joint_pos: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """joint_pos (W, D) -> positions (W, B, 3) m and quaternions (W, B, 4), w x y z."""
        count = len(joint_pos)
        pos, quat = np.empty((count, len(self._bodies), 3)), np.empty((count, len(self._bodies), 4))
        data = self._data
        for world, joints in enumerate(joint_pos):
            data.qpos[self._driven] = joints
            for address, source, ratio in self._coupled:
                data.qpos[address] = ratio * joints[source]
            mujoco.mj_kinematics(self._model, data)
            pos[world], quat[world] = data.xpos[self._bodies], data.xquat[self._bodies]
        return pos, quat
