"""All disturbances of a task, and when in a step each of them acts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict

import torch
from torch import Tensor

from tasks.grasp.randomisation import bodies
from tasks.grasp.randomisation.config import RandomCfg, check
from tasks.grasp.randomisation.delay import DelayLine
from tasks.grasp.randomisation.levels import Levels
from tasks.grasp.randomisation.pushes import Pushes
from tasks.grasp.randomisation.sensors import SensorErrors
from tasks.grasp.randomisation.sight import Sight
from tasks.grasp.situation import Goal, Situation, palm_frame
from tasks.grasp.starts import EpisodeStart
from tasks.hands.spec import HandSpec
from tasks.simulators.contract import Simulator


class Disturbances:
    """What differs from the ideal.  It is made only if something does.

    Whatever is off has no object and no kernels.  All tensors that are carried from step to step keep their addresses.
    """

    def __init__(
        self, hand: HandSpec, cfg: RandomCfg, simulator: Simulator, evaluation: bool, pose_filter: float = 0.0
    ) -> None:
        """pose_filter: see `GraspCfg`.  Raises ValueError for settings that cannot be meant, or that the simulator cannot do."""
        check(cfg)
        if cfg.push > 0 and not simulator.pushes_objects:
            raise ValueError(f"--random.push: {simulator.name} cannot push objects")
        if cfg.varies_drives and not simulator.varies_drives:
            raise ValueError(
                f"--random.stiffness, --random.damping, --random.torque-limit: {simulator.name} cannot vary its drives"
            )
        if cfg.varies_bodies and not simulator.swaps_objects:
            raise ValueError(
                f"--random.mass, --random.friction: {simulator.name} keeps the masses and frictions it was built with"
            )
        if cfg.varies_worlds and not simulator.varies_worlds:
            raise ValueError(
                f"--random.com, --random.table-height, --random.joint-friction: {simulator.name} cannot vary its worlds"
            )
        n, device, dt = simulator.num_envs, simulator.device, simulator.control_dt
        self.cfg, self.simulator, self._drives = cfg, simulator, hand.num_drives
        self.levels = Levels(cfg, n, evaluation, device)
        needs_sight = cfg.disturbs_sight or pose_filter > 0
        self.sensors = SensorErrors(hand, cfg, n, dt, device) if cfg.disturbs_sensors or needs_sight else None
        self.sight = Sight(cfg, n, dt, device, pose_filter) if needs_sight else None
        self.delay = DelayLine(cfg, n, hand.num_drives, device) if cfg.delays_actions else None
        self.pushes = Pushes(cfg, n, dt, device) if cfg.push > 0 else None
        self.factors = bodies.no_variation(n, hand.num_drives, device) if cfg.varies_drives else None
        self.changes = bodies.no_change(cfg, n, hand.num_drives, device) if cfg.varies_worlds else None

    def vary(self, start: EpisodeStart) -> EpisodeStart:
        """The start with other masses and frictions of the objects, on another table."""
        return bodies.vary_start(self.cfg, start, self.levels.scale)

    def begin(self, mask: Tensor, hold: Tensor) -> None:
        """Episodes begin in the worlds in mask (N,).  hold (N, D): the action that leaves the drives' targets where they are."""
        self.levels.begin(mask)
        if self.delay is not None:
            self.delay.begin(mask, hold)
        if self.pushes is not None:
            self.pushes.begin(mask)

    def vary_simulator(self, mask: Tensor, start: EpisodeStart, half_extents: Tensor) -> None:
        """Gives other drives, joints, tables and centres of mass to the worlds in mask (N,), which were just reset to the start.

        half_extents (V, 3) m, of all objects of the set.
        """
        if self.factors is not None:
            drawn = bodies.draw_drives(self.cfg, len(mask), self._drives, self.levels.scale)
            _put(mask, vars(drawn), vars(self.factors))
            self.simulator.vary_drives(mask, self.factors)
        if self.changes is not None:
            changes = bodies.draw_world(self.cfg, start, half_extents[start.object_id], self.levels.scale)
            _put(mask, vars(changes), vars(self.changes))
            self.simulator.vary_worlds(mask, self.changes)

    def replaced(self) -> None:
        """Gives the simulator again what it was given, after the tensors of `running` were overwritten."""
        every = torch.ones(self.simulator.num_envs, dtype=torch.bool, device=self.simulator.device)
        if self.factors is not None:
            self.simulator.vary_drives(every, self.factors)
        if self.changes is not None:
            self.simulator.vary_worlds(every, self.changes)

    def arriving(self, action: Tensor) -> Tensor:
        """(N, D) the actions that act in this step.  action (N, D): what the policy has just decided."""
        return action if self.delay is None else self.delay.arriving(action, self.levels.kind("delay"))

    def push(self, mass: Tensor, rise: Tensor) -> None:
        """Pushes the objects in the step that follows.  mass (N,) kg; rise (N,) m above where they rested."""
        if self.pushes is not None:
            self.simulator.push(self.pushes.forces(mass, rise, self.levels.kind("push")))

    def seen(self, begun: Tensor, now: Situation, goal: Goal) -> Situation:
        """What the policy sees of a situation: its `state` and `palm`.  begun (N,) bool: worlds whose episode begins.

        The other fields are those of the truth, so no slice of the actor may be cut from them.
        """
        if self.sensors is None:
            return now
        errors = self.sensors.draw(begun, self.levels.of)
        state = self.sensors.seen(now.state, errors) if self.cfg.disturbs_sensors else now.state
        if self.sight is not None:
            state = self.sight.seen(begun, state, errors, self.levels.kind("sight"))
        return replace(now, state=state, palm=palm_frame(state, goal))

    def report(self, ended: Tensor, held: Tensor) -> None:
        """Counts episodes that ended, by which the disturbances grow or shrink.  ended, held: (N,) bool."""
        self.levels.report(ended, held)

    def state_dict(self) -> Dict[str, Any]:
        """How wide they are."""
        return self.levels.state_dict()

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.levels.load_state_dict(state)

    def running(self) -> Dict[str, Tensor]:
        """Everything that a step carries over to the next one, by name.

        After these tensors were overwritten with those of another run, `replaced` gives them to the simulator.
        """
        found = {"random_levels": self.levels.of}
        if self.sensors is not None:
            found["random_bias"] = self.sensors.bias
        if self.sight is not None:
            held = self.sight
            found.update(random_pos=held.pos, random_quat=held.quat, random_vel=held.vel)
            found.update(random_age=held.age, random_hidden=held.hidden)
        if self.delay is not None:
            found.update(random_waiting=self.delay.waiting, random_late=self.delay.late)
        if self.pushes is not None:
            found["random_push"] = self.pushes.direction
        if self.factors is not None:
            found.update({f"random_{name}": value for name, value in vars(self.factors).items()})
        if self.changes is not None:
            found.update({f"random_{name}": value for name, value in vars(self.changes).items() if value is not None})
        return found


def _put(mask: Tensor, new: Dict[str, Tensor], old: Dict[str, Tensor]) -> None:
    """Writes the worlds of the mask (N,) into the old tensors (N, ...), but for those that are None."""
    for name, value in old.items():
        if value is not None:
            torch.where(mask.view(-1, *[1] * (value.dim() - 1)), new[name], value, out=value)


def end_disturbances(hand: HandSpec, simulator: Simulator) -> None:
    """Takes away what an earlier task on this simulator may have left: a push, other drives, joints and tables."""
    n, device = simulator.num_envs, simulator.device
    if simulator.pushes_objects:
        simulator.push(torch.zeros(n, 3, device=device))
    every = torch.ones(n, dtype=torch.bool, device=device)
    if simulator.varies_drives:
        simulator.vary_drives(every, bodies.no_variation(n, hand.num_drives, device))
    if simulator.varies_worlds:
        simulator.vary_worlds(every, bodies.no_change(None, n, hand.num_drives, device))
