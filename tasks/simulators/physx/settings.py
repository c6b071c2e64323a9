"""The settings of PhysX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

FINE_STEPS_PER_S = 240


@dataclass(frozen=True)
class PhysxCfg:
    """How PhysX integrates, and what is drawn when the worlds are built.

    The defaults are for training, `fine` is for measuring policies.  docs/physics.md has what was tried and what it cost.
    """

    timestep: float = 1 / 120
    """Seconds of one sub-step."""
    substeps: int = 4
    """Sub-steps of one control step.  4 of 1/120 s make 30 control steps a second."""
    position_iterations: int = 8
    """Iterations of the solver in each sub-step.  With 8 objects slip now and then, with 32 they do not, at 2.5 times the
    time."""
    velocity_iterations: int = 0
    """Further iterations that correct velocities, after positions have moved.  With any, the velocities that PhysX tells are
    noise: an object at rest in a grasp is told to turn at 0.2 rad/s, and its pose turns at 0.005."""
    contact_offset: float = 0.002
    """m, the distance at which contacts are made."""
    rest_offset: float = 0.0
    """m, the distance at which things rest."""
    bounce_threshold: float = 0.2
    """m/s.  Slower impacts do not bounce."""
    max_depenetration: float = 10.0
    """m/s, at most, at which things that overlap are pushed apart."""
    friction: Tuple[float, float] = (0.5, 1.2)
    """Range of the sliding friction of objects that have none of their own.  It is drawn once for each world."""
    mass_scale: float = 2.0
    """Mass and inertia of each world's object are scaled once, by a factor between 1 / this and this.  1 scales nothing."""
    coupling_frequency: float = 120.0
    """Hz, how stiffly a coupled joint follows.  Times the time step this should be about 1."""
    coupling_damping: float = 1.0
    """Damping ratio of the coupling."""
    fingertip_torques: bool = True
    """Whether the fingertips' torques are computed from the points of contact.  If not, they are 0."""
    contacts_per_world: int = 2048
    """Room for contacts on a GPU, in each world; other buffers follow it.  Raise it if contacts are reported as lost."""
    max_speed: float = 200.0
    """m/s or rad/s.  A world whose joint or object is faster has diverged and is reset."""

    @property
    def control_dt(self) -> float:
        """Seconds of one control step."""
        return self.timestep * self.substeps

    @classmethod
    def fine(cls, control_dt: float = 1 / 30) -> PhysxCfg:
        """Steps of 1/240 s with 16 iterations, in which policies are measured.

        control_dt: seconds of a control step of the policy's training.  Raises ValueError if that is no multiple of 1/240 s.
        """
        substeps = round(control_dt * FINE_STEPS_PER_S)
        if substeps < 1 or abs(control_dt * FINE_STEPS_PER_S - substeps) > 1e-6:
            raise ValueError(f"control steps of {control_dt:g} s are no whole number of 1/{FINE_STEPS_PER_S} s")
        return cls(1 / FINE_STEPS_PER_S, substeps, position_iterations=16)

    @classmethod
    def recipe(cls) -> PhysxCfg:
        """The settings of the published recipe: 8 iterations in steps of 1/120 s, contacts from 2 mm on."""
        return cls(position_iterations=8)
