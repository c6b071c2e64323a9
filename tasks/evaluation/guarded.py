"""A policy that says where the drives should go, and never beyond limits: for the file that a robot's control loop calls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Tuple

import mujoco
import torch
from torch import Tensor, nn

from ppo_grasp.actor_critic import ActorCritic
from tasks.evaluation.settings import trained_with
from tasks.grasp.actions import BASE, DriveTargets
from tasks.grasp.config import GraspCfg
from tasks.hands import get_hand
from tasks.hands.spec import HandSpec


@dataclass(frozen=True)
class Limits:
    """What bounds the targets beside training's own limits; None bounds nothing."""

    workspace_low: Optional[Sequence[float]] = None
    """(3,) m, the palm's targets stay above these x, y and z."""
    workspace_high: Optional[Sequence[float]] = None
    """(3,) m, and below these."""
    most_per_step: Optional[float] = None
    """rad, by which a finger's target may move in a control step."""
    torque_share: Optional[float] = None
    """Fingers' targets stay so near to the joints that the position gain asks for this share of the drive's limit, at most."""


def guarded(policy: ActorCritic, meta: Mapping[str, Any], **limits: Any) -> GuardedPolicy:
    """The policy with its targets and these `Limits`.  meta: of `load_policy`.  Raises ValueError for limits that cannot be."""
    settings = trained_with(meta, Path("policy"), policy.cfg.num_obs, policy.cfg.num_actions)
    return GuardedPolicy(policy, get_hand(settings.hand), settings.grasp, Limits(**limits))


class GuardedPolicy(nn.Module):
    """(obs, joint_pos, targets) -> (action, new targets), all (batch, ...): `DriveTargets.move` and the limits.

    Where anything that is given, or the action, is not finite, the new targets are the old ones and the action is 0.
    """

    outputs = ("action", "new_targets")
    step: Tensor
    leash: Tensor
    base_limits: Tensor
    finger_limits: Tensor
    finger_leash: Tensor

    def __init__(self, policy: ActorCritic, hand: HandSpec, cfg: GraspCfg, limits: Limits) -> None:
        super().__init__()
        own = DriveTargets(hand, cfg, 1, torch.device("cpu"))
        drives = hand.num_drives
        self.policy = policy
        self.inputs = {"obs": policy.cfg.num_obs, "joint_pos": drives, "targets": drives}
        self.slope, self.share_of_new = cfg.base_slope, 1 - cfg.finger_smoothing
        self.most_per_step = limits.most_per_step
        low, high = own.base_low.clone(), own.base_high.clone()
        if limits.workspace_low is not None:
            low[:3] = torch.maximum(low[:3], torch.tensor(limits.workspace_low))
        if limits.workspace_high is not None:
            high[:3] = torch.minimum(high[:3], torch.tensor(limits.workspace_high))
        for axis, lowest, highest in zip("xyz", low.tolist(), high.tolist()):
            if lowest >= highest:
                raise ValueError(
                    f"--workspace-low and --workspace-high: leave nothing of {axis} in training's own limits"
                )
        fingers = torch.stack([own.low, own.high])[:, BASE:]
        self.register_buffer("step", own.step)
        self.register_buffer("leash", own.leash)
        self.register_buffer("base_limits", torch.stack([low, high]))
        self.register_buffer("finger_limits", fingers)
        self.register_buffer("finger_leash", _finger_leash(hand, limits.torque_share))

    @property
    def obs_normalizer(self) -> Any:
        """Of the policy: what observations it met."""
        return self.policy.obs_normalizer

    def forward(self, obs: Tensor, joint_pos: Tensor, targets: Tensor) -> Tuple[Tensor, Tensor]:
        """See the class."""
        action = self.policy(obs)
        given = torch.cat([obs, joint_pos, targets, action], dim=-1)
        fine = ((given - given) == 0).all(-1, keepdim=True)  # infinity and NaN are not
        base, by = targets[:, :BASE], action[:, :BASE]
        base = base + self.step * by * (self.slope + (1 - self.slope) * by * by)
        base = _clamped(base, joint_pos[:, :BASE] - self.leash, joint_pos[:, :BASE] + self.leash)
        base = _clamped(base, self.base_limits[0], self.base_limits[1])
        low, high = self.finger_limits[0], self.finger_limits[1]
        fingers, joints = targets[:, BASE:], joint_pos[:, BASE:]
        change = self.share_of_new * ((low + high) / 2 + action[:, BASE:] * (high - low) / 2 - fingers)
        if self.most_per_step is not None:
            change = change.clamp(-self.most_per_step, self.most_per_step)
        fingers = _clamped(fingers + change, joints - self.finger_leash, joints + self.finger_leash)
        new = torch.cat([base, _clamped(fingers, low, high)], dim=-1)
        return torch.where(fine, action, torch.zeros_like(action)), torch.where(fine, new, targets)


def _clamped(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """As `clamp`, which ONNX has for numbers only."""
    return torch.minimum(torch.maximum(x, low), high)


def _finger_leash(hand: HandSpec, torque_share: Optional[float]) -> Tensor:
    """(D - 6,) rad, how far a finger's target may be from its joint.  Raises ValueError if a drive has no limit of torque."""
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    drives = [model.actuator(name).id for name in hand.drives[BASE:]]
    limit, gain = abs(model.actuator_forcerange[drives]).max(axis=1), model.actuator_gainprm[drives, 0]
    if torque_share is None:
        return torch.full((len(drives),), 1e6)
    if not (limit > 0).all():
        raise ValueError(f"--torque-share: the MJCF of the hand {hand.name} has no forcerange for some of its drives")
    return torch.as_tensor(torque_share * limit / gain, dtype=torch.float32)
