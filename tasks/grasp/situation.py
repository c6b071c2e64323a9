"""How hand, object and goal stand to each other: computed here, once, from the simulator's state.

Rewards, success and the views of critic and actor are cut from a `Situation`.  None of them computes a distance, a frame or a
force of its own.  So nothing that is paid or judged depends on what the policy sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks import rotations
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectTensors
from tasks.simulators.contract import SimState, Simulator


@dataclass
class Goal:
    """Where the object is to go, in the world's frame."""

    pos: Tensor
    """(N, 3) m"""
    quat: Tensor
    """(N, 4)"""
    rest_height: Tensor
    """(N,) m, where the object's origin rested above the ground."""


@dataclass
class PalmFrame:
    """Poses and vectors in the axes of the palm.  Velocities are the world's: the palm's own motion is not subtracted."""

    object_pos: Tensor
    """(N, 3) m from the palm"""
    object_quat: Tensor
    """(N, 4)"""
    object_vel: Tensor
    """(N, 2, 3) linear m/s, angular rad/s"""
    goal_pos: Tensor
    """(N, 3) m from the palm"""
    goal_quat: Tensor
    """(N, 4)"""
    tips_from_object: Tensor
    """(N, F, 3) m, from the object's origin to the fingertips."""
    tip_quat: Tensor
    """(N, F, 4)"""
    tip_vel: Tensor
    """(N, 2 F, 3) of each fingertip: linear m/s, angular rad/s."""
    tip_wrench: Tensor
    """(N, 2 F, 3) of each fingertip: force N, torque N m."""


@dataclass
class Situation:
    """Everything that the task derives from the simulator's state."""

    state: SimState
    """The state itself, in the world's frame."""
    palm: PalmFrame
    gaps: Tensor
    """(N, F + 1) m, `tip_distance` and `palm_distance` side by side."""
    tip_force: Tensor
    """(N, F) N, magnitude of the contact force on each fingertip."""
    hand_force: Tensor
    """(N,) N, of all links of the hand, as `SimState.hand_force`."""
    height: Tensor
    """(N,) m of the object's origin above the ground."""
    rise: Tensor
    """(N,) m of the object's origin above where it rested."""
    goal_distance: Tensor
    """(N,) m from the object's origin to the goal."""
    at_goal: Tensor
    """(N,) bool, within the success radius."""
    object_speed: Tensor
    """(N,) m/s"""
    object_turn: Tensor
    """(N,) rad/s"""
    off_table: Tensor
    """(N,) bool"""

    @property
    def tip_distance(self) -> Tensor:
        """(N, F) m from the fingertips' surfaces to the object's, not below 0."""
        return self.gaps[:, :-1]

    @property
    def palm_distance(self) -> Tensor:
        """(N,) m from the point before the palm to the object's surface, not below 0."""
        return self.gaps[:, -1]


class SituationReader:
    """Computes a `Situation` from what the simulator's state is now."""

    def __init__(
        self,
        simulator: Simulator,
        hand: HandSpec,
        objects: ObjectTensors,
        success_radius: float,
        table_half_side: float,
    ) -> None:
        device = simulator.device
        self.simulator, self.faces = simulator, objects.faces
        self.success_radius = success_radius
        self._radius = torch.tensor([*hand.fingertip_radius, 0.0], device=device)
        self._palm_centre = torch.tensor(hand.palm_centre, device=device)
        # Limits of |x|, |y| and |z|.  The last is one of height, because nothing gets 1 m below the ground.
        self._table_reach = torch.tensor([table_half_side, table_half_side, 1.0], device=device)

    def read(self, goal: Goal) -> Situation:
        """The situation in all worlds."""
        state = self.simulator.state
        palm = palm_frame(state, goal)
        height = state.object_pos[:, 2]
        goal_distance = (state.object_pos - goal.pos).norm(dim=-1)
        return Situation(
            state=state,
            palm=palm,
            gaps=self._surface_distances(palm),
            tip_force=state.fingertip_wrench[..., :3].norm(dim=-1),
            hand_force=state.hand_force,
            height=height,
            rise=height - goal.rest_height,
            goal_distance=goal_distance,
            at_goal=goal_distance < self.success_radius,
            object_speed=state.object_vel[:, :3].norm(dim=-1),
            object_turn=state.object_vel[:, 3:].norm(dim=-1),
            off_table=(state.object_pos.abs() > self._table_reach).any(-1),
        )

    def _surface_distances(self, palm: PalmFrame) -> Tensor:
        """(N, F + 1) m from the fingertips' surfaces and the point before the palm to the object's surface."""
        from_object = torch.cat([palm.tips_from_object, (self._palm_centre - palm.object_pos)[:, None]], dim=1)
        points = rotations.rotate_inverse(palm.object_quat[:, None], from_object)
        return (self.simulator.distances(self.faces, points) - self._radius).clamp(min=0)


def palm_frame(state: SimState, goal: Goal) -> PalmFrame:
    """Turns what is known of object, goal and fingertips into the palm's axes.

    All vectors are turned at once, and all quaternions: a kernel for each of the vectors would cost as much as one for all.
    """
    tips = state.fingertip_pos.shape[1]
    turn = state.palm_quat[:, None]
    places = torch.stack([state.object_pos, goal.pos], dim=1) - state.palm_pos[:, None]
    from_object = state.fingertip_pos - state.object_pos[:, None]
    pairs = [state.object_vel, state.fingertip_vel, state.fingertip_wrench]
    vectors = torch.cat([places, from_object, *(pair.reshape(len(pair), -1, 3) for pair in pairs)], dim=1)
    vectors = rotations.rotate_inverse(turn, vectors)
    of_places, of_tips, object_vel, tip_vel, tip_wrench = vectors.split([2, tips, 2, 2 * tips, 2 * tips], dim=1)
    quats = torch.cat([state.object_quat[:, None], goal.quat[:, None], state.fingertip_quat], dim=1)
    quats = rotations.canonical(rotations.multiply_inverse(turn, quats))
    return PalmFrame(
        object_pos=of_places[:, 0],
        object_quat=quats[:, 0],
        object_vel=object_vel,
        goal_pos=of_places[:, 1],
        goal_quat=quats[:, 1],
        tips_from_object=of_tips,
        tip_quat=quats[:, 2:],
        tip_vel=tip_vel,
        tip_wrench=tip_wrench,
    )
