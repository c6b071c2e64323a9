"""A control loop around an exported policy: from what a robot measures to where its drives should go.

    python -m ppo_grasp.export --checkpoint POLICY.pt --out policy.onnx
    python examples/control_loop.py policy.onnx

Run like this, it drives a hand in MuJoCo C in place of a robot.  On a robot, replace `MujocoHand` by something with the same two
methods.  docs/robot.md has the units, the frames, and what was not tested.  The loop needs numpy and onnxruntime.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Callable, List, Tuple

import numpy as np
from numpy import ndarray as Array

from tasks.grasp.config import GraspCfg
from tasks.grasp.observations import ACTOR, Layout
from tasks.hands import HandSpec, get_hand

BASE = 6
Policy = Callable[[Array], Array]
"""obs (1, O) -> action (1, D)"""


@dataclass
class Measured:
    """What a robot knows in one control step, in one fixed frame: z is up, and (w, x, y, z) are quaternions."""

    joint_pos: Array
    """(D,) m or rad in the order of `HandSpec.drives`.  The base's six are the palm's position, and its turns about x, y, z."""
    joint_vel: Array
    """(D,) m/s or rad/s"""
    palm_pos: Array
    """(3,) m.  The palm's frame is that of `HandSpec`; so is each fingertip's."""
    palm_quat: Array
    """(4,)"""
    tip_pos: Array
    """(F, 3) m"""
    tip_quat: Array
    """(F, 4)"""
    tip_vel: Array
    """(F, 6) m/s, rad/s"""
    object_pos: Array
    """(3,) m, the last one that was seen."""
    object_quat: Array
    """(4,)"""


class Controller:
    """Calls the policy in each control step, and moves the targets of the drives as in training."""

    def __init__(self, policy: Policy, hand: HandSpec, cfg: GraspCfg, most_per_step: float = np.inf) -> None:
        """cfg: the settings of the training.  most_per_step: rad, by which a finger's target may move in a step, at most."""
        self.policy, self.hand, self.cfg, self.most_per_step = policy, hand, cfg, most_per_step
        low, high = hand.drive_ranges().T
        self.middle, self.reach = (low + high)[BASE:] / 2, (high - low)[BASE:] / 2
        layout = Layout(ACTOR, hand)
        self.slices, self.hidden = layout.slices, layout.columns(cfg.hidden_inputs).numpy()
        x, y, z = cfg.base_reach
        self.past_columns = [i for name in cfg.history_inputs for i in range(*self.slices[name].indices(layout.size))]
        self.low = np.array([-x, -y, 0, -cfg.max_tilt, -cfg.max_fingers_up, -cfg.max_yaw])
        self.high = np.array([x, y, z, cfg.max_tilt, cfg.max_tilt, cfg.max_yaw])
        self.full_step = np.repeat([cfg.base_step, cfg.base_turn], 3)
        self.leash = np.repeat([cfg.base_leash, cfg.turn_leash], 3)

    def begin(self, now: Measured) -> None:
        """Before a grasp: the goal is above the object, and the targets are where the joints are."""
        self.goal_pos = now.object_pos + np.array([0.0, 0.0, self.cfg.lift_height])
        self.goal_quat = now.object_quat.copy()
        self.past: List[Array] = []
        self.targets, self.action = now.joint_pos.astype(float).copy(), np.zeros(self.hand.num_drives)

    def step(self, now: Measured) -> Array:
        """(D,) targets of the drives, m or rad, until the next step.  They stay where they are if anything is not finite."""
        obs = self.with_past(self.observe(now))
        action = self.policy(obs[None].astype(np.float32))[0].astype(float) if np.isfinite(obs).all() else obs
        if not np.isfinite(action).all():
            return self.targets
        self.past = [obs[self.past_columns], *self.past][: self.cfg.history]
        self.action = np.clip(action, -1.0, 1.0)
        base, slope = self.action[:BASE], self.cfg.base_slope
        place = self.targets[:BASE] + self.full_step * base * (slope + (1 - slope) * base**2)
        place = np.clip(place, now.joint_pos[:BASE] - self.leash, now.joint_pos[:BASE] + self.leash)
        wanted = self.middle + self.action[BASE:] * self.reach
        by = (1 - self.cfg.finger_smoothing) * (wanted - self.targets[BASE:])
        fingers = self.targets[BASE:] + np.clip(by, -self.most_per_step, self.most_per_step)
        self.targets = np.concatenate([np.clip(place, self.low, self.high), fingers])
        return self.targets

    def with_past(self, obs: Array) -> Array:
        """The observation, and after it the history, if the policy was trained with one; the newest step first."""
        first = self.past[-1:] or [obs[self.past_columns]]
        past = (self.past + first * self.cfg.history)[: self.cfg.history]
        return np.concatenate([obs, *past])

    def observe(self, now: Measured) -> Array:
        """(O,) what the policy sees.  Velocities and vectors are the world's, in the axes of the palm."""

        def turned(vectors: Array) -> Array:
            return vectors @ matrix(now.palm_quat)

        def relative(quats: Array) -> Array:
            found = product(now.palm_quat * [1, -1, -1, -1], quats)
            return np.where(found[..., :1] < 0, -found, found)

        obs = np.zeros(len(self.hidden))
        for name, value in {
            "joint_pos": now.joint_pos,
            "joint_vel": now.joint_vel,
            "object_pose": (turned(now.object_pos - now.palm_pos), relative(now.object_quat)),
            "fingertips_to_object": turned(now.tip_pos - now.object_pos),
            "previous_action": self.action,
            "goal_pose": (turned(self.goal_pos - now.palm_pos), relative(self.goal_quat)),
            "fingertip_quat": relative(now.tip_quat),
            "fingertip_vel": turned(now.tip_vel.reshape(-1, 3)),
        }.items():
            parts = value if isinstance(value, tuple) else (value,)
            obs[self.slices[name]] = np.concatenate([part.ravel() for part in parts])
        obs[self.hidden] = 0.0
        return obs


def product(a: Array, b: Array) -> Array:
    """Hamilton product of a quaternion (4,) and quaternions (..., 4)."""
    w, v = a[0], a[1:]
    real = w * b[..., :1] - (b[..., 1:] @ v)[..., None]
    return np.concatenate([real, w * b[..., 1:] + b[..., :1] * v + np.cross(v, b[..., 1:])], axis=-1)


def matrix(q: Array) -> Array:
    """(3, 3) rotation matrix of a quaternion (4,)."""
    return np.stack([product(product(q, np.r_[0.0, axis]), q * [1, -1, -1, -1])[1:] for axis in np.eye(3)], axis=1)


class MujocoHand:
    """A simulated hand and an object, in place of a robot and its camera."""

    def __init__(self, hand: HandSpec, objects: str = "primitives") -> None:
        import torch

        from tasks import make_task
        from tasks.objects import load_objects

        torch.manual_seed(0)
        self.task = make_task("mujoco", load_objects(objects), 1, hand=hand.name, evaluation=True)
        self.task.reset()
        self.dt = self.task.simulator.control_dt

    def measure(self) -> Measured:
        s = self.task.simulator.state
        values = (
            *(s.joint_pos, s.joint_vel, s.palm_pos, s.palm_quat, s.fingertip_pos, s.fingertip_quat, s.fingertip_vel),
            *(s.object_pos, s.object_quat),
        )
        return Measured(*(value[0].double().numpy() for value in values))

    def drive(self, targets: Array) -> None:
        """Holds the targets for a control step."""
        import torch

        self.task.simulator.step(torch.as_tensor(targets[None], dtype=torch.float32))


def main(path: str, steps: int = 100) -> Tuple[float, float]:
    """Plays one grasp; returns how far the object rose, and its distance from the goal, m."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    hand = get_hand("shadow")
    robot = MujocoHand(hand)
    loop = Controller(lambda obs: session.run(["action"], {"obs": obs})[0], hand, GraspCfg(), most_per_step=0.5)
    begin = robot.measure()
    loop.begin(begin)
    for _ in range(steps):  # on a robot: every robot.dt seconds by the clock
        robot.drive(loop.step(robot.measure()))
    end = robot.measure().object_pos
    rise, gap = float(end[2] - begin.object_pos[2]), float(np.linalg.norm(end - loop.goal_pos))
    print(f"the object rose by {100 * rise:.1f} cm and is {100 * gap:.1f} cm from its goal")
    return rise, gap


if __name__ == "__main__":
    main(sys.argv[1])
