"""The building half of the double's Gym: simulation, assets, environments and actors, up to `prepare_sim`."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any, Dict

import numpy as np

from isaacgym import _asset
from isaacgym._control import RefusedError, control
from isaacgym._records import EnvData, SimData, actor_of
from isaacgym._rules import function
from isaacgym._types import (
    Asset,
    ContactCollection,
    Env,
    IndexDomain,
    Sim,
    SimType,
    UpAxis,
    Vec3,
)
from isaacgym._world import Actor, World


class Build:
    """Mixed into Gym."""

    @function("int", "int", "SimType", "SimParams")
    def create_sim(
        self, compute_device: Any = 0, graphics_device: Any = 0, type: Any = SimType.SIM_FLEX, params: Any = None
    ) -> Any:
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
    def destroy_sim(self, sim: Any) -> None:
        sim.data.prepared = False
        sim.data.buffers.clear()

    @function("Sim", "PlaneParams")
    def add_ground(self, sim: Any, params: Any) -> None:
        sim.data.building("add_ground")
        if sim.data.envs:
            raise RefusedError("T5", "the ground comes before the environments")
        if params.normal.z != 1.0:
            raise RefusedError("T4", "the ground's normal is not the up axis")
        sim.data.plane = copy.deepcopy(params)

    @function("Sim", "str", "str", "AssetOptions")
    def load_asset(self, sim: Any, rootpath: Any, filename: Any, options: Any = None) -> Any:
        sim.data.building("load_asset")
        path = Path(rootpath) / filename
        if not path.is_file() or options is None:
            return None
        asset = _asset.load(path, copy.deepcopy(options))
        control.mutate_asset(asset)
        return Asset(asset)

    @function("Sim", "float", "float", "float", "AssetOptions")
    def create_box(self, sim: Any, width: Any, height: Any, depth: Any, options: Any = None) -> Any:
        sim.data.building("create_box")
        size = [width / 2, height / 2, depth / 2]
        return Asset(_asset.primitive("box", size, width * height * depth, copy.deepcopy(options)))

    @function("Sim", "float", "AssetOptions")
    def create_sphere(self, sim: Any, radius: Any, options: Any = None) -> Any:
        sim.data.building("create_sphere")
        return Asset(_asset.primitive("sphere", [radius], 4 / 3 * math.pi * radius**3, copy.deepcopy(options)))

    # ------------------------------------------------------------------------------------------ environments, actors

    @function("Sim", "Vec3", "Vec3", "int")
    def create_env(self, sim: Any, lower: Any, upper: Any, num_per_row: Any) -> Any:
        data = sim.data
        data.building("create_env")
        if data.envs and data.envs[-1].data.aggregate is not None:
            raise RefusedError("T5", "an aggregate is still open")
        number, size = len(data.envs), upper.array() - lower.array()
        cell = np.array([number % num_per_row + 1.0, number // num_per_row + 1.0, 0.0])
        data.envs.append(Env(EnvData(data, number, cell * size)))
        return data.envs[-1]

    @function("Env")
    def get_env_origin(self, env: Any) -> Any:
        return Vec3(*env.data.origin)

    @function("Env", "int", "int", "bool")
    def begin_aggregate(self, env: Any, max_bodies: Any, max_shapes: Any, self_collision: Any) -> Any:
        self._newest(env, "begin_aggregate")
        if env.data.aggregate is not None:
            raise RefusedError("T5", "aggregates do not nest")
        if not self_collision:
            raise RefusedError("T6", "without self-collision nothing in the aggregate meets")
        env.data.aggregate = (max_bodies, max_shapes)
        return True

    @function("Env")
    def end_aggregate(self, env: Any) -> Any:
        if env.data.aggregate is None:
            raise RefusedError("T5", "no aggregate is open")
        env.data.aggregate = None
        return True

    @function("Env", "Asset", "Transform", "str", "int", "int", "int")
    def create_actor(
        self,
        env: Any,
        asset: Any,
        pose: Any,
        name: Any = None,
        group: Any = -1,
        filter: Any = -1,
        segmentationId: Any = 0,
    ) -> Any:
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
    def get_actor_index(self, env: Any, actor: Any, domain: Any) -> Any:
        found = actor_of(env, actor)
        return found.index if domain == IndexDomain.DOMAIN_SIM else actor

    @function("Env", "int", "int", "IndexDomain")
    def get_actor_dof_index(self, env: Any, actor: Any, dof: Any, domain: Any) -> Any:
        found = actor_of(env, actor)
        first = {
            IndexDomain.DOMAIN_SIM: found.first_dof,
            IndexDomain.DOMAIN_ENV: found.first_dof - env.data.actors[0].first_dof,
        }
        return first.get(domain, 0) + dof if 0 <= dof < len(found.asset.dof_names) else -1

    @function("Env", "int", "int", "IndexDomain")
    def get_actor_rigid_body_index(self, env: Any, actor: Any, body: Any, domain: Any) -> Any:
        found = actor_of(env, actor)
        first = {
            IndexDomain.DOMAIN_SIM: found.first_body,
            IndexDomain.DOMAIN_ENV: found.first_body - env.data.actors[0].first_body,
        }
        return first.get(domain, 0) + body if 0 <= body < len(found.asset.body_names) else -1

    @function("Env", "int")
    def get_actor_asset(self, env: Any, actor: Any) -> Any:
        return Asset(actor_of(env, actor).asset)

    # --------------------------------------------------------------------------------------------------- preparation

    @function("Sim")
    def prepare_sim(self, sim: Any) -> Any:
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
    def get_sim_actor_count(self, sim: Any) -> Any:
        return len(sim.data.actors)

    @function("Sim")
    def get_sim_dof_count(self, sim: Any) -> Any:
        return sim.data.dofs

    @function("Sim")
    def get_sim_rigid_body_count(self, sim: Any) -> Any:
        return sim.data.bodies

    @function("Sim")
    def get_sim_force_sensor_count(self, sim: Any) -> Any:
        return sum(len(env.actors[handle].asset.sensors) for env, handle in sim.data.actors)

    @function("Sim")
    def get_env_count(self, sim: Any) -> Any:
        return len(sim.data.envs)
