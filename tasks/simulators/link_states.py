"""Turns the numbers of PhysX into a simulator's state, for Isaac Gym and PhysX alike.

PhysX's quaternions are (x, y, z, w), and its velocities are those of centres of mass.  It has poses of links, whose frames are
those of the bodies in the hand's file.  Palm and fingertips are sites in these frames.
"""

from __future__ import annotations

from typing import Tuple

import mujoco
import numpy as np
import torch
from torch import Tensor

from tasks import rotations
from tasks.hands.spec import HandSpec
from tasks.simulators.contract import SimState, Start
from tasks.simulators.flat_hand import Drives
from tasks.simulators.kinematics import hand_kinematics


def wxyz(quat: Tensor) -> Tensor:
    """(..., 4) PhysX's order (x, y, z, w) -> (w, x, y, z).  A list of columns would be copied to the GPU each time."""
    return quat.roll(1, dims=-1)


def xyzw(quat: Tensor) -> Tensor:
    """(..., 4) (w, x, y, z) -> PhysX's order."""
    return quat.roll(-1, dims=-1)


class LinkStates:
    """Reads a simulator's state, and keeps it current in worlds that are reset.  It never asks the host about a value."""

    def __init__(
        self,
        hand: HandSpec,
        model: mujoco.MjModel,
        drives: Drives,
        link_com: np.ndarray,
        object_com: np.ndarray,
        max_speed: float,
        device: torch.device,
    ) -> None:
        """model: the hand, compiled.  link_com: (F + 1, 3) m, centres of mass of palm and fingertips in their links.
        object_com: (N, 3) m, of each world's object.  max_speed: m/s or rad/s, above which a world has diverged.
        """

        def floats(values: object) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=device)

        driven, order = slice(hand.num_drives), list(hand.drives)
        self.stiffness, self.damping = floats(drives.stiffness[driven]), floats(drives.damping[driven])
        self.effort = floats(drives.effort[driven])
        self.target_lower, self.target_upper = floats(drives.target_lower), floats(drives.target_upper)
        self.source = torch.tensor(
            [order.index(name) for name in hand.coupled_joints.values()], dtype=torch.int64, device=device
        )
        """(C,) column of the drive that each coupled joint follows."""
        self.ratio = floats([hand.coupling(name) for name in hand.coupled_joints])
        """(C,) how far each coupled joint goes for each radian of that drive."""
        sites = [model.site(name).id for name in (hand.palm_site, *hand.fingertip_sites)]
        self.site_pos, self.site_quat = floats(model.site_pos[sites]), floats(model.site_quat[sites])
        self.link_com, self.object_com = floats(link_com), floats(object_com)
        self.max_speed = max_speed
        self.kinematics = hand_kinematics(hand, device)

    def limited(self, targets: Tensor) -> Tensor:
        """(N, D) targets within the drives' ranges."""
        return targets.clamp(self.target_lower, self.target_upper)

    def followed(self, joint_pos: Tensor) -> Tensor:
        """(N, D) positions of the driven joints -> (N, C) those that the coupled joints should have."""
        return joint_pos[:, self.source] * self.ratio

    def sites(self, links: Tensor) -> Tensor:
        """(N, F + 1, 7 or more) PhysX's poses of links -> (N, F + 1, 3) m, palm and fingertips, in PhysX's coordinates."""
        return links[..., :3] + rotations.rotate(wxyz(links[..., 3:7]), self.site_pos)

    def begin(self, state: SimState, mask: Tensor, start: Start) -> Tuple[Tensor, Tensor]:
        """Makes `state` what a reset asks for in the worlds in mask (N,), before PhysX shows it.

        Returns joints (N, J), the driven and the coupled ones, and the object's orientation (N, 4), a unit quaternion.
        """
        driven = start.joint_pos.float()
        joints = torch.cat([driven, self.followed(driven)], dim=1)
        quat = start.object_quat.float() / start.object_quat.norm(dim=-1, keepdim=True)
        pos, site_quat = self.kinematics(joints)

        def put(into: Tensor, values: Tensor) -> None:
            into.copy_(torch.where(mask.view(-1, *[1] * (into.dim() - 1)), values, into))

        put(state.joint_pos, driven)
        put(state.palm_pos, pos[:, 0])
        put(state.palm_quat, site_quat[:, 0])
        put(state.fingertip_pos, pos[:, 1:])
        put(state.fingertip_quat, site_quat[:, 1:])
        put(state.object_pos, start.object_pos.float())
        put(state.object_quat, quat)
        for still in (
            state.joint_vel,
            state.drive_force,
            state.fingertip_vel,
            state.fingertip_wrench,
            state.hand_force,
            state.object_vel,
        ):
            still.masked_fill_(mask.view(-1, *[1] * (still.dim() - 1)), 0.0)
        state.failed.logical_and_(~mask)
        return joints, quat

    def read(
        self,
        state: SimState,
        targets: Tensor,
        joints: Tensor,
        speeds: Tensor,
        links: Tensor,
        wrench: Tensor,
        pressed: Tensor,
        item: Tensor,
        shift: Tensor,
    ) -> None:
        """Writes the numbers of PhysX to `state`.  A world that diverged keeps its last sane values.

        targets: (N, D) of the drives.  joints, speeds: (N, J).  links: (N, F + 1, 13) of palm and fingertips: position,
        quaternion, velocity, angular velocity; item: (N, 13), the same of the object.  wrench: (N, F, 6), as in `SimState`.
        pressed: (N, L, 3) N, sum of the contact forces on each link.
        shift: (N, 3) m, from PhysX's positions to the world's.
        """
        driven = slice(targets.shape[1])
        everything = torch.cat([joints, speeds, item, links.flatten(1), wrench.flatten(1), pressed.flatten(1)], dim=1)
        fast = (speeds[:, driven].abs() > self.max_speed).any(-1) | (item[:, 7:].abs() > self.max_speed).any(-1)
        failed = ~torch.isfinite(everything).all(-1) | fast

        def put(into: Tensor, values: Tensor) -> None:
            into.copy_(torch.where(failed.view(-1, *[1] * (into.dim() - 1)), into, values))

        put(state.joint_pos, joints[:, driven])
        put(state.joint_vel, speeds[:, driven])
        drive = self.stiffness * (targets - joints[:, driven]) - self.damping * speeds[:, driven]
        put(state.drive_force, torch.minimum(torch.maximum(drive, -self.effort), self.effort))

        quat = wxyz(links[..., 3:7])
        site = self.sites(links) + shift[:, None]
        site_quat = rotations.multiply(quat, self.site_quat.expand_as(quat))
        put(state.palm_pos, site[:, 0])
        put(state.palm_quat, site_quat[:, 0])
        put(state.fingertip_pos, site[:, 1:])
        put(state.fingertip_quat, site_quat[:, 1:])
        arm = rotations.rotate(quat, self.site_pos - self.link_com)
        linear = links[..., 7:10] + torch.linalg.cross(links[..., 10:], arm)
        put(state.fingertip_vel, torch.cat([linear, links[..., 10:]], dim=-1)[:, 1:])
        put(state.fingertip_wrench, wrench)
        put(state.hand_force, pressed.norm(dim=-1).sum(-1))

        object_quat = wxyz(item[:, 3:7])
        arm = rotations.rotate(object_quat, self.object_com)
        put(state.object_pos, item[:, :3] + shift)
        put(state.object_quat, object_quat)
        put(state.object_vel, torch.cat([item[:, 7:10] - torch.linalg.cross(item[:, 10:], arm), item[:, 10:]], dim=-1))
        state.failed.copy_(failed)
