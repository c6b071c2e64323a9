"""From actions to position targets of the drives."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.grasp.config import GraspCfg
from tasks.hands.spec import HandSpec

BASE = 6
"""Drives of the base: three slides, then three hinges."""


class DriveTargets:
    """Position targets of all drives, moved by actions.

    The first 6 actions move the base's targets by increments.  The others are absolute: -1 to 1 covers a finger joint's range.
    """

    def __init__(self, hand: HandSpec, cfg: GraspCfg, num_envs: int, device: torch.device) -> None:
        ranges = torch.as_tensor(hand.drive_ranges(), dtype=torch.float32, device=device)
        self.low, self.high = ranges.unbind(-1)
        """(D,) rad or m, the drives' limits."""
        self.position = torch.zeros(num_envs, hand.num_drives, device=device)
        """(N, D) rad or m"""
        self._finger_middle = (self.low + self.high)[BASE:] / 2
        self._finger_reach = (self.high - self.low)[BASE:] / 2
        self._share_of_new = 1 - cfg.finger_smoothing
        x, y, z = cfg.base_reach
        self.base_low = torch.tensor([-x, -y, 0.0, -cfg.max_tilt, -cfg.max_fingers_up, -cfg.max_yaw], device=device)
        self.base_high = torch.tensor([x, y, z, cfg.max_tilt, cfg.max_tilt, cfg.max_yaw], device=device)
        self._slope = cfg.base_slope
        self.step = torch.tensor([cfg.base_step] * 3 + [cfg.base_turn] * 3, device=device)
        """(6,) m or rad, by how much a full action moves the base's target."""
        self.leash = torch.tensor([cfg.base_leash] * 3 + [cfg.turn_leash] * 3, device=device)
        """(6,) m or rad, how far the base's target may be from where the base is."""

    def move(self, action: Tensor, joint_pos: Tensor) -> None:
        """Moves the targets.  action (N, D) within [-1, 1]; joint_pos (N, D), where the drives are.

        Base: the target moves, on a leash, within reach; small actions move it finely.  Fingers: the target is smoothed.
        """
        base, fingers = self.position[:, :BASE], self.position[:, BASE:]
        measured = joint_pos[:, :BASE]
        by = action[:, :BASE]
        base.addcmul_(by * (self._slope + (1 - self._slope) * by.square()), self.step)
        base.clamp_(measured - self.leash, measured + self.leash).clamp_(self.base_low, self.base_high)
        wanted = torch.addcmul(self._finger_middle, action[:, BASE:], self._finger_reach)
        fingers.lerp_(wanted, self._share_of_new)

    def holding(self, joint_pos: Tensor) -> Tensor:
        """(N, D) the actions that leave targets where they are, if these are at joint_pos (N, D)."""
        fingers = (joint_pos[:, BASE:] - self._finger_middle) / self._finger_reach
        return torch.cat([torch.zeros_like(joint_pos[:, :BASE]), fingers], dim=-1)

    def begin(self, mask: Tensor, joint_pos: Tensor) -> None:
        """Puts the targets of the worlds in mask (N,) where their joints start, joint_pos (N, D)."""
        torch.where(mask[:, None], joint_pos, self.position, out=self.position)
