"""Plain MuJoCo C, one world at a time: the oracle for simulators, observations and starts."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Dict, Optional, Tuple

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.hands import HandSpec, get_hand
from tasks.objects import ObjectModel, ObjectSet, load_objects
from tasks.simulators import contract
from tasks.simulators.contract import TABLE_HEIGHT, Simulator
from tasks.simulators.mujoco.scene import PhysicsCfg, Scene, build_scene

HAND = get_hand("shadow")
PHYSICS = PhysicsCfg()
FINE = PhysicsCfg.fine()
SPHERE, CUBE, CYLINDER, HULL, TOY = range(5)
"""Their numbers in `some_objects`.  TOY has four parts, and its mass is off its origin."""


@lru_cache(maxsize=None)
def some_objects() -> ObjectSet:
    """One object of each kind of `mixed`, and one that is not convex."""
    items = (*load_objects("mixed", count=4).objects, *load_objects("procedural", count=1).objects)
    assert [o.kind for o in items[:4]] == ["sphere", "cube", "cylinder", "hull"] and len(items[TOY].parts) == 4
    return ObjectSet.of("some", items)


@lru_cache(maxsize=None)
def scene_alone(index: int, physics: PhysicsCfg = PHYSICS) -> Scene:
    """The scene compiled with only this object of `some_objects`."""
    pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
    return build_scene(HAND, ObjectSet.of("alone", [some_objects().objects[index]]), physics, for_c=True)


class Start(contract.Start):
    """A start of all worlds, on any device."""

    def into(self, sim: Simulator, mask: Optional[Tensor] = None) -> None:
        """Resets the worlds of the mask, or all."""
        everywhere = torch.ones(sim.num_envs, dtype=torch.bool, device=sim.device)
        sim.reset(
            everywhere if mask is None else mask,
            contract.Start(**{name: value.to(sim.device) for name, value in self.__dict__.items()}),
        )


def resting(objects: ObjectSet, object_id: Tensor, height: float = 0.6) -> Start:
    """Objects in their likeliest stable pose, 2 to 4 cm off the middle, and the open hand high above them."""
    n = len(object_id)
    items = [objects.objects[int(i)] for i in object_id]
    pose = [int(np.argmax(o.rest_prob)) for o in items]
    joint_pos = torch.zeros(n, 24)
    joint_pos[:, 2] = height
    object_pos = torch.tensor(
        [[0.02, -0.04, TABLE_HEIGHT + float(o.rest_height[p])] for o, p in zip(items, pose)], dtype=torch.float32
    )
    quat = torch.tensor(np.stack([o.rest_quat[p] for o, p in zip(items, pose)]), dtype=torch.float32)
    return Start(joint_pos, object_pos, quat, object_id.clone(), torch.ones(n), torch.full((n,), 0.9))


class PlainWorld:
    """One world stepped by mj_step, with the object compiled into its model."""

    def __init__(self, start: Start, world: int, physics: PhysicsCfg = PHYSICS) -> None:
        scene = scene_alone(int(start.object_id[world]), physics)
        self.substeps = physics.substeps
        self.scene, self.model = (
            scene,
            with_mass_and_friction(scene, float(start.mass_scale[world]), float(start.friction[world])),
        )
        self.data = mujoco.MjData(self.model)
        joints = start.joint_pos[world].double().numpy()
        self.data.qpos[:] = plain_qpos(
            scene, joints, start.object_pos[world].double().numpy(), start.object_quat[world].double().numpy()
        )
        self.controls = [self.model.actuator(name).id for name in HAND.drives]
        self.data.ctrl[self.controls] = joints

    def step(self, targets: Tensor) -> None:
        """One control step; targets (24,)."""
        self.data.ctrl[self.controls] = targets.double().numpy()
        for _ in range(self.substeps):
            mujoco.mj_step(self.model, self.data)


def with_mass_and_friction(scene: Scene, mass_scale: float, friction: float) -> mujoco.MjModel:
    """A copy of the model with another mass and friction; MuJoCo recomputes the constants that depend on them."""
    import copy

    model = copy.deepcopy(scene.model)
    model.geom_friction[scene.object_geoms, 0] = friction
    if mass_scale != 1.0:
        model.body_mass[scene.object_body] *= mass_scale
        model.body_inertia[scene.object_body] *= mass_scale
        sameframe = model.geom_sameframe.copy()
        mujoco.mj_setConst(model, mujoco.MjData(model))
        model.geom_sameframe[:] = sameframe  # frames equal to 1e-10 only: resting contacts would choose other corners
    return model


def plain_qpos(scene: Scene, joints: np.ndarray, pos: np.ndarray, quat: np.ndarray) -> np.ndarray:
    """(nq,) coordinates.  Coupled joints follow theirs, and everything else is at its reference."""
    model = scene.model
    qpos = model.qpos0.copy()
    for name, value in zip(HAND.drives, joints):
        qpos[model.joint(name).qposadr] = value
    for name, source in HAND.coupled_joints.items():
        qpos[model.joint(name).qposadr] = joints[HAND.drives.index(source)]
    at = int(model.joint("object").qposadr[0])
    qpos[at : at + 3], qpos[at + 3 : at + 7] = pos, quat
    return qpos


def tip_wrenches(
    model: mujoco.MjModel, data: mujoco.MjData, hand: HandSpec = HAND
) -> Tuple[np.ndarray, Dict[int, int]]:
    """Force and torque about each fingertip's site (5, 6), summed contact by contact, and each fingertip's number of contacts."""
    bodies = {model.body(name).id: i for i, name in enumerate(hand.fingertip_bodies)}
    total = np.zeros((5, 6))
    count: Dict[int, int] = {}
    for index in range(data.ncon):
        contact = data.contact[index]
        local = np.zeros(6)
        mujoco.mj_contactForce(model, data, index, local)
        axes = contact.frame.reshape(3, 3)  # rows; the first points from geom1 to geom2
        on_second = axes.T @ local[:3], axes.T @ local[3:]
        for geom, sign in ((contact.geom1, -1.0), (contact.geom2, 1.0)):
            tip = bodies.get(int(model.geom_bodyid[geom]))
            if tip is None:
                continue
            force, torque = sign * on_second[0], sign * on_second[1]
            arm = contact.pos - data.site(hand.fingertip_sites[tip]).xpos
            total[tip, :3] += force
            total[tip, 3:] += torque + np.cross(arm, force)
            count[tip] = count.get(tip, 0) + 1
    return total, count


def hand_force(model: mujoco.MjModel, data: mujoco.MjData, hand: HandSpec = HAND) -> np.ndarray:
    """() N, contact by contact: the size of each link's sum of forces, added up over the links."""
    root = model.body_rootid[model.body(hand.palm_body).id]
    total = np.zeros((model.nbody, 3))
    for index in range(data.ncon):
        contact, local = data.contact[index], np.zeros(6)
        mujoco.mj_contactForce(model, data, index, local)
        force = contact.frame.reshape(3, 3).T @ local[:3]  # on the second body
        total[model.geom_bodyid[contact.geom2]] += force
        total[model.geom_bodyid[contact.geom1]] -= force
    return np.linalg.norm(total[model.body_rootid == root], axis=1).sum()


def closing(start: Start, step: int) -> Tensor:
    """(N, 24) targets of a scripted grasp: the hand comes down and closes, then the base rises, moves aside and turns."""
    targets = start.joint_pos.clone()
    targets[:, 2] -= 0.065 * min(1.0, step / 6)
    share = min(1.0, max(0.0, (step - 6) / 8))
    for finger in ("FF", "MF", "RF", "LF"):
        for joint in ("J3", "J2"):
            at = HAND.drives.index(finger + joint)
            targets[:, at] += share * (1.4 - targets[:, at])
    for name, value in (("THJ5", 0.3), ("THJ2", 0.1), ("THJ1", 1.0)):
        at = HAND.drives.index(name)
        targets[:, at] += share * (value - targets[:, at])
    rise = 0.01 * max(0, step - 16)
    targets[:, 2] += rise
    targets[:, 0] += 0.5 * rise
    targets[:, 5] += 1.5 * rise
    return targets


def grasping(objects: ObjectSet, object_id: Tensor) -> Start:
    """The hand is close above the object, bent as before a grasp, turned and a little tilted."""
    start = resting(objects, object_id)
    start.joint_pos[:] = pregrasp_joints(start, objects)
    return start


def pregrasp_joints(start: Start, objects: ObjectSet) -> Tensor:
    n = len(start.object_id)
    joints = torch.zeros(n, 24)
    for world in range(n):
        item: ObjectModel = objects.objects[int(start.object_id[world])]
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, start.object_quat[world].double().numpy())
        top = float(start.object_pos[world, 2]) + max(
            float((p @ rotation.reshape(3, 3).T)[:, 2].max()) for p in item.parts
        )
        joints[world, 2] = top + 0.075
    for column, name in enumerate(HAND.drives):
        joints[:, column] += dict(HAND.pregrasp_pose).get(name, 0.0)
    yaw = 0.3
    cos, sin = np.cos(yaw), np.sin(yaw)
    x, y = HAND.palm_centre[:2]
    joints[:, 0] = start.object_pos[:, 0] - (cos * x - sin * y)
    joints[:, 1] = start.object_pos[:, 1] - (sin * x + cos * y)
    joints[:, 3:6] = torch.tensor([0.08, -0.06, yaw])
    return joints


def mujoco_simulator(*arguments: Any) -> Any:
    """A `MujocoSimulator`; skips the test on versions of MuJoCo without `mujoco.batch`, as on Python 3.8."""
    pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
    from tasks.simulators.mujoco.simulator import MujocoSimulator

    return MujocoSimulator(*arguments)
