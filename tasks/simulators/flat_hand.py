"""A hand as PhysX wants it: one joint a link, and a table of drives.

MuJoCo compiles the hand's file, so all defaults and classes are resolved.  A body with several joints becomes a chain of links
of next to no mass, one for each joint; the last one is the body itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

import mujoco
import numpy as np

from tasks.hands.spec import HandSpec
from tasks.simulators.errors import SimulatorError

MOUNT = "mount"
"""The fixed root of the flat hand."""
LINK_MASS = 0.002
"""kg, of the links that a body with several joints gets before it.  The body is lighter by as much."""
LINK_INERTIA = 1e-6
"""kg m^2, about each axis of such a link; joints' armatures are a thousand times larger."""


@dataclass(frozen=True)
class Shape:
    """A colliding geom in its link's frame."""

    name: str
    kind: str
    """sphere, capsule or box."""
    size: np.ndarray
    """m: radius; radius and half length; half sides."""
    pos: np.ndarray
    quat: np.ndarray


@dataclass(frozen=True)
class Joint:
    """What turns or slides a link in its parent."""

    name: str
    kind: str
    """hinge or slide."""
    axis: np.ndarray
    """(3,) unit vector in the link's frame."""
    anchor: np.ndarray
    """(3,) m, in the link's frame."""
    range: np.ndarray
    """(2,) rad or m"""
    armature: float
    damping: float


@dataclass(frozen=True)
class Link:
    """A body with at most one joint.  Poses are relative to the parent, with the joint at 0; quaternions are (w, x, y, z)."""

    name: str
    parent: int
    """Number of the parent in the list of links; -1 is the mount."""
    pos: np.ndarray
    quat: np.ndarray
    joint: Optional[Joint]
    mass: float
    com: np.ndarray
    """(3,) m, centre of mass."""
    inertia: np.ndarray
    """(3,) kg m^2, principal values about the centre of mass."""
    inertia_quat: np.ndarray
    """(4,) the principal axes."""
    shapes: List[Shape] = field(default_factory=list)


def flatten(model: mujoco.MjModel) -> List[Link]:
    """The links of a compiled hand, parents first.  Raises SimulatorError for what PhysX cannot have."""
    links: List[Link] = []
    ends: Dict[int, int] = {0: -1}
    for body in range(1, model.nbody):
        parent = ends[int(model.body_parentid[body])]
        name, joints = model.body(body).name, int(model.body_jntnum[body])
        pos, quat = model.body_pos[body].copy(), model.body_quat[body].copy()
        com, lighter = model.body_ipos[body].copy(), 0.0
        for slot in range(max(joints, 1)):
            joint = _joint(model, int(model.body_jntadr[body]) + slot) if joints else None
            if slot < joints - 1:
                lighter += LINK_MASS
                inertia, turned = np.full(3, LINK_INERTIA), np.array([1.0, 0, 0, 0])
                links.append(Link(f"{name}_link{slot}", parent, pos, quat, joint, LINK_MASS, com, inertia, turned))
            else:
                mass = float(model.body_mass[body]) - lighter
                if mass <= 0:
                    raise SimulatorError(f"body {name!r} needs a mass above {lighter} kg")
                inertia, turned = model.body_inertia[body].copy(), model.body_iquat[body].copy()
                links.append(Link(name, parent, pos, quat, joint, mass, com, inertia, turned, _shapes(model, body)))
            parent = len(links) - 1
            pos, quat = np.zeros(3), np.array([1.0, 0, 0, 0])
        ends[body] = parent
    return links


def _joint(model: mujoco.MjModel, joint: int) -> Joint:
    kinds = {int(mujoco.mjtJoint.mjJNT_HINGE): "hinge", int(mujoco.mjtJoint.mjJNT_SLIDE): "slide"}
    name, kind = model.joint(joint).name, kinds.get(int(model.jnt_type[joint]))
    if kind is None or not model.jnt_limited[joint]:
        raise SimulatorError(f"joint {name!r} must be a hinge or a slide with a range")
    if model.qpos0[model.jnt_qposadr[joint]] != 0 or model.jnt_stiffness[joint] != 0:
        raise SimulatorError(f"joint {name!r} must have reference 0 and no spring")
    dof = model.jnt_dofadr[joint]
    return Joint(
        name,
        kind,
        model.jnt_axis[joint].copy(),
        model.jnt_pos[joint].copy(),
        model.jnt_range[joint].copy(),
        float(model.dof_armature[dof]),
        float(model.dof_damping[dof]),
    )


def _shapes(model: mujoco.MjModel, body: int) -> List[Shape]:
    """The body's colliding geoms; those that are only to be seen are left out."""
    sizes = {
        int(mujoco.mjtGeom.mjGEOM_SPHERE): ("sphere", 1),
        int(mujoco.mjtGeom.mjGEOM_CAPSULE): ("capsule", 2),
        int(mujoco.mjtGeom.mjGEOM_BOX): ("box", 3),
    }
    shapes = []
    for geom in range(int(model.body_geomadr[body]), int(model.body_geomadr[body] + model.body_geomnum[body])):
        if not (model.geom_contype[geom] or model.geom_conaffinity[geom]):
            continue
        kind, used = sizes.get(int(model.geom_type[geom]), ("", 0))
        if not kind:
            raise SimulatorError("the hand's colliding geoms must be spheres, capsules and boxes")
        size, pos, quat = model.geom_size[geom, :used], model.geom_pos[geom], model.geom_quat[geom]
        shapes.append(Shape(model.geom(geom).name or f"geom{geom}", kind, size.copy(), pos.copy(), quat.copy()))
    return shapes


@dataclass(frozen=True)
class Drives:
    """The settings of each joint for PhysX: arrays (J,) in the order of `names`, the D drives and then the coupled joints."""

    names: Tuple[str, ...]
    stiffness: np.ndarray
    """N/m or N m/rad, of the position drive; 0 for coupled joints."""
    damping: np.ndarray
    """N s/m or N m s/rad, of the position drive alone."""
    joint_damping: np.ndarray
    """Passive damping of the joint.  PhysX has no place for it but the drive's damping."""
    effort: np.ndarray
    """N or N m, the most a drive exerts."""
    armature: np.ndarray
    """kg or kg m^2"""
    lower: np.ndarray
    """rad or m, lower end of the joint's range."""
    upper: np.ndarray
    """rad or m, upper end of the joint's range."""
    target_lower: np.ndarray
    """(D,) rad or m, lower end of the range of the drives' targets."""
    target_upper: np.ndarray
    """(D,) rad or m, upper end of the range of the drives' targets."""


def read_drives(hand: HandSpec, model: mujoco.MjModel) -> Drives:
    """Reads the table of drives from the hand's compiled MJCF.  Raises SimulatorError for drives that PhysX does not have."""
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
