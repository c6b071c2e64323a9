"""The settings of the disturbances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Tuple


@dataclass(frozen=True)
class RandomCfg:
    """What is disturbed, and how much; all is off by default.

    *Noise* is a standard deviation and is drawn for each step.  *Bias* is a standard deviation, too, but drawn for each episode,
    and then wanders slowly.  Ranges are log-uniform.
    """

    joint_noise: float = 0.0
    """rad, noise on the positions that the policy sees of the finger joints, and on the fingertips' orientations.  The base
    stands for an arm whose pose is known, and is seen exactly."""
    joint_bias: float = 0.0
    """rad, bias of the same."""
    joint_vel_noise: float = 0.0
    """rad/s, noise on the velocities of finger joints and fingertips; their linear ones get 0.1 m times as much."""
    object_noise: float = 0.0
    """m, noise on the object's seen position, along each axis."""
    object_bias: float = 0.0
    """m, bias of the object's seen position, along each axis."""
    object_turn_noise: float = 0.0
    """rad, noise on the object's seen orientation, about each axis."""
    object_turn_bias: float = 0.0
    """rad, bias of the object's seen orientation, about each axis."""
    tip_noise: float = 0.0
    """m, noise on the fingertips' seen positions, along each axis."""
    tip_bias: float = 0.0
    """m, bias of the fingertips' seen positions, along each axis."""
    force_noise: float = 0.0
    """N, noise on the fingertips' contact forces, along each axis.  Torques get 0.01 m times as much, drives 0.1 m."""
    force_bias: float = 0.0
    """N, bias of the same."""
    bias_time: float = 2.0
    """s, in which a bias forgets most of what it was."""
    pose_every: int = 1
    """The object is seen once in so many steps.  In between, the policy sees its last pose."""
    occlusion_rate: float = 0.0
    """1/s, how often the object gets out of sight.  The policy then sees its last pose."""
    occlusion_steps: int = 10
    """Steps for which the object is out of sight, at most; drawn from 1 to this."""
    action_delay: int = 0
    """Steps by which actions are late."""
    action_jitter: int = 0
    """More steps by which an action is late, at most; drawn for each step.  No action overtakes another."""
    push: float = 0.0
    """m/s^2, how hard the object is pushed while it is lifted.  The direction changes, and half of the time there is no push."""
    push_time: float = 0.3
    """s, mean time until a push gets another direction, or pauses."""
    mass: Tuple[float, float] = (1.0, 1.0)
    """Range of a factor of the object's mass, beside that of --start.mass-scale; also when a policy is measured."""
    friction: Tuple[float, float] = (0.0, 0.0)
    """Range of the sliding friction that all objects get; 0 0 leaves what they have."""
    stiffness: Tuple[float, float] = (1.0, 1.0)
    """Range of a factor of each finger drive's position gain."""
    damping: Tuple[float, float] = (1.0, 1.0)
    """Range of a factor of each finger drive's velocity gain."""
    torque_limit: Tuple[float, float] = (1.0, 1.0)
    """Range of a factor of each finger drive's largest torque."""
    com: float = 0.0
    """How far the object's centre of mass is shifted along each of its axes, at most; as a share of its half side there."""
    size: float = 0.0
    """Each object has two copies, smaller and larger by this share.  An episode gets one of the three; a set that is loaded for
    this has three times as many objects.  They are as dense as before."""
    table_height: float = 0.0
    """m, how much higher or lower the table is, at most."""
    joint_friction: float = 0.0
    """N m, the dry friction that each finger joint has beside its own, at most."""
    strength: Literal["full", "drawn"] = "full"
    """drawn: in training, each episode has its own share, from 0 to 1, of each kind of disturbance, so that policies stay good
    without any.  Policies are measured with all at full strength."""
    widen: bool = False
    """Whether training begins without disturbances.  They then grow while enough grasps are held, to their full size in
    `widen_increments` steps."""
    widen_above: float = 0.75
    """The disturbances grow while more than this share of the training episodes is held."""
    narrow_below: float = 0.5
    """The disturbances shrink while less than this share of the training episodes is held."""
    widen_increments: int = 50
    """Increments from nothing to all of the disturbances."""

    @property
    def disturbs_sight(self) -> bool:
        """Whether the object's pose is disturbed."""
        noise = (self.object_noise, self.object_bias, self.object_turn_noise, self.object_turn_bias)
        return any(noise) or self.pose_every > 1 or self.occlusion_rate > 0

    @property
    def disturbs_sensors(self) -> bool:
        """Whether anything that is seen of joints, fingertips or forces is disturbed."""
        hand = (self.joint_noise, self.joint_bias, self.joint_vel_noise, self.tip_noise, self.tip_bias)
        return any((*hand, self.force_noise, self.force_bias))

    @property
    def varies_drives(self) -> bool:
        """Whether the drives' gains and limits differ from world to world."""
        return not self.stiffness == self.damping == self.torque_limit == (1.0, 1.0)

    @property
    def delays_actions(self) -> bool:
        """Whether actions are late."""
        return self.action_delay + self.action_jitter > 0

    @property
    def varies_bodies(self) -> bool:
        """Whether masses or frictions are drawn from these ranges."""
        return self.mass != (1.0, 1.0) or self.friction != (0.0, 0.0)

    @property
    def varies_worlds(self) -> bool:
        """Whether centres of mass, tables or joints' friction differ from world to world."""
        return self.com + self.table_height + self.joint_friction > 0

    @property
    def active(self) -> bool:
        """Whether anything at all is disturbed."""
        kinds = (
            self.disturbs_sight,
            self.disturbs_sensors,
            self.varies_drives,
            self.delays_actions,
            self.varies_bodies,
            self.varies_worlds,
            self.push > 0,
            self.size > 0,
        )
        return any(kinds)

    def in_fixed_worlds(self) -> RandomCfg:
        """The same without what needs other objects, masses, drives or tables in a running world: not all simulators can do
        that."""
        same = (1.0, 1.0)
        fixed = replace(self, push=0.0, mass=same, friction=(0.0, 0.0), stiffness=same, damping=same, torque_limit=same)
        return replace(fixed, com=0.0, table_height=0.0, joint_friction=0.0)

    @classmethod
    def sim2real(cls) -> RandomCfg:
        """The largest magnitudes of DEXTRAH, widened by success, and moderate ones where DEXTRAH has none."""
        return cls(
            joint_noise=0.08,
            joint_bias=0.08,
            joint_vel_noise=0.2,
            object_noise=0.03,
            object_bias=0.02,
            object_turn_noise=0.1,
            object_turn_bias=0.08,
            tip_noise=0.005,
            tip_bias=0.005,
            force_noise=0.2,
            force_bias=0.2,
            pose_every=3,
            occlusion_rate=0.3,
            action_delay=2,
            action_jitter=1,
            push=10.0,
            mass=(0.5, 3.0),
            friction=(0.3, 1.2),
            stiffness=(0.5, 2.0),
            damping=(0.5, 2.0),
            torque_limit=(0.7, 1.0),
            strength="drawn",
            widen=True,
        )


def check(cfg: RandomCfg) -> None:
    """Raises ValueError for a range whose ends are the wrong way round, or that reaches to 0, and for thresholds that cross."""
    for name in ("mass", "friction", "stiffness", "damping", "torque_limit"):
        low, high = getattr(cfg, name)
        if low > high or (low == 0 and not (name == "friction" and high == 0)):
            option = name.replace("_", "-")
            raise ValueError(f"--random.{option} {low:g} {high:g}: give the lower end first, greater than 0")
    for name in ("bias_time", "push_time"):
        if getattr(cfg, name) <= 0:
            raise ValueError(f"--random.{name.replace('_', '-')} {getattr(cfg, name):g}: must be greater than 0")
    if not 0 <= cfg.narrow_below <= cfg.widen_above <= 1:
        raise ValueError(
            f"--random.narrow-below {cfg.narrow_below:g} and --random.widen-above {cfg.widen_above:g}: must be shares from 0 "
            "to 1, the first not above the second"
        )
