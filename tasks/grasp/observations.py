"""The 211 numbers a policy sees, each slice named once, and what the critic sees beyond them.

Vectors and poses are those of the palm's frame, so that nothing depends on where the hand is; only the base's own six
joints tell that.
"""

from __future__ import annotations

from typing import Dict, Sequence

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


def hidden_columns(names: Sequence[str]) -> Tensor:
    """(211,) bool, the columns of these slices.  Raises ValueError for a name that is none."""
    unknown = [name for name in names if name not in SLICES]
    if unknown:
        raise ValueError(f"--hidden-inputs {' '.join(unknown)}: choose from {', '.join(SLICES)}")
    hidden = torch.zeros(NUM_OBS, dtype=torch.bool)
    for name in names:
        hidden[SLICES[name]] = True
    return hidden


def observe(state: SimState, previous_action: Tensor, goal_pos: Tensor, goal_quat: Tensor) -> Tensor:
    """The policy's observation, (N, 211); previous_action (N, 24), goal_pos (N, 3), goal_quat (N, 4), world frame.

    Velocities and forces are the world's, turned into the palm's axes: the palm's own motion is not subtracted.
    `fingertips_to_object` points from the object's origin to the fingertips.
    """
    # All vectors and all quaternions are turned at once: a kernel each for 29 vectors costs what it costs for one.
    palm = state.palm_quat[:, None]
    places = torch.stack([state.object_pos, goal_pos], dim=1) - state.palm_pos[:, None]
    tips = state.fingertip_pos - state.object_pos[:, None]
    pairs = [state.object_vel, state.fingertip_vel, state.fingertip_wrench]
    vectors = torch.cat([places, tips, *(pair.reshape(len(pair), -1, 3) for pair in pairs)], dim=1)
    vectors = rotations.rotate_inverse(palm, vectors)  # (N, 2 + 5 + 2 + 10 + 10, 3)
    quats = torch.cat([state.object_quat[:, None], goal_quat[:, None], state.fingertip_quat], dim=1)
    quats = rotations.canonical(rotations.multiply_inverse(palm, quats))  # (N, 2 + 5, 4)
    parts = {
        "joint_pos": [state.joint_pos],
        "joint_vel": [state.joint_vel],
        "object_pose": [vectors[:, 0], quats[:, 0]],
        "object_vel": [vectors[:, 7:9]],
        "fingertips_to_object": [vectors[:, 2:7]],
        "previous_action": [previous_action],
        "goal_pose": [vectors[:, 1], quats[:, 1]],
        "drive_force": [state.drive_force],
        "fingertip_quat": [quats[:, 2:]],
        "fingertip_vel": [vectors[:, 9:19]],
        "fingertip_wrench": [vectors[:, 19:29]],
    }
    return torch.cat([part.flatten(1) for name in _SIZES for part in parts[name]], dim=-1)
