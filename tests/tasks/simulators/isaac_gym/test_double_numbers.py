"""Rules of the double of Isaac Gym that show as wrong numbers, not as refusals."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from isaac_support.stage import Stage


@pytest.fixture
def stage(isaac: Any, tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_isaac_double_t9_lenient_second_call_replaces(stage: Stage, isaac: Any) -> None:
    isaac.strict = False
    stage.ready()
    stage.root[[1, 5], 2] = 3.0
    first, second = stage.ids(1), stage.ids(5)
    stage.set_root(first)
    stage.set_root(second)
    stage.simulate()
    stage.gym.refresh_actor_root_state_tensor(stage.sim)
    height = stage.buffers["root"][[1, 5], 2]
    assert height[0] < 2.0 < height[1]


def test_isaac_double_t11_refresh_after_a_setter_shows_nothing(stage: Stage) -> None:
    stage.ready()
    stage.simulate()
    stage.set_root(stage.ids(1))
    for name in ("actor_root_state", "rigid_body_state", "net_contact_force"):
        getattr(stage.gym, f"refresh_{name}_tensor")(stage.sim)
    assert torch.isnan(stage.buffers["root"][1]).all() and not torch.isnan(stage.buffers["root"][[0, 2, 3, 4, 5]]).any()
    body = stage.gym.get_actor_rigid_body_index(stage.envs[0], 1, 0, stage.api.DOMAIN_SIM)
    assert torch.isnan(stage.buffers["body"][body]).all() and torch.isnan(stage.buffers["contact"][body]).all()


def test_isaac_double_t12_buffers_change_when_refreshed_only(stage: Stage) -> None:
    stage.ready()
    before = stage.buffers["root"].clone()
    stage.simulate()
    assert torch.equal(stage.buffers["root"], before)
    stage.gym.refresh_actor_root_state_tensor(stage.sim)
    assert not torch.equal(stage.buffers["root"], before)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stage.gym.refresh_actor_root_state_tensor(stage.sim)
    assert any("T12" in str(w.message) for w in caught)


def test_isaac_double_t14_edits_without_a_setter_are_lost(stage: Stage) -> None:
    stage.ready()
    stage.buffers["root"][1, 2] = 9.0
    stage.simulate()
    stage.gym.refresh_actor_root_state_tensor(stage.sim)
    assert stage.buffers["root"][1, 2] < 2.0


def test_isaac_double_t16_forces_last_one_step_and_targets_stay(stage: Stage) -> None:
    stage.ready()
    force = torch.zeros(stage.buffers["contact"].shape)
    body = stage.gym.get_actor_rigid_body_index(stage.envs[0], 1, 0, stage.api.DOMAIN_SIM)
    force[body, 0] = 60.0
    stage.gym.apply_rigid_body_force_tensors(stage.sim, stage.torch.unwrap_tensor(force), None, stage.api.ENV_SPACE)
    target = torch.full((len(stage.dof),), 0.3)
    stage.gym.set_dof_position_target_tensor(stage.sim, stage.torch.unwrap_tensor(target))
    speeds = []
    for _ in range(60):
        stage.simulate()
        stage.gym.refresh_actor_root_state_tensor(stage.sim)
        stage.gym.refresh_dof_state_tensor(stage.sim)
        speeds.append(stage.buffers["root"][1, 7].item())
    assert speeds[0] == pytest.approx(1.0, rel=0.01), "60 N for 1/60 s at 1 kg"
    assert speeds[5] == pytest.approx(speeds[0], rel=0.01)
    assert stage.buffers["root"][5, 7].abs() < 1e-6, "the other world"
    assert (stage.buffers["dof"][:, 0] - 0.3).abs().max() < 0.35


def test_isaac_double_t16_targets_of_other_modes_are_ignored(stage: Stage) -> None:
    stage.create().assets()
    env = stage.env()
    stage.actor(env, stage.arm, 0)
    table = stage.gym.get_asset_dof_properties(stage.arm)
    table["driveMode"], table["stiffness"], table["damping"] = 3, 500.0, 5.0
    stage.gym.set_actor_dof_properties(env, 0, table)
    stage.gym.prepare_sim(stage.sim)
    assert stage.envs[0].data.world.model.nu == 0


def test_isaac_double_t17_no_collection_no_contact_forces(stage: Stage) -> None:
    stage.ready(contact_collection=stage.api.CC_NEVER)
    dof_force = stage.torch.wrap_tensor(stage.gym.acquire_dof_force_tensor(stage.sim))
    for _ in range(120):
        stage.simulate()
    stage.gym.refresh_net_contact_force_tensor(stage.sim)
    stage.gym.refresh_dof_force_tensor(stage.sim)
    assert not stage.buffers["contact"].any() and not dof_force.any()
    assert abs(stage.envs[0].data.world.contact).max() > 1.0, "the box lies on the ground"
    assert stage.torch.wrap_tensor(stage.gym.acquire_force_sensor_tensor(stage.sim)) is None


def test_isaac_double_t20_centre_of_mass_reads_back_old(stage: Stage) -> None:
    stage.build()
    props = stage.gym.get_actor_rigid_body_properties(stage.envs[0], 1)
    props[0].com = stage.api.Vec3(0.02, 0, 0)
    assert stage.gym.set_actor_rigid_body_properties(stage.envs[0], 1, props, False)
    assert stage.gym.get_actor_rigid_body_properties(stage.envs[0], 1)[0].com.x == 0.0
    stage.gym.prepare_sim(stage.sim)
    world = stage.envs[0].data.world
    assert world.model.body_ipos[world.bodies[1][0], 0] == pytest.approx(0.02)


def test_isaac_double_t27_velocity_is_of_the_centre_of_mass(stage: Stage) -> None:
    stage.build()
    props = stage.gym.get_actor_rigid_body_properties(stage.envs[0], 1)
    props[0].com = stage.api.Vec3(0.1, 0, 0)
    stage.gym.set_actor_rigid_body_properties(stage.envs[0], 1, props, False)
    stage.gym.prepare_sim(stage.sim)
    world = stage.envs[0].data.world
    row = np.array([1.0, 0, 1.5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 5.0])
    world.set_root(1, row)
    world._update()
    assert world.body_state(1, 0)[7:10] == pytest.approx([0, 0, 0], abs=1e-9)
    v = int(world.model.body_dofadr[world.bodies[1][0]])
    assert world.data.qvel[v : v + 3] == pytest.approx([0, -0.5, 0])


def test_isaac_double_t29_no_joints_no_tensor(stage: Stage) -> None:
    stage.create().assets()
    stage.actor(stage.env(), stage.box, 0)
    stage.gym.prepare_sim(stage.sim)
    assert stage.torch.wrap_tensor(stage.gym.acquire_dof_state_tensor(stage.sim)) is None


def test_isaac_double_orders_and_origins_are_not_the_obvious_ones(stage: Stage) -> None:
    stage.build()
    assert stage.gym.get_asset_dof_names(stage.arm) == ["second", "first"]
    assert stage.gym.get_asset_rigid_body_names(stage.arm) == ["base", "lower", "upper"]
    origins = [stage.gym.get_env_origin(env).array() for env in stage.envs]
    assert all(np.abs(origin).max() > 0 for origin in origins) and not np.array_equal(*origins)
    assert stage.gym.get_actor_index(stage.envs[1], 1, stage.api.DOMAIN_SIM) == 5
