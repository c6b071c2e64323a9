"""The building half of the double's Gym: simulation, assets, environments, actors and their properties, up to `prepare_sim`."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

import numpy as np

from isaacgym import _asset
from isaacgym._control import RefusedError, control
from isaacgym._rules import function
from isaacgym._types import (
    DOF_DTYPE,
    Asset,
    ContactCollection,
    Env,
    IndexDomain,
    Sim,
    SimType,
    UpAxis,
    Vec3,
)
from isaacgym._world import Actor, World, index_of


@dataclass
class EnvData:
    """One environment while it is built and after."""

    sim: SimData
    number: int
    origin: np.ndarray
    actors: List[Actor] = field(default_factory=list)
    aggregate: Optional[Tuple[int, int]] = None
    world: Optional[World] = None


@dataclass
class SimData:
    """What a Sim handle stands for."""

    params: Any
    graphics: int
    envs: List[Env] = field(default_factory=list)
    actors: List[Tuple[EnvData, int]] = field(default_factory=list)
    bodies: int = 0
    dofs: int = 0
    plane: Any = None
    prepared: bool = False
    frames: int = 0
    materials: Set[Tuple[float, float]] = field(default_factory=set)
    buffers: Dict[str, np.ndarray] = field(default_factory=dict)
    pending: Dict[str, Any] = field(default_factory=dict)
    touched: Set[int] = field(default_factory=set)
    refreshed: Set[str] = field(default_factory=set)
    fetched: bool = True
    stepped: bool = False
    accessing: bool = False
    cameras: List[Any] = field(default_factory=list)

    @property
    def gpu(self) -> bool:
        """Whether the GPU pipeline's rules hold."""
        return bool(self.params.use_gpu_pipeline)

    def building(self, what: str) -> None:
        """T5: nothing is added after `prepare_sim`."""
        if self.prepared:
            raise RefusedError("T5", f"{what} after prepare_sim")

    def check_material(self, shapes: List[Any]) -> None:
        """T22."""
        self.materials |= {(round(s.friction, 7), round(s.restitution, 7)) for s in shapes}
        if len(self.materials) > control.max_materials:
            raise RefusedError("T22", f"more than {control.max_materials} materials")


def actor_of(env: Env, handle: int) -> Actor:
    """T2: handles are numbers of this environment only."""
    if not 0 <= handle < len(env.data.actors):
        raise RefusedError("T2", f"environment {env.data.number} has no actor {handle}")
    return env.data.actors[handle]


class Build:
    """Mixed into Gym."""

    @function("int", "int", "SimType", "SimParams")
    def create_sim(self, compute_device=0, graphics_device=0, type=SimType.SIM_FLEX, params=None):
        if type != SimType.SIM_PHYSX:
            raise RefusedError("T4", "the tensor API needs SIM_PHYSX, which is not the default")
        if params is None or params.up_axis != UpAxis.UP_AXIS_Z or params.gravity.z >= 0 or params.gravity.y != 0:
            raise RefusedError("T4", "up axis and gravity disagree")
        if params.use_gpu_pipeline and not params.physx.use_gpu:
            raise RefusedError("T4", "the GPU pipeline with PhysX on the processor")
        if params.physx.contact_collection == ContactCollection.CC_ALL_SUBSTEPS:
            raise RefusedError("T4", "CC_ALL_SUBSTEPS gives wrong forces")
        if control.sims:
            raise RefusedError("T30", "a second simulation in one process")
        control.sims += 1
        return Sim(SimData(copy.deepcopy(params), graphics_device))

    @function("Sim")
    def destroy_sim(self, sim):
        sim.data.prepared = False
        sim.data.buffers.clear()

    @function("Sim", "PlaneParams")
    def add_ground(self, sim, params):
        sim.data.building("add_ground")
        if sim.data.envs:
            raise RefusedError("T5", "the ground comes before the environments")
        if params.normal.z != 1.0:
            raise RefusedError("T4", "the ground's normal is not the up axis")
        sim.data.plane = copy.deepcopy(params)

    @function("Sim", "str", "str", "AssetOptions")
    def load_asset(self, sim, rootpath, filename, options=None):
        sim.data.building("load_asset")
        path = Path(rootpath) / filename
        if not path.is_file() or options is None:
            return None
        asset = _asset.load(path, copy.deepcopy(options))
        control.mutate_asset(asset)
        return Asset(asset)

    @function("Sim", "float", "float", "float", "AssetOptions")
    def create_box(self, sim, width, height, depth, options=None):
        sim.data.building("create_box")
        size = [width / 2, height / 2, depth / 2]
        return Asset(_asset.primitive("box", size, width * height * depth, copy.deepcopy(options)))

    @function("Sim", "float", "AssetOptions")
    def create_sphere(self, sim, radius, options=None):
        sim.data.building("create_sphere")
        return Asset(_asset.primitive("sphere", [radius], 4 / 3 * math.pi * radius**3, copy.deepcopy(options)))

    # --------------------------------------------------------------------------------------------- asset properties

    @function("Asset")
    def get_asset_dof_names(self, asset):
        return list(asset.data.dof_names)

    @function("Asset")
    def get_asset_dof_count(self, asset):
        return len(asset.data.dof_names)

    @function("Asset")
    def get_asset_rigid_body_names(self, asset):
        return list(asset.data.body_names)

    @function("Asset")
    def get_asset_rigid_body_count(self, asset):
        return len(asset.data.body_names)

    @function("Asset")
    def get_asset_rigid_shape_count(self, asset):
        return len(asset.data.shape_props)

    @function("Asset", "str")
    def find_asset_dof_index(self, asset, name):
        return index_of(asset.data.dof_names, name)

    @function("Asset", "str")
    def find_asset_rigid_body_index(self, asset, name):
        return index_of(asset.data.body_names, name)

    @function("Asset")
    def get_asset_dof_properties(self, asset):
        return asset.data.dof_props.copy()

    @function("Asset")
    def get_asset_tendon_count(self, asset):
        return len(asset.data.tendon_props)

    @function("Asset", "int")
    def get_asset_tendon_name(self, asset, index):
        return asset.data.tendons[index].get("name")

    @function("Asset")
    def get_asset_tendon_properties(self, asset):
        return copy.deepcopy(asset.data.tendon_props)

    @function("Asset", "List[TendonProperties]")
    def set_asset_tendon_properties(self, asset, props):
        if asset.data.used:
            raise RefusedError("T5", "tendons of an asset that has actors")
        if len(props) != len(asset.data.tendon_props):
            return False
        asset.data.tendon_props = copy.deepcopy(props)
        return True

    @function("Asset", "int", "Transform", "ForceSensorProperties")
    def create_asset_force_sensor(self, asset, body_idx, local_pose, props=None):
        if asset.data.used:
            raise RefusedError("T5", "force sensors come before the asset's first actor")
        if not 0 <= body_idx < len(asset.data.body_names):
            return -1
        asset.data.sensors.append((body_idx, local_pose))
        return len(asset.data.sensors) - 1

    # ------------------------------------------------------------------------------------------ environments, actors

    @function("Sim", "Vec3", "Vec3", "int")
    def create_env(self, sim, lower, upper, num_per_row):
        data = sim.data
        data.building("create_env")
        if data.envs and data.envs[-1].data.aggregate is not None:
            raise RefusedError("T5", "an aggregate is still open")
        number, size = len(data.envs), upper.array() - lower.array()
        cell = np.array([number % num_per_row + 1.0, number // num_per_row + 1.0, 0.0])
        data.envs.append(Env(EnvData(data, number, cell * size)))
        return data.envs[-1]

    @function("Env")
    def get_env_origin(self, env):
        return Vec3(*env.data.origin)

    @function("Env", "int", "int", "bool")
    def begin_aggregate(self, env, max_bodies, max_shapes, self_collision):
        self._newest(env, "begin_aggregate")
        if env.data.aggregate is not None:
            raise RefusedError("T5", "aggregates do not nest")
        if not self_collision:
            raise RefusedError("T6", "without self-collision nothing in the aggregate meets")
        env.data.aggregate = (max_bodies, max_shapes)
        return True

    @function("Env")
    def end_aggregate(self, env):
        if env.data.aggregate is None:
            raise RefusedError("T5", "no aggregate is open")
        env.data.aggregate = None
        return True

    @function("Env", "Asset", "Transform", "str", "int", "int", "int")
    def create_actor(self, env, asset, pose, name=None, group=-1, filter=-1, segmentationId=0):
        self._newest(env, "create_actor")
        data, sim = asset.data, env.data.sim
        quat = pose.r.array()
        if abs(np.linalg.norm(quat) - 1) > 1e-3:
            raise RefusedError("T26", "the pose's quaternion is not of unit length")
        data.used = True
        actor = Actor(
            asset=data,
            pose=np.concatenate([pose.p.array(), quat]),
            name=name or "",
            group=group,
            filter=filter,
            index=len(sim.actors),
            first_body=sim.bodies,
            first_dof=sim.dofs,
            dof_props=data.dof_props.copy(),
            body_props=copy.deepcopy(data.body_props),
            shape_props=copy.deepcopy(data.shape_props),
        )
        actor.told_com = [copy.deepcopy(p.com) for p in actor.body_props]
        env.data.actors.append(actor)
        if env.data.aggregate is not None:
            bodies = sum(len(a.body_props) for a in env.data.actors)
            shapes = sum(len(a.shape_props) for a in env.data.actors)
            if bodies > env.data.aggregate[0] or shapes > env.data.aggregate[1]:
                raise RefusedError("T6", f"{bodies} bodies and {shapes} shapes in an aggregate of {env.data.aggregate}")
        sim.actors.append((env.data, len(env.data.actors) - 1))
        sim.bodies += len(data.body_names)
        sim.dofs += len(data.dof_names)
        return len(env.data.actors) - 1

    @staticmethod
    def _newest(env: Env, what: str) -> None:
        sim = env.data.sim
        sim.building(what)
        if sim.envs[-1] is not env:
            raise RefusedError("T5", f"{what} in an environment that is not the newest")

    @function("Env", "int", "IndexDomain")
    def get_actor_index(self, env, actor, domain):
        found = actor_of(env, actor)
        return found.index if domain == IndexDomain.DOMAIN_SIM else actor

    @function("Env", "int", "int", "IndexDomain")
    def get_actor_dof_index(self, env, actor, dof, domain):
        found = actor_of(env, actor)
        first = {
            IndexDomain.DOMAIN_SIM: found.first_dof,
            IndexDomain.DOMAIN_ENV: found.first_dof - env.data.actors[0].first_dof,
        }
        return first.get(domain, 0) + dof if 0 <= dof < len(found.asset.dof_names) else -1

    @function("Env", "int", "int", "IndexDomain")
    def get_actor_rigid_body_index(self, env, actor, body, domain):
        found = actor_of(env, actor)
        first = {
            IndexDomain.DOMAIN_SIM: found.first_body,
            IndexDomain.DOMAIN_ENV: found.first_body - env.data.actors[0].first_body,
        }
        return first.get(domain, 0) + body if 0 <= body < len(found.asset.body_names) else -1

    @function("Env", "int")
    def get_actor_asset(self, env, actor):
        return Asset(actor_of(env, actor).asset)

    @function("Env", "int")
    def get_actor_dof_properties(self, env, actor):
        return actor_of(env, actor).dof_props.copy()

    @function("Env", "int", "ndarray")
    def set_actor_dof_properties(self, env, actor, props):
        found = actor_of(env, actor)
        self._property_order(env, "set_actor_dof_properties")
        if props.dtype != DOF_DTYPE or props.shape != found.dof_props.shape:
            return False
        env.data.sim.building("set_actor_dof_properties")
        found.dof_props = props.copy()
        return True

    @function("Env", "int")
    def enable_actor_dof_force_sensors(self, env, actor):
        env.data.sim.building("enable_actor_dof_force_sensors")
        actor_of(env, actor).force_sensing = True
        return True

    @function("Env", "int")
    def get_actor_rigid_body_properties(self, env, actor):
        found = actor_of(env, actor)
        told = copy.deepcopy(found.body_props)
        if env.data.sim.gpu:  # T20: the getter keeps the centre of mass that it was made with
            for props, com in zip(told, found.told_com):
                props.com = copy.deepcopy(com)
        return told

    @function("Env", "int", "List[RigidBodyProperties]", "bool")
    def set_actor_rigid_body_properties(self, env, actorHandle, props, recomputeInertia=False):
        found, sim = actor_of(env, actorHandle), env.data.sim
        self._property_order(env, "set_actor_rigid_body_properties")
        if len(props) != len(found.body_props):
            return False
        if sim.prepared and sim.gpu:
            raise RefusedError("T19", "mass changed after prepare_sim")
        if recomputeInertia:
            for new, old in zip(props, found.body_props):
                scale = new.mass / old.mass
                new.inertia = _asset.to_mat33(_asset.from_mat33(old.inertia) * scale)
        found.body_props = copy.deepcopy(props)
        return True

    @function("Env", "int")
    def get_actor_rigid_shape_properties(self, env, actor):
        return copy.deepcopy(actor_of(env, actor).shape_props)

    @function("Env", "int", "List[RigidShapeProperties]")
    def set_actor_rigid_shape_properties(self, env, actor, props):
        found = actor_of(env, actor)
        self._property_order(env, "set_actor_rigid_shape_properties")
        if len(props) != len(found.shape_props):
            return False
        env.data.sim.check_material(props)
        found.shape_props = copy.deepcopy(props)
        return True

    @function("Env", "int", "float")
    def set_actor_scale(self, env, actor, scale):
        self._property_order(env, "set_actor_scale")
        if env.data.sim.prepared:
            raise RefusedError("T19", "scale changed after prepare_sim")
        if scale != 1.0:
            raise NotImplementedError("the double does not scale; write a scaled file")
        return True

    @staticmethod
    def _property_order(env: Env, what: str) -> None:
        """T21: properties before tensors within a step."""
        if env.data.sim.pending:
            raise RefusedError("T21", f"{what} after {sorted(env.data.sim.pending)} in the same step")

    # --------------------------------------------------------------------------------------------------- preparation

    @function("Sim")
    def prepare_sim(self, sim):
        data = sim.data
        data.building("prepare_sim")
        if data.envs and data.envs[-1].data.aggregate is not None:
            raise RefusedError("T5", "an aggregate is still open")
        groups: Dict[int, int] = {}
        for env, handle in data.actors:
            group = env.actors[handle].group
            if len(data.envs) > 1 and (group == -1 or groups.setdefault(group, env.number) != env.number):
                raise RefusedError("T24", f"collision group {group} lets environments collide")
        for env in data.envs:
            env.data.world = World(env.data.actors, data.params, data.plane)
        data.prepared = True
        return True

    @function("Sim")
    def get_sim_actor_count(self, sim):
        return len(sim.data.actors)

    @function("Sim")
    def get_sim_dof_count(self, sim):
        return sim.data.dofs

    @function("Sim")
    def get_sim_rigid_body_count(self, sim):
        return sim.data.bodies

    @function("Sim")
    def get_sim_force_sensor_count(self, sim):
        return sum(len(env.actors[handle].asset.sensors) for env, handle in sim.data.actors)

    @function("Sim")
    def get_env_count(self, sim):
        return len(sim.data.envs)
