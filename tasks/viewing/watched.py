"""What is shown of worlds, whichever simulator they are in: their `SimState`, copied to the host."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Callable, Dict, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from tasks.grasp.environment import GraspTask
from tasks.objects import ObjectSet
from tasks.simulators.contract import DriveFactors, Simulator, Start, WorldChanges
from tasks.viewing.errors import RenderingError

Policy = Callable[[Tensor], Tensor]
"""Observations (N, O) -> actions (N, D)."""


@dataclass
class Snapshot:
    """W worlds at one moment, as numpy arrays.  Units and frames are those of `SimState`."""

    joint_pos: np.ndarray
    """(W, D)"""
    object_pos: np.ndarray
    """(W, 3)"""
    object_quat: np.ndarray
    """(W, 4)"""
    object_id: np.ndarray
    """(W,)"""
    fingertip_pos: np.ndarray
    """(W, F, 3)"""
    fingertip_quat: np.ndarray
    """(W, F, 4)"""
    fingertip_force: np.ndarray
    """(W, F, 3) N"""
    goal: np.ndarray
    """(W, 3) m"""
    reached: np.ndarray
    """(W,) bool, whether the object is at its goal."""

    def keep(self, mask: np.ndarray, earlier: Snapshot) -> None:
        """Puts the worlds in mask (W,) bool back to what they were."""
        for f in fields(self):
            getattr(self, f.name)[mask] = getattr(earlier, f.name)[mask]


class WatchedSimulator(Simulator):
    """Another simulator that says when its worlds have moved and when they will be reset, and lets the user push objects.

    It changes nothing else of it.  Resets happen inside the task's step, so whoever watches cannot see them from outside.
    """

    after_step: Optional[Callable[[], None]] = None
    before_reset: Optional[Callable[[Tensor], None]] = None

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.name, self.num_envs, self.device = simulator.name, simulator.num_envs, simulator.device
        self.control_dt, self.state = simulator.control_dt, simulator.state
        self.capturable, self.swaps_objects = simulator.capturable, simulator.swaps_objects
        self.pushes_objects, self.varies_drives = simulator.pushes_objects, simulator.varies_drives
        self.varies_worlds = simulator.varies_worlds
        if not self.swaps_objects:
            self.mass_scale, self.friction = simulator.mass_scale, simulator.friction
        self._of_task: Optional[Tensor] = None
        self._of_user: Optional[Tensor] = None
        self._steps_left = 0

    @property
    def disturbed(self) -> bool:  # type: ignore[override]
        """See `Simulator.disturbed`."""
        return self.simulator.disturbed

    def push_by_hand(self, force: Sequence[float], seconds: float) -> None:
        """Lets a force (3,) N act on all objects from the next step on, beside what the task pushes with.

        Raises RenderingError if the simulator cannot push.
        """
        if not self.pushes_objects:
            raise RenderingError(f"{self.name} cannot push objects")
        self._of_user = torch.tensor(list(force), dtype=torch.float32, device=self.device).expand(self.num_envs, 3)
        self._steps_left = max(1, round(seconds / self.control_dt))

    def step(self, targets: Tensor) -> None:
        """See `Simulator.step`."""
        if self._of_user is not None:
            of_task = torch.zeros_like(self._of_user) if self._of_task is None else self._of_task
            over = self._steps_left == 0
            self.simulator.push(of_task.clone() if over else of_task + self._of_user)
            self._of_user = None if over else self._of_user
            self._steps_left -= 1
        elif self._of_task is not None:
            self.simulator.push(self._of_task)
        self.simulator.step(targets)
        if self.after_step is not None:
            self.after_step()

    def reset(self, mask: Tensor, start: Start) -> None:
        """See `Simulator.reset`."""
        if self.before_reset is not None:
            self.before_reset(mask)
        self.simulator.reset(mask, start)

    def distances(self, faces: Tensor, points: Tensor) -> Tensor:
        """See `Simulator.distances`."""
        return self.simulator.distances(faces, points)

    def push(self, force: Tensor) -> None:
        """See `Simulator.push`."""
        self._of_task = force

    def vary_drives(self, mask: Tensor, factors: DriveFactors) -> None:
        """See `Simulator.vary_drives`."""
        self.simulator.vary_drives(mask, factors)

    def vary_worlds(self, mask: Tensor, changes: WorldChanges) -> None:
        """See `Simulator.vary_worlds`."""
        self.simulator.vary_worlds(mask, changes)

    def diagnostics(self) -> Dict[str, float]:
        """See `Simulator.diagnostics`."""
        return self.simulator.diagnostics()

    def close(self) -> None:
        """See `Simulator.close`."""
        self.simulator.close()


def some_of(objects: ObjectSet, count: int) -> ObjectSet:
    """At most count of the objects, chosen with torch's generator."""
    order = torch.randperm(len(objects)).tolist()[:count]
    return ObjectSet.of(objects.name, [objects.objects[i] for i in order])


def watched(task: GraspTask) -> WatchedSimulator:
    """The task's simulator.  Raises RenderingError if it cannot be watched."""
    if not isinstance(task.simulator, WatchedSimulator):
        raise RenderingError("these worlds were not made to be watched")
    return task.simulator


def snapshot(task: GraspTask, worlds: Sequence[int]) -> Snapshot:
    """Copies what is shown of these worlds to the host.

    The scene that is drawn has its table at the usual height.  Where tables differ, all that is above them is moved with them.
    """
    state, episodes = task.simulator.state, task.episodes
    rows = torch.as_tensor(list(worlds), dtype=torch.int64, device=task.device)

    def host(tensor: Tensor) -> np.ndarray:
        return tensor[rows].cpu().numpy().copy()

    shown = Snapshot(
        joint_pos=host(state.joint_pos),
        object_pos=host(state.object_pos),
        object_quat=host(state.object_quat),
        object_id=host(state.object_id),
        fingertip_pos=host(state.fingertip_pos),
        fingertip_quat=host(state.fingertip_quat),
        fingertip_force=host(state.fingertip_wrench)[..., :3],
        goal=host(episodes.goal.pos),
        reached=host(episodes.steps_at_goal) > 0,
    )
    changes = None if task.disturbances is None else task.disturbances.changes
    if changes is not None and changes.table_rise is not None:
        rise = host(changes.table_rise)[:, None]
        for places in (shown.joint_pos, shown.object_pos, shown.fingertip_pos, shown.goal):
            places[..., 2] -= rise if places.ndim == 3 else rise[:, 0]
    return shown


def between(earlier: Snapshot, later: Snapshot, share: float, begun: np.ndarray) -> Snapshot:
    """What lies between two moments: a share of 0 is the earlier one, of 1 the later one.

    begun: (W,) bool, worlds whose episode began in between, which are shown as they are later.
    """
    values = {}
    for f in fields(Snapshot):
        a, b = getattr(earlier, f.name), getattr(later, f.name)
        if b.dtype.kind != "f":
            values[f.name] = b
            continue
        if f.name.endswith("quat"):  # the short way round
            a = np.where((a * b).sum(-1, keepdims=True) < 0, -a, a)
        mixed = (1 - share) * a + share * b
        if f.name.endswith("quat"):
            mixed = mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)
        mixed[begun] = b[begun]
        values[f.name] = mixed
    return Snapshot(**values)
