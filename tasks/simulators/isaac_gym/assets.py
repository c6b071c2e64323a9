"""Writes what Isaac Gym reads: the hand as a flat MJCF, objects as URDFs, and the drives as a table.

Isaac Gym's MJCF importer drops or misreads parts of MJCF (docs/isaac_gym.md).  So MuJoCo compiles the hand's file, and it is
written anew with only what the importer is known to read: one body under the world, which is a fixed mount without joints;
one joint a body; explicit inertials, ranges and sizes; colliding geoms; fixed tendons.  There are no defaults, actuators,
sites or options.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Tuple
from xml.etree import ElementTree

import mujoco
import numpy as np

from tasks.hands.spec import HandSpec
from tasks.objects.geometry import convex_hull
from tasks.objects.model import ObjectModel
from tasks.simulators.errors import SimulatorError

MOUNT = "mount"
"""The fixed root body of the flat hand."""
LINK_MASS = 0.002
"""kg, of the link that each joint of a body but its last one gets; the body is lighter by as much."""
LINK_INERTIA = 1e-6
"""kg m^2, about each axis of such a link; joints' armatures are a thousand times larger."""


@dataclass(frozen=True)
class Drives:
    """What Isaac Gym is told of each joint: arrays (J,) in the order of `names`, the D drives and then the coupled joints."""

    names: Tuple[str, ...]
    stiffness: np.ndarray
    """N/m or N m/rad, of the position drive; 0 for coupled joints."""
    damping: np.ndarray
    """N s/m or N m s/rad, of the position drive alone."""
    joint_damping: np.ndarray
    """Passive damping of the joint.  Isaac Gym has no place for it but the drive's damping."""
    effort: np.ndarray
    """N or N m, the most a drive exerts."""
    armature: np.ndarray
    """kg or kg m^2"""
    lower: np.ndarray
    """rad or m, the joint's range, to `upper`."""
    upper: np.ndarray
    target_lower: np.ndarray
    """(D,) range of the drives' targets, to `target_upper`."""
    target_upper: np.ndarray


def read_drives(hand: HandSpec, model: mujoco.MjModel) -> Drives:
    """Reads the table of drives from the hand's compiled MJCF.  Raises SimulatorError for drives that Isaac Gym does not have."""
    names = (*hand.drives, *hand.coupled_joints)
    joints = [model.joint(name).id for name in names]
    dofs = model.jnt_dofadr[joints]
    actuators = [model.actuator(name).id for name in hand.drives]
    for name, actuator, joint in zip(hand.drives, actuators, joints):
        if model.actuator_trnid[actuator, 0] != joint or model.actuator_gear[actuator, 0] != 1:
            raise SimulatorError(f"actuator {name!r} of {hand.mjcf.name} must drive joint {name!r} with gear 1")
    count, extra = len(actuators), len(joints) - len(actuators)
    stiffness = model.actuator_gainprm[actuators, 0]
    if not np.allclose(model.actuator_biasprm[actuators, 1], -stiffness):
        raise SimulatorError(f"{hand.mjcf.name} has an actuator that is no position drive")
    force = np.where(
        model.actuator_forcelimited[actuators].astype(bool), model.actuator_forcerange[actuators, 1], np.finfo("f4").max
    )
    limited = model.actuator_ctrllimited[actuators].astype(bool)
    ctrl = np.where(limited[:, None], model.actuator_ctrlrange[actuators], model.jnt_range[joints[:count]])
    return Drives(
        names=names,
        stiffness=np.concatenate([stiffness, np.zeros(extra)]),
        damping=np.concatenate([-model.actuator_biasprm[actuators, 2], np.zeros(extra)]),
        joint_damping=model.dof_damping[dofs].copy(),
        effort=np.concatenate([force, np.full(extra, 10.0)]),
        armature=model.dof_armature[dofs].copy(),
        lower=model.jnt_range[joints, 0].copy(),
        upper=model.jnt_range[joints, 1].copy(),
        target_lower=ctrl[:, 0].copy(),
        target_upper=ctrl[:, 1].copy(),
    )


def flat_hand(model: mujoco.MjModel) -> str:
    """The hand's compiled model as an MJCF text that Isaac Gym's importer can read.  Names, masses and frames are kept.

    Raises SimulatorError for what cannot be written so.
    """
    root = ElementTree.Element("mujoco", model="hand")
    ElementTree.SubElement(root, "compiler", angle="radian", inertiafromgeom="false")
    world = ElementTree.SubElement(root, "worldbody")
    mount = ElementTree.SubElement(world, "body", name=MOUNT, pos="0 0 0")
    ElementTree.SubElement(mount, "inertial", mass="1", pos="0 0 0", diaginertia="0.01 0.01 0.01")
    elements: Dict[int, ElementTree.Element] = {0: mount}
    for body in range(1, model.nbody):
        elements[body] = _flat_body(model, body, elements[int(model.body_parentid[body])])
    if model.ntendon:
        _flat_tendons(model, ElementTree.SubElement(root, "tendon"))
    _indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _flat_body(model: mujoco.MjModel, body: int, parent: ElementTree.Element) -> ElementTree.Element:
    """Writes one link for each joint.  The last one is the body itself, with its name, mass and geoms."""
    name, joints = model.body(body).name, int(model.body_jntnum[body])
    com = _text(model.body_ipos[body])
    if not np.allclose(model.body_iquat[body], [1.0, 0.0, 0.0, 0.0], atol=1e-6):
        raise SimulatorError(
            f"body {name!r}: Isaac Gym reads no turned inertia; give <inertial> a diaginertia along the body's axes"
        )
    pos, quat = model.body_pos[body], model.body_quat[body]
    lighter = 0.0
    for slot in range(max(joints, 1)):
        last = slot >= joints - 1
        link = ElementTree.SubElement(
            parent, "body", name=name if last else f"{name}_link{slot}", pos=_text(pos), quat=_text(quat)
        )
        pos, quat = np.zeros(3), np.array([1.0, 0, 0, 0])
        if last:
            mass = float(model.body_mass[body]) - lighter
            if mass <= 0:
                raise SimulatorError(f"body {name!r} needs a mass above {lighter} kg")
            ElementTree.SubElement(
                link,
                "inertial",
                mass=_text([mass]),
                pos=com,
                diaginertia=_text(model.body_inertia[body]),
            )
        else:
            lighter += LINK_MASS
            inertia = _text([LINK_INERTIA] * 3)
            ElementTree.SubElement(link, "inertial", mass=_text([LINK_MASS]), pos=com, diaginertia=inertia)
        if joints:
            _flat_joint(model, int(model.body_jntadr[body]) + slot, link)
        parent = link
    for geom in range(int(model.body_geomadr[body]), int(model.body_geomadr[body]) + int(model.body_geomnum[body])):
        _flat_geom(model, geom, parent)
    return parent


def _flat_joint(model: mujoco.MjModel, joint: int, link: ElementTree.Element) -> None:
    kinds = {int(mujoco.mjtJoint.mjJNT_HINGE): "hinge", int(mujoco.mjtJoint.mjJNT_SLIDE): "slide"}
    name, kind = model.joint(joint).name, kinds.get(int(model.jnt_type[joint]))
    if kind is None or not model.jnt_limited[joint]:
        raise SimulatorError(f"joint {name!r} must be a hinge or a slide with a range")
    if model.qpos0[model.jnt_qposadr[joint]] != 0 or model.jnt_stiffness[joint] != 0:
        raise SimulatorError(f"joint {name!r} must have reference 0 and no spring")
    ElementTree.SubElement(
        link,
        "joint",
        name=name,
        type=kind,
        axis=_text(model.jnt_axis[joint]),
        pos=_text(model.jnt_pos[joint]),
        limited="true",
        range=_text(model.jnt_range[joint]),
        armature=_text(model.dof_armature[model.jnt_dofadr[joint]]),
        damping=_text(model.dof_damping[model.jnt_dofadr[joint]]),
    )


def _flat_geom(model: mujoco.MjModel, geom: int, link: ElementTree.Element) -> None:
    if not (model.geom_contype[geom] or model.geom_conaffinity[geom]):
        return  # it is only to be seen, but the importer would let it collide
    sizes = {
        int(mujoco.mjtGeom.mjGEOM_SPHERE): ("sphere", 1),
        int(mujoco.mjtGeom.mjGEOM_CAPSULE): ("capsule", 2),
        int(mujoco.mjtGeom.mjGEOM_BOX): ("box", 3),
    }
    kind, used = sizes.get(int(model.geom_type[geom]), ("", 0))
    if not kind:
        raise SimulatorError("the hand's colliding geoms must be spheres, capsules and boxes")
    ElementTree.SubElement(
        link,
        "geom",
        name=model.geom(geom).name or f"geom{geom}",
        type=kind,
        size=_text(model.geom_size[geom, :used]),
        pos=_text(model.geom_pos[geom]),
        quat=_text(model.geom_quat[geom]),
    )


def _flat_tendons(model: mujoco.MjModel, parent: ElementTree.Element) -> None:
    for tendon in range(model.ntendon):
        fixed = ElementTree.SubElement(
            parent, "fixed", name=model.tendon(tendon).name, limited="true", range=_text(model.tendon_range[tendon])
        )
        for wrap in range(int(model.tendon_adr[tendon]), int(model.tendon_adr[tendon] + model.tendon_num[tendon])):
            joint = model.joint(int(model.wrap_objid[wrap])).name
            ElementTree.SubElement(fixed, "joint", joint=joint, coef=_text(model.wrap_prm[wrap]))


def object_urdf(item: ObjectModel) -> Tuple[str, List[str]]:
    """(URDF text, OBJ text of each part): one link in the object's frame, one convex collision mesh `part_i.obj` a part."""
    robot = ElementTree.Element("robot", name="object")
    link = ElementTree.SubElement(robot, "link", name="object")
    inertial = ElementTree.SubElement(link, "inertial")
    ElementTree.SubElement(inertial, "origin", xyz=_text(item.com), rpy="0 0 0")
    ElementTree.SubElement(inertial, "mass", value=_text(item.mass))
    i = np.asarray(item.inertia, dtype=float)
    ElementTree.SubElement(
        inertial,
        "inertia",
        ixx=_text(i[0, 0]),
        ixy=_text(i[0, 1]),
        ixz=_text(i[0, 2]),
        iyy=_text(i[1, 1]),
        iyz=_text(i[1, 2]),
        izz=_text(i[2, 2]),
    )
    meshes = []
    for index, vertices in enumerate(item.parts):
        meshes.append(_obj_text(np.asarray(vertices, dtype=float)))
        for tag in ("visual", "collision"):
            element = ElementTree.SubElement(link, tag)
            ElementTree.SubElement(element, "origin", xyz="0 0 0", rpy="0 0 0")
            ElementTree.SubElement(ElementTree.SubElement(element, "geometry"), "mesh", filename=f"part_{index}.obj")
    _indent(robot)
    return ElementTree.tostring(robot, encoding="unicode") + "\n", meshes


def write_hand(model: mujoco.MjModel, cache: Path) -> Path:
    """Writes the flat hand into a folder of its own under `cache`, and returns its path.  The same hand has the same path."""
    return _write(cache, "hand", {"hand.xml": flat_hand(model)}) / "hand.xml"


def write_object(item: ObjectModel, cache: Path) -> Path:
    """Writes an object's URDF and meshes into a folder of its own under `cache`, and returns the URDF's path."""
    urdf, meshes = object_urdf(item)
    files = {"object.urdf": urdf, **{f"part_{index}.obj": text for index, text in enumerate(meshes)}}
    return _write(cache, "object", files) / "object.urdf"


def default_cache() -> Path:
    """The folder for generated assets if the settings name none."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ppo_grasp" / "isaac_gym"


def _write(cache: Path, kind: str, files: Dict[str, str]) -> Path:
    """Writes files into a folder that is named by their content.  Each file appears whole, so that processes that start at
    the same time do not disturb each other.
    """
    digest = hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in files.items()).encode()).hexdigest()[:16]
    folder = cache / f"{kind}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            target = folder / name
            if not target.exists():
                partial = folder / f"{name}.{os.getpid()}"
                partial.write_text(text)
                partial.replace(target)
    except OSError as cause:
        raise SimulatorError(f"cannot write assets for Isaac Gym to {folder}: {cause.strerror}") from cause
    return folder


def _obj_text(vertices: np.ndarray) -> str:
    hull = convex_hull(vertices)
    lines = [f"v {_text(vertex)}" for vertex in hull.vertices]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in hull.triangles]
    return "\n".join(lines) + "\n"


def _text(values: Sequence[float] | np.ndarray | float) -> str:
    return " ".join(f"{value:.9g}" for value in np.atleast_1d(np.asarray(values, dtype=float)))


def _indent(element: ElementTree.Element, depth: int = 0) -> None:
    """Adds line breaks for people.  ElementTree can do so itself only from Python 3.9 on."""
    children = list(element)
    if children:
        element.text = "\n" + "  " * (depth + 1)
        for child in children:
            _indent(child, depth + 1)
            child.tail = "\n" + "  " * (depth + 1)
        children[-1].tail = "\n" + "  " * depth
