"""Where episodes start: object at rest on the table, hand open above it or bent as before a grasp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

import torch
from torch import Tensor

from tasks import rotations
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectTensors
from tasks.simulators.contract import NUM_DRIVES, TABLE_HEIGHT, Start


@dataclass(frozen=True)
class StartCfg:
    """The evaluation start, and how training departs from it."""

    object_spread: float = 0.05
    """m, the object's place is uniform within +- this in x and y."""
    clearance: float = 0.1
    """m between the object's top and the palm at the evaluation start."""
    min_height: float = 0.2
    """m of the palm above the table, at least, at the evaluation start."""
    pregrasp_fraction: float = 0.5
    """Share of training episodes that start with bent fingers close above the object: they find the first grasps."""
    pregrasp_clearance: float = 0.07
    """m, and up to 0.03 m more, between the object's top and the palm then."""
    pregrasp_spread: float = 0.015
    """m, by how much the palm misses the object's centre then, standard deviation."""
    pregrasp_yaw: float = 0.4
    """rad, the hand's turn about the vertical then is uniform within +- this."""
    mass_scale: float = 2.0
    """Training multiplies masses by a log-uniform factor between 1 / this and this."""
    friction_low: float = 0.5
    friction_high: float = 1.2
    """Sliding friction of objects that do not know theirs, in training and evaluation."""


class StartSampler:
    """Draws starts for all worlds at once; the caller applies them where an episode ended."""

    def __init__(self, hand: HandSpec, objects: ObjectTensors, cfg: StartCfg, evaluation: bool) -> None:
        device = objects.mass.device
        self.cfg, self.objects, self.evaluation = cfg, objects, evaluation

        def fingers(pose: Mapping[str, float]) -> Tensor:
            return torch.tensor([pose.get(name, 0.0) for name in hand.finger_joints], device=device)

        self.open_pose, self.pregrasp_pose = fingers(hand.open_pose), fingers(hand.pregrasp_pose)
        self.palm_centre = torch.tensor(hand.palm_centre, device=device)
        self._pose_edges = objects.rest_prob.cumsum(-1)

    def draw(self, object_id: Tensor) -> Start:
        """object_id (N,)"""
        cfg, device, count = self.cfg, object_id.device, len(object_id)
        uniform = torch.rand(count, 8, device=device)
        pose = self._rest_pose(object_id, uniform[:, 0])
        row = object_id, pose
        top = TABLE_HEIGHT + self.objects.rest_top[row]
        yaw = (2 * uniform[:, 1] - 1) * torch.pi
        object_quat = rotations.multiply(rotations.about_z(yaw), self.objects.rest_quat[row])
        xy = (2 * uniform[:, 2:4] - 1) * cfg.object_spread
        object_pos = torch.cat([xy, TABLE_HEIGHT + self.objects.rest_height[row][:, None]], dim=-1)

        joint_pos = torch.zeros(count, NUM_DRIVES, device=device)
        joint_pos[:, 0] = -self.palm_centre[0]
        joint_pos[:, 1] = -self.palm_centre[1]
        joint_pos[:, 2] = torch.maximum(top + cfg.clearance, torch.full_like(top, TABLE_HEIGHT + cfg.min_height))
        joint_pos[:, 6:] = self.open_pose
        mass_scale = torch.ones(count, device=device)
        if not self.evaluation:
            close = self._pregrasp(object_pos, top, uniform[:, 4:6])
            chosen = uniform[:, 6] < cfg.pregrasp_fraction
            joint_pos = torch.where(chosen[:, None], close, joint_pos)
            mass_scale = cfg.mass_scale ** (2 * uniform[:, 7] - 1)
        drawn = cfg.friction_low + (cfg.friction_high - cfg.friction_low) * torch.rand(count, device=device)
        known = self.objects.friction[object_id]
        friction = torch.where(torch.isnan(known), drawn, known)
        return Start(joint_pos, object_pos, object_quat, object_id, mass_scale, friction)

    def _rest_pose(self, object_id: Tensor, uniform: Tensor) -> Tensor:
        """Index (N,) of a stable pose, by its probability."""
        edges = self._pose_edges[object_id]
        return (uniform[:, None] * edges[:, -1:] >= edges).sum(-1).clamp(max=edges.shape[1] - 1)

    def _pregrasp(self, object_pos: Tensor, top: Tensor, uniform: Tensor) -> Tensor:
        """Palm down, its centre over the object, fingers bent, thumb opposed; (N, 24)."""
        cfg, count = self.cfg, len(top)
        yaw = (2 * uniform[:, 0] - 1) * cfg.pregrasp_yaw
        centre = rotations.rotate(rotations.about_z(yaw), self.palm_centre.expand(count, 3))
        joint_pos = torch.zeros(count, NUM_DRIVES, device=top.device)
        miss = cfg.pregrasp_spread * torch.randn(count, 2, device=top.device)
        joint_pos[:, :2] = object_pos[:, :2] - centre[:, :2] + miss
        joint_pos[:, 2] = top + cfg.pregrasp_clearance + 0.03 * uniform[:, 1]
        joint_pos[:, 5] = yaw
        joint_pos[:, 6:] = self.pregrasp_pose
        return joint_pos
