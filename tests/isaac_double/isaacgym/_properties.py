"""The properties half of the double's building: what assets and actors tell about themselves, and what they are told."""

from __future__ import annotations

import copy
from typing import Any

from isaacgym import _asset
from isaacgym._control import RefusedError
from isaacgym._records import actor_of
from isaacgym._rules import function
from isaacgym._types import DOF_DTYPE, Env
from isaacgym._world import index_of


class Properties:
    """Mixed into Gym."""

    @function("Asset")
    def get_asset_dof_names(self, asset: Any) -> Any:
        return list(asset.data.dof_names)

    @function("Asset")
    def get_asset_dof_count(self, asset: Any) -> Any:
        return len(asset.data.dof_names)

    @function("Asset")
    def get_asset_rigid_body_names(self, asset: Any) -> Any:
        return list(asset.data.body_names)

    @function("Asset")
    def get_asset_rigid_body_count(self, asset: Any) -> Any:
        return len(asset.data.body_names)

    @function("Asset")
    def get_asset_rigid_shape_count(self, asset: Any) -> Any:
        return len(asset.data.shape_props)

    @function("Asset", "str")
    def find_asset_dof_index(self, asset: Any, name: Any) -> Any:
        return index_of(asset.data.dof_names, name)

    @function("Asset", "str")
    def find_asset_rigid_body_index(self, asset: Any, name: Any) -> Any:
        return index_of(asset.data.body_names, name)

    @function("Asset")
    def get_asset_dof_properties(self, asset: Any) -> Any:
        return asset.data.dof_props.copy()

    @function("Asset")
    def get_asset_tendon_count(self, asset: Any) -> Any:
        return len(asset.data.tendon_props)

    @function("Asset", "int")
    def get_asset_tendon_name(self, asset: Any, index: Any) -> Any:
        return asset.data.tendons[index].get("name")

    @function("Asset")
    def get_asset_tendon_properties(self, asset: Any) -> Any:
        return copy.deepcopy(asset.data.tendon_props)

    @function("Asset", "List[TendonProperties]")
    def set_asset_tendon_properties(self, asset: Any, props: Any) -> Any:
        if asset.data.used:
            raise RefusedError("T5", "tendons of an asset that has actors")
        if len(props) != len(asset.data.tendon_props):
            return False
        asset.data.tendon_props = copy.deepcopy(props)
        return True

    @function("Asset", "int", "Transform", "ForceSensorProperties")
    def create_asset_force_sensor(self, asset: Any, body_idx: Any, local_pose: Any, props: Any = None) -> Any:
        if asset.data.used:
            raise RefusedError("T5", "force sensors come before the asset's first actor")
        if not 0 <= body_idx < len(asset.data.body_names):
            return -1
        asset.data.sensors.append((body_idx, local_pose))
        return len(asset.data.sensors) - 1

    # ---------------------------------------------------------------------------------------------- actor properties

    @function("Env", "int")
    def get_actor_dof_properties(self, env: Any, actor: Any) -> Any:
        return actor_of(env, actor).dof_props.copy()

    @function("Env", "int", "ndarray")
    def set_actor_dof_properties(self, env: Any, actor: Any, props: Any) -> Any:
        found = actor_of(env, actor)
        self._property_order(env, "set_actor_dof_properties")
        if props.dtype != DOF_DTYPE or props.shape != found.dof_props.shape:
            return False
        env.data.sim.building("set_actor_dof_properties")
        found.dof_props = props.copy()
        return True

    @function("Env", "int")
    def enable_actor_dof_force_sensors(self, env: Any, actor: Any) -> Any:
        env.data.sim.building("enable_actor_dof_force_sensors")
        actor_of(env, actor).force_sensing = True
        return True

    @function("Env", "int")
    def get_actor_rigid_body_properties(self, env: Any, actor: Any) -> Any:
        found = actor_of(env, actor)
        told = copy.deepcopy(found.body_props)
        if env.data.sim.gpu:  # T20: the getter keeps the centre of mass that it was made with
            for props, com in zip(told, found.told_com):
                props.com = copy.deepcopy(com)
        return told

    @function("Env", "int", "List[RigidBodyProperties]", "bool")
    def set_actor_rigid_body_properties(
        self, env: Any, actorHandle: Any, props: Any, recomputeInertia: Any = False
    ) -> Any:
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
    def get_actor_rigid_shape_properties(self, env: Any, actor: Any) -> Any:
        return copy.deepcopy(actor_of(env, actor).shape_props)

    @function("Env", "int", "List[RigidShapeProperties]")
    def set_actor_rigid_shape_properties(self, env: Any, actor: Any, props: Any) -> Any:
        found = actor_of(env, actor)
        self._property_order(env, "set_actor_rigid_shape_properties")
        if len(props) != len(found.shape_props):
            return False
        env.data.sim.check_material(props)
        found.shape_props = copy.deepcopy(props)
        return True

    @function("Env", "int", "float")
    def set_actor_scale(self, env: Any, actor: Any, scale: Any) -> Any:
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
