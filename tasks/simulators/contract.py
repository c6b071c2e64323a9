"""What the task asks of a simulator: N worlds, each with a hand and an object above a table, that are stepped together.

All quantities are float32 tensors on `device` with a leading dimension N, in SI units and in the world's frame.  Quaternions
are (w, x, y, z).  Positions and linear velocities are those of a frame's origin, not of a centre of mass.  The table is the
plane z = `TABLE_HEIGHT`.  The hand has D drives and F fingertips, see `HandSpec`.  Simulators know neither rewards nor PPO.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any, Dict, Optional

import torch
from torch import Tensor

from tasks.hands.spec import HandSpec
from tasks.objects import distance

TABLE_HEIGHT = 0.05
"""Height of the table's top above the ground, m."""

COMPILE_OPTIONS: Dict[str, Any] = {
    "fullgraph": True,
    "dynamic": False,
    "options": {"comprehensive_padding": False},
}
"""Options of torch.compile.  Shapes never change, and whatever splits the graph is a mistake.  Rows of results are not padded,
because copying padded rows into the rollout is slow."""


@dataclass
class SimState:
    """What a simulator shows of its worlds.  `Simulator.step` and `Simulator.reset` write into the same tensors each time."""

    joint_pos: Tensor
    """(N, D) rad or m, the driven joints in the order of `HandSpec.drives`: 6 of the base, then the fingers'."""
    joint_vel: Tensor
    """(N, D) rad/s or m/s"""
    drive_force: Tensor
    """(N, D) N or N m, the force of each position drive."""
    palm_pos: Tensor
    """(N, 3)"""
    palm_quat: Tensor
    """(N, 4)"""
    fingertip_pos: Tensor
    """(N, F, 3) in the order of `HandSpec.fingertips`."""
    fingertip_quat: Tensor
    """(N, F, 4)"""
    fingertip_vel: Tensor
    """(N, F, 6), linear then angular."""
    fingertip_wrench: Tensor
    """(N, F, 6), N and N m: force, then torque about the fingertip's origin, of all contacts on the fingertip's body."""
    hand_force: Tensor
    """(N,) N, how hard all links of the hand are pressed: the size of the sum of the contact forces on each link, added up
    over the links.  Forces that cancel on one link do not count, and contacts with the table do."""
    object_pos: Tensor
    """(N, 3) of the origin of the object's frame (`ObjectModel`), not of its centre of mass."""
    object_quat: Tensor
    """(N, 4)"""
    object_vel: Tensor
    """(N, 6), linear then angular."""
    object_id: Tensor
    """(N,) int64, the number of each world's object in the set."""
    failed: Tensor
    """(N,) bool, worlds that diverged in the last step: something is not finite or absurdly fast.  The task must reset them."""

    @classmethod
    def zeros(cls, hand: HandSpec, num_envs: int, device: torch.device) -> SimState:
        """A state of zeros, with the shapes of this hand.  Orientations are the identity."""
        drives, tips = hand.num_drives, hand.num_fingertips
        shapes = {
            "joint_pos": (drives,), "joint_vel": (drives,), "drive_force": (drives,),
            "palm_pos": (3,), "palm_quat": (4,),
            "fingertip_pos": (tips, 3), "fingertip_quat": (tips, 4),
            "fingertip_vel": (tips, 6), "fingertip_wrench": (tips, 6), "hand_force": (),
            "object_pos": (3,), "object_quat": (4,), "object_vel": (6,), "object_id": (), "failed": (),
        }  # fmt: skip
        dtypes = {"object_id": torch.int64, "failed": torch.bool}
        tensors = {
            f.name: torch.zeros((num_envs, *shapes[f.name]), dtype=dtypes.get(f.name, torch.float32), device=device)
            for f in fields(cls)
        }
        for name in ("palm_quat", "fingertip_quat", "object_quat"):
            tensors[name][..., 0] = 1.0
        return cls(**tensors)


@dataclass
class Start:
    """Where worlds start; `Simulator.reset` takes the rows of the worlds that it resets."""

    joint_pos: Tensor
    """(N, D), also the new targets of the drives.  Coupled joints get the position of the joint that they follow."""
    object_pos: Tensor
    """(N, 3)"""
    object_quat: Tensor
    """(N, 4)"""
    object_id: Tensor
    """(N,) int64"""
    mass_scale: Tensor
    """(N,) factor of the object's own mass and inertia."""
    friction: Tensor
    """(N,) sliding friction of the object's contacts."""


@dataclass
class DriveFactors:
    """What the drives of each world are multiplied by, (N, D) each, in the order of `HandSpec.drives`."""

    stiffness: Tensor
    """Of the position gain."""
    damping: Tensor
    """Of the velocity gain."""
    force: Tensor
    """Of the largest force or torque."""


@dataclass
class WorldChanges:
    """What else differs from world to world.  None leaves what all worlds have."""

    com_shift: Optional[Tensor] = None
    """(N, 3) m, from the object's own centre of mass to that in this world, in the object's frame."""
    table_rise: Optional[Tensor] = None
    """(N,) m, how much higher than `TABLE_HEIGHT` the table is."""
    joint_friction: Optional[Tensor] = None
    """(N, D) N or N m, the dry friction of the driven joints, in the order of `HandSpec.drives`."""


class Simulator:
    """Base of all simulators.  The text at the top of this file has units and frames."""

    name: str
    num_envs: int
    device: torch.device
    control_dt: float
    """Seconds per `step`."""
    capturable: bool = False
    """Whether `step` and `reset` may be recorded in a CUDA graph."""
    swaps_objects: bool = True
    """Whether `reset` can put another object, mass or friction into a world.  If not, each world keeps those it was built with."""
    pushes_objects: bool = False
    """Whether it has `push`."""
    varies_drives: bool = False
    """Whether it has `vary_drives`."""
    varies_worlds: bool = False
    """Whether it has `vary_worlds`."""
    disturbed: bool = False
    """Whether `push`, `vary_drives` or `vary_worlds` was ever called."""
    mass_scale: Tensor
    """(N,) factor of each object's mass, in simulators whose worlds keep it."""
    friction: Tensor
    """(N,) sliding friction of each object, in simulators whose worlds keep it."""
    state: SimState

    def step(self, targets: Tensor) -> None:
        """Holds the drives' position targets (N, D) for `control_dt` and refreshes `state`."""
        raise NotImplementedError

    def reset(self, mask: Tensor, start: Start) -> None:
        """Puts the worlds in `mask` (N,) bool at rest in the given state, and leaves the others untouched.

        Rows of `start` outside the mask are ignored and may hold anything.  Afterwards `state` is current.  Contact and drive
        forces of reset worlds are zero until the next step, and their `state.failed` is False.
        """
        raise NotImplementedError

    def distances(self, faces: Tensor, points: Tensor) -> Tensor:
        """(N, M) m, signed distances from points to the surfaces of the worlds' objects.

        points: (N, M, 3) in the objects' frames.  faces: (V, P, F, 4) of the set of objects, see `ObjectTensors`.  The formula
        is that of `tasks.objects.distance`.
        """
        return distance(faces[self.state.object_id], points)

    def push(self, force: Tensor) -> None:
        """Lets a force (N, 3) N, in the world's frame, act on each object's centre of mass in all steps until the next call.

        It may be called before every step.  A reset does not have to end it.
        """
        raise NotImplementedError

    def vary_drives(self, mask: Tensor, factors: DriveFactors) -> None:
        """Gives the drives of the worlds in `mask` (N,) bool other gains and limits than the hand's own, times `factors`.

        Rows outside the mask are ignored.  They stay until the next call for that world.  A reset does not change them.
        The first call must come before a step is recorded in a CUDA graph.
        """
        raise NotImplementedError

    def vary_worlds(self, mask: Tensor, changes: WorldChanges) -> None:
        """Gives the worlds in `mask` (N,) bool another table, joints or centre of mass of the object.

        Rows outside the mask are ignored.  Table and joints stay until the next call for that world.  A reset puts the centre
        of mass back, so call it after each reset.  The object must stand on the new table by then.
        The first call with a joint friction must come before a step is recorded in a CUDA graph.
        """
        raise NotImplementedError

    def capture(self) -> AbstractContextManager:
        """A context to enter inside `torch.cuda.graph`, around what is recorded."""
        return nullcontext()

    def diagnostics(self) -> Dict[str, float]:
        """Counters since the last call, such as `nan_resets`.  They are copied to the host, so ask rarely."""
        return {}

    def state_dict(self) -> Optional[Dict[str, Tensor]]:
        """The physics of all worlds between two steps, (N, ...) on the CPU, exact to the bit.  None if not all can be read."""
        return None

    def load_state_dict(self, state: Dict[str, Tensor]) -> None:
        """Restores `state_dict`, so that the same steps follow.

        Before this call, `reset` must have put the same objects with the same masses and friction into the worlds.
        Raises KeyError or ValueError if the state is of another hand or number of worlds.
        """
        raise ValueError(f"{self.name} cannot go on in the middle of an episode")

    def close(self) -> None:
        """Frees what the garbage collector does not."""
