"""What the task asks of a simulator: N worlds of one hand and one object over a table, stepped as one.

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
"""For torch.compile: shapes never change, and whatever splits the graph is a mistake.  Rows of results are not padded, since
copying such results into the rollout is slow."""


@dataclass
class SimState:
    """Tensors at constant addresses that `Simulator.step` and `Simulator.reset` refresh in place."""

    joint_pos: Tensor
    """(N, D) rad or m, the driven joints in the order of `HandSpec.drives`: 6 of the base, then the fingers'."""
    joint_vel: Tensor
    """(N, D) rad/s or m/s"""
    drive_force: Tensor
    """(N, D) N or N m, what each position drive exerts."""
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
    """(N, F, 6), force then torque about the fingertip's origin, exerted on the fingertip's body by all its contacts."""
    object_pos: Tensor
    """(N, 3), origin of the object's frame (`ObjectModel`), not its centre of mass."""
    object_quat: Tensor
    """(N, 4)"""
    object_vel: Tensor
    """(N, 6), linear then angular."""
    object_id: Tensor
    """(N,) int64, which object of the set is in this world."""
    failed: Tensor
    """(N,) bool, worlds that diverged (not finite, or absurdly fast) in the last step: the task must reset them."""

    @classmethod
    def zeros(cls, hand: HandSpec, num_envs: int, device: torch.device) -> SimState:
        """A state of zeros, with the shapes of this hand.  Orientations are the identity."""
        drives, tips = hand.num_drives, hand.num_fingertips
        shapes = {
            "joint_pos": (drives,), "joint_vel": (drives,), "drive_force": (drives,),
            "palm_pos": (3,), "palm_quat": (4,),
            "fingertip_pos": (tips, 3), "fingertip_quat": (tips, 4),
            "fingertip_vel": (tips, 6), "fingertip_wrench": (tips, 6),
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
    """The state of all worlds that `Simulator.reset` takes its rows from."""

    joint_pos: Tensor
    """(N, D), also the new targets of the drives.  Coupled joints get the position of the joint that they follow."""
    object_pos: Tensor
    """(N, 3)"""
    object_quat: Tensor
    """(N, 4)"""
    object_id: Tensor
    """(N,) int64"""
    mass_scale: Tensor
    """(N,) times the object's own mass and inertia."""
    friction: Tensor
    """(N,) sliding coefficient of the object's contacts."""


class Simulator:
    """Base of all simulators; see the module's text for units and frames."""

    name: str
    num_envs: int
    device: torch.device
    control_dt: float
    """Seconds per `step`."""
    capturable: bool = False
    """Whether `step` and `reset` may be recorded in a CUDA graph."""
    swaps_objects: bool = True
    """Whether `reset` may put another object, mass or friction into a world; else it keeps those it was built with."""
    mass_scale: Tensor
    """(N,) and `friction` (N,): what the worlds were built with, if they keep it."""
    friction: Tensor
    state: SimState

    def step(self, targets: Tensor) -> None:
        """Holds the drives' position targets (N, D) for `control_dt` and refreshes `state`."""
        raise NotImplementedError

    def reset(self, mask: Tensor, start: Start) -> None:
        """Puts the worlds in `mask` (N,) bool at rest in the given state and leaves the others untouched.

        Rows of `start` outside the mask are ignored and may hold anything.  `state` is current afterwards; contact and
        drive forces of reset worlds are zero until the next step.  `state.failed` is cleared in the mask.
        """
        raise NotImplementedError

    def distances(self, faces: Tensor, points: Tensor) -> Tensor:
        """(N, M) m, signed, from points (N, M, 3) in the frames of the worlds' objects to their surfaces; faces (V, P, F, 4)
        of the set, see `ObjectTensors` and `tasks.objects.distance`."""
        return distance(faces[self.state.object_id], points)

    def capture(self) -> AbstractContextManager:
        """Entered inside `torch.cuda.graph` around what is recorded."""
        return nullcontext()

    def diagnostics(self) -> Dict[str, float]:
        """Counters since the last call: `nan_resets`, `contact_overflow`, ...; copies to the host, so ask rarely."""
        return {}

    def state_dict(self) -> Optional[Dict[str, Tensor]]:
        """The physics of all worlds between two steps, (N, ...) on the CPU, exact to the bit; None if it cannot be read whole."""
        return None

    def load_state_dict(self, state: Dict[str, Tensor]) -> None:
        """Restores `state_dict`; what follows is then the same.  Before it, `reset` must have put the same objects with the same
        masses and friction into the worlds.  Raises KeyError or ValueError if the state is of another hand or number of worlds.
        """
        raise ValueError(f"{self.name} cannot go on in the middle of an episode")

    def close(self) -> None:
        """Frees what the garbage collector would not."""
