"""From MuJoCo's arrays to `SimState`, the same for MuJoCo C and MuJoCo Warp."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks import rotations
from tasks.hands.spec import HandSpec
from tasks.simulators.contract import SimState
from tasks.simulators.scene import Scene

MAX_SPEED = 200.0
"""A joint or object faster than this, m/s or rad/s, has diverged."""


@dataclass
class MujocoArrays:
    """Views of the simulator's memory, (N, ...), of any float type, named as in mjData."""

    qpos: Tensor
    qvel: Tensor
    xpos: Tensor
    xquat: Tensor
    site_xpos: Tensor
    cvel: Tensor
    subtree_com: Tensor
    actuator_force: Tensor
    cfrc_ext: Tensor


class StateReader:
    """Copies what the task needs out of MuJoCo's arrays, in two parts.

    `read_forces` wants the arrays as `mj_step` leaves them: forces and the positions they act at are those of the last
    sub-step's start.  `read_motion` wants kinematics recomputed at the new positions.
    """

    def __init__(self, scene: Scene, hand: HandSpec, arrays: MujocoArrays, state: SimState) -> None:
        model, device = scene.model, state.joint_pos.device

        def index(values: object) -> Tensor:
            return torch.as_tensor(values, dtype=torch.int64, device=device)

        def constant(values: object) -> Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=device)

        self.arrays, self.state, self.scene = arrays, state, scene
        tips = [model.body(name).id for name in hand.fingertip_bodies]
        tip_sites = [model.site(name).id for name in hand.fingertip_sites]
        palm, palm_site = model.body(hand.palm_body).id, model.site(hand.palm_site).id
        self.actuators = index([model.actuator(name).id for name in hand.drives])
        self.drive_qpos, self.drive_dof = index(scene.drive_qpos), index(scene.drive_dof)
        self.tips, self.tip_sites = index(tips), index(tip_sites)
        self.root = int(model.body_rootid[palm])
        self.palm_site, self.tips_and_palm = palm_site, index([*tips, palm])
        self.site_quat = constant(model.site_quat[[*tip_sites, palm_site]])

    def read_forces(self) -> None:
        """Drive forces, and contact wrenches moved from the hand's centre of mass to the fingertips."""
        a, s = self.arrays, self.state
        s.drive_force.copy_(a.actuator_force[:, self.actuators])
        wrench = a.cfrc_ext[:, self.tips]  # torque, force; about the centre of mass of the hand
        torque, force = wrench[..., :3], wrench[..., 3:]
        arm = a.subtree_com[:, self.root, None] - a.site_xpos[:, self.tip_sites]
        s.fingertip_wrench[..., :3].copy_(force)
        s.fingertip_wrench[..., 3:].copy_(torque + torch.linalg.cross(arm, force))

    def read_motion(self) -> None:
        """Joints, poses, velocities and whether the world is still sane."""
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
