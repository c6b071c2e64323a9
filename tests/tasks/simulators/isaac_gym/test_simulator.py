"""The Isaac Gym backend through the double: the contract, and what only this backend has."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import conformance
import numpy as np
import pytest
import torch
from conformance import Bench, start
from isaac_support.backend import launch, make

from tasks.grasp.environment import GraspTask
from tasks.hands import get_hand
from tasks.objects import ObjectSet
from tasks.simulators.errors import SimulatorError
from tasks.simulators.isaac_gym import scene
from tasks.simulators.isaac_gym.settings import IsaacGymCfg
from tasks.simulators.isaac_gym.simulator import IsaacGymSimulator, check_gpu


@pytest.fixture
def bench(isaac: Any, tmp_path: Path) -> Bench:
    return Bench(lambda objects, num_envs: make(objects, num_envs, tmp_path), launch)


@pytest.mark.parametrize("check", conformance.CONFORMANCE, ids=lambda check: check.__name__)
def test_isaac_contract_gpu_pipeline(check: Any, bench: Bench) -> None:
    check(bench)


@pytest.mark.parametrize(
    "check", [conformance.free_fall, conformance.current_after_reset, conformance.reset_leaves_others_alone]
)
def test_isaac_contract_cpu_pipeline(check: Any, isaac: Any, tmp_path: Path) -> None:
    check(Bench(lambda objects, num_envs: make(objects, num_envs, tmp_path, gpu=False), launch))
    assert "fetch_results" in isaac.calls


@pytest.mark.parametrize("check", [conformance.free_fall, conformance.frames_and_quaternions])
def test_isaac_contract_global_frames(check: Any, isaac: Any, tmp_path: Path) -> None:
    """If positions were not relative to their world after all, the backend would notice and correct them."""
    isaac.frames = "global"
    check(Bench(lambda objects, num_envs: make(objects, num_envs, tmp_path), launch))


def test_isaac_contract_coupling_by_drives(isaac: Any, tmp_path: Path) -> None:
    conformance.drives_follow(Bench(lambda objects, n: make(objects, n, tmp_path, coupling="drive"), launch))


# ------------------------------------------------------------------------------------------- the checks see what is wrong


def _no_com(sim: IsaacGymSimulator) -> None:
    sim.links.object_com.zero_()


def _no_link_com(sim: IsaacGymSimulator) -> None:
    sim.links.link_com.zero_()


def _joints_as_they_come(sim: IsaacGymSimulator) -> None:
    sim._dof_rows[:] = torch.arange(28) + sim._dof_rows.min(dim=1, keepdim=True).values


def _links_as_they_come(sim: IsaacGymSimulator) -> None:
    sim._link_rows += 1


def _no_table(sim: IsaacGymSimulator) -> None:
    sim._shift.zero_()


def _origins_twice(sim: IsaacGymSimulator) -> None:
    sim._shift += torch.tensor(sim.scene.origins, dtype=torch.float32)


def _next_world(sim: IsaacGymSimulator) -> None:
    sim._object_row = sim._object_row.roll(1)


@pytest.mark.parametrize(
    "harm, check",
    [
        (_no_com, conformance.object_velocity_is_of_its_origin),
        (_no_link_com, conformance.fingertip_velocity_is_of_its_origin),
        (_joints_as_they_come, conformance.same_path_as_plain_mujoco),
        (_links_as_they_come, conformance.frames_and_quaternions),
        (_no_table, conformance.rests_on_the_table),
        (_origins_twice, conformance.frames_and_quaternions),
        (_next_world, conformance.several_resets_in_one_step),
    ],
)
def test_isaac_checks_see_what_is_wrong(harm: Any, check: Any, isaac: Any, tmp_path: Path) -> None:
    """A wrong index or frame in the backend gives numbers that the contract's checks refuse."""

    def harmed(objects: ObjectSet, num_envs: int) -> IsaacGymSimulator:
        sim = make(objects, num_envs, tmp_path)
        harm(sim)
        return sim

    with pytest.raises((AssertionError, RuntimeError)):
        check(Bench(harmed, launch))


# -------------------------------------------------------------------------------------------- of this backend alone


@pytest.fixture
def sim(isaac: Any, tmp_path: Path) -> IsaacGymSimulator:
    return make(ObjectSet.of("two", [conformance.CUBE, conformance.LOADED]), 4, tmp_path, mass_scale=2.0, seed=3)


def test_isaac_one_call_of_each_setter_in_a_step(sim: IsaacGymSimulator, isaac: Any) -> None:
    begin = start(sim)
    begin.into(sim)
    begin.into(sim, torch.tensor([True, False, False, False]))
    isaac.calls.clear()
    sim.step(begin.joint_pos)
    setters = [name for name in isaac.calls if name.startswith(("set_", "apply_"))]
    assert sorted(setters) == [
        "set_actor_root_state_tensor_indexed",
        "set_dof_position_target_tensor",
        "set_dof_state_tensor_indexed",
    ]
    assert isaac.calls.count("simulate") == 2
    first_refresh = next(i for i, name in enumerate(isaac.calls) if name.startswith("refresh"))
    assert first_refresh > max(i for i, name in enumerate(isaac.calls) if name == "simulate")
    isaac.calls.clear()
    sim.step(begin.joint_pos)
    assert [name for name in isaac.calls if name.startswith("set_")] == ["set_dof_position_target_tensor"]


def test_isaac_reset_asks_the_simulator_nothing(sim: IsaacGymSimulator, isaac: Any) -> None:
    isaac.calls.clear()
    start(sim).into(sim)
    assert isaac.calls == []


def test_isaac_keeps_what_worlds_were_built_with(sim: IsaacGymSimulator) -> None:
    begin = start(sim)
    begin.object_id = 1 - sim.state.object_id
    begin.into(sim)
    assert sim.state.object_id.tolist() == [0, 1, 0, 1]
    assert not sim.swaps_objects and not sim.capturable
    worlds = [env.data.world for env in sim.scene.envs]
    masses = [world.model.body_mass[world.bodies[1][0]] for world in worlds]
    wanted = [
        item.mass * scale for item, scale in zip([conformance.CUBE, conformance.LOADED] * 2, sim.mass_scale.tolist())
    ]
    assert masses == pytest.approx(wanted, rel=1e-5)
    assert len(set(sim.mass_scale.tolist())) == 4 and sim.mass_scale.min() >= 0.5 and sim.mass_scale.max() <= 2.0
    for world, friction in zip(worlds, sim.friction.tolist()):
        own = [world.model.geom_friction[g, 0] for g in range(world.model.ngeom) if world.model.geom_bodyid[g] > 0]
        assert own == pytest.approx([friction] * len(own), rel=1e-5)


def test_isaac_seed_decides_what_is_drawn(isaac: Any, tmp_path: Path) -> None:
    drawn = []
    for seed in (1, 1, 2):
        isaac.reset()
        sim = make(ObjectSet.of("one", [conformance.CUBE]), 8, tmp_path, seed=seed, mass_scale=2.0)
        drawn.append((sim.friction.tolist(), sim.mass_scale.tolist()))
    assert drawn[0] == drawn[1] != drawn[2]


def test_isaac_object_with_a_known_friction_keeps_it(isaac: Any, tmp_path: Path) -> None:
    known = dataclasses.replace(conformance.CUBE, friction=0.65)
    sim = make(ObjectSet.of("one", [known]), 2, tmp_path)
    assert sim.friction.tolist() == pytest.approx([0.65, 0.65])


def test_isaac_chosen_objects(isaac: Any, tmp_path: Path) -> None:
    objects = ObjectSet.of("two", [conformance.CUBE, conformance.LOADED])
    sim = make(objects, 3, tmp_path, object_ids=[1, 1, 0])
    assert sim.state.object_id.tolist() == [1, 1, 0]


def test_isaac_diverged_world_is_reported_and_stays_finite(sim: IsaacGymSimulator) -> None:
    begin = start(sim)
    begin.into(sim)
    sim.step(begin.joint_pos)
    launch(sim, torch.tensor([[0.0] * 6, [5000.0, 0, 0, 0, 0, 0], [0.0] * 6, [0.0] * 6]))
    sim.step(begin.joint_pos)
    assert sim.state.failed.tolist() == [False, True, False, False]
    assert all(torch.isfinite(getattr(sim.state, f.name).float()).all() for f in dataclasses.fields(sim.state))
    begin.into(sim, sim.state.failed.clone())
    assert not sim.state.failed.any()
    assert sim.diagnostics() == {"nan_resets": 1.0}
    assert sim.diagnostics() == {"nan_resets": 0.0}


@pytest.mark.parametrize("iterations", [32, 8])
def test_isaac_physx_is_set_as_published(isaac: Any, tmp_path: Path, iterations: int) -> None:
    """But for the iterations: with the recipe's 8 objects slip."""
    assert IsaacGymCfg().position_iterations == 32 and IsaacGymCfg.recipe().position_iterations == 8
    assert dataclasses.replace(IsaacGymCfg.recipe(), position_iterations=32) == IsaacGymCfg()
    sim = make(ObjectSet.of("one", [conformance.CUBE]), 2, tmp_path, position_iterations=iterations)
    params = sim.sim.data.params
    physx = params.physx
    assert (physx.default_buffer_size_multiplier, physx.max_gpu_contact_pairs) == (25.0, 8 * 1024 * 1024)
    assert (params.dt, params.substeps) == (1 / 60, 2)
    assert (physx.solver_type, physx.num_position_iterations, physx.num_velocity_iterations) == (1, iterations, 0)
    assert (physx.contact_offset, physx.rest_offset, physx.contact_collection) == (0.002, 0.0, 1)
    assert params.use_gpu_pipeline and physx.use_gpu


@pytest.mark.parametrize("frames", ["local", "global"])
@pytest.mark.parametrize("fallen, fails", [(0.0027, False), (0.3, True)])
def test_isaac_frames_are_found_though_objects_have_fallen_for_a_step(
    fallen: float, fails: bool, frames: str, isaac: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`prepare_sim` may let a step pass."""
    isaac.frames = frames
    build = scene.build

    def higher(*args: Any) -> Any:
        made = build(*args)
        made.object_start = np.add(made.object_start, [0.0, 0.0, fallen])
        return made

    monkeypatch.setattr(scene, "build", higher)
    if fails:
        with pytest.raises(SimulatorError, match="neither relative"):
            make(ObjectSet.of("one", [conformance.CUBE]), 2, tmp_path)
    else:
        assert make(ObjectSet.of("one", [conformance.CUBE]), 2, tmp_path).frame == frames


@pytest.mark.parametrize(
    "function, result",
    [
        *(("create_sim", None), ("load_asset", None), ("create_actor", -1), ("begin_aggregate", False)),
        *(("set_actor_dof_properties", False), ("set_actor_rigid_shape_properties", False), ("prepare_sim", False)),
        *(("set_asset_tendon_properties", False), ("acquire_dof_state_tensor", None), ("end_aggregate", False)),
        *(("refresh_actor_root_state_tensor", False), ("get_asset_tendon_properties", [])),
    ],
)
def test_isaac_refusals_while_building_are_errors(function: str, result: Any, isaac: Any, tmp_path: Path) -> None:
    """T28"""
    isaac.fail_once = {function: result}
    with pytest.raises(SimulatorError, match="Isaac Gym"):
        make(ObjectSet.of("one", [conformance.CUBE]), 2, tmp_path)


@pytest.mark.parametrize(
    "function",
    [
        *("set_actor_root_state_tensor_indexed", "set_dof_state_tensor_indexed", "set_dof_position_target_tensor"),
        *("refresh_dof_state_tensor", "refresh_rigid_body_state_tensor", "refresh_net_contact_force_tensor"),
    ],
)
def test_isaac_refusals_while_running_are_errors(function: str, sim: IsaacGymSimulator, isaac: Any) -> None:
    """T28"""
    isaac.fail_once = {function: False}
    with pytest.raises(SimulatorError, match="Isaac Gym"):
        sim.step(sim.state.joint_pos)


def test_isaac_bad_settings_are_errors(isaac: Any, tmp_path: Path) -> None:
    objects = ObjectSet.of("one", [conformance.CUBE])
    with pytest.raises(SimulatorError, match="coupling"):
        make(objects, 1, tmp_path, coupling="glue")
    with pytest.raises(SimulatorError, match="no multiple"):
        make(objects, 1, tmp_path, sim_dt=1 / 50)


@pytest.mark.parametrize("newest", ["sm_90", "sm_120"])
@pytest.mark.parametrize("capability", [(7, 5), (8, 9), (9, 0), (12, 0)])
def test_isaac_warns_on_hopper_and_refuses_what_torch_has_no_code_for(
    capability: Any, newest: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA Thing")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_70", newest, "compute_90"])
    if capability == (12, 0) and newest == "sm_90":
        with pytest.raises(SimulatorError, match=r"no code for this NVIDIA Thing .*12\.0"):
            check_gpu(torch.device("cuda:0"))
    else:
        check_gpu(torch.device("cuda:0"))
    assert ("Hopper" in capsys.readouterr().err) == (capability == (9, 0))


def test_isaac_on_the_processor_says_so(
    isaac: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(IsaacGymSimulator, "built", False)
    objects, cfg = ObjectSet.of("one", [conformance.CUBE]), IsaacGymCfg(cache=tmp_path, audit=False, watch_errors=False)
    IsaacGymSimulator(get_hand("shadow"), objects, 1, cfg=cfg)
    assert "warning: torch sees no CUDA GPU" in capsys.readouterr().err


def test_isaac_without_a_gpu_says_so(isaac: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(IsaacGymSimulator, "built", False)
    with pytest.raises(SimulatorError, match="no CUDA GPU"):
        IsaacGymSimulator(get_hand("shadow"), ObjectSet.of("one", [conformance.CUBE]), 1, "cuda:0")


def test_isaac_second_simulator_says_so(sim: IsaacGymSimulator) -> None:
    sim.close()
    with pytest.raises(SimulatorError, match="one simulation in a process"):
        IsaacGymSimulator(get_hand("shadow"), ObjectSet.of("one", [conformance.CUBE]), 1)


def test_isaac_runs_the_task(isaac: Any, tmp_path: Path) -> None:
    """Five seconds of the grasping task with a random policy: episodes end, and nothing is ever not a number."""
    objects = ObjectSet.of("two", [conformance.CUBE, conformance.LOADED])
    sim = make(objects, 4, tmp_path)
    task = GraspTask(sim, get_hand("shadow"), objects)
    torch.manual_seed(0)
    task.reset()
    before, ended = isaac.calls.count("simulate"), 0  # the demonstrations of the starts have been simulated by now
    for _ in range(150):
        step = task.step(torch.rand(4, task.num_actions) * 2 - 1)
        for value in vars(step).values() if hasattr(step, "__dict__") else step:
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                assert torch.isfinite(value).all()
        ended += int(sim.state.failed.sum())
    assert ended == 0
    assert isaac.calls.count("simulate") - before == 300
