"""The true motion of one environment: a MuJoCo model of its actors."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, List
from xml.etree import ElementTree

import mujoco
import numpy as np

from isaacgym._asset import AssetData, from_mat33
from isaacgym._types import DofDriveMode

INTERNAL_STEPS = 2
"""MuJoCo's steps in one of PhysX's sub-steps."""
GROUND = 1 << 30


@dataclass
class Actor:
    """One actor and where its rows begin in the simulation's tensors."""

    asset: AssetData
    pose: np.ndarray
    """(7,) position and quaternion x y z w, relative to the environment."""
    name: str
    group: int
    filter: int
    index: int
    first_body: int
    first_dof: int
    dof_props: np.ndarray
    body_props: List[Any]
    shape_props: List[Any]
    told_com: List[Any] = field(default_factory=list)
    force_sensing: bool = False


class World:
    """Built by `prepare_sim`; poses are relative to the environment."""

    def __init__(self, actors: List[Actor], params: Any, plane: Any) -> None:
        self.actors = actors
        self.steps = params.substeps * INTERNAL_STEPS
        text = self._xml(params, plane)
        self.model = mujoco.MjModel.from_xml_string(text)
        self.data = mujoco.MjData(self.model)
        self.bodies = [[self.model.body(f"a{k}_{n}").id for n in a.asset.body_names] for k, a in enumerate(actors)]
        self.joints = [[self.model.joint(f"a{k}_{n}").id for n in a.asset.dof_names] for k, a in enumerate(actors)]
        self.actuators = [
            [self.model.actuator(f"a{k}_{n}").id if p["driveMode"] in (1, 2) else -1 for n, p in zip(a.asset.dof_names, a.dof_props)]
            for k, a in enumerate(actors)
        ]  # fmt: skip
        self.contact = np.zeros((self.model.nbody, 3))
        self.effort = np.zeros(self.model.nv)
        self._update()

    # ------------------------------------------------------------------------------------------------- construction

    def _xml(self, params: Any, plane: Any) -> str:
        root = ElementTree.Element("mujoco")
        ElementTree.SubElement(root, "compiler", angle="radian")
        gravity = params.gravity.array()
        ElementTree.SubElement(
            root,
            "option",
            timestep=repr(params.dt / self.steps),
            gravity=_text(gravity),
            integrator="implicitfast",
            cone="elliptic",
            impratio="10",
        )
        assets, world = ElementTree.SubElement(root, "asset"), ElementTree.SubElement(root, "worldbody")
        tendons, actuators = ElementTree.SubElement(root, "tendon"), ElementTree.SubElement(root, "actuator")
        if plane is not None:
            friction = 0.5 * (plane.static_friction + self._object_friction(plane))
            height = plane.distance
            ElementTree.SubElement(
                world,
                "geom",
                type="plane",
                size="9 9 1",
                pos=_text([0, 0, height]),
                contype=str(GROUND),
                conaffinity="0",
                friction=_text([friction, 0.005, 1e-4]),
                priority="1",
                solref="0.01 1",
                condim="4",
            )
        for k, actor in enumerate(self.actors):
            self._add(k, actor, assets, world, tendons, actuators)
        return ElementTree.tostring(root, encoding="unicode")

    def _object_friction(self, plane: Any) -> float:
        """Mean friction of the free actors' shapes, which slide on the ground."""
        values = [s.friction for a in self.actors if a.asset.free for s in a.shape_props]
        return float(np.mean(values)) if values else plane.static_friction

    def _add(self, k: int, actor: Actor, assets: Any, world: Any, tendons: Any, actuators: Any) -> None:
        asset, prefix = actor.asset, f"a{k}_"
        for name, file in asset.meshes.items():
            ElementTree.SubElement(assets, "mesh", name=prefix + name, file=file)
        body = copy.deepcopy(asset.body)
        x, y, z, w = actor.pose[3:]
        body.set("pos", _text(actor.pose[:3]))
        body.set("quat", _text([w, x, y, z]))
        if asset.free:
            joint = ElementTree.Element("freejoint", name=prefix + "root")
            body.insert(0, joint)
        shape = 0
        allowed = sum(1 << j for j, other in enumerate(self.actors) if self._meets(actor, other, j == k))
        order = {name: number for number, name in enumerate(asset.body_names)}
        shapes = {number: [s for s, b in enumerate(asset.shape_bodies) if b == number] for number in order.values()}
        for element in body.iter("body"):
            number = order[element.get("name")]
            props = actor.body_props[number]
            old = element.find("inertial")
            element.remove(old)
            i = from_mat33(props.inertia)
            ElementTree.SubElement(
                element,
                "inertial",
                pos=_text(props.com.array()),
                mass=repr(float(props.mass)),
                fullinertia=_text([i[0, 0], i[1, 1], i[2, 2], i[0, 1], i[0, 2], i[1, 2]]),
            )
            if asset.options.disable_gravity:
                element.set("gravcomp", "1")
            for shape, geom in zip(shapes[number], element.findall("geom")):
                geom.attrib.pop("name", None)
                geom.set("contype", str(1 << k))
                geom.set("conaffinity", str(allowed | GROUND))
                geom.set("friction", _text([actor.shape_props[shape].friction, 0.005, 1e-4]))
                geom.set("condim", "4")
                geom.set("solref", "0.01 1")
                if geom.get("mesh"):
                    geom.set("mesh", prefix + geom.get("mesh"))
        for element in body.iter("body"):
            element.set("name", prefix + element.get("name"))
        for joint in body.iter("joint"):
            row = actor.dof_props[asset.dof_names.index(joint.get("name"))]
            self._add_drive(prefix + joint.get("name"), row, actuators)
            joint.set("name", prefix + joint.get("name"))
            joint.set("damping", "0")
            joint.set("armature", repr(float(row["armature"])))
            joint.set("limited", "true" if row["hasLimits"] else "false")
            joint.set("range", _text([row["lower"], row["upper"]]))
        for element, props in zip(asset.tendons, asset.tendon_props):
            if props.limit_stiffness > 0:
                tendon = copy.deepcopy(element)
                tendon.set("name", prefix + tendon.get("name"))
                tendon.set("limited", "true")
                tendon.set("solreflimit", "0.01 1")
                for joint in tendon:
                    joint.set("joint", prefix + joint.get("joint"))
                tendons.append(tendon)
        world.append(body)

    @staticmethod
    def _meets(one: Actor, other: Actor, same: bool) -> bool:
        if one.group != other.group:
            return False
        if one.filter == -1 or other.filter == -1:
            return True
        return (one.filter & other.filter) == 0

    @staticmethod
    def _add_drive(name: str, row: Any, actuators: Any) -> None:
        """T16: only position and velocity drives follow targets."""
        mode, kp, kd = int(row["driveMode"]), float(row["stiffness"]), float(row["damping"])
        if mode not in (DofDriveMode.DOF_MODE_POS, DofDriveMode.DOF_MODE_VEL):
            return
        position = mode == DofDriveMode.DOF_MODE_POS
        effort = float(row["effort"])
        attributes = {"name": name, "joint": name, "biastype": "affine"}
        attributes["gainprm"] = repr(kp if position else kd)
        attributes["biasprm"] = _text([0.0, -kp if position else 0.0, -kd])
        if effort < 1e30:
            attributes.update(forcelimited="true", forcerange=_text([-effort, effort]))
        ElementTree.SubElement(actuators, "general", attributes)

    # -------------------------------------------------------------------------------------------------------- motion

    def simulate(self) -> None:
        """One `dt`; contact forces are those of the last internal step."""
        self.data.qfrc_applied[:] = self.effort
        for _ in range(self.steps):
            self._damp()
            mujoco.mj_step(self.model, self.data)
        self._sum_contacts()
        self.data.qfrc_applied[:] = 0
        self.data.xfrc_applied[:] = 0
        self.effort[:] = 0
        self._update()

    def _damp(self) -> None:
        """Damps free bodies as their options say."""
        for k, actor in enumerate(self.actors):
            options = actor.asset.options
            if actor.asset.free and (options.linear_damping or options.angular_damping):
                dof = int(self.model.body_dofadr[self.bodies[k][0]])
                factor = np.repeat([options.linear_damping, options.angular_damping], 3)
                self.data.qvel[dof : dof + 6] *= 1 - factor * self.model.opt.timestep

    def _update(self) -> None:
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_comVel(self.model, self.data)

    def _sum_contacts(self) -> None:
        self.contact[:] = 0
        wrench = np.zeros(6)
        for i in range(self.data.ncon):
            contact = self.data.contact[i]
            mujoco.mj_contactForce(self.model, self.data, i, wrench)
            force = contact.frame.reshape(3, 3).T @ wrench[:3]
            self.contact[self.model.geom_bodyid[contact.geom[1]]] += force
            self.contact[self.model.geom_bodyid[contact.geom[0]]] -= force

    def body_state(self, k: int, number: int) -> np.ndarray:
        """(13,) pose of the link's frame, x y z w, and the velocity of its centre of mass (T27)."""
        body, velocity = self.bodies[k][number], np.zeros(6)
        mujoco.mj_objectVelocity(self.model, self.data, mujoco.mjtObj.mjOBJ_BODY, body, velocity, 0)
        quat = self.data.xquat[body][[1, 2, 3, 0]]
        return np.concatenate([self.data.xpos[body], quat, velocity[3:], velocity[:3]])

    def dof_state(self, k: int) -> np.ndarray:
        """(J, 2) in the asset's order of joints."""
        joints = self.joints[k]
        position = self.data.qpos[self.model.jnt_qposadr[joints]]
        return np.stack([position, self.data.qvel[self.model.jnt_dofadr[joints]]], axis=1)

    def set_root(self, k: int, row: np.ndarray) -> None:
        """row (13,) as `body_state` gives it, of a free actor."""
        body = self.bodies[k][0]
        joint = int(self.model.body_jntadr[body])
        q, v = int(self.model.jnt_qposadr[joint]), int(self.model.jnt_dofadr[joint])
        x, y, z, w = row[3:7] / np.linalg.norm(row[3:7])
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, np.array([w, x, y, z]))
        rotation = rotation.reshape(3, 3)
        arm = rotation @ self.model.body_ipos[body]
        self.data.qpos[q : q + 7] = [*row[:3], w, x, y, z]
        self.data.qvel[v : v + 3] = row[7:10] - np.cross(row[10:], arm)
        self.data.qvel[v + 3 : v + 6] = rotation.T @ row[10:]
        self.data.qacc_warmstart[:] = 0

    def set_dofs(self, k: int, rows: np.ndarray) -> None:
        """rows (J, 2) in the asset's order of joints."""
        joints = self.joints[k]
        self.data.qpos[self.model.jnt_qposadr[joints]] = rows[:, 0]
        self.data.qvel[self.model.jnt_dofadr[joints]] = rows[:, 1]
        self.data.qacc_warmstart[:] = 0

    def set_targets(self, k: int, values: np.ndarray, mode: int) -> None:
        """Targets of the joints whose drive is of this mode; the others ignore theirs (T16)."""
        for row, actuator, value in zip(self.actors[k].dof_props, self.actuators[k], values):
            if int(row["driveMode"]) == mode and actuator >= 0:
                self.data.ctrl[actuator] = value

    def set_efforts(self, k: int, values: np.ndarray) -> None:
        """Forces for one `simulate`, of joints in effort mode."""
        for row, joint, value in zip(self.actors[k].dof_props, self.joints[k], values):
            if int(row["driveMode"]) == DofDriveMode.DOF_MODE_EFFORT:
                self.effort[self.model.jnt_dofadr[joint]] = value

    def apply(self, k: int, number: int, force: np.ndarray, torque: np.ndarray) -> None:
        """A force at the centre of mass and a torque, for one `simulate`."""
        self.data.xfrc_applied[self.bodies[k][number]] = np.concatenate([force, torque])


def _text(values: Any) -> str:
    return " ".join(repr(float(value)) for value in values)


def index_of(names: List[str], name: str) -> int:
    """The index of a name, or -1 if there is none, as in Isaac Gym."""
    return names.index(name) if name in names else -1
