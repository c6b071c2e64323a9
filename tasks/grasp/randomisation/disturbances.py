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
from tasks.hands.spec import HandSpec
from tasks.simulators.contract import Simulator, Start


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
        n, device, dt = simulator.num_envs, simulator.device, simulator.control_dt
        self.cfg, self.simulator, self._drives = cfg, simulator, hand.num_drives
        self.levels = Levels(cfg, n, evaluation, device)
        needs_sight = cfg.disturbs_sight or pose_filter > 0
        self.sensors = SensorErrors(hand, cfg, n, dt, device) if cfg.disturbs_sensors or needs_sight else None
        self.sight = Sight(cfg, n, dt, device, pose_filter) if needs_sight else None
        self.delay = DelayLine(cfg, n, hand.num_drives, device) if cfg.delays_actions else None
        self.pushes = Pushes(cfg, n, dt, device) if cfg.push > 0 else None
        self.factors = bodies.no_variation(n, hand.num_drives, device) if cfg.varies_drives else None

    def vary(self, start: Start) -> None:
        """Gives a start's objects other masses and frictions."""
        if self.cfg.varies_bodies:
            bodies.vary_object(self.cfg, start, self.levels.scale)

    def begin(self, mask: Tensor, hold: Tensor) -> None:
        """Episodes begin in the worlds in mask (N,).  hold (N, D): the action that leaves the drives' targets where they are."""
        self.levels.begin(mask)
        if self.delay is not None:
            self.delay.begin(mask, hold)
        if self.pushes is not None:
            self.pushes.begin(mask)

    def vary_drives(self, mask: Tensor) -> None:
        """Gives other drives to the worlds in mask (N,), whose episodes begin."""
        if self.factors is None:
            return
        drawn = bodies.draw_drives(self.cfg, len(mask), self._drives, self.levels.scale)
        for name, value in vars(self.factors).items():
            torch.where(mask[:, None], getattr(drawn, name), value, out=value)
        self.simulator.vary_drives(mask, self.factors)

    def drives_were_replaced(self) -> None:
        """Gives the simulator the drives' factors again, after the tensors of `running` were overwritten."""
        if self.factors is not None:
            every = torch.ones(len(self.factors.stiffness), dtype=torch.bool, device=self.simulator.device)
            self.simulator.vary_drives(every, self.factors)

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

        After these tensors were overwritten with those of another run, `drives_were_replaced` gives them to the simulator.
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
        return found


def end_disturbances(hand: HandSpec, simulator: Simulator) -> None:
    """Takes away what an earlier task on this simulator may have left: a push, other drives."""
    n, device = simulator.num_envs, simulator.device
    if simulator.pushes_objects:
        simulator.push(torch.zeros(n, 3, device=device))
    if simulator.varies_drives:
        every = torch.ones(n, dtype=torch.bool, device=device)
        simulator.vary_drives(every, bodies.no_variation(n, hand.num_drives, device))
