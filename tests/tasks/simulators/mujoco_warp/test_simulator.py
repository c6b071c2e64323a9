"""MuJoCo Warp on its CPU device: the contract, and agreement with plain MuJoCo C; on a GPU, what is recorded in graphs."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import Any, Callable, Dict
from weakref import ref

import conformance
import mujoco_checks
import numpy as np
import pytest
import torch
import warp as wp
from conformance import Bench
from mujoco_checks import WORLDS, Rig, everyone, state_error, varied
from plain_mujoco import FINE, HAND, HULL, PHYSICS, closing, grasping, resting, some_objects
from torch import Tensor

from ppo_grasp.device.graphs import CapturedFunction, side_stream
from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.grasp.randomisation.config import RandomCfg
from tasks.objects import ObjectSet
from tasks.simulators import contract
from tasks.simulators.contract import SimState
from tasks.simulators.mujoco.scene import PhysicsCfg, build_scene
from tasks.simulators.mujoco.state import Places
from tasks.simulators.mujoco_warp import simulator as backend
from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator

CUDA = torch.device("cuda")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def rig_of(sim: MujocoWarpSimulator, physics: PhysicsCfg = PHYSICS) -> Rig:
    names = ("qpos", "qvel", "qacc_warmstart", "ctrl")
    arrays = {name: wp.to_torch(getattr(sim.data, name)) for name in names}
    return Rig(sim, {**arrays, "xfrc_applied": wp.to_torch(sim.data.xfrc_applied)}, physics)


def launch(sim: MujocoWarpSimulator, velocity: Tensor) -> None:
    mujoco_checks.launch(rig_of(sim), velocity)


def make(objects: ObjectSet, num_envs: int, device: str = "cpu", physics: PhysicsCfg = PHYSICS) -> MujocoWarpSimulator:
    return MujocoWarpSimulator(HAND, objects, num_envs, torch.device(device), physics)


@pytest.fixture(scope="module", params=[PHYSICS, FINE], ids=["training", "fine"])
def rig(request: pytest.FixtureRequest) -> Rig:
    return rig_of(make(some_objects(), WORLDS, physics=request.param), request.param)


@pytest.mark.parametrize("check", conformance.CONFORMANCE, ids=lambda check: check.__name__)
def test_warp_contract(check: Callable[[Bench], None]) -> None:
    physics = FINE if check in conformance.ACCURACY else PHYSICS
    check(Bench(partial(make, physics=physics), launch))


@pytest.mark.parametrize("check", mujoco_checks.BOTH, ids=lambda check: check.__name__)
def test_warp(check: Callable[[Rig], None], rig: Rig) -> None:
    if rig.physics is PHYSICS and check in mujoco_checks.ACCURACY:
        pytest.skip("about errors that grow with the step")
    check(rig)


def test_warp_in_the_air_is_plain_mujoco(rig: Rig) -> None:
    """float32: until something touches, 1e-4 (m, rad) after 0.13 s of moving fingers and tumbling objects."""
    start = varied(grasping(some_objects(), everyone()))
    start.joint_pos[:, 2] += 0.1
    start.joint_pos[:, HAND.drives.index("LFJ5")] = (
        0.05  # at its limit, which rounding decides about, it may be a step ahead
    )
    start.object_pos[:, 1] -= 0.4
    start.object_pos[:, 2] += 0.4
    start.into(rig.sim)
    velocity = torch.tensor([0.2, -0.1, 0.3, 3.0, -2.0, 4.0]).expand(WORLDS, 6)
    sim: Any = rig.sim
    launch(sim, velocity)
    plain = [rig.plain(start, world) for world in everyone()]
    for world, one in enumerate(plain):
        one.data.qvel[:] = rig.arrays["qvel"][world].double().numpy()
    for step in range(4):
        targets = closing(start, 4 * step)
        rig.sim.step(targets)
        for world, one in enumerate(plain):
            one.step(targets[world])
            error = state_error(rig, one, world)
            assert error["qpos"] < 1e-4 and error["qvel"] < 2e-3, f"world {world}, step {step}: {error}"
            assert error["drive_force"] < 5e-3 and error["force"] == 0, f"world {world}, step {step}: {error}"


@pytest.fixture(scope="module")
def fine() -> Rig:
    """Fine steps, for contacts: rounding moves an impact by a step, and a coarse step goes far."""
    return rig_of(make(some_objects(), WORLDS, physics=FINE), FINE)


def test_warp_grasp_is_near_plain_mujoco(fine: Rig) -> None:
    """After 0.3 s of impacts and of fingers closing, positions are within a few millimetres, forces of the same size."""
    start = varied(grasping(some_objects(), everyone()))
    start.into(fine.sim)
    plain = [fine.plain(start, world) for world in everyone()]
    touched = torch.zeros(WORLDS, dtype=torch.bool)
    for step in range(9):
        targets = closing(start, step)
        fine.sim.step(targets)
        touched |= (fine.sim.state.fingertip_wrench[:, :, :3].norm(dim=-1) > 0.05).any(-1)
        for world, one in enumerate(plain):
            one.step(targets[world])
    assert touched.sum() >= 3
    for world, one in enumerate(plain):
        place = torch.from_numpy(one.data.body("object").xpos.copy()).float()
        tips = torch.from_numpy(np.stack([one.data.site(name).xpos for name in HAND.fingertip_sites])).float()
        torch.testing.assert_close(fine.sim.state.object_pos[world], place, atol=3e-3, rtol=0.0)
        torch.testing.assert_close(fine.sim.state.fingertip_pos[world], tips, atol=3e-3, rtol=0.0)


def test_warp_swapped_object_is_near_plain_mujoco(fine: Rig) -> None:
    mujoco_checks.object_swaps_at_a_masked_reset(fine, tolerance=5e-2)


def test_warp_contact_overflow_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for four contacts, the loss of the others is told once, and nothing turns to NaN."""
    original = backend.mjw.make_data

    def cramped(*args: Any, **sizes: Any) -> Any:
        return original(*args, **{**sizes, "naconmax": 4, "naccdmax": 4})

    monkeypatch.setattr(backend.mjw, "make_data", cramped)
    assert_overflow_is_told()


def test_warp_constraint_overflow_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "CONSTRAINTS_PER_WORLD", 16)
    assert_overflow_is_told()


def assert_overflow_is_told() -> None:
    sim = make(some_objects(), WORLDS)
    start = grasping(some_objects(), torch.full((WORLDS,), HULL))
    start.joint_pos[:, 2] = 0.7
    start.object_pos[:, 2] += 0.5
    start.into(sim)
    sim.step(start.joint_pos)
    assert sim.diagnostics()["contact_overflow_worlds"] == 0, "nothing touches yet"
    start = grasping(some_objects(), everyone())
    start.into(sim)
    for step in range(6):
        sim.step(closing(start, step))
    assert sim.diagnostics()["contact_overflow_worlds"] > 0
    start.joint_pos[:, 2] = 0.7
    start.object_pos[:, 2] += 0.5
    start.into(sim)
    sim.diagnostics()
    sim.step(start.joint_pos)
    assert sim.diagnostics()["contact_overflow_worlds"] == 0
    assert not sim.state.failed.any()
    sim.close()


def test_warp_addresses_stay(rig: Rig) -> None:
    """Recorded graphs keep pointers: neither steps nor resets may replace an array."""
    sim: Any = rig.sim

    def addresses() -> Dict[str, int]:
        model = {name: wp.to_torch(getattr(sim.model, name)) for name in backend._BATCHED}
        tensors = {**rig_of(sim).arrays, **model, **sim.state.__dict__}
        return {name: tensor.data_ptr() for name, tensor in tensors.items()}

    before = addresses()
    start = varied(grasping(some_objects(), everyone()))
    start.into(sim)
    sim.step(start.joint_pos)
    assert before == addresses()


def test_warp_targets_reach_their_drives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hand whose actuators are in another order than its drives."""
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    odd = replace(Places.of(build_scene(HAND, some_objects(), PHYSICS), HAND), actuators=order.tolist())
    monkeypatch.setattr(Places, "of", lambda *_args: odd)
    sim = make(some_objects(), WORLDS)
    start = resting(some_objects(), everyone())
    start.into(sim)
    targets = start.joint_pos + 0.01 * torch.arange(24)
    sim.step(targets)
    assert torch.equal(wp.to_torch(sim.data.ctrl)[:, order], targets)


def test_warp_lets_go_of_its_memory() -> None:
    """Its memory is freed when it is closed.  The garbage collector might free it while a graph is recorded."""
    sim = make(some_objects(), WORLDS)
    start = resting(some_objects(), everyone())
    start.into(sim)
    sim.step(start.joint_pos)
    owners = sim.model, sim.data
    arrays = {k: ref(v) for owner in owners for k, v in vars(owner).items() if isinstance(v, wp.array)}
    del owners
    assert len(arrays) > 100
    sim.close()
    assert [name for name, array in arrays.items() if array() is not None] == []


# On a GPU.


@needs_cuda
def test_warp_captured_step_is_the_eager_one() -> None:
    """Three steps of a grasp replayed from a graph are those issued kernel by kernel, but for the order of sums."""
    ends = []
    for graphs in (False, True):
        with side_stream(CUDA):
            sim = make(some_objects(), WORLDS, "cuda", FINE)  # converged: what is left of rounding stays small
            start = varied(grasping(some_objects(), everyone()))
            targets = start.joint_pos.cuda()
            step = CapturedFunction(partial(sim.step, targets), enabled=graphs, context=sim.capture)
            step()
            step()
            start.into(sim)
            for count in range(3):
                targets.copy_(closing(start, 4 * count))
                step()
            assert (step._graph is not None) == graphs
            ends.append({f.name: getattr(sim.state, f.name).cpu() for f in fields(SimState)})
    for name in ("joint_pos", "object_pos", "palm_pos", "fingertip_pos", "fingertip_quat"):
        torch.testing.assert_close(ends[0][name], ends[1][name], atol=1e-4, rtol=0.0, msg=f"{name}: {{}}".format)
    for name in ("joint_vel", "fingertip_vel", "drive_force"):
        torch.testing.assert_close(ends[0][name], ends[1][name], atol=1e-2, rtol=1e-2, msg=name)
    assert not ends[1]["failed"].any()


@needs_cuda
def test_warp_objects_change_under_replay() -> None:
    """A reset in a graph takes the objects that its inputs name when it is replayed, not when it was captured."""
    with side_stream(CUDA):
        sim = make(some_objects(), WORLDS, "cuda", FINE)  # in the coarse one objects first fall 2.7 mm
        start = varied(resting(some_objects(), everyone(), height=0.7))
        given = {name: value.cuda() for name, value in start.__dict__.items()}
        mask = torch.ones(WORLDS, dtype=torch.bool, device=CUDA)
        targets = given["joint_pos"].clone()

        def reset_and_step() -> None:
            sim.reset(mask, contract.Start(**given))
            sim.step(targets)

        captured = CapturedFunction(reset_and_step, context=sim.capture)
        captured()
        captured()
        assert captured._graph is not None
        other = varied(resting(some_objects(), everyone().flip(0), height=0.7))
        for name, value in other.__dict__.items():
            given[name].copy_(value)
        mask[2] = False
        kept = sim.state.object_pos[2].clone()
        captured()
        assert sim.state.object_id.tolist() == [4, 3, 2, 1, 0]
        for world in (0, 1, 3, 4):
            item = some_objects().objects[4 - world]
            mass = wp.to_torch(sim.model.body_mass)[world, sim.scene.object_body]
            assert mass.item() == pytest.approx(item.mass * float(other.mass_scale[world]), rel=1e-5)
            assert float(sim.state.object_pos[world, 2]) == pytest.approx(float(other.object_pos[world, 2]), abs=2e-3)
        torch.testing.assert_close(sim.state.object_pos[2], kept, atol=1e-3, rtol=0.0)


@needs_cuda
def test_disturbances_are_drawn_anew_in_each_replay() -> None:
    """Noise, pushes, drives, joints and tables of a recorded step differ between replays; the truth stays apart from what is
    seen."""
    with side_stream(CUDA):
        objects = some_objects()
        random = replace(RandomCfg.sim2real(), widen=False, strength="full", push_time=0.01)
        random = replace(random, com=0.3, table_height=0.03, joint_friction=0.05)
        sim = make(objects, 64, "cuda")
        task = GraspTask(sim, HAND, objects, GraspCfg(random=random, history=2))
        task.reset()
        action, seen = torch.zeros(64, 24, device=CUDA), torch.zeros(64, task.num_obs, device=CUDA)

        def end_some() -> None:
            task.episodes.time[:32] = task.cfg.episode_steps
            task.episodes.goal.rest_height.fill_(-1.0)  # so that all are pushed
            seen.copy_(task.step(action).obs)

        captured = CapturedFunction(end_some, context=task.capture)
        assert task.disturbances is not None
        drives, forces = wp.to_torch(sim.model.actuator_gainprm), wp.to_torch(sim.data.xfrc_applied)
        friction, tables = wp.to_torch(sim.model.dof_frictionloss), wp.to_torch(sim.data.geom_xpos)[:, sim.scene.table]
        centres = wp.to_torch(sim.model.body_ipos)[:, sim.scene.object_body]
        found = []
        for _ in range(6):
            captured()
            varied = (drives[:, :, 0], friction, tables, centres)
            found.append([x.cpu().clone() for x in (seen, forces[:, sim.scene.object_body], *varied)])
        assert captured._graph is not None
        for before, after in zip(found, found[1:]):
            assert all(not torch.equal(a, b) for a, b in zip(before, after))
            for one, other in zip(before[2:], after[2:]):
                assert torch.equal(one[32:], other[32:]), "the drives and worlds of episodes that go on"
                assert (one[:32] != other[:32]).any(-1).all()
        assert not sim.state.failed.any()


@needs_cuda
def test_task_draws_fresh_starts_in_each_replay() -> None:
    """All episodes end in a recorded step of the task.  Places, frictions and objects differ between replays."""
    with side_stream(CUDA):
        objects = some_objects()
        task = GraspTask(make(objects, 64, "cuda"), HAND, objects)
        task.reset()
        action = torch.zeros(64, 24, device=CUDA)

        def end_all() -> None:
            task.episodes.time.fill_(task.cfg.episode_steps)
            task.step(action)

        captured = CapturedFunction(end_all, context=task.capture)
        seen = []
        for _ in range(5):
            captured()
            seen.append(
                (task.episodes.goal.pos.cpu(), task.episodes.friction.cpu(), task.simulator.state.object_id.cpu())
            )
        assert captured._graph is not None
        for before, after in zip(seen, seen[1:]):
            assert all(not torch.equal(a, b) for a, b in zip(before, after))
        assert not task.simulator.state.failed.any()
