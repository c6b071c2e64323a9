"""What the policy sees of the hand: joints, fingertips and forces with noise and bias."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Dict, List

import torch
from torch import Tensor

from tasks import rotations
from tasks.grasp.actions import BASE
from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.randomisation.levels import KINDS
from tasks.hands.spec import HandSpec
from tasks.simulators.contract import SimState

FINGER = 0.1
"""m, from a fingertip to the joints that move it: what turns rad/s into m/s, and N into N m, at drives."""
PAD = 0.01
"""m, a fingertip's radius: what turns a force there into a torque."""


class SensorErrors:
    """Errors of all sensors, drawn at once.

    A bias is an Ornstein-Uhlenbeck process: stationary, with the standard deviation of the settings and a correlation of
    exp(-t / bias_time).
    """

    def __init__(self, hand: HandSpec, cfg: RandomCfg, num_envs: int, dt: float, device: torch.device) -> None:
        """dt: s of a step."""
        fingers, tips = hand.num_drives - BASE, hand.num_fingertips
        self._tips = tips
        drive = [1.0] * 3 + [FINGER] * (hand.num_drives - 3)
        torque = [1.0] * 3 + [PAD] * 3
        self._columns: Dict[str, slice] = {}
        kinds: List[int] = []
        noise: List[float] = []
        bias: List[float] = []

        def add(name: str, kind: str, units: List[float], noise_std: float, bias_std: float) -> None:
            self._columns[name] = slice(len(kinds), len(kinds) + len(units))
            kinds.extend([KINDS.index(kind)] * len(units))
            noise.extend(noise_std * unit for unit in units)
            bias.extend(bias_std * unit for unit in units)

        vel = [FINGER] * 3 + [1.0] * 3
        add("object_pos", "object", [1.0] * 3, cfg.object_noise, cfg.object_bias)
        add("object_turn", "object", [1.0] * 3, cfg.object_turn_noise, cfg.object_turn_bias)
        add("joint_pos", "joints", [1.0] * fingers, cfg.joint_noise, cfg.joint_bias)
        add("joint_vel", "joints", [1.0] * fingers, cfg.joint_vel_noise, 0.0)
        add("tip_pos", "tips", [1.0] * 3 * tips, cfg.tip_noise, cfg.tip_bias)
        add("tip_turn", "joints", [1.0] * 3 * tips, cfg.joint_noise, cfg.joint_bias)
        add("tip_vel", "joints", vel * tips, cfg.joint_vel_noise, 0.0)
        add("wrench", "forces", torque * tips, cfg.force_noise, cfg.force_bias)
        add("drive_force", "forces", drive, cfg.force_noise, cfg.force_bias)
        self._kind = torch.tensor(kinds, device=device)
        self._noise, self._bias = torch.tensor(noise, device=device), torch.tensor(bias, device=device)
        self._kept = math.exp(-dt / cfg.bias_time)
        self.bias = torch.zeros(num_envs, len(kinds), device=device)
        """(N, C) biases, as multiples of their standard deviations."""

    def draw(self, begun: Tensor, levels: Tensor) -> Dict[str, Tensor]:
        """The errors of this step by what they are of, (N, ...).

        begun (N,) bool: worlds whose episode begins, and with it another bias.  levels (K, N): strengths of KINDS.
        """
        fresh, noise = torch.randn(2, *self.bias.shape, device=self.bias.device)
        wandered = torch.add(self._kept * self.bias, fresh, alpha=math.sqrt(1 - self._kept**2))
        self.bias.copy_(torch.where(begun[:, None], fresh, wandered))
        error = torch.addcmul(self._noise * noise, self._bias, self.bias) * levels[self._kind].T
        return {name: error[:, columns] for name, columns in self._columns.items()}

    def seen(self, state: SimState, errors: Dict[str, Tensor]) -> SimState:
        """The state with these errors on hand and forces.  The object's pose is left to `Sight`."""
        base = torch.zeros_like(state.joint_pos[:, :BASE])
        tips = (len(base), self._tips)
        return replace(
            state,
            joint_pos=state.joint_pos + torch.cat([base, errors["joint_pos"]], dim=-1),
            joint_vel=state.joint_vel + torch.cat([base, errors["joint_vel"]], dim=-1),
            drive_force=state.drive_force + errors["drive_force"],
            fingertip_pos=state.fingertip_pos + errors["tip_pos"].reshape(*tips, 3),
            fingertip_quat=turned(state.fingertip_quat, errors["tip_turn"].reshape(*tips, 3)),
            fingertip_vel=state.fingertip_vel + errors["tip_vel"].reshape(*tips, 6),
            fingertip_wrench=state.fingertip_wrench + errors["wrench"].reshape(*tips, 6),
        )


def turned(quat: Tensor, by: Tensor) -> Tensor:
    """Orientations quat (..., 4) turned by rotation vectors by (..., 3), rad, in the world's frame."""
    angle = by.norm(dim=-1, keepdim=True)
    axis_sin = by * (0.5 * torch.sinc(angle / (2 * math.pi)))
    return rotations.multiply(torch.cat([torch.cos(angle / 2), axis_sin], dim=-1), quat)


def turn_between(old: Tensor, new: Tensor) -> Tensor:
    """(..., 3) rad, the shortest rotation vector in the world's frame that turns orientation old (..., 4) into new (..., 4)."""
    turn = rotations.canonical(rotations.multiply(new, rotations.conjugate(old)))
    sine = turn[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, turn[..., :1])
    return turn[..., 1:] * (angle / sine.clamp(min=1e-9))
