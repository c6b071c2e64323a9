"""Grasps with an exported policy.  It needs numpy, onnxruntime and mujoco, and neither torch nor anything of this project.

    python -m ppo_grasp.export --out policy.onnx
    python examples/run_onnx.py policy.onnx --episodes 100

All that it knows of the policy is in the file, as JSON under the key `interface` of ONNX's metadata: which numbers the policy
wants to see, what its actions mean, the hand's MJCF, how the physics is to be integrated.  To run a policy on a robot, replace
`World` by what reads the robot's sensors and moves its drives.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import Any, Dict, List, NamedTuple, Tuple

import mujoco
import numpy as np
import onnxruntime

Interface = Dict[str, Any]


class Policy:
    """An exported policy and what its numbers mean."""

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        told = self.session.get_modelmeta().custom_metadata_map
        if "interface" not in told:
            raise SystemExit(f"error: {path} does not say what its numbers mean: export it again")
        self.interface: Interface = json.loads(told["interface"])
        if self.interface["observation"]["pose_filter"] > 0:
            raise SystemExit(
                f"error: {path} wants to see filtered poses (--pose-filter), which this example does not do"
            )

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """(A,) the action for an observation (O,)."""
        return self.session.run(["action"], {"obs": obs[None].astype(np.float32)})[0][0].astype(float)


class Targets:
    """Position targets of the drives, moved by actions."""

    def __init__(self, interface: Interface, joint_pos: np.ndarray) -> None:
        """joint_pos (D,): where the drives are."""
        told = interface["action"]["targets"]
        self.base = {name: np.array(value) for name, value in told["base"].items()}
        self.smoothing = told["fingers"]["smoothing"]
        self.count = interface["hand"]["base_drives"]
        drives = interface["hand"]["drives"]
        self.low, self.high = (np.array([drive[end] for drive in drives]) for end in ("low", "high"))
        self.position = joint_pos.copy()

    def move(self, action: np.ndarray, joint_pos: np.ndarray) -> np.ndarray:
        """(D,) the targets after an action (A,), joints being at joint_pos (D,)."""
        n, base, slope = self.count, self.base, self.base["slope"]
        a, measured = action[:n], joint_pos[:n]
        moved = self.position[:n] + base["step"] * a * (slope + (1 - slope) * a**2)
        moved = np.clip(moved, measured - base["leash"], measured + base["leash"])
        self.position[:n] = np.clip(moved, base["low"], base["high"])
        wanted = (self.low + self.high)[n:] / 2 + action[n:] * (self.high - self.low)[n:] / 2
        self.position[n:] = self.smoothing * self.position[n:] + (1 - self.smoothing) * wanted
        return self.position


class World:
    """A hand, a table and an object in plain MuJoCo, and what the policy wants to see of them."""

    def __init__(self, interface: Interface, model: mujoco.MjModel) -> None:
        """model: has the interface's hand, and a free body "object" with the free joint "object"."""
        self.told, self.model, self.data = interface, model, mujoco.MjData(model)
        hand = interface["hand"]
        names = [drive["name"] for drive in hand["drives"]]
        self.actuators = [model.actuator(name).id for name in names]
        self.qpos = [int(model.joint(name).qposadr[0]) for name in names]
        self.dofs = [int(model.joint(name).dofadr[0]) for name in names]
        thing = model.joint("object")
        self.object_qpos, self.object_dof = int(thing.qposadr[0]), int(thing.dofadr[0])
        self.palm = model.site(hand["palm"]["site"]).id
        self.tips = [model.site(tip["site"]).id for tip in hand["fingertips"]]
        self.tip_bodies = [model.body(tip["body"]).id for tip in hand["fingertips"]]
        self.drive_force = np.zeros(len(names))
        self.wrench = np.zeros((len(self.tips), 6))
        self.past: List[Dict[str, np.ndarray]] = []
        """What was seen in this episode, the newest step first."""
        self.most_ago = max(part["steps_ago"] for part in interface["observation"]["slices"])
        self.substeps = round(1 / interface["rates"]["control_hz"] / model.opt.timestep)

    @property
    def joint_pos(self) -> np.ndarray:
        """(D,)"""
        return self.data.qpos[self.qpos]

    @property
    def object_pose(self) -> np.ndarray:
        """(7,) position, and quaternion w x y z."""
        return self.data.qpos[self.object_qpos : self.object_qpos + 7]

    @property
    def object_vel(self) -> np.ndarray:
        """(2, 3) linear and angular, in the world's axes."""
        linear, angular = self.data.qvel[self.object_dof : self.object_dof + 6].reshape(2, 3)
        return np.stack([linear, matrix(self.object_pose[3:]) @ angular])

    def start(self, joint_pos: np.ndarray, object_pose: np.ndarray) -> None:
        """Everything is at rest there."""
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[self.qpos] = joint_pos
        names = [drive["name"] for drive in self.told["hand"]["drives"]]
        for joint, coupling in self.told["hand"]["coupled"].items():
            source = joint_pos[names.index(coupling["follows"])]
            self.data.qpos[self.model.joint(joint).qposadr[0]] = coupling["ratio"] * source
        self.object_pose[:] = object_pose
        self.data.ctrl[self.actuators] = joint_pos
        self.drive_force[:], self.wrench[:] = 0, 0
        self.past = []
        self.refresh()

    def step(self, targets: np.ndarray) -> None:
        """Holds the targets (D,) for a control step."""
        self.data.ctrl[self.actuators] = targets
        for _ in range(self.substeps):
            mujoco.mj_step(self.model, self.data)
        self.feel()
        self.refresh()

    def feel(self) -> None:
        """Reads forces, which belong to the positions before the last step of physics, where `mj_step` leaves them."""
        data = self.data
        self.drive_force[:] = data.actuator_force[self.actuators]
        self.wrench[:] = 0
        local = np.zeros(6)
        for index in range(data.ncon):
            contact = data.contact[index]
            bodies = [int(self.model.geom_bodyid[geom]) for geom in (contact.geom1, contact.geom2)]
            for body, sign in zip(bodies, (-1, 1)):
                if body in self.tip_bodies:
                    mujoco.mj_contactForce(self.model, data, index, local)
                    tip = self.tip_bodies.index(body)
                    force, torque = sign * local.reshape(2, 3) @ contact.frame.reshape(3, 3)
                    arm = contact.pos - data.site_xpos[self.tips[tip]]
                    self.wrench[tip] += [*force, *(torque + np.cross(arm, force))]

    def refresh(self) -> None:
        """Brings positions and velocities of all frames up to date."""
        mujoco.mj_fwdPosition(self.model, self.data)
        mujoco.mj_fwdVelocity(self.model, self.data)

    def observe(self, previous_action: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(O,) what the policy sees; once in each step.  previous_action (A,); goal (7,) a pose."""
        data = self.data
        palm_pos, palm = data.site_xpos[self.palm], data.site_xmat[self.palm].reshape(3, 3)
        velocity, tip_vel = np.zeros(6), []
        for tip in self.tips:
            mujoco.mj_objectVelocity(self.model, data, mujoco.mjtObj.mjOBJ_SITE, tip, velocity, 0)
            tip_vel.append([*velocity[3:], *velocity[:3]])

        def pose(of: np.ndarray) -> np.ndarray:
            return np.concatenate([(of[:3] - palm_pos) @ palm, quaternion(palm.T @ matrix(of[3:]))])

        seen = {
            "joint_pos": self.joint_pos,
            "joint_vel": data.qvel[self.dofs],
            "object_pose": pose(self.object_pose),
            "object_vel": self.object_vel @ palm,
            "fingertips_to_object": (data.site_xpos[self.tips] - self.object_pose[:3]) @ palm,
            "previous_action": previous_action,
            "goal_pose": pose(goal),
            "drive_force": self.drive_force,
            "fingertip_quat": np.array([quaternion(palm.T @ data.site_xmat[tip].reshape(3, 3)) for tip in self.tips]),
            "fingertip_vel": np.array(tip_vel).reshape(-1, 3) @ palm,
            "fingertip_wrench": self.wrench.reshape(-1, 3) @ palm,
        }
        self.past = [{name: np.array(value) for name, value in seen.items()}, *self.past][: self.most_ago + 1]
        obs = np.zeros(self.told["observation"]["size"])
        for part in self.told["observation"]["slices"]:
            if not part["always_zero"]:
                then = self.past[min(part["steps_ago"], len(self.past) - 1)]
                obs[part["start"] : part["stop"]] = then[part["name"]].ravel()
        return obs


def matrix(quat: np.ndarray) -> np.ndarray:
    """(3, 3) of a quaternion w x y z."""
    result = np.zeros(9)
    mujoco.mju_quat2Mat(result, quat / np.linalg.norm(quat))
    return result.reshape(3, 3)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """(4,) w x y z, w not negative, of a matrix (3, 3)."""
    result = np.zeros(4)
    mujoco.mju_mat2Quat(result, rotation.ravel())
    return result if result[0] >= 0 else -result


class Thing(NamedTuple):
    """An object.  At rest its frame is level, with x along its longest side."""

    shape: str
    """As MuJoCo calls it: "sphere", "box" or "cylinder"."""
    size: Tuple[float, float, float]
    """m, as MuJoCo has it for that shape."""
    turn: Tuple[float, float, float, float]
    """Quaternion w x y z of the shape in the object's frame."""
    mass: float
    """kg"""
    height: float
    """m, of its middle where it lies, half of its own."""


def build(interface: Interface, thing: Thing, friction: float) -> mujoco.MjModel:
    """The hand over a table with an object."""
    told, table_height = interface["physics"], interface["task"]["table_height"]
    if interface["hand"]["mjcf"] is None:
        raise SystemExit("error: this hand's MJCF needs mesh files, which a policy's file does not carry")
    spec = mujoco.MjSpec.from_string(interface["hand"]["mjcf"])
    option = spec.option
    option.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{told['integrator'].upper()}")
    option.cone = getattr(mujoco.mjtCone, f"mjCONE_{told['cone'].upper()}")
    for name in ("timestep", "impratio", "iterations", "ls_iterations", "ccd_iterations", "tolerance"):
        setattr(option, name, told[name])
    if not told["multiccd"]:
        option.disableflags |= mujoco.mjtDisableBit.mjDSBL_MULTICCD
    # The hand meets object and table, and not itself.  Contacts of the object are as soft and rough as the object says.
    contact = {
        "condim": told["condim"],
        "solref": told["solref"],
        "solimp": told["solimp"],
        "contype": 2,
        "conaffinity": 3,
    }
    rough = [friction, told["torsional_friction"], 1e-4]
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0.6, 0.6, 0.05],
        pos=[0, 0, table_height],
        friction=[1.0, *rough[1:]],
        **contact,
    )
    body = spec.worldbody.add_body(name="object")
    body.add_freejoint(name="object")
    kind = getattr(mujoco.mjtGeom, f"mjGEOM_{thing.shape.upper()}")
    body.add_geom(type=kind, size=thing.size, quat=thing.turn, mass=thing.mass, friction=rough, priority=1, **contact)
    return spec.compile()


def draw_object(random: np.random.Generator) -> Thing:
    """About as the set `primitives` has them.  Long cylinders lie, short ones stand."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(random.uniform(math.log(low), math.log(high))))

    shape = str(random.choice(["sphere", "box", "cylinder"]))
    radius = log_uniform(0.016, 0.04)
    half = radius * log_uniform(0.6, 2.4) if shape == "cylinder" else radius
    size, volume = {
        "sphere": ((radius, 0, 0), 4 / 3 * math.pi * radius**3),
        "box": ((radius, radius, radius), 8 * radius**3),
        "cylinder": ((radius, half, 0), 2 * math.pi * radius**2 * half),
    }[shape]
    lies = half > radius
    # MuJoCo's cylinders are along z.
    turn = (math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0) if lies else (1.0, 0.0, 0.0, 0.0)
    mass = float(np.clip(log_uniform(40, 1000) * volume, 0.01, 0.6))
    return Thing(shape, size, turn, mass, min(half, radius))


def play(policy: Policy, random: np.random.Generator) -> Tuple[bool, bool]:
    """Plays an episode with a new object.  Returns whether the object was held at the goal, and whether it was ever there."""
    told = policy.interface
    task, start = told["task"], told["task"]["start"]
    thing = draw_object(random)
    world = World(told, build(told, thing, random.uniform(start["friction_low"], start["friction_high"])))

    top = task["table_height"] + 2 * thing.height
    yaw = random.uniform(-math.pi, math.pi)
    place = random.uniform(-start["object_spread"], start["object_spread"], 2)
    object_pose = np.array([*place, task["table_height"] + thing.height, math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)])
    joints = {drive["name"]: told["hand"]["open_pose"].get(drive["name"], 0.0) for drive in told["hand"]["drives"]}
    joint_pos = np.array(list(joints.values()))
    joint_pos[:2] = -np.array(told["hand"]["palm"]["centre"][:2])
    joint_pos[2] = max(top + start["clearance"], task["table_height"] + start["min_height"])
    goal = object_pose.copy()
    goal[2] += task["lift_height"]

    world.start(joint_pos, object_pose)
    targets, action = Targets(told, joint_pos), np.zeros(told["action"]["size"])
    at_goal = []
    for _ in range(task["episode_steps"]):
        action = policy(world.observe(action, goal))
        world.step(targets.move(action, world.joint_pos))
        at_goal.append(np.linalg.norm(world.object_pose[:3] - goal[:3]) < task["success_radius"])
    last = round(task["hold_time"] * told["rates"]["control_hz"])
    return all(at_goal[-last:]), any(at_goal)


def main() -> None:
    """Plays episodes and says how many were held."""
    parser = argparse.ArgumentParser(description="Grasps with an exported policy, without torch.")
    parser.add_argument("policy", help="FILE.onnx of python -m ppo_grasp.export")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    policy, random = Policy(args.policy), np.random.default_rng(args.seed)
    held = ever = 0
    for episode in range(args.episodes):
        was_held, was_there = play(policy, random)
        held, ever = held + was_held, ever + was_there
        print(f"\r{episode + 1} episodes: {held} held, {ever} ever at the goal", end="", flush=True)
    n, z = args.episodes, 1.96
    middle, half = (held + z * z / 2) / (n + z * z), z / (n + z * z) * math.sqrt(held * (n - held) / n + z * z / 4)
    print(f"; held {100 * held / n:.1f} %, 95 % interval {100 * (middle - half):.1f} to {100 * (middle + half):.1f} %")


if __name__ == "__main__":
    main()
