"""The settings of Isaac Gym's simulation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple


@dataclass(frozen=True)
class IsaacGymCfg:
    """PhysX's settings, the published recipe's where it says one, and what is fixed when the worlds are built."""

    sim_dt: float = 1 / 60
    """Seconds that one call of `simulate` advances, in `substeps` equal parts."""
    substeps: int = 2
    position_iterations: int = 8
    velocity_iterations: int = 0
    contact_offset: float = 0.002
    """m, distance at which contacts are made."""
    rest_offset: float = 0.0
    """m, distance at which things rest."""
    bounce_threshold: float = 0.2
    """m/s, slower impacts do not bounce."""
    max_depenetration: float = 1000.0
    """m/s"""
    friction_offset_threshold: float = 0.04
    friction_correlation_distance: float = 0.025
    max_contact_pairs: int = 8 * 1024 * 1024
    """Of all worlds together; raise it where stderr says that interactions were missed."""
    buffer_multiplier: float = 5.0
    """Raise it where stderr says that a buffer of PhysX is too small."""
    num_threads: int = 4
    env_spacing: float = 1.0
    """m, half the side of one world's square."""
    friction: Tuple[float, float] = (0.5, 1.2)
    """Sliding friction of objects that have none of their own is drawn once a world from this range; the hand's shapes in
    that world get the same, as PhysX averages the two."""
    friction_levels: int = 64
    """Different values drawn: each is a material of PhysX, which has room for 64,000."""
    table_friction: float = 1.0
    mass_scale: float = 2.0
    """Mass and inertia of each world's object are scaled once, by a factor between 1 / this and this; 1 is none."""
    coupling: str = "tendon"
    """How the distal joints follow: "tendon" (fixed tendons of the MJCF) or "drive" (a position drive towards the angle of
    the joint that they follow; the joint feels nothing of it)."""
    tendon_stiffness: float = 10.0
    """N m/rad beyond the tendon's range.  PhysX integrates it explicitly, so that more may shake."""
    tendon_damping: float = 0.05
    """N m s/rad"""
    max_speed: float = 200.0
    """m/s or rad/s: a joint or object that is faster has diverged."""
    cache: Optional[Path] = None
    """Folder of generated assets; else ~/.cache/ppo_grasp/isaac_gym."""
    audit: bool = True
    """Compare what Isaac Gym made of the assets with the MJCF, and simulate a second of tests, before anything else."""
