"""What actor and critic see: tables of named slices, each cut from the situation.

Vectors and poses are in the palm's frame, so that nothing depends on where the hand is.  Only the base's own six joints tell
that.  To show the critic something more, add one line to `CRITIC`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from tasks.grasp.situation import Situation
from tasks.hands.spec import HandSpec


@dataclass
class View:
    """What slices are cut from."""

    now: Situation
    previous_action: Tensor
    """(N, D)"""
    hold_progress: Tensor
    """(N,) steps at the goal without a break, as a share of those that count as held."""
    best_distance: Tensor
    """(N,) m, mean over fingertips and palm of the smallest distance to the object so far."""
    mass: Tensor
    """(N,) kg"""
    friction: Tensor
    """(N,)"""
    half_extents: Tensor
    """(N, 3) m, of the object's box."""


class Slice(NamedTuple):
    """A named part of an observation."""

    name: str
    size: Callable[[HandSpec], int]
    """How many numbers it has, for a hand."""
    read: Callable[[View], Union[Tensor, Tuple[Tensor, ...]]]
    """(N, ...), or several of them, flattened in the observation."""


def _fixed(count: int) -> Callable[[HandSpec], int]:
    return lambda hand: count


def _per_drive(hand: HandSpec) -> int:
    return hand.num_drives


def _per_tip(count: int) -> Callable[[HandSpec], int]:
    return lambda hand: count * hand.num_fingertips


ACTOR: Tuple[Slice, ...] = (
    Slice("joint_pos", _per_drive, lambda v: v.now.state.joint_pos),
    Slice("joint_vel", _per_drive, lambda v: v.now.state.joint_vel),
    Slice("object_pose", _fixed(7), lambda v: (v.now.palm.object_pos, v.now.palm.object_quat)),
    Slice("object_vel", _fixed(6), lambda v: v.now.palm.object_vel),
    Slice("fingertips_to_object", _per_tip(3), lambda v: v.now.palm.tips_from_object),
    Slice("previous_action", _per_drive, lambda v: v.previous_action),
    Slice("goal_pose", _fixed(7), lambda v: (v.now.palm.goal_pos, v.now.palm.goal_quat)),
    Slice("drive_force", _per_drive, lambda v: v.now.state.drive_force),
    Slice("fingertip_quat", _per_tip(4), lambda v: v.now.palm.tip_quat),
    Slice("fingertip_vel", _per_tip(6), lambda v: v.now.palm.tip_vel),
    Slice("fingertip_wrench", _per_tip(6), lambda v: v.now.palm.tip_wrench),
)
"""What the policy sees, in this order: 211 numbers for the Shadow Hand, of which the first 107 are the published recipe's."""

CRITIC: Tuple[Slice, ...] = (
    Slice("tip_distance", _per_tip(1), lambda v: v.now.tip_distance),
    Slice("palm_distance", _fixed(1), lambda v: v.now.palm_distance),
    Slice("rise", _fixed(1), lambda v: v.now.rise),
    Slice("goal_distance", _fixed(1), lambda v: v.now.goal_distance),
    Slice("at_goal", _fixed(1), lambda v: v.now.at_goal.float()),
    Slice("object_speed", _fixed(1), lambda v: v.now.object_speed),
    Slice("hold_progress", _fixed(1), lambda v: v.hold_progress),
    Slice("best_distance", _fixed(1), lambda v: v.best_distance),
    Slice("mass", _fixed(1), lambda v: v.mass),
    Slice("friction", _fixed(1), lambda v: v.friction),
    Slice("half_extents", _fixed(3), lambda v: v.half_extents),
    Slice("grip_force", _fixed(1), lambda v: v.now.tip_force.mean(-1)),
    Slice("touching", _fixed(1), lambda v: (v.now.tip_force > 0.1).float().mean(-1)),
    Slice("object_climb", _fixed(1), lambda v: v.now.state.object_vel[:, 2]),
    Slice("palm_height", _fixed(1), lambda v: v.now.state.palm_pos[:, 2]),
)
"""What the critic sees besides the actor's slices."""

INPUT_SETS: Dict[str, Tuple[str, ...]] = {
    "proprioception+pose": ("object_vel", "drive_force", "fingertip_wrench"),
    "proprioception": ("object_vel", "drive_force", "fingertip_wrench", "object_pose", "fingertips_to_object"),
}
"""Named by what is left -> what they hide.  Goal and previous action are left in each.

proprioception+pose is what a robot has with encoders and a camera: joints, fingertips by kinematics, and the object's pose.
"""


class Layout:
    """Slices one after the other, for a hand."""

    def __init__(self, parts: Sequence[Slice], hand: HandSpec) -> None:
        self.parts = tuple(parts)
        self.slices: Dict[str, slice] = {}
        """Where each slice lies, by name."""
        self.size = 0
        for part in self.parts:
            self.slices[part.name] = slice(self.size, self.size + part.size(hand))
            self.size += part.size(hand)

    def columns(self, names: Sequence[str]) -> Tensor:
        """(size,) bool, the columns of these slices, or of those that a set in INPUT_SETS hides.

        Raises ValueError for an unknown name.
        """
        unknown = [name for name in names if name not in self.slices and name not in INPUT_SETS]
        if unknown:
            raise ValueError(
                f"--hidden-inputs {' '.join(unknown)}: choose from {', '.join(self.slices)}, or name what is left: "
                f"{', '.join(INPUT_SETS)}"
            )
        chosen = torch.zeros(self.size, dtype=torch.bool)
        for name in names:
            for part in INPUT_SETS.get(name, (name,)):
                chosen[self.slices[part]] = True
        return chosen


class History:
    """What the actor saw of some slices in its last steps.  Where an episode began later, it is what was seen first."""

    def __init__(
        self, hand: HandSpec, names: Sequence[str], steps: int, num_envs: int, device: Optional[torch.device] = None
    ) -> None:
        """names: of slices of ACTOR; steps: how many are kept.  Raises ValueError for an unknown name."""
        layout = Layout(ACTOR, hand)
        unknown = [name for name in names if name not in layout.slices]
        if unknown:
            raise ValueError(f"--history-inputs {' '.join(unknown)}: choose from {', '.join(layout.slices)}")
        columns = [i for name in names for i in range(*layout.slices[name].indices(layout.size))]
        self._columns = torch.tensor(columns, dtype=torch.int64, device=device)
        self.values = torch.zeros(num_envs, steps, len(columns), device=device)
        """(N, steps, C), the newest first."""

    @property
    def size(self) -> int:
        """How many numbers it adds to an observation."""
        return self.values.shape[1] * self.values.shape[2]

    def read(self) -> Tensor:
        """(N, size) of the steps before the one that is about to be added."""
        return self.values.flatten(1)

    def add(self, begun: Tensor, obs: Tensor) -> Tensor:
        """Adds what the actor sees now, obs (N, O), and returns what it saw before, (N, size).

        begun (N,) bool: worlds whose episode begins.
        """
        now = obs.index_select(1, self._columns)[:, None]
        before = torch.where(begun[:, None, None], now, self.values)
        self.values.copy_(torch.cat([now, before[:, :-1]], dim=1))
        return before.flatten(1)


def observe(view: View) -> Tuple[Tensor, Tensor]:
    """What the actor sees, and what the critic sees, as `observation_sizes` has their sizes without a history."""
    obs = actor_view(view)
    return obs, critic_view(obs, view)


def actor_view(view: View) -> Tensor:
    """(N, O) what the actor sees."""
    return torch.cat(_columns(ACTOR, view), dim=-1)


def critic_view(obs: Tensor, view: View, past: Sequence[Tensor] = ()) -> Tensor:
    """What the critic sees.  obs: of `actor_view`, undisturbed; past: what the actor saw before, if it has a history."""
    return torch.cat([obs, *past, *_columns(CRITIC, view)], dim=-1)


def _columns(parts: Sequence[Slice], view: View) -> List[Tensor]:
    count = len(view.friction)
    found = [part.read(view) for part in parts]
    flat = [x for part in found for x in (part if isinstance(part, tuple) else (part,))]
    return [x.reshape(count, -1) for x in flat]


def observation_sizes(hand: HandSpec, history_inputs: Sequence[str] = (), history: int = 0) -> Tuple[int, int]:
    """How many numbers the actor and the critic see for a hand, with so many steps of history of these slices."""
    actor = Layout(ACTOR, hand).size + History(hand, history_inputs, history, 1).size
    return actor, actor + Layout(CRITIC, hand).size
