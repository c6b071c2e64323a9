"""Builds the worlds in Isaac Gym: simulation, ground, assets, one hand and one object a world."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, List, Sequence, Tuple

import mujoco
import numpy as np
import torch
from torch import Tensor

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.contract import TABLE_HEIGHT, Simulator
from tasks.simulators.errors import SimulatorError
from tasks.simulators.fixed_objects import draw_properties
from tasks.simulators.flat_hand import Drives
from tasks.simulators.isaac_gym.assets import default_cache, write_hand, write_object
from tasks.simulators.isaac_gym.settings import IsaacGymCfg

OBJECT_START = (0.0, 0.0, 0.6)
"""m, where objects are made, in Isaac Gym's coordinates of their world."""
HAND_FILTER = 1
"""Collision bits of the hand.  Shapes that share a bit do not meet, so the hand never touches itself, as in its MJCF."""
OBJECT_FILTER = 0


@dataclass
class Rows:
    """The rows of each world's things in Isaac Gym's flat tensors."""

    hand: Tensor
    """(N,) int32, the hand's actor number in the simulation."""
    object: Tensor
    """(N,) int32, the object's actor number in the simulation."""
    dofs: Tensor
    """(N, J) int64 rows of the joints, in the order of `Drives.names`."""
    links: Tensor
    """(N, F + 1) int64 rows of the palm's link and the fingertips'."""
    all_links: Tensor
    """(N, L) int64 rows of all links of the hand."""


@dataclass
class IsaacScene:
    """What was built."""

    sim: Any
    envs: List[Any]
    hand_handles: List[int]
    object_handles: List[int]
    hand_asset: Any
    rows: Rows
    object_ids: List[int]
    friction: np.ndarray
    """(N,) sliding friction of each world's object and hand."""
    mass_scale: np.ndarray
    """(N,) factor of each object's mass."""
    link_com: np.ndarray
    """(F + 1, 3) m, centres of mass of palm and fingertips in their links, as Isaac Gym tells them."""
    origins: np.ndarray
    """(N, 3) m, of each world in the simulation."""
    object_start: np.ndarray
    """(3,) m"""
    dof_names: Tuple[str, ...]
    """In Isaac Gym's order."""
    drive_properties: np.ndarray
    """What every hand's joints were told, in Isaac Gym's order."""


class IsaacWorlds(Simulator):
    """The part of `IsaacGymSimulator` that its scene and its audit use."""

    cfg: IsaacGymCfg
    hand: HandSpec
    objects: ObjectSet
    gpu_pipeline: bool
    model: mujoco.MjModel
    """The hand alone, compiled by MuJoCo."""
    drives: Drives
    gym: Any
    sim: Any
    scene: IsaacScene
    frame: str
    """Whether Isaac Gym's positions are "local", relative to their own world, or "global"."""
    kinematics: Callable[[Tensor], Tuple[Tensor, Tensor]]
    """See `hand_kinematics`."""

    def joint_angles(self) -> Tensor:
        """(N, J) rad or m, all joints after the last step: the driven ones, then the coupled ones, which `state` lacks."""
        raise NotImplementedError


def build(gym: Any, api: Any, owner: IsaacWorlds, object_ids: Sequence[int], seed: int) -> IsaacScene:
    """Builds everything and calls `prepare_sim`.  Raises SimulatorError with the step that Isaac Gym refused."""
    cfg, hand = owner.cfg, owner.hand
    cache = cfg.cache or default_cache()
    # Friction has few values, because PhysX has room for 64,000 materials.
    friction, mass_scale = draw_properties(
        owner.objects, list(object_ids), cfg.friction, cfg.mass_scale, seed, cfg.friction_levels
    )

    sim = _create_sim(gym, api, owner)
    hand_asset = _load(gym, sim, write_hand(owner.model, cache), hand_options(api))
    _set_tendons(gym, hand_asset, cfg, hand)
    dof_names = tuple(gym.get_asset_dof_names(hand_asset))
    body_names = list(gym.get_asset_rigid_body_names(hand_asset))
    links = (hand.palm_body, *hand.fingertip_bodies)
    missing = sorted(set(owner.drives.names).symmetric_difference(dof_names)) + sorted(set(links) - set(body_names))
    if missing:
        raise SimulatorError(
            f"Isaac Gym read the hand differently: joints or links that are not on both sides: {missing}"
        )
    properties = drive_properties(gym.get_asset_dof_properties(hand_asset), dof_names, owner.drives, hand, cfg, api)
    objects = {
        i: _load(gym, sim, write_object(owner.objects.objects[i], cache), object_options(api))
        for i in sorted(set(object_ids))
    }

    envs, hands, things, origins = [], [], [], []
    num_per_row = max(1, math.isqrt(owner.num_envs))
    corner = cfg.env_spacing
    for i in range(owner.num_envs):
        env = gym.create_env(sim, api.Vec3(-corner, -corner, 0.0), api.Vec3(corner, corner, corner), num_per_row)
        asset = objects[object_ids[i]]
        bodies = gym.get_asset_rigid_body_count(hand_asset) + gym.get_asset_rigid_body_count(asset)
        shapes = gym.get_asset_rigid_shape_count(hand_asset) + gym.get_asset_rigid_shape_count(asset)
        _check(gym.begin_aggregate(env, bodies, shapes, True), "begin an aggregate")
        hand_actor = _actor(gym, api, env, hand_asset, (0.0, 0.0, -TABLE_HEIGHT), "hand", i, HAND_FILTER)
        thing = _actor(gym, api, env, asset, OBJECT_START, "object", i, OBJECT_FILTER)
        _check(gym.end_aggregate(env), "end an aggregate")
        _check(gym.set_actor_dof_properties(env, hand_actor, properties), "take the hand's drives")
        for actor in (hand_actor, thing):
            _set_friction(gym, env, actor, float(friction[i]), cfg)
        if mass_scale[i] != 1.0:
            _scale_mass(gym, api, env, thing, float(mass_scale[i]))
        origin = gym.get_env_origin(env)
        origins.append((origin.x, origin.y, origin.z))
        envs.append(env)
        hands.append(hand_actor)
        things.append(thing)

    told = gym.get_actor_rigid_body_properties(envs[0], hands[0])
    com = [told[body_names.index(name)].com for name in links]
    rows = _find_rows(gym, api, envs, hands, things, hand_asset, owner.drives.names, links)
    _check(gym.prepare_sim(sim), "prepare the simulation")
    return IsaacScene(
        sim=sim,
        envs=envs,
        hand_handles=hands,
        object_handles=things,
        hand_asset=hand_asset,
        rows=rows,
        object_ids=list(object_ids),
        friction=friction,
        mass_scale=mass_scale,
        link_com=np.array([(c.x, c.y, c.z) for c in com]),
        origins=np.array(origins),
        object_start=np.array(OBJECT_START),
        dof_names=dof_names,
        drive_properties=properties,
    )


def _create_sim(gym: Any, api: Any, owner: IsaacWorlds) -> Any:
    cfg = owner.cfg
    params = api.SimParams()
    params.dt, params.substeps = cfg.sim_dt, cfg.substeps
    params.up_axis, params.gravity = api.UP_AXIS_Z, api.Vec3(0.0, 0.0, -9.81)
    params.use_gpu_pipeline = owner.gpu_pipeline
    physx = params.physx
    physx.use_gpu = owner.gpu_pipeline
    physx.solver_type = 1  # TGS
    physx.num_position_iterations, physx.num_velocity_iterations = cfg.position_iterations, cfg.velocity_iterations
    physx.contact_offset, physx.rest_offset = cfg.contact_offset, cfg.rest_offset
    physx.bounce_threshold_velocity = cfg.bounce_threshold
    physx.max_depenetration_velocity = cfg.max_depenetration
    physx.friction_offset_threshold = cfg.friction_offset_threshold
    physx.friction_correlation_distance = cfg.friction_correlation_distance
    physx.max_gpu_contact_pairs = cfg.max_contact_pairs
    physx.default_buffer_size_multiplier = cfg.buffer_multiplier
    physx.num_threads = physx.num_subscenes = cfg.num_threads
    physx.contact_collection = api.ContactCollection.CC_LAST_SUBSTEP  # with the recipe's 0, contact forces stay zero
    gpu = (owner.device.index or 0) if owner.device.type == "cuda" else 0
    sim = gym.create_sim(gpu, -1, api.SIM_PHYSX, params)
    if sim is None:
        raise SimulatorError("Isaac Gym could not create a simulation; its reason is on stderr above")
    plane = api.PlaneParams()
    plane.normal, plane.distance = api.Vec3(0.0, 0.0, 1.0), 0.0
    plane.static_friction = plane.dynamic_friction = cfg.table_friction
    plane.restitution = 0.0
    gym.add_ground(sim, plane)
    return sim


def hand_options(api: Any) -> Any:
    """Options of the hand.  All are set, because sources differ on the defaults."""
    options = _common_options(api)
    options.fix_base_link = True
    options.disable_gravity = True  # the MJCF compensates gravity of all its bodies
    options.use_physx_armature = True
    options.default_dof_drive_mode = int(api.DOF_MODE_NONE)
    return options


def object_options(api: Any) -> Any:
    """Options of a free body whose mass, inertia and hulls are those of its URDF."""
    options = _common_options(api)
    options.fix_base_link = False
    options.disable_gravity = False
    options.vhacd_enabled = False
    options.convex_decomposition_from_submeshes = False
    return options


def _common_options(api: Any) -> Any:
    options = api.AssetOptions()
    options.collapse_fixed_joints = False
    options.flip_visual_attachments = False
    options.armature = 0.0
    options.thickness = 0.001
    options.linear_damping = options.angular_damping = 0.0
    options.max_linear_velocity = options.max_angular_velocity = 1000.0
    options.enable_gyroscopic_forces = True
    options.override_com = options.override_inertia = False
    options.density = 1000.0
    return options


def _load(gym: Any, sim: Any, path: Path, options: Any) -> Any:
    asset = gym.load_asset(sim, str(path.parent), path.name, options)
    if asset is None:
        raise SimulatorError(f"Isaac Gym could not load {path}; its reason is on stderr above")
    return asset


def _set_tendons(gym: Any, asset: Any, cfg: IsaacGymCfg, hand: HandSpec) -> None:
    """Sets how stiff the tendons are.  With coupling "drive" they do not pull."""
    properties = gym.get_asset_tendon_properties(asset)
    for tendon in properties or ():
        on = cfg.coupling == "tendon"
        tendon.limit_stiffness = cfg.tendon_stiffness if on else 0.0
        tendon.damping = cfg.tendon_damping if on else 0.0
        tendon.stiffness = 0.0
    if properties:
        _check(gym.set_asset_tendon_properties(asset, properties), "take the tendons' stiffness")
    elif cfg.coupling == "tendon" and hand.coupled_joints:
        raise SimulatorError("Isaac Gym read no tendons from the hand: give --isaac-gym.coupling drive")


def drive_properties(
    table: np.ndarray, names: Sequence[str], drives: Drives, hand: HandSpec, cfg: Any, api: Any
) -> np.ndarray:
    """The asset's table of joints, in the order of `names`, with everything that the importer drops or misreads set right.

    A joint's passive damping is added to its drive's damping.  A coupled joint gets a drive without stiffness for its own
    damping or, with coupling "drive", the drive of the joint that it follows.
    """
    table = table.copy()
    for row, name in enumerate(names):
        i = drives.names.index(name)
        stiffness, damping, effort = drives.stiffness[i], drives.damping[i], drives.effort[i]
        if i >= hand.num_drives and cfg.coupling == "drive":
            source = drives.names.index(hand.coupled_joints[name])
            stiffness, damping, effort = drives.stiffness[source], drives.damping[source], drives.effort[source]
        table["hasLimits"][row] = True
        table["lower"][row], table["upper"][row] = drives.lower[i], drives.upper[i]
        table["driveMode"][row] = int(api.DOF_MODE_POS)
        table["velocity"][row] = 100.0
        table["effort"][row] = effort
        table["stiffness"][row], table["damping"][row] = stiffness, damping + drives.joint_damping[i]
        table["friction"][row], table["armature"][row] = 0.0, drives.armature[i]
    return table


def _actor(
    gym: Any, api: Any, env: Any, asset: Any, at: Tuple[float, float, float], name: str, i: int, bits: int
) -> int:
    pose = api.Transform()
    pose.p, pose.r = api.Vec3(*at), api.Quat(0.0, 0.0, 0.0, 1.0)
    handle = gym.create_actor(env, asset, pose, name, i, bits, 0)
    if handle is None or handle < 0:
        raise SimulatorError(f"Isaac Gym could not make the {name} of world {i}")
    return handle


def _set_friction(gym: Any, env: Any, actor: int, friction: float, cfg: IsaacGymCfg) -> None:
    shapes = gym.get_actor_rigid_shape_properties(env, actor)
    for shape in shapes:
        shape.friction, shape.restitution = friction, 0.0
        shape.contact_offset, shape.rest_offset = cfg.contact_offset, cfg.rest_offset
    _check(gym.set_actor_rigid_shape_properties(env, actor, shapes), "take a friction")


def _scale_mass(gym: Any, api: Any, env: Any, actor: int, factor: float) -> None:
    """Scales mass and inertia.  Isaac Gym could recompute the inertia, but from the shapes and not from the URDF."""
    bodies = gym.get_actor_rigid_body_properties(env, actor)
    for body in bodies:
        body.mass = body.mass * factor
        for axis in ("x", "y", "z"):
            column = getattr(body.inertia, axis)
            setattr(body.inertia, axis, api.Vec3(column.x * factor, column.y * factor, column.z * factor))
    _check(gym.set_actor_rigid_body_properties(env, actor, bodies, False), "take a mass")


def _find_rows(
    gym: Any,
    api: Any,
    envs: Sequence[Any],
    hands: Sequence[int],
    things: Sequence[int],
    hand_asset: Any,
    joints: Sequence[str],
    links: Sequence[str],
) -> Rows:
    """Finds the rows by name, and asks Isaac Gym for those of every world, so that no order is assumed."""
    domain = api.DOMAIN_SIM
    dofs = [gym.find_asset_dof_index(hand_asset, name) for name in joints]
    bodies = [gym.find_asset_rigid_body_index(hand_asset, name) for name in links]
    both = list(zip(envs, hands))

    def link_rows(numbers: Sequence[int]) -> Tensor:
        return torch.tensor([[gym.get_actor_rigid_body_index(e, h, b, domain) for b in numbers] for e, h in both])

    return Rows(
        hand=torch.tensor([gym.get_actor_index(e, h, domain) for e, h in both], dtype=torch.int32),
        object=torch.tensor([gym.get_actor_index(e, h, domain) for e, h in zip(envs, things)], dtype=torch.int32),
        dofs=torch.tensor([[gym.get_actor_dof_index(e, h, d, domain) for d in dofs] for e, h in both]),
        links=link_rows(bodies),
        all_links=link_rows(range(gym.get_asset_rigid_body_count(hand_asset))),
    )


def _check(done: object, what: str) -> None:
    if done is False:
        raise SimulatorError(f"Isaac Gym did not {what}")
