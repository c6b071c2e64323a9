"""The scene as one compiled MuJoCo model.  Rows of model fields put another object into it without recompiling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Dict, Literal, Optional, Tuple

import mujoco
import numpy as np

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectModel, ObjectSet
from tasks.simulators.contract import TABLE_HEIGHT

C_ITERATIONS = 50
"""Iterations of MuJoCo C's solver, and of its line search.  With 10 and 20, in implicitfast steps of 1/120 s, it flings away
3 to 5 % of the objects that a trained policy grasps.  With 50 and 50 it flings none."""
FINE_STEPS_PER_S = 240
OBJECT_BODY = "object"
TABLE_GEOM = "table"
HAND_BITS = (1, 2)
"""contype and conaffinity of the hand's colliding geoms, as in its MJCF.  The hand meets objects and table, not itself, unless
`PhysicsCfg.self_collision` is on."""
OBJECT_BITS = (2, 3)

GEOM_FIELDS = ("geom_dataid", "geom_size", "geom_aabb", "geom_rbound", "geom_pos", "geom_quat")
BODY_FIELDS = ("body_mass", "body_inertia", "body_ipos", "body_iquat", "body_invweight0")


@dataclass(frozen=True)
class PhysicsCfg:
    """How MuJoCo C and MuJoCo Warp integrate a scene.  The defaults are for training, `fine` is for measuring policies.

    docs/physics.md has what was tried and what it cost.
    """

    timestep: float = 1 / 60
    """Seconds of one sub-step."""
    substeps: int = 2
    """Sub-steps of one control step.  2 of 1/60 s make 30 control steps a second."""
    integrator: Literal["implicitfast", "discrete"] = "discrete"
    """MuJoCo's integrator.  discrete at 1/60 s has contacts as shallow as implicitfast at 1/120 s, in half the time."""
    cone: Literal["elliptic", "pyramidal"] = "elliptic"
    """Shape of the friction cone.  pyramidal is faster, but objects slip out of grasps."""
    impratio: float = 10.0
    """Stiffness of friction over that of normal forces.  The larger it is, the less objects slip."""
    iterations: int = 5
    """Newton iterations, at most.  In MuJoCo Warp all worlds wait for the slowest.  MuJoCo C stops world by world, and takes
    at least 50."""
    ls_iterations: int = 20
    """Iterations of the line search in each of them, at most.  MuJoCo C takes at least 50."""
    solref: Tuple[float, float] = (0.01, 1.0)
    """Time constant of contacts, s, and their damping ratio."""
    solimp: Tuple[float, float, float, float, float] = (0.95, 0.99, 0.001, 0.5, 2.0)
    """Impedance of contacts (MuJoCo's solimp).  Into softer contacts fingers sink by millimetres."""
    torsional_friction: float = 0.01
    """m.  Sliding friction is the object's, or is drawn at resets."""
    condim: Literal[1, 3, 4, 6] = 4
    """Dimension of contacts.  4 resists turning about the normal; 3 does not, and has a row less."""
    multiccd: bool = False
    """Whether contacts between hulls have several points."""
    ccd_iterations: int = 20
    """Iterations of the collision of hulls, at most."""
    buffers: float = 1.0
    """Times the usual room for contacts and constraints in MuJoCo Warp.  Raise it if contact_overflow_worlds is not 0.  It takes
    memory.  MuJoCo C makes its own room."""
    self_collision: bool = False
    """Whether the fingers meet each other and the palm.  It costs time, and room for contacts."""
    tolerance: float = 1e-6
    """Improvement at which the solver stops.  MuJoCo Warp takes nothing smaller.  MuJoCo C keeps its own, 1e-8."""

    @property
    def control_dt(self) -> float:
        """Seconds of one control step."""
        return self.timestep * self.substeps

    @classmethod
    def fine(cls, control_dt: float = 1 / 30, self_collision: bool = False) -> PhysicsCfg:
        """Steps of 1/240 s, in which policies are measured and shown: a fourth of training's.

        control_dt: seconds of a control step of the policy's training.  self_collision: as in the policy's training.
        Raises ValueError if control_dt is no multiple of 1/240 s.
        """
        substeps = round(control_dt * FINE_STEPS_PER_S)
        if substeps < 1 or abs(control_dt * FINE_STEPS_PER_S - substeps) > 1e-6:
            raise ValueError(f"control steps of {control_dt:g} s are no whole number of 1/{FINE_STEPS_PER_S} s")
        return cls(
            1 / FINE_STEPS_PER_S,
            substeps,
            "implicitfast",
            iterations=20,
            ls_iterations=50,
            self_collision=self_collision,
        )


@dataclass(frozen=True)
class Scene:
    """A compiled model, the addresses of things in it, and the rows that turn its object into any other of the set."""

    model: mujoco.MjModel
    table: int
    """The table's geom."""
    object_body: int
    object_geoms: slice
    """The K geoms of the object's body.  A geom without a part has `geom_dataid` -1."""
    object_qpos: int
    """Address of the object's 7 coordinates."""
    object_dof: int
    """Address of the object's 6 velocities."""
    hand_mass: float
    """kg"""
    drive_qpos: np.ndarray
    """(D,) addresses of the driven joints' coordinates."""
    drive_dof: np.ndarray
    """(D,) addresses of the driven joints' velocities."""
    coupled_qpos: np.ndarray
    """(C,) addresses of the coupled joints' coordinates."""
    coupled_source: np.ndarray
    """(C,) number of the drive that each of them follows."""
    coupled_ratio: np.ndarray
    """(C,) how far each of them goes for each radian of that drive."""
    geom_rows: Dict[str, np.ndarray]
    """Name in GEOM_FIELDS -> (V, K, ...) for the V objects of the set."""
    body_rows: Dict[str, np.ndarray]
    """Name in BODY_FIELDS -> (V, ...)"""
    dof_invweight0: np.ndarray
    """(V, 6)"""


def build_scene(
    hand: HandSpec,
    objects: ObjectSet,
    physics: PhysicsCfg,
    for_c: bool = False,
    furnish: Optional[Callable[[mujoco.MjSpec], None]] = None,
) -> Scene:
    """Compiles hand, table and a free object with as many geoms as the set's objects need.

    for_c: takes MuJoCo C's limits of iterations, and adds a sensor that makes `mj_step` compute `cfrc_ext`, from which the
    fingertips' wrenches are read.
    furnish: is called before the model is compiled, and may add things that are only seen.
    """
    if for_c:
        limits = max(physics.iterations, C_ITERATIONS), max(physics.ls_iterations, C_ITERATIONS)
        physics = replace(physics, iterations=limits[0], ls_iterations=limits[1], tolerance=1e-8)
    spec = mujoco.MjSpec.from_file(str(hand.mjcf))
    _set_options(spec, physics)
    if physics.self_collision:
        _let_hand_meet_itself(spec, hand)
    contact = {
        "condim": physics.condim,
        "contype": OBJECT_BITS[0],
        "conaffinity": OBJECT_BITS[1],
        "solref": list(physics.solref),
        "solimp": list(physics.solimp),
        "friction": [1.0, physics.torsional_friction, 1e-4],
        "priority": 1,  # contacts have the object's friction and softness, whatever it touches
    }
    spec.worldbody.add_geom(
        name=TABLE_GEOM,
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0.6, 0.6, 0.05],
        pos=[0, 0, TABLE_HEIGHT],
        rgba=[0.82, 0.80, 0.77, 1],
        **{**contact, "priority": 0},
    )
    for index, item in enumerate(objects.objects):
        for part, vertices in enumerate(item.parts):
            mesh = spec.add_mesh(name=_mesh_name(index, part), uservert=vertices.astype(float).ravel().tolist())
            mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
    first = objects.objects[0]
    body = spec.worldbody.add_body(name=OBJECT_BODY, pos=[0, 0, TABLE_HEIGHT + 0.2])
    body.simple = 0  # an object with its mass off the origin needs the full block of inertia
    body.add_freejoint(name=OBJECT_BODY)
    body.explicitinertial = True
    body.mass, body.ipos = first.mass, first.com
    body.fullinertia = first.inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    for slot in range(objects.max_parts):
        body.add_geom(
            name=f"object_{slot}",
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=_mesh_name(0, min(slot, len(first.parts) - 1)),
            rgba=[0.90, 0.55, 0.20, 1],
            **contact,
        )
    if for_c:
        spec.add_sensor(
            name="contact_wrench",
            type=mujoco.mjtSensor.mjSENS_FORCE,
            objtype=mujoco.mjtObj.mjOBJ_SITE,
            objname=hand.palm_site,
        )
    if furnish is not None:
        furnish(spec)
    model = spec.compile()
    # The compiler has a shortcut for frames that coincide, which holds for the first object only.
    model.body_sameframe[model.body(OBJECT_BODY).id] = 0
    model.geom_sameframe[[model.geom(f"object_{slot}").id for slot in range(objects.max_parts)]] = 0
    return _with_rows(model, hand, objects)


def _set_options(spec: mujoco.MjSpec, physics: PhysicsCfg) -> None:
    option = spec.option
    option.timestep = physics.timestep
    option.integrator = {
        "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
        "discrete": mujoco.mjtIntegrator.mjINT_DISCRETE,
    }[physics.integrator]
    option.cone = {"elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC, "pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL}[
        physics.cone
    ]
    option.impratio = physics.impratio
    option.iterations, option.ls_iterations = physics.iterations, physics.ls_iterations
    option.ccd_iterations, option.tolerance = physics.ccd_iterations, physics.tolerance
    if not physics.multiccd:
        option.disableflags |= mujoco.mjtDisableBit.mjDSBL_MULTICCD


def _let_hand_meet_itself(spec: mujoco.MjSpec, hand: HandSpec) -> None:
    """Lets links of the hand collide, but for those that touch when it is open, or bent before a grasp.

    Parent and child never collide in MuJoCo.  spec: has nothing but the hand yet.
    """
    for geom in spec.geoms:
        if geom.contype & HAND_BITS[0]:
            geom.conaffinity |= HAND_BITS[0]
    model = spec.compile()
    data = mujoco.MjData(model)
    for pose in (hand.open_pose, hand.pregrasp_pose):
        data.qpos[:] = model.qpos0
        for name, value in pose.items():
            data.qpos[model.joint(name).qposadr] = value
        for name, source in hand.coupled_joints.items():
            data.qpos[model.joint(name).qposadr] = hand.coupling(name) * data.qpos[model.joint(source).qposadr]
        mujoco.mj_forward(model, data)
        touching = np.unique(np.sort(model.geom_bodyid[data.contact.geom], axis=-1), axis=0)
        for first, second in touching:
            spec.add_exclude(bodyname1=model.body(first).name, bodyname2=model.body(second).name)


def _mesh_name(index: int, part: int) -> str:
    return f"object{index}_part{part}"


def _with_rows(model: mujoco.MjModel, hand: HandSpec, objects: ObjectSet) -> Scene:
    """The scene of a compiled model: finds the addresses, and computes the rows of every object."""
    body = model.body(OBJECT_BODY).id
    start, slots = int(model.body_geomadr[body]), int(model.body_geomnum[body])
    joints = [model.joint(name) for name in hand.drives]
    coupled = [model.joint(name) for name in hand.coupled_joints]
    order = list(hand.drives)
    body_rows = [_body_row(item) for item in objects.objects]
    return Scene(
        model=model,
        table=model.geom(TABLE_GEOM).id,
        object_body=body,
        object_geoms=slice(start, start + slots),
        object_qpos=int(model.joint(OBJECT_BODY).qposadr[0]),
        object_dof=int(model.joint(OBJECT_BODY).dofadr[0]),
        hand_mass=float(model.body_subtreemass[0] - model.body_mass[body]),
        drive_qpos=np.array([j.qposadr[0] for j in joints]),
        drive_dof=np.array([j.dofadr[0] for j in joints]),
        coupled_qpos=np.array([j.qposadr[0] for j in coupled], dtype=int),
        coupled_source=np.array([order.index(source) for source in hand.coupled_joints.values()], dtype=int),
        coupled_ratio=np.array([hand.coupling(name) for name in hand.coupled_joints], dtype=float),
        geom_rows=_geom_rows(model, objects, slots),
        body_rows={field: np.stack([row[field] for row in body_rows]) for field in BODY_FIELDS},
        dof_invweight0=np.stack([_dof_invweight0(item) for item in objects.objects]),
    )


def _geom_rows(model: mujoco.MjModel, objects: ObjectSet, slots: int) -> Dict[str, np.ndarray]:
    """What the compiler would write for the geoms of each object.  It is read from the compiled meshes, whose frames it moved."""
    count = len(objects.objects)
    rows = {
        "geom_dataid": np.full((count, slots), -1, dtype=np.int32),
        "geom_size": np.full((count, slots, 3), 1e-3),
        "geom_aabb": np.full((count, slots, 6), 1e-3),
        "geom_rbound": np.full((count, slots), 1e-3),
        "geom_pos": np.zeros((count, slots, 3)),
        "geom_quat": np.tile([1.0, 0, 0, 0], (count, slots, 1)),
    }
    for index, item in enumerate(objects.objects):
        for slot in range(len(item.parts)):
            mesh = model.mesh(_mesh_name(index, slot)).id
            address, number = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
            vertices = model.mesh_vert[address : address + number]
            low, high = vertices.min(axis=0), vertices.max(axis=0)
            rows["geom_dataid"][index, slot] = mesh
            rows["geom_size"][index, slot] = np.maximum(np.abs(low), np.abs(high))
            rows["geom_aabb"][index, slot] = np.concatenate([(low + high) / 2, (high - low) / 2])
            rows["geom_rbound"][index, slot] = np.linalg.norm(np.maximum(np.abs(low), np.abs(high)))
            rows["geom_pos"][index, slot] = model.mesh_pos[mesh]
            rows["geom_quat"][index, slot] = model.mesh_quat[mesh]
    return rows


def _body_row(item: ObjectModel) -> Dict[str, np.ndarray]:
    """Mass, principal inertia and its frame, and the inverse weights that scale soft constraints (as mj_setConst has them)."""
    principal, axes = np.linalg.eigh(item.inertia)
    axes = axes * np.sign(np.linalg.det(axes))
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, axes.ravel())
    return {
        "body_mass": np.array(item.mass),
        "body_inertia": principal,
        "body_ipos": np.asarray(item.com, dtype=float),
        "body_iquat": quat,
        "body_invweight0": np.array([1 / item.mass, np.mean(1 / principal)]),
    }


def _dof_invweight0(item: ObjectModel) -> np.ndarray:
    """(6,) diagonal of the free joint's inverse inertia, averaged over translations and over rotations (as in mj_setConst)."""
    x, y, z = item.com
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    inertia = np.zeros((6, 6))
    inertia[:3, :3] = item.mass * np.eye(3)
    inertia[:3, 3:] = -item.mass * cross
    inertia[3:, :3] = item.mass * cross
    inertia[3:, 3:] = item.inertia - item.mass * cross @ cross
    diagonal = np.diag(np.linalg.inv(inertia))
    return np.repeat([diagonal[:3].mean(), diagonal[3:].mean()], 3)
