"""Reads `SimState` from MuJoCo's arrays: where things are in them, for C and Warp, and the reader of C."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple

import numpy as np
import torch
from torch import Tensor

from tasks import rotations
from tasks.hands.spec import HandSpec
from tasks.simulators.contract import SimState
from tasks.simulators.mujoco.scene import Scene

MAX_SPEED = 200.0
"""m/s or rad/s.  A world whose joint or object is faster has diverged."""


PHYSICS_STATE = ("qpos", "qvel", "act", "qacc_warmstart", "ctrl", "time")
"""Fields of mjData that decide what follows, besides the rows of the model that a reset writes."""


def check_shapes(state: Dict[str, Tensor], shapes: Dict[str, Tuple[int, ...]]) -> None:
    """Raises ValueError unless `state` has a tensor of each of these shapes."""
    for name, shape in shapes.items():
        value = state.get(name)
        if not isinstance(value, Tensor) or tuple(value.shape) != tuple(shape):
            found = tuple(value.shape) if isinstance(value, Tensor) else "nothing"
            raise ValueError(f"the physics has {name} {tuple(shape)}, the checkpoint {found}")


@dataclass
class MujocoArrays:
    """Views (N, ...) of the simulator's memory, of any float type, with the names of mjData."""

    qpos: Tensor
    qvel: Tensor
    xquat: Tensor
    site_xpos: Tensor
    cvel: Tensor
    subtree_com: Tensor
    actuator_force: Tensor
    cfrc_ext: Tensor


@dataclass(frozen=True)
class Places:
    """The model's numbers of the actuators, bodies and sites that the state is read from."""

    actuators: List[int]
    """(D,) in the order of `HandSpec.drives`."""
    tips: List[int]
    """(F,) bodies of the fingertips.  Their frames are the sites `tip_sites` (F,)."""
    tip_sites: List[int]
    palm: int
    """Body of the site `palm_site`."""
    palm_site: int
    site_quat: np.ndarray
    """(F + 1, 4) the sites' orientations in their bodies: fingertips, then palm."""
    links: List[int]
    """Bodies of the hand that can touch something."""
    root: int
    """Body at the hand's base.  MuJoCo's velocities and wrenches are about the centre of mass of all that hangs on it."""

    @classmethod
    def of(cls, scene: Scene, hand: HandSpec) -> Places:
        """The numbers for this hand."""
        model = scene.model
        tip_sites, palm_site = [model.site(name).id for name in hand.fingertip_sites], model.site(hand.palm_site).id
        palm = model.body(hand.palm_body).id
        root = int(model.body_rootid[palm])
        return cls(
            actuators=[model.actuator(name).id for name in hand.drives],
            tips=[model.body(name).id for name in hand.fingertip_bodies],
            tip_sites=tip_sites,
            palm=palm,
            palm_site=palm_site,
            site_quat=model.site_quat[[*tip_sites, palm_site]],
            links=np.flatnonzero((model.body_rootid == root) & (model.body_geomnum > 0)).tolist(),
            root=root,
        )


class StateReader:
    """Copies what the task needs from MuJoCo's arrays, in two parts.

    `read_forces` needs the arrays as `mj_step` leaves them: forces, and the positions at which they act, are those of the
    start of the last sub-step.  `read_motion` needs kinematics at the new positions.  `WarpStateReader` has the same formulas.
    """

    def __init__(self, scene: Scene, hand: HandSpec, arrays: MujocoArrays, state: SimState) -> None:
        places, device = Places.of(scene, hand), state.joint_pos.device

        def index(values: object) -> Tensor:
            return torch.as_tensor(values, dtype=torch.int64, device=device)

        self.arrays, self.state, self.scene = arrays, state, scene
        self.actuators = index(places.actuators)
        self.drive_qpos, self.drive_dof = index(scene.drive_qpos), index(scene.drive_dof)
        self.tips, self.tip_sites = index(places.tips), index(places.tip_sites)
        self.links, self.root = index(places.links), places.root
        self.palm_site, self.tips_and_palm = places.palm_site, index([*places.tips, places.palm])
        self.site_quat = torch.as_tensor(places.site_quat, dtype=torch.float32, device=device)

    def read_forces(self) -> None:
        """Reads drive forces, moves contact wrenches from the hand's centre of mass to the fingertips, and sums up how hard all
        links are pressed.
        """
        a, s = self.arrays, self.state
        s.drive_force.copy_(a.actuator_force[:, self.actuators])
        wrench = a.cfrc_ext[:, self.tips]  # torque, force; about the centre of mass of the hand
        torque, force = wrench[..., :3], wrench[..., 3:]
        arm = a.subtree_com[:, self.root, None] - a.site_xpos[:, self.tip_sites]
        s.fingertip_wrench[..., :3].copy_(force)
        s.fingertip_wrench[..., 3:].copy_(torque + torch.linalg.cross(arm, force))
        s.hand_force.copy_(a.cfrc_ext[:, self.links, 3:].norm(dim=-1).sum(-1))

    def read_motion(self) -> None:
        """Reads joints, poses and velocities, and whether each world has diverged."""
        a, s = self.arrays, self.state
        s.joint_pos.copy_(a.qpos[:, self.drive_qpos])
        s.joint_vel.copy_(a.qvel[:, self.drive_dof])
        quats = rotations.multiply(a.xquat[:, self.tips_and_palm].float(), self.site_quat)
        s.palm_pos.copy_(a.site_xpos[:, self.palm_site])
        s.palm_quat.copy_(quats[:, -1])
        tip_pos = a.site_xpos[:, self.tip_sites]
        s.fingertip_pos.copy_(tip_pos)
        s.fingertip_quat.copy_(quats[:, :-1])
        spatial = a.cvel[:, self.tips]  # angular, linear; about the centre of mass of the hand
        angular = spatial[..., :3]
        arm = tip_pos - a.subtree_com[:, self.root, None]
        s.fingertip_vel[..., :3].copy_(spatial[..., 3:] + torch.linalg.cross(angular, arm))
        s.fingertip_vel[..., 3:].copy_(angular)
        q, v = self.scene.object_qpos, self.scene.object_dof
        quat = a.qpos[:, q + 3 : q + 7]
        quat = quat / quat.norm(dim=-1, keepdim=True)
        s.object_pos.copy_(a.qpos[:, q : q + 3])
        s.object_quat.copy_(quat)
        s.object_vel[:, :3].copy_(a.qvel[:, v : v + 3])
        s.object_vel[:, 3:].copy_(rotations.rotate(quat, a.qvel[:, v + 3 : v + 6]))
        s.failed.copy_(~(torch.isfinite(a.qpos).all(-1) & (a.qvel.abs() < MAX_SPEED).all(-1)))
