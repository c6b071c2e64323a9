"""Reads an MJCF into a tree, from the model that MuJoCo compiles it to."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Tuple

import mujoco
import numpy as np

from tasks.hands.errors import HandError
from tasks.hands.reading import meshes
from tasks.hands.reading.tree import Coupling, Joint, Link, Shape, Tree, make_shapes, to_matrix

KINDS = {int(mujoco.mjtJoint.mjJNT_HINGE): "hinge", int(mujoco.mjtJoint.mjJNT_SLIDE): "slide"}
PRIMITIVES = {
    int(mujoco.mjtGeom.mjGEOM_BOX): ("box", 3),
    int(mujoco.mjtGeom.mjGEOM_SPHERE): ("sphere", 1),
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): ("capsule", 2),
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): ("cylinder", 2),
    int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): ("ellipsoid", 3),
}
FREE = "free"
DEGREE = np.pi / 180
SLACK = 0.3
"""rad, between a tendon's limits: with less it couples its two joints."""


def read_mjcf(path: Path, palm: Optional[str] = None) -> Tree:
    """The tree of an MJCF; of several on the world, that which has the palm, or fingers.  Raises HandError."""
    try:
        model = mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise HandError(f"MuJoCo does not read it: {' '.join(str(error).split())[:200]}") from error
    top, others = _hand_body(model, palm)
    kept = [b for b in range(1, model.nbody) if model.body_rootid[b] == top]
    tree = Tree([_link(model, b, kept) for b in kept])
    turns = [joint.high - joint.low for joint in tree.joints().values() if joint.kind == "hinge"]
    if turns and _chains(model, top) > 1 and max(t if np.isfinite(t) else np.inf for t in turns) < DEGREE * 4:
        raise HandError(
            'its joints turn by less than 4 degrees: if the numbers are radians, add <compiler angle="radian"/>'
        )
    if others:
        tree.notes.append(f"bodies that are no part of the hand are left out: {', '.join(others)}")
    drawn = {_name(model, j): model.qpos0[model.jnt_qposadr[j]] for j in range(model.njnt)}
    shifted = [name for name, joint in tree.joints().items() if joint.kind != FREE and drawn[name] != 0]
    if shifted:
        tree.notes.append(f"angles count from where the file draws the hand, not from ref: {', '.join(shifted)}")
    _couplings(model, tree)
    _actuators(model, tree)
    return tree


def _hand_body(model: mujoco.MjModel, palm: Optional[str]) -> Tuple[int, List[str]]:
    """(the body on the world that the hand hangs on, names of the others that move)."""
    moving = {int(model.body_rootid[b]) for b in range(1, model.nbody) if model.body_dofnum[b]}
    if not moving:
        raise HandError("it has no joints: a hand needs fingers that move")
    found = sorted(moving)
    if palm is not None:
        found = [int(model.body_rootid[b]) for b in range(1, model.nbody) if model.body(b).name == palm]
    elif len(found) > 1:
        found = [top for top in found if _chains(model, top) > 1] or found
    if len(found) > 1:
        first, second = (model.body(b).name for b in found[:2])
        raise HandError(
            f"bodies {first!r} and {second!r} both stand on the world: name the hand's palm in the TOML, [palm] body"
        )
    if not found:
        raise HandError(f"palm body {palm!r} is not in the file")
    return found[0], [model.body(b).name or f"body{b}" for b in sorted(moving - set(found))]


def _chains(model: mujoco.MjModel, top: int) -> int:
    """How many chains of moving bodies end in the tree of this body."""
    moving = [b for b in range(1, model.nbody) if model.body_rootid[b] == top and model.body_dofnum[b]]
    inner = set()
    for body in moving:
        at = int(model.body_parentid[body])
        while at:
            inner.add(at)
            at = int(model.body_parentid[at])
    return len([b for b in moving if b not in inner])


def _link(model: mujoco.MjModel, body: int, kept: List[int]) -> Link:
    parent = int(model.body_parentid[body])
    name = model.body(body).name or f"body{body}"
    axes = to_matrix(model.body_iquat[body])
    link = Link(
        name,
        kept.index(parent) if parent in kept else -1,
        model.body_pos[body].copy(),
        to_matrix(model.body_quat[body]),
        [_joint(model, int(model.body_jntadr[body]) + k) for k in range(int(model.body_jntnum[body]))],
        float(model.body_mass[body]),
        model.body_ipos[body].copy(),
        axes @ np.diag(model.body_inertia[body]) @ axes.T,
    )
    geoms = range(int(model.body_geomadr[body]), int(model.body_geomadr[body]) + int(model.body_geomnum[body]))
    colliding = [g for g in geoms if model.geom_contype[g] or model.geom_conaffinity[g]]
    for geom in colliding or geoms:
        # What collides does so as its hull in MuJoCo: whoever wrote the file has cut it as far as it should be.
        link.shapes += _shapes(model, geom, not colliding, f"body {name!r}, geom {model.geom(geom).name or geom}")
    return link


def _name(model: mujoco.MjModel, joint: int) -> str:
    return model.joint(joint).name or f"joint{joint}"


def _joint(model: mujoco.MjModel, joint: int) -> Joint:
    name = _name(model, joint)
    kind = KINDS.get(int(model.jnt_type[joint]))
    if kind is None and int(model.jnt_type[joint]) == int(mujoco.mjtJoint.mjJNT_FREE):
        return Joint(name, FREE, np.zeros(3), np.zeros(3), 0.0, 0.0)
    if kind is None:
        raise HandError(f"joint {name!r} is a ball: only hinges and slides can be driven")
    low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-np.inf, np.inf)
    zero = float(model.qpos0[model.jnt_qposadr[joint]])  # its angle where the file draws it; here that is 0
    effort = float(model.jnt_actfrcrange[joint, 1]) if model.jnt_actfrclimited[joint] else None
    dof = int(model.jnt_dofadr[joint])
    return Joint(
        name, kind, model.jnt_axis[joint].copy(), model.jnt_pos[joint].copy(), float(low) - zero, float(high) - zero,
        effort, float(model.dof_armature[dof]),
    )  # fmt: skip


def _shapes(model: mujoco.MjModel, geom: int, cut: bool, what: str) -> List[Shape]:
    kind = int(model.geom_type[geom])
    pos, turn = model.geom_pos[geom].copy(), to_matrix(model.geom_quat[geom])
    if kind == int(mujoco.mjtGeom.mjGEOM_MESH):
        mesh = int(model.geom_dataid[geom])
        corners = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
        faces = model.mesh_face[model.mesh_faceadr[mesh] :][: model.mesh_facenum[mesh]]
        return meshes.hulls(corners.astype(float), faces, pos, turn, f"{what}, mesh {model.mesh(mesh).name}", cut)
    if kind not in PRIMITIVES:
        raise HandError(f"{what}: planes, height fields and the like are no parts of a hand")
    name, used = PRIMITIVES[kind]
    return make_shapes(name, model.geom_size[geom, :used].copy(), pos, turn)


def _couplings(model: mujoco.MjModel, tree: Tree) -> None:
    for equality in range(model.neq):
        name = model.equality(equality).name or f"number {equality + 1}"
        first, second = int(model.eq_obj1id[equality]), int(model.eq_obj2id[equality])
        data, kind = model.eq_data[equality], int(model.eq_type[equality])
        if kind == int(mujoco.mjtEq.mjEQ_JOINT) and second >= 0:
            if np.any(np.abs(data[2:5]) > 1e-9):
                raise HandError(f"equality {name!r} is no straight line: let polycoef have two numbers")
            tree.couplings[_name(model, first)] = Coupling(_name(model, second), float(data[1]), float(data[0]))
        elif kind == int(mujoco.mjtEq.mjEQ_TENDON) and second < 0:
            _couple_tendon(model, tree, first, float(data[0]))
        else:
            raise HandError(f"equality {name!r} closes a loop or welds: only couplings of two joints can be kept")
    for tendon in range(model.ntendon):
        if not model.tendon_limited[tendon] or model.tendon_num[tendon] == 1:  # of one joint, which has its own limits
            continue
        _, coefficients = _tendon_joints(model, tendon)
        if np.ptp(model.tendon_range[tendon]) < SLACK * np.abs(coefficients).max():
            length = model.tendon_range[tendon].mean() - model.tendon_length0[tendon]
            _couple_tendon(model, tree, tendon, float(length))


def _tendon_joints(model: mujoco.MjModel, tendon: int) -> Tuple[List[int], List[float]]:
    name = model.tendon(tendon).name or f"number {tendon + 1}"
    wraps = range(int(model.tendon_adr[tendon]), int(model.tendon_adr[tendon] + model.tendon_num[tendon]))
    if any(int(model.wrap_type[w]) != int(mujoco.mjtWrap.mjWRAP_JOINT) for w in wraps):
        raise HandError(f"tendon {name!r} is spatial: only fixed tendons of two joints can be kept")
    if len(wraps) != 2:
        raise HandError(f"tendon {name!r} joins {len(wraps)} joints: only fixed tendons of two joints can be kept")
    return [int(model.wrap_objid[w]) for w in wraps], [float(model.wrap_prm[w]) for w in wraps]


def _couple_tendon(model: mujoco.MjModel, tree: Tree, tendon: int, length: float) -> None:
    """The tendon keeps a q_a + b q_b at a length, more than where the file draws it: the joint further out follows the other."""
    joints, coefficients = _tendon_joints(model, tendon)
    near, far = sorted(range(2), key=lambda k: int(model.jnt_bodyid[joints[k]]))
    ratio, offset = -coefficients[near] / coefficients[far], length / coefficients[far]
    tree.couplings.setdefault(_name(model, joints[far]), Coupling(_name(model, joints[near]), ratio, offset))


def _actuators(model: mujoco.MjModel, tree: Tree) -> None:
    if not model.nu:
        return
    tree.driven, joints = [], tree.joints()
    for actuator in range(model.nu):
        name, kind = model.actuator(actuator).name or f"number {actuator + 1}", int(model.actuator_trntype[actuator])
        target, gear = int(model.actuator_trnid[actuator, 0]), float(abs(model.actuator_gear[actuator, 0]))
        if kind == int(mujoco.mjtTrn.mjTRN_TENDON):
            pulled, _ = _tendon_joints(model, target)
            near, far = sorted(pulled, key=lambda j: int(model.jnt_bodyid[j]))
            tree.couplings.setdefault(_name(model, far), Coupling(_name(model, near)))
            tree.notes.append(f"actuator {name} pulls a tendon: {_name(model, far)} follows {_name(model, near)}")
            target = near
        elif kind not in (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT)):
            raise HandError(f"actuator {name!r} drives no joint: only drives of joints and fixed tendons are known")
        joint = joints.get(_name(model, target))
        if joint is None or joint.kind == FREE:
            continue
        tree.driven.append(joint.name)
        if model.actuator_forcelimited[actuator]:
            joint.effort = float(np.abs(model.actuator_forcerange[actuator]).max()) * gear
        elif not np.any(model.actuator_biasprm[actuator]) and model.actuator_ctrllimited[actuator]:
            gain = float(model.actuator_gainprm[actuator, 0])
            joint.effort = float(np.abs(model.actuator_ctrlrange[actuator]).max()) * gear * gain
        joint.effort = joint.effort or None
        if (
            not np.isfinite(joint.low)
            and model.actuator_ctrllimited[actuator]
            and np.any(model.actuator_biasprm[actuator])
        ):
            zero = model.qpos0[model.jnt_qposadr[target]]
            joint.low, joint.high = (float(v - zero) for v in model.actuator_ctrlrange[actuator])
            tree.notes.append(f"joint {joint.name} has no range: that of its actuator's targets is taken")
