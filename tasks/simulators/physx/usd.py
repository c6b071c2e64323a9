"""Writes what PhysX reads, as USD text: the scene, the hand once, and each object once.  Worlds are clones of them.

Angles in USD are degrees, so stiffness and damping of hinges are per degree there.
"""

from __future__ import annotations

import math
from typing import Dict, List, Sequence, Tuple, Union

import mujoco
import numpy as np

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectModel
from tasks.objects.geometry import convex_hull
from tasks.simulators.contract import TABLE_HEIGHT
from tasks.simulators.flat_hand import MOUNT, Drives, Link, Shape
from tasks.simulators.physx.settings import PhysxCfg

Vector = Union[Sequence[float], np.ndarray]

DEGREE = 180 / math.pi
HAND = "/World/source/hand"
"""Path of the hand that is cloned."""
SOURCES = -500.0
"""m, x of what is cloned, far from all worlds."""
IDENTITY = (1.0, 0.0, 0.0, 0.0)


def object_path(number: int) -> str:
    """Path of an object that is cloned."""
    return f"/World/source_{number}/object"


def scene(
    hand: HandSpec,
    links: Sequence[Link],
    drives: Drives,
    objects: Dict[int, ObjectModel],
    cfg: PhysxCfg,
    gpu_worlds: int,
) -> str:
    """The whole scene.

    objects: by number.
    gpu_worlds: how many worlds buffers on a GPU must have room for; 0 without a GPU.
    """
    parts = [_head(cfg, gpu_worlds), _place("source", (SOURCES, 0.0, 0.0), _hand(hand, links, drives, cfg))]
    for row, (number, item) in enumerate(sorted(objects.items())):
        parts.append(_place(f"source_{number}", (SOURCES, 5.0 + 2.0 * row, 0.0), _object(item, cfg)))
    return "".join([*parts, "}\n"])


def _head(cfg: PhysxCfg, gpu_worlds: int) -> str:
    room = cfg.contacts_per_world * max(gpu_worlds, 64)
    buffers = f"""
    uint physxScene:gpuMaxRigidContactCount = {room}
    uint physxScene:gpuMaxRigidPatchCount = {room // 8}
    uint physxScene:gpuFoundLostPairsCapacity = {room // 2}
    uint physxScene:gpuFoundLostAggregatePairsCapacity = {room // 2}
    uint physxScene:gpuTotalAggregatePairsCapacity = {room // 2}
    uint physxScene:gpuCollisionStackSize = {64 * room}"""
    return f"""#usda 1.0
(
    defaultPrim = "World"
    metersPerUnit = 1
    kilogramsPerUnit = 1
    upAxis = "Z"
)
def Xform "World"
{{
def PhysicsScene "physics" (prepend apiSchemas = ["PhysxSceneAPI"])
{{
    vector3f physics:gravityDirection = (0, 0, -1)
    float physics:gravityMagnitude = 9.81
    bool physxScene:enableGPUDynamics = {int(gpu_worlds > 0)}
    uniform token physxScene:broadphaseType = "{"GPU" if gpu_worlds else "SAP"}"
    uniform token physxScene:solverType = "TGS"
    uniform bool physxScene:disableSleeping = 1
    float physxScene:bounceThreshold = {cfg.bounce_threshold}
    bool physxScene:enableSceneQuerySupport = 0
    bool physxScene:enableExternalForcesEveryIteration = 1{buffers if gpu_worlds else ""}
}}
def Material "material" (prepend apiSchemas = ["PhysicsMaterialAPI", "PhysxMaterialAPI"])
{{
    float physics:staticFriction = 1
    float physics:dynamicFriction = 1
    float physics:restitution = 0
    uniform token physxMaterial:frictionCombineMode = "multiply"
}}
def Plane "table" (prepend apiSchemas = ["PhysicsCollisionAPI", "PhysxCollisionAPI", "MaterialBindingAPI"])
{{
    uniform token axis = "Z"
    double3 xformOp:translate = (0, 0, {TABLE_HEIGHT})
    uniform token[] xformOpOrder = ["xformOp:translate"]
    float physxCollision:contactOffset = {cfg.contact_offset}
    float physxCollision:restOffset = {cfg.rest_offset}
    rel material:binding:physics = </World/material>
}}
"""


def _place(name: str, at: Tuple[float, float, float], inside: str) -> str:
    return f"""def Xform "{name}"
{{
double3 xformOp:translate = {_vector(at)}
uniform token[] xformOpOrder = ["xformOp:translate"]
{inside}}}
"""


def _hand(hand: HandSpec, links: Sequence[Link], drives: Drives, cfg: PhysxCfg) -> str:
    """The articulation: a fixed mount, and each link with its joint."""
    poses: List[Tuple[np.ndarray, np.ndarray]] = []
    for link in links:
        pos, quat = (np.zeros(3), np.array(IDENTITY)) if link.parent < 0 else poses[link.parent]
        poses.append((pos + _rotate(quat, link.pos), _multiply(quat, link.quat)))
    floating = "bool physxRigidBody:disableGravity = 1\n    float physxContactReport:threshold = 0"
    report = ', "PhysxContactReportAPI"'
    mount = _body(MOUNT, 1.0, np.zeros(3), IDENTITY, np.full(3, 0.01), np.zeros(3), IDENTITY, cfg, floating, "", report)
    parts = [mount, f'def PhysicsFixedJoint "fixed"\n{{\n    rel physics:body1 = <{HAND}/{MOUNT}>\n}}\n']
    for link, (pos, quat) in zip(links, poses):
        shapes = "".join(_shape(shape, cfg) for shape in link.shapes)
        parts.append(
            _body(
                link.name,
                link.mass,
                link.com,
                link.inertia_quat,
                link.inertia,
                pos,
                quat,
                cfg,
                floating,
                shapes,
                report,
            )
        )
        parent = MOUNT if link.parent < 0 else links[link.parent].name
        parts.append(_joint(hand, link, parent, drives, cfg))
    return f"""def Xform "hand" (prepend apiSchemas = ["PhysicsArticulationRootAPI", "PhysxArticulationAPI"])
{{
    bool physxArticulation:enabledSelfCollisions = 0
    int physxArticulation:solverPositionIterationCount = {cfg.position_iterations}
    int physxArticulation:solverVelocityIterationCount = {cfg.velocity_iterations}
    float physxArticulation:sleepThreshold = 0
    float physxArticulation:stabilizationThreshold = 0
{"".join(parts)}}}
"""


def _joint(
    hand: HandSpec,
    link: Link,
    parent: str,
    drives: Drives,
    cfg: PhysxCfg,
) -> str:
    """The joint of a link with its drive and tendons; a fixed one if the link has none."""
    joint = link.joint
    axis = np.array([1.0, 0, 0]) if joint is None else joint.axis
    anchor = np.zeros(3) if joint is None else joint.anchor
    along = _from_x(axis)
    frames = f"""    rel physics:body0 = <{HAND}/{parent}>
    rel physics:body1 = <{HAND}/{link.name}>
    point3f physics:localPos0 = {_vector(link.pos + _rotate(link.quat, anchor))}
    quatf physics:localRot0 = {_vector(_multiply(link.quat, along))}
    point3f physics:localPos1 = {_vector(anchor)}
    quatf physics:localRot1 = {_vector(along)}
"""
    if joint is None:
        return f'def PhysicsFixedJoint "{link.name}_fixed"\n{{\n{frames}}}\n'
    row = drives.names.index(joint.name)
    hinge = joint.kind == "hinge"
    unit, kind, name = (1 / DEGREE, "Revolute", "angular") if hinge else (1.0, "Prismatic", "linear")
    mimic_apis, mimic = _coupling(hand, joint.name, cfg)
    apis = [f"PhysicsDriveAPI:{name}", f"PhysxJointAxisAPI:{name}", f"PhysicsJointStateAPI:{name}", *mimic_apis]
    damping = drives.damping[row] + drives.joint_damping[row]
    return f"""def Physics{kind}Joint "{joint.name}" (prepend apiSchemas = [{", ".join(f'"{api}"' for api in apis)}])
{{
    uniform token physics:axis = "X"
{frames}    float physics:lowerLimit = {joint.range[0] / unit:.9g}
    float physics:upperLimit = {joint.range[1] / unit:.9g}
    uniform token drive:{name}:physics:type = "force"
    float drive:{name}:physics:stiffness = {drives.stiffness[row] * unit:.9g}
    float drive:{name}:physics:damping = {damping * unit:.9g}
    float drive:{name}:physics:maxForce = {drives.effort[row]:.9g}
    float physxJointAxis:{name}:armature = {drives.armature[row]:.9g}
    float state:{name}:physics:position = 0
{mimic}}}
"""


def _coupling(hand: HandSpec, name: str, cfg: PhysxCfg) -> Tuple[List[str], str]:
    """Schema and attributes of a joint that follows another one.

    A mimic joint is a soft constraint between the two, so each feels the other.  (PhysX's fixed tendons would be what MuJoCo has,
    but with them the joint that is followed moves as if nothing hung on it.)
    """
    if name not in hand.coupled_joints:
        return [], ""
    return (
        ["PhysxMimicJointAPI:rotX"],
        f"""    rel physxMimicJoint:rotX:referenceJoint = <{HAND}/{hand.coupled_joints[name]}>
    float physxMimicJoint:rotX:gearing = {-hand.coupling(name):.9g}
    float physxMimicJoint:rotX:naturalFrequency = {cfg.coupling_frequency}
    float physxMimicJoint:rotX:dampingRatio = {cfg.coupling_damping}
""",
    )


def _object(item: ObjectModel, cfg: PhysxCfg) -> str:
    """A free body of convex hulls."""
    principal, axes = np.linalg.eigh(item.inertia)
    axes = axes * np.sign(np.linalg.det(axes))
    turned = np.zeros(4)
    mujoco.mju_mat2Quat(turned, axes.ravel())
    parts = "".join(_hull(f"part_{k}", np.asarray(part, dtype=float), cfg) for k, part in enumerate(item.parts))
    at = np.array([0.0, 0.0, 0.6])
    return _body("object", item.mass, item.com, turned, principal, at, IDENTITY, cfg, "", parts, "")


def _body(
    name: str,
    mass: float,
    com: Vector,
    inertia_quat: Vector,
    inertia: Vector,
    pos: Vector,
    quat: Vector,
    cfg: PhysxCfg,
    extra: str,
    inside: str,
    apis: str,
) -> str:
    return f"""def Xform "{name}" (prepend apiSchemas = ["PhysicsRigidBodyAPI", "PhysxRigidBodyAPI", "PhysicsMassAPI"{apis}])
{{
    float physics:mass = {mass:.9g}
    point3f physics:centerOfMass = {_vector(com)}
    float3 physics:diagonalInertia = {_vector(inertia)}
    quatf physics:principalAxes = {_vector(inertia_quat)}
    float physxRigidBody:linearDamping = 0
    float physxRigidBody:angularDamping = 0
    float physxRigidBody:maxDepenetrationVelocity = {cfg.max_depenetration}
    int physxRigidBody:solverPositionIterationCount = {cfg.position_iterations}
    int physxRigidBody:solverVelocityIterationCount = {cfg.velocity_iterations}
    {extra}
    double3 xformOp:translate = {_vector(pos)}
    quatf xformOp:orient = {_vector(quat)}
    uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:orient"]
{inside}}}
"""


def _shape(shape: Shape, cfg: PhysxCfg) -> str:
    """A sphere, capsule or box of the hand."""
    if shape.kind == "box":
        return _collider("Cube", shape.name, "double size = 1", shape.pos, shape.quat, cfg, scale=2 * shape.size)
    radius = f"double radius = {shape.size[0]:.9g}"
    if shape.kind == "sphere":
        return _collider("Sphere", shape.name, radius, shape.pos, shape.quat, cfg)
    body = f'{radius}\n    double height = {2 * shape.size[1]:.9g}\n    uniform token axis = "Z"'
    return _collider("Capsule", shape.name, body, shape.pos, shape.quat, cfg)


def _hull(name: str, vertices: np.ndarray, cfg: PhysxCfg) -> str:
    hull = convex_hull(vertices)
    body = f"""uniform token physics:approximation = "convexHull"
    point3f[] points = [{", ".join(_vector(x) for x in hull.vertices)}]
    int[] faceVertexCounts = [{", ".join(["3"] * len(hull.triangles))}]
    int[] faceVertexIndices = [{", ".join(str(int(x)) for x in np.ravel(hull.triangles))}]"""
    return _collider("Mesh", name, body, np.zeros(3), IDENTITY, cfg)


def _collider(
    kind: str,
    name: str,
    body: str,
    pos: Vector,
    quat: Vector,
    cfg: PhysxCfg,
    scale: Vector = (1.0, 1.0, 1.0),
) -> str:
    mesh = '"PhysicsMeshCollisionAPI", ' if kind == "Mesh" else ""
    return f"""def {kind} "{name}" (
    prepend apiSchemas = [{mesh}"PhysicsCollisionAPI", "PhysxCollisionAPI", "MaterialBindingAPI"]
)
{{
    {body}
    float physxCollision:contactOffset = {cfg.contact_offset}
    float physxCollision:restOffset = {cfg.rest_offset}
    rel material:binding:physics = </World/material>
    double3 xformOp:translate = {_vector(pos)}
    quatf xformOp:orient = {_vector(quat)}
    double3 xformOp:scale = {_vector(scale)}
    uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:orient", "xformOp:scale"]
}}
"""


def _vector(values: Vector) -> str:
    return "(" + ", ".join(f"{float(value):.9g}" for value in values) + ")"


def _from_x(axis: np.ndarray) -> np.ndarray:
    """(4,) the shortest turn from the x axis to this one."""
    axis = axis / np.linalg.norm(axis)
    if axis[0] < -1 + 1e-9:
        return np.array([0.0, 0.0, 0.0, 1.0])
    quat = np.concatenate([[1 + axis[0]], np.cross([1.0, 0, 0], axis)])
    return quat / np.linalg.norm(quat)


def _multiply(a: Vector, b: Vector) -> np.ndarray:
    result = np.zeros(4)
    mujoco.mju_mulQuat(result, np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    return result


def _rotate(quat: Vector, vector: Vector) -> np.ndarray:
    result = np.zeros(3)
    mujoco.mju_rotVecQuat(result, np.asarray(vector, dtype=float), np.asarray(quat, dtype=float))
    return result
