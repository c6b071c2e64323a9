"""What the policy sees of the object: one noisy pose, which is held while the object is out of sight."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict

import torch
from torch import Tensor

from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.randomisation.levels import steps_of
from tasks.grasp.randomisation.sensors import turn_between, turned
from tasks.simulators.contract import SimState


class Sight:
    """The last pose at which the object was seen, in the world's frame.

    Everything that the policy sees of the object comes from this pose.  Its velocity is how far the pose moved from one sight
    to the next, over the time between them, as a camera would tell it.  It is 0 at first.  A low-pass may smooth the pose: each
    sight then moves it by a share of the way only.
    """

    def __init__(
        self, cfg: RandomCfg, num_envs: int, dt: float, device: torch.device, pose_filter: float = 0.0
    ) -> None:
        """dt: s of a step; pose_filter: share of the old pose in a new one."""
        self._dt, self._every, self._share = dt, cfg.pose_every, 1 - pose_filter
        self._chance, self._longest = cfg.occlusion_rate * dt, cfg.occlusion_steps
        self.pos = torch.zeros(num_envs, 3, device=device)
        """(N, 3) m"""
        self.quat = torch.zeros(num_envs, 4, device=device)
        """(N, 4)"""
        self.vel = torch.zeros(num_envs, 6, device=device)
        """(N, 6) m/s, rad/s"""
        self.age = torch.zeros(num_envs, device=device)
        """(N,) steps since the object was seen."""
        self.hidden = torch.zeros(num_envs, device=device)
        """(N,) steps for which it is still out of sight."""

    def seen(self, begun: Tensor, state: SimState, errors: Dict[str, Tensor], level: Tensor) -> SimState:
        """The state with the object where it is seen.

        begun (N,) bool: worlds whose episode begins; there the object is in sight.  errors: of `SensorErrors.draw`.
        level (N,): how strong occlusions are.
        """
        pos = state.object_pos + errors["object_pos"]
        quat = turned(state.object_quat, errors["object_turn"])
        self.age.add_(1)
        in_sight = self.age > steps_of(self._every - 1, level)
        if self._chance > 0:
            begins, length = torch.rand(2, len(level), device=level.device)
            lost = (begins < self._chance * level) & (self.hidden <= 1)
            left = torch.where(lost, 1 + torch.floor(length * self._longest), (self.hidden - 1).clamp(min=0))
            self.hidden.copy_(left.masked_fill(begun, 0.0))
            in_sight = in_sight & (self.hidden == 0)
        in_sight = (in_sight | begun)[:, None]
        way = torch.cat([pos - self.pos, turn_between(self.quat, quat)], dim=-1)
        if self._share < 1:
            way = way * self._share
            pos = torch.where(begun[:, None], pos, self.pos + way[:, :3])
            quat = torch.where(begun[:, None], quat, turned(self.quat, way[:, 3:]))
        vel = (way / (self.age * self._dt)[:, None]).masked_fill(begun[:, None], 0.0)
        for held, new in ((self.pos, pos), (self.quat, quat), (self.vel, vel)):
            held.copy_(torch.where(in_sight, new, held))
        self.age.masked_fill_(in_sight[:, 0], 0.0)
        return replace(state, object_pos=self.pos, object_quat=self.quat, object_vel=self.vel)
