"""How steady the end of an episode is.  A grasp is judged by this, and by where the object is."""

from __future__ import annotations

from typing import Dict, Tuple

import torch
from torch import Tensor

from tasks.grasp.actions import BASE
from tasks.grasp.situation import Situation

SATURATED = 0.95
"""An action beyond this share of its range counts as saturated."""
TURNING = slice(3, None)
"""The drives that turn: the base's hinges and the fingers.  Those before them slide."""

SERIES: Tuple[str, ...] = (
    "grip_force",
    "fingertip_force",
    "action_rate",
    "base_action_rate",
    "sign_changes",
    "saturated_share",
    "object_speed",
    "object_turn",
    "joint_jerk",
    "drive_torque",
)
"""What is kept of each step.  The mean has the same name in `EpisodeRecord`."""


class LastSteps:
    """The last steps of every world's episode.  They are in one tensor that moves up by a place in each step."""

    def __init__(self, num_envs: int, num_steps: int, num_drives: int, dt: float, device: torch.device) -> None:
        """num_steps: how many are kept; dt: seconds of a step."""
        self.dt = dt
        self.values = torch.zeros(num_envs, len(SERIES), num_steps, device=device)
        """(N, len(SERIES), num_steps), the newest last; 0 where the episode is younger."""
        self.velocities = torch.zeros(num_envs, 2, num_drives - TURNING.start, device=device)
        """(N, 2, turning drives) rad/s, of the last step and of the one before."""

    def clear(self, mask: Tensor) -> None:
        """Forgets the worlds in the mask (N,), which begin anew at rest."""
        self.values.masked_fill_(mask[:, None, None], 0)
        self.velocities.masked_fill_(mask[:, None, None], 0)

    def add(self, now: Situation, action: Tensor, previous_action: Tensor) -> None:
        """A step; action, previous_action (N, A).  A world that diverged adds zeros."""
        state = now.state
        change = (action - previous_action).abs()
        velocity = state.joint_vel[:, TURNING]
        jerk = (velocity - 2 * self.velocities[:, 0] + self.velocities[:, 1]) / self.dt**2
        new = {
            "grip_force": now.hand_force,
            "fingertip_force": now.tip_force.sum(-1),
            "action_rate": change.mean(-1),
            "base_action_rate": change[:, :BASE].mean(-1),
            "sign_changes": (action * previous_action < 0)[:, :BASE].float().mean(-1),
            "saturated_share": (action.abs() > SATURATED).float().mean(-1),
            "object_speed": now.object_speed,
            "object_turn": now.object_turn,
            "joint_jerk": jerk.square().mean(-1).sqrt(),
            "drive_torque": state.drive_force[:, BASE:].square().mean(-1).sqrt(),
        }
        column = torch.stack([new[name] for name in SERIES], dim=-1)
        column = column.masked_fill(state.failed[:, None], 0.0)
        self.values.copy_(torch.cat([self.values[..., 1:], column[..., None]], dim=-1))
        kept = torch.stack([velocity, self.velocities[:, 0]], dim=1)
        self.velocities.copy_(kept.masked_fill(state.failed[:, None, None], 0.0))

    def means(self) -> Dict[str, Tensor]:
        """(N,) of each of SERIES, over the steps that are kept."""
        return dict(zip(SERIES, self.values.mean(-1).unbind(-1)))

    def force_std(self) -> Tensor:
        """(N,) N, standard deviation of the grip force over the steps that are kept."""
        return self.values[:, SERIES.index("grip_force")].std(dim=-1)
