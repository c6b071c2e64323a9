"""The settings of the grasping task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Literal, Tuple

from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.randomisation.config import check as check_random
from tasks.grasp.starts import StartCfg


@dataclass(frozen=True)
class GraspCfg:
    """The task's settings.  Lengths are in metres, angles in radians.  One step is one control step."""

    reward: Literal["default", "recipe", "level", "loose", "two_stage", "sim2real"] = "default"
    """The reward's preset: see `tasks.grasp.rewards`."""
    reward_weights: Dict[str, float] = field(default_factory=dict)
    """Weights that replace those of the preset, by the term's name: `--reward-weights lift 0.5 still 0.2`.  0 switches a term
    off.  calm and torque can be added to any preset: pay at the goal for joints that hardly move, and a price of torque."""
    reward_scale: float = 1.0
    """All weights of the reward are multiplied by this."""
    curriculum: Literal["uniform", "recipe", "adaptive"] = "adaptive"
    """Which objects training episodes get: see `tasks.grasp.curriculum`."""
    curriculum_floor: float = 0.25
    """adaptive: an object that always succeeds is drawn with this weight, one that always fails with 1 + this."""
    episode_steps: int = 100
    """Control steps of an episode; 100 are 3.3 s at 30 Hz."""
    lift_height: float = 0.25
    """m from where the object rests up to its goal."""
    success_radius: float = 0.05
    """m, an object is at its goal when its origin is nearer than this."""
    hold_time: float = 0.5
    """s at the end of the episode.  A grasp is held if the object is at its goal for all of that time."""
    still_speed: float = 0.05
    """m/s.  A held grasp is still if the object stays slower than this, and than `still_turn`, for all of `hold_time`."""
    still_turn: float = 0.5
    """rad/s"""
    base_step: float = 0.03
    """m, a full action moves the base's target by this much in one step."""
    base_turn: float = 0.1
    """rad, a full action turns the base's target by this much in one step."""
    base_slope: float = 0.2
    """A base action a moves the target by base_slope a + (1 - base_slope) a^3 of a full step: fast far from the goal, fine near
    it.  1 is a straight line."""
    base_leash: float = 0.04
    """m, the base's target stays this close to where the base is."""
    turn_leash: float = 0.25
    """rad, the base's target stays this close to how the base is turned."""
    base_reach: Tuple[float, float, float] = (0.3, 0.3, 0.8)
    """m, the base's targets stay within +- x, +- y, and between 0 and z."""
    max_tilt: float = 0.6
    """rad, targets of the base's hinges x and y stay within +- this.  With 1.2, hands learn to lift by rolling over on the
    table, and then hang there: see docs/experiments.md."""
    max_yaw: float = 1.6
    """rad, targets of the base's hinge z stay within +- this.  A quarter turn either way brings the grip across any box."""
    max_fingers_up: float = 0.3
    """rad, the base's hinge y tips the fingers up by no more than this.  Otherwise a forearm would be in the table."""
    finger_smoothing: float = 0.5
    """Share of the old finger target in the new one."""
    table_half_side: float = 0.4
    """m, an object whose origin leaves this square, or rises above 1 m, is off the table."""
    max_stray: float = 0.0
    """m.  In training an episode ends when the object is further than this from the vertical through its goal; 0: it does not.
    The published reward pays for height alone, and without a limit hands lift objects away to the side."""
    hidden_inputs: Tuple[str, ...] = ()
    """Slices of the observation that the policy sees as zero.  The critic sees them.  `tasks.grasp.observations` names them.
    Or a set, named by what is left: proprioception+pose hides the fingertips' wrenches, the drives' forces and the object's
    velocity; proprioception also hides all else that is seen of the object."""
    history: int = 0
    """Steps before the present one of which the policy also sees `history_inputs`, and so does the critic."""
    history_inputs: Tuple[str, ...] = ("joint_pos", "object_pose", "previous_action")
    """Slices of the observation."""
    pose_filter: float = 0.0
    """Share of the old pose of the object in the new one that the policy sees, below 1: a low-pass, as trackers have it.  Unlike
    the disturbances it belongs to the policy, and stays when that is measured."""
    start: StartCfg = field(default_factory=StartCfg)
    random: RandomCfg = field(default_factory=RandomCfg)


def check(cfg: GraspCfg, control_dt: float) -> None:
    """Raises ValueError for settings that exclude each other.  control_dt: seconds of a control step."""
    length = cfg.episode_steps * control_dt
    if round(cfg.hold_time / control_dt) < 1:
        raise ValueError(f"--hold-time {cfg.hold_time:g}: must be at least a control step, {control_dt:.3g} s")
    if cfg.hold_time > length:
        raise ValueError(f"--hold-time {cfg.hold_time:g}: is longer than an episode, {length:.3g} s")
    if cfg.success_radius >= cfg.lift_height:
        raise ValueError(
            f"--success-radius {cfg.success_radius:g}: must be below --lift-height, {cfg.lift_height:g}, or an object would be "
            "at its goal before it is lifted"
        )
    if cfg.start.object_spread >= cfg.table_half_side:
        raise ValueError(
            f"--start.object-spread {cfg.start.object_spread:g}: must be below --table-half-side, {cfg.table_half_side:g}"
        )
    if cfg.start.friction_low > cfg.start.friction_high:
        raise ValueError(
            f"--start.friction-low {cfg.start.friction_low:g}: is above --start.friction-high, {cfg.start.friction_high:g}"
        )
    check_random(cfg.random)
