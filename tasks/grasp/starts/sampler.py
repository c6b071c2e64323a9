"""Where episodes start: object at rest on the table, hand open above it or bent as before a grasp."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Mapping, Optional

import torch
import torch.nn.functional as F
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
    grasp_fraction: float = 0.5
    """Share of the training's worlds whose episodes start inside a grasp that a script has found, while none of those succeed,
    and the fewer the more of them do.  0: none, and the script does not run.  See `tasks.grasp.starts.demonstrations`."""
    grasp_floor: float = 0.1
    """Of that share, what is left when all succeed."""
    mass_scale: float = 2.0
    """Training multiplies masses by a log-uniform factor between 1 / this and this."""
    friction_low: float = 0.5
    """The least sliding friction that is drawn for objects that have none of their own."""
    friction_high: float = 1.2
    """The most sliding friction that is drawn for objects that have none of their own."""


@dataclass
class EpisodeStart(Start):
    """Where episodes start, with what only the task must know of it."""

    targets: Tensor
    """(N, D) of the drives: those of a grasp press."""
    rest_pos: Tensor
    """(N, 3) m, where the object rests on the table, or did before it was lifted."""
    rest_quat: Tensor
    """(N, 4)"""
    stage: Tensor
    """(N,) int64, 0 if the object is on the table and the hand above it, else see `tasks.grasp.starts.demonstrations`."""
    table_rise: Optional[Tensor] = None
    """(N,) m, how much higher than usual the table is; None where no table differs."""

    def raised(self, by: Tensor) -> EpisodeStart:
        """The same with table, object and hand higher by (N,) m."""
        up = F.pad(by[:, None], (2, 0))
        of_drives = F.pad(up, (0, self.joint_pos.shape[1] - 3))  # the base's third drive lifts it
        return replace(
            self,
            joint_pos=self.joint_pos + of_drives,
            targets=self.targets + of_drives,
            object_pos=self.object_pos + up,
            rest_pos=self.rest_pos + up,
            table_rise=by if self.table_rise is None else self.table_rise + by,
        )

    def on_usual_table(self) -> EpisodeStart:
        """The same, at the usual height of the table."""
        return self if self.table_rise is None else self.raised(-self.table_rise)

    @classmethod
    def zeros(cls, hand: HandSpec, num_envs: int, device: torch.device) -> EpisodeStart:
        """Places for starts, to be written into."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(num_envs, *shape, device=device)

        ids, drives = torch.zeros(num_envs, dtype=torch.int64, device=device), hand.num_drives
        return cls(
            zeros(drives), zeros(3), zeros(4), ids, zeros(), zeros(),
            targets=zeros(drives), rest_pos=zeros(3), rest_quat=zeros(4), stage=ids.clone(),
        )  # fmt: skip

    @classmethod
    def on_table(cls, start: Start) -> EpisodeStart:
        """Of a start with the object at rest and the hand above it."""
        return cls(
            start.joint_pos, start.object_pos, start.object_quat, start.object_id, start.mass_scale, start.friction,
            targets=start.joint_pos, rest_pos=start.object_pos, rest_quat=start.object_quat,
            stage=torch.zeros_like(start.object_id),
        )  # fmt: skip


class StartSampler:
    """Draws starts for all worlds at once; the caller applies them where an episode ended."""

    def __init__(
        self, hand: HandSpec, objects: ObjectTensors, cfg: StartCfg, evaluation: bool, lift_height: float = 0.25
    ) -> None:
        """lift_height: m from where an object rests up to its goal."""
        device = objects.mass.device
        self.lift_height = lift_height
        self.cfg, self.objects, self.evaluation = cfg, objects, evaluation

        def fingers(pose: Mapping[str, float]) -> Tensor:
            return torch.tensor([pose.get(name, 0.0) for name in hand.finger_joints], device=device)

        self.open_pose, self.pregrasp_pose = fingers(hand.open_pose), fingers(hand.pregrasp_pose)
        x, y = hand.palm_centre[:2]
        self._centre = torch.tensor([x, y], device=device)
        self._centre_turned = torch.tensor([-y, x], device=device)
        """By a quarter about z: cos times the centre and sin times this make the centre turned by any angle."""
        self._above = -self._centre
        self._level = torch.zeros(2, device=device)
        self._open = torch.cat([torch.zeros(3, device=device), self.open_pose])
        edges = objects.rest_prob.cumsum(-1)
        self._pose_edges = edges / edges[:, -1:]
        self._rest = self._rest_table(hand.grip_yaw)
        spread, log_mass = cfg.object_spread, math.log(cfg.mass_scale)
        ranges = [
            (0.0, 1.0),  # the stable pose, by its probability
            (-math.pi / 2, math.pi / 2),  # half the angle by which the object is turned about z
            (-spread, spread),  # its x
            (-spread, spread),  # its y
            (-cfg.pregrasp_yaw, cfg.pregrasp_yaw),
            (0.0, 0.03),  # added to `pregrasp_clearance`
            (0.0, 1.0),  # bent if below `pregrasp_fraction`
            (-log_mass, log_mass),
            (0.0, 1.0),  # share of the range of friction
        ]
        low, high = torch.tensor(ranges, device=device).T[..., None]
        self._low, self._span = low, high - low

    def _rest_table(self, grip_yaw: float) -> Tensor:
        """(V, S, 14) of each stable pose: heights above the ground of the object's origin, of the open palm and of the
        bent hand's palm; the quaternion, and half a turn about z times it; the yaw at which the hand grips across the
        narrowest side; the least friction, and how much more there may be.
        """
        cfg, objects = self.cfg, self.objects
        top = objects.rest_top + TABLE_HEIGHT
        open_height = (top + cfg.clearance).clamp(min=TABLE_HEIGHT + cfg.min_height)
        heights = torch.stack([objects.rest_height + TABLE_HEIGHT, open_height, top + cfg.pregrasp_clearance], dim=-1)
        half_turn = torch.tensor([0.0, 0.0, 0.0, 1.0], device=top.device)
        turned = rotations.multiply(half_turn.expand_as(objects.rest_quat), objects.rest_quat)
        unknown = torch.isnan(objects.friction)
        low = torch.where(unknown, cfg.friction_low, objects.friction)
        span = (cfg.friction_high - cfg.friction_low) * unknown
        friction = torch.stack([low, span], dim=-1)[:, None].expand(-1, top.shape[1], -1)
        across = (objects.rest_narrow - grip_yaw)[..., None]
        return torch.cat([heights, objects.rest_quat, turned, across, friction], dim=-1)

    def draw(self, object_id: Tensor, close: bool = False) -> Start:
        """object_id (N,); close: all hands are bent and close above the object."""
        cfg, count, device = self.cfg, len(object_id), object_id.device
        drawn = torch.addcmul(self._low, self._span, torch.rand(len(self._low), count, device=device))
        half_angle, place, yaw_off, higher, bent, log_mass, share = drawn[1:].T.split([1, 2, 1, 1, 1, 1, 1], dim=-1)
        rest = self._rest[object_id, self._rest_pose(object_id, drawn[0])].split([1, 1, 1, 4, 4, 1, 1, 1], dim=-1)
        height, open_height, bent_height, quat, quat_turned, across, friction_low, friction_span = rest
        # (cos + k sin) q, the turn about z after the pose's own
        object_quat = torch.addcmul(torch.cos(half_angle) * quat, torch.sin(half_angle), quat_turned)
        object_pos = torch.cat([place, height], dim=-1)
        joint_pos = torch.cat([self._above.expand(count, 2), open_height, self._open.expand(count, -1)], dim=-1)
        if self.evaluation:
            mass_scale = torch.ones(count, device=device)
        else:
            yaw = _within_half_turn(torch.add(across, half_angle, alpha=2)) + yaw_off
            above = self._pregrasp(place, bent_height + higher, yaw.clamp(-math.pi / 2, math.pi / 2))
            joint_pos = torch.where(bent < (1.0 if close else cfg.pregrasp_fraction), above, joint_pos)
            mass_scale = torch.exp(log_mass).squeeze(-1)
        friction = torch.addcmul(friction_low, friction_span, share).squeeze(-1)
        return Start(joint_pos, object_pos, object_quat, object_id, mass_scale, friction)

    def _rest_pose(self, object_id: Tensor, uniform: Tensor) -> Tensor:
        """Index (N,) of a stable pose, by its probability; uniform (N,) is below 1."""
        return torch.searchsorted(self._pose_edges[object_id], uniform[:, None], right=True).squeeze(-1)

    def _pregrasp(self, place: Tensor, height: Tensor, yaw: Tensor) -> Tensor:
        """Palm down, its centre over the object at `place` (N, 2), fingers bent, thumb opposed, (N, 24); height, yaw: (N, 1)."""
        count = len(place)
        miss = torch.randn(count, 2, device=place.device)
        palm = torch.add(place, miss, alpha=self.cfg.pregrasp_spread)
        palm = torch.addcmul(palm, torch.cos(yaw), self._centre, value=-1)
        palm = torch.addcmul(palm, torch.sin(yaw), self._centre_turned, value=-1)
        level, fingers = self._level.expand(count, -1), self.pregrasp_pose.expand(count, -1)
        return torch.cat([palm, height, level, yaw, fingers], dim=-1)


def _within_half_turn(angle: Tensor) -> Tensor:
    """The same direction, less whole half turns, between -pi / 2 and pi / 2."""
    return torch.sub(angle, torch.round(angle / math.pi), alpha=math.pi)
