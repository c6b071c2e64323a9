"""Where episodes start: object at rest on the table, hand open above it or bent as before a grasp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

import torch
from torch import Tensor

from tasks import rotations
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectTensors
from tasks.simulators.contract import TABLE_HEIGHT, Start


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
    """rad, the hand then grips across where the object is narrowest, give or take a turn that is uniform within +- this."""
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
        above = torch.stack([objects.rest_height, objects.rest_top], dim=-1) + TABLE_HEIGHT
        across = (objects.rest_narrow - hand.grip_yaw)[..., None]
        self._rest = torch.cat([above, objects.rest_quat, across], dim=-1)
        """(V, S, 7) of each stable pose: height of the origin and of the top above the ground, quaternion, and the yaw at
        which the hand grips across the narrowest side."""
        self._above = -self.palm_centre[:2]
        self._open = torch.cat([torch.zeros(3, device=device), self.open_pose])

    def draw(self, object_id: Tensor) -> Start:
        """object_id (N,)"""
        cfg, device, count = self.cfg, object_id.device, len(object_id)
        uniform = torch.rand(count, 9, device=device)
        around = 2 * uniform - 1  # the same numbers, between -1 and 1
        rest = self._rest[object_id, self._rest_pose(object_id, uniform[:, 0])]
        height, top, rest_quat, across = rest[:, 0:1], rest[:, 1:2], rest[:, 2:6], rest[:, 6:7]
        turn = torch.pi * around[:, 1:2]
        object_quat = rotations.multiply(rotations.about_z(turn.squeeze(-1)), rest_quat)
        object_pos = torch.cat([cfg.object_spread * around[:, 2:4], height], dim=-1)
        high = (top + cfg.clearance).clamp(min=TABLE_HEIGHT + cfg.min_height)
        joint_pos = torch.cat([self._above.expand(count, 2), high, self._open.expand(count, -1)], dim=-1)
        mass_scale = torch.ones(count, device=device)
        if not self.evaluation:
            yaw = _within_half_turn(across + turn) + cfg.pregrasp_yaw * around[:, 4:5]
            close = self._pregrasp(object_pos, top, yaw.clamp(-torch.pi / 2, torch.pi / 2), uniform[:, 5:6])
            joint_pos = torch.where(uniform[:, 6:7] < cfg.pregrasp_fraction, close, joint_pos)
            mass_scale = cfg.mass_scale ** around[:, 7]
        drawn = cfg.friction_low + (cfg.friction_high - cfg.friction_low) * uniform[:, 8]
        known = self.objects.friction[object_id]
        friction = torch.where(torch.isnan(known), drawn, known)
        return Start(joint_pos, object_pos, object_quat, object_id, mass_scale, friction)

    def _rest_pose(self, object_id: Tensor, uniform: Tensor) -> Tensor:
        """Index (N,) of a stable pose, by its probability."""
        edges = self._pose_edges[object_id]
        return (uniform[:, None] * edges[:, -1:] >= edges).sum(-1).clamp(max=edges.shape[1] - 1)

    def _pregrasp(self, object_pos: Tensor, top: Tensor, yaw: Tensor, uniform: Tensor) -> Tensor:
        """Palm down, its centre over the object, fingers bent, thumb opposed, (N, 24); top, yaw, uniform: (N, 1)."""
        cfg, count = self.cfg, len(top)
        cos, sin = torch.cos(yaw), torch.sin(yaw)
        x, y = self.palm_centre[0], self.palm_centre[1]
        centre = torch.cat([x * cos - y * sin, x * sin + y * cos], dim=-1)
        miss = cfg.pregrasp_spread * torch.randn(count, 2, device=top.device)
        place = object_pos[:, :2] - centre + miss
        height = top + cfg.pregrasp_clearance + 0.03 * uniform
        level = torch.zeros(count, 2, device=top.device)
        return torch.cat([place, height, level, yaw, self.pregrasp_pose.expand(count, -1)], dim=-1)


def _within_half_turn(angle: Tensor) -> Tensor:
    """The same direction, less whole half turns, between -pi / 2 and pi / 2."""
    return angle - torch.pi * torch.round(angle / torch.pi)
