"""The 211 numbers a policy sees, each slice named once, and what the critic sees beyond them.

Vectors and poses are those of the palm's frame, so that nothing depends on where the hand is; only the base's own six
joints tell that.
"""

from __future__ import annotations

from typing import Dict

import torch
from torch import Tensor

from tasks import rotations
from tasks.simulators.contract import SimState

_SIZES = {
    "joint_pos": 24,
    "joint_vel": 24,
    "object_pose": 7,
    "object_vel": 6,
    "fingertips_to_object": 15,
    "previous_action": 24,
    "goal_pose": 7,
    "drive_force": 24,
    "fingertip_quat": 20,
    "fingertip_vel": 30,
    "fingertip_wrench": 30,
}


def _slices(sizes: Dict[str, int]) -> Dict[str, slice]:
    result, start = {}, 0
    for name, size in sizes.items():
        result[name] = slice(start, start + size)
        start += size
    return result


SLICES = _slices(_SIZES)
NUM_OBS = sum(_SIZES.values())


def observe(state: SimState, previous_action: Tensor, goal_pos: Tensor, goal_quat: Tensor) -> Tensor:
    """The policy's observation, (N, 211); previous_action (N, 24), goal_pos (N, 3), goal_quat (N, 4), world frame.

    Velocities and forces are the world's, turned into the palm's axes: the palm's own motion is not subtracted.
    `fingertips_to_object` points from the object's origin to the fingertips.
    """
    palm, inverse = state.palm_quat, rotations.conjugate(state.palm_quat)
    tips = inverse[:, None]  # the palm's inverse rotation, broadcast over the fingertips
    parts = {
        "joint_pos": state.joint_pos,
        "joint_vel": state.joint_vel,
        "object_pose": _pose(palm, state.palm_pos, state.object_pos, state.object_quat),
        "object_vel": torch.cat(
            [rotations.rotate(inverse, state.object_vel[:, :3]), rotations.rotate(inverse, state.object_vel[:, 3:])], -1
        ),
        "fingertips_to_object": rotations.rotate(tips, state.fingertip_pos - state.object_pos[:, None]),
        "previous_action": previous_action,
        "goal_pose": _pose(palm, state.palm_pos, goal_pos, goal_quat),
        "drive_force": state.drive_force,
        "fingertip_quat": rotations.canonical(rotations.multiply(tips, state.fingertip_quat)),
        "fingertip_vel": _two_vectors(tips, state.fingertip_vel),
        "fingertip_wrench": _two_vectors(tips, state.fingertip_wrench),
    }
    return torch.cat([parts[name].flatten(1) for name in _SIZES], dim=-1)


def _pose(palm_quat: Tensor, palm_pos: Tensor, pos: Tensor, quat: Tensor) -> Tensor:
    inverse = rotations.conjugate(palm_quat)
    turned = rotations.canonical(rotations.multiply(inverse, quat))
    return torch.cat([rotations.rotate(inverse, pos - palm_pos), turned], dim=-1)


def _two_vectors(inverse: Tensor, values: Tensor) -> Tensor:
    first = rotations.rotate(inverse, values[..., :3])
    return torch.cat([first, rotations.rotate(inverse, values[..., 3:])], dim=-1)
