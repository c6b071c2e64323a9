"""The settings of Isaac Gym's simulation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional, Tuple


@dataclass(frozen=True)
class IsaacGymCfg:
    """How PhysX integrates, what is drawn when the worlds are built, and how the worlds are checked.

    Most values are those of the published recipe, see `recipe`.
    """

    sim_dt: float = 1 / 60
    """Seconds that one call of `simulate` advances, in `substeps` equal parts."""
    control_dt: float = 1 / 30
    """Seconds of one control step, a multiple of `sim_dt`."""
    substeps: int = 2
    """Parts of one call of `simulate`."""
    position_iterations: int = 32
    """Iterations of PhysX's solver in each part.  The recipe has 8.  In PhysX 5 with tendons, as here, a policy held 96 % with 32
    and 82 % with 8."""
    velocity_iterations: int = 0
    """Further iterations that correct velocities."""
    contact_offset: float = 0.002
    """m, the distance at which contacts are made."""
    rest_offset: float = 0.0
    """m, the distance at which things rest."""
    bounce_threshold: float = 0.2
    """m/s.  Slower impacts do not bounce."""
    max_depenetration: float = 1000.0
    """m/s, at most, at which things that overlap are pushed apart.  Public code for grasping has 1 to 5."""
    friction_offset_threshold: float = 0.04
    """m, the distance at which friction begins to be computed."""
    friction_correlation_distance: float = 0.025
    """m.  Contacts that are nearer to each other share one friction anchor."""
    max_contact_pairs: int = 8 * 1024 * 1024
    """Room for contacts of all worlds together.  Raise it if a training stops because PhysX lost contacts."""
    buffer_multiplier: float = 25.0
    """Scales PhysX's other buffers.  Public code for grasping has 20 to 75.  Raise it if a training stops because PhysX lost
    contacts."""
    watch_errors: bool = True
    """Stop when PhysX says on stderr that it lost contacts.  It goes on computing wrong motions otherwise."""
    num_threads: int = 4
    """Threads of PhysX on the processor."""
    env_spacing: float = 1.0
    """m, half the side of one world's square."""
    friction: Tuple[float, float] = (0.5, 1.2)
    """Range of the sliding friction of objects that have none of their own.  It is drawn once for each world.  The hand in
    that world gets the same value, because PhysX takes the mean of the two."""
    friction_levels: int = 64
    """How many different frictions are drawn.  Each is a material of PhysX, which has room for 64,000."""
    table_friction: float = 1.0
    """Sliding friction of the table.  PhysX takes the mean of it and the object's."""
    mass_scale: float = 2.0
    """Mass and inertia of each world's object are scaled once, by a factor between 1 / this and this.  1 scales nothing."""
    coupling: Literal["tendon", "drive"] = "tendon"
    """How coupled joints follow.  tendon: by the fixed tendons of the MJCF.  drive: by a position drive towards the angle of
    the joint that they follow, which feels nothing of it."""
    tendon_stiffness: float = 10.0
    """N m/rad, beyond the tendon's range.  PhysX integrates it explicitly, so that a larger value may shake."""
    tendon_damping: float = 0.05
    """N m s/rad"""
    max_speed: float = 200.0
    """m/s or rad/s.  A world whose joint or object is faster has diverged and is reset."""
    cache: Optional[Path] = None
    """Folder for generated assets; by default ~/.cache/ppo_grasp/isaac_gym."""
    audit: bool = True
    """Before anything else, compare what Isaac Gym made of the assets with the MJCF, and simulate a second of tests."""

    @classmethod
    def recipe(cls) -> IsaacGymCfg:
        """The settings of the published recipe."""
        return cls(position_iterations=8)
