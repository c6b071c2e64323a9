"""MuJoCo C: the contract, and agreement to the last digits with a plain mj_step loop."""

from __future__ import annotations

from functools import partial
from typing import Callable

import conformance
import mujoco
import mujoco_checks
import numpy as np
import pytest
import torch
from conformance import Bench
from mujoco_checks import WORLDS, Rig, everyone, state_error, varied
from plain_mujoco import (
    CUBE,
    CYLINDER,
    FINE,
    HAND,
    HULL,
    PHYSICS,
    SPHERE,
    TOY,
    PlainWorld,
    closing,
    grasping,
    resting,
    some_objects,
)
from torch import Tensor

from tasks.objects import ObjectSet
from tasks.simulators.mujoco import scene
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.mujoco.simulator import MujocoSimulator


def rig_of(sim: MujocoSimulator, physics: PhysicsCfg = PHYSICS) -> Rig:
    names = ("qpos", "qvel", "qacc_warmstart", "ctrl", "xfrc_applied")
    return Rig(sim, {name: torch.from_numpy(sim.batch.bind(name)) for name in names}, physics)


def launch(sim: MujocoSimulator, velocity: Tensor) -> None:
    mujoco_checks.launch(rig_of(sim), velocity)


def make(objects: ObjectSet, num_envs: int, physics: PhysicsCfg = PHYSICS) -> MujocoSimulator:
    return MujocoSimulator(HAND, objects, num_envs, physics, num_threads=1)


@pytest.fixture(scope="module", params=[PHYSICS, FINE], ids=["training", "fine"])
def rig(request: pytest.FixtureRequest) -> Rig:
    return rig_of(make(some_objects(), WORLDS, request.param), request.param)


@pytest.mark.parametrize("physics", [PHYSICS, FINE], ids=["training", "fine"])
@pytest.mark.parametrize("check", conformance.CONFORMANCE, ids=lambda check: check.__name__)
def test_mujoco_contract(check: Callable[[Bench], None], physics: PhysicsCfg) -> None:
    if physics is PHYSICS and check in conformance.ACCURACY:
        pytest.skip("about errors that grow with the step")
    check(Bench(partial(make, physics=physics), launch))


@pytest.mark.parametrize("check", mujoco_checks.BOTH, ids=lambda check: check.__name__)
def test_mujoco(check: Callable[[Rig], None], rig: Rig) -> None:
    if rig.physics is PHYSICS and check in mujoco_checks.ACCURACY:
        pytest.skip("about errors that grow with the step")
    check(rig)


@pytest.mark.parametrize("same", [True, False], ids=["as built", "other mass and friction"])
def test_grasp_is_plain_mujoco(rig: Rig, same: bool) -> None:
    """A second of grasping, bumping and lifting, to 1e-10 of a plain mj_step loop.

    With other masses to 1e-7: their inverse weights come from a formula here and from mj_setConst there.
    """
    start = grasping(some_objects(), everyone())
    start = start if same else varied(start)
    start.into(rig.sim)
    tolerance = 1e-10 if same else 1e-7
    plain = [rig.plain(start, world) for world in everyone()]
    contacts = beyond_tips = 0.0
    for step in range(30):
        targets = closing(start, step)
        rig.sim.step(targets)
        contacts += float((rig.sim.state.fingertip_wrench[:, :, :3].norm(dim=-1) > 0.1).sum())
        for world, one in enumerate(plain):
            one.step(targets[world])
            error = state_error(rig, one, world)
            if world == CYLINDER:  # it rolls: which edge of its hull touches next hangs on the last digit
                assert step > 15 or error["qpos"] < 1e-7, f"step {step}: {error}"
                continue
            assert error["qpos"] < tolerance and error["qvel"] < 100 * tolerance, f"world {world}, step {step}: {error}"
            # The state is float32.
            assert error["drive_force"] < 1e-5 and error["force"] < 1e-4 and error["torque"] < 1e-5, f"{world}: {error}"
            assert error["hand_force"] < 1e-3, f"{world}: {error}"
            of_hand = float(rig.sim.state.hand_force[world])
            beyond_tips += of_hand > 1.5 * float(rig.sim.state.fingertip_wrench[world, :, :3].norm(dim=-1).sum()) + 0.1
    assert contacts > 100 and beyond_tips > 10, "links press that are no fingertips"
    lifted = [CUBE] if rig.physics is PHYSICS else [SPHERE, CUBE]  # of such fingers a sphere slips out in coarse steps
    assert (rig.sim.state.object_pos[lifted, 2] > 0.15).all(), "the script lifts these"


def test_swapped_object_is_plain_mujoco(rig: Rig) -> None:
    mujoco_checks.object_swaps_at_a_masked_reset(rig, tolerance=1e-7)


def test_model_of_a_world_is_what_mujoco_would_compute(rig: Rig) -> None:
    """Constants that depend on object and mass come from a formula here, and from mj_setConst in the oracle."""
    start = varied(grasping(some_objects(), everyone().flip(0)))
    start.into(rig.sim)
    body, dofs = rig.sim.scene.object_body, slice(rig.sim.scene.object_dof, rig.sim.scene.object_dof + 6)
    for world in everyone():
        model, right = rig.sim.batch.get_model(int(world)), rig.plain(start, int(world)).model
        for name in ("body_mass", "body_subtreemass", "body_invweight0"):
            mine = getattr(model, name)[[0, body]]
            np.testing.assert_allclose(mine, getattr(right, name)[[0, body]], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(np.sort(model.body_inertia[body]), np.sort(right.body_inertia[body]), rtol=1e-6)
        np.testing.assert_allclose(model.dof_invweight0[dofs], right.dof_invweight0[dofs], rtol=1e-6)


def test_ends_beyond_the_first_object_are_felt() -> None:
    """Two large objects whose ends come up under the fingertips, in a set whose first object is small."""
    items = some_objects().objects
    sim = make(ObjectSet.of("small first", [items[HULL], items[CUBE], items[TOY]]), 2)
    start = resting(some_objects(), torch.tensor([CUBE, TOY]), height=0.35)
    for world, index in enumerate((CUBE, TOY)):
        half = items[index].half_extents
        start.joint_pos[world, 0] = -half[0] - 0.004 - 0.1355  # the fingertips' ends reach 4 mm over
        start.object_pos[world] = torch.tensor([0.0, 0.0, 0.352 - half[2]])
    start.object_quat[:] = torch.tensor([1.0, 0, 0, 0])
    plain = [PlainWorld(start, world) for world in range(2)]
    start.object_id = torch.tensor([1, 2])
    start.into(sim)
    velocity = torch.tensor([0.0, 0.0, 1.5, 0.0, 0.0, 0.0]).repeat(2, 1)
    launch(sim, velocity)
    for _ in range(3):
        sim.step(start.joint_pos)
        for world, one in enumerate(plain):
            if one.data.time == 0:
                one.data.qvel[sim.scene.object_dof + 2] = 1.5
            one.step(start.joint_pos[world])
    for world, one in enumerate(plain):
        assert 2 * np.arccos(abs(one.data.body("object").xquat[0])) > 0.05, "the blow at its end turned it"
        np.testing.assert_allclose(sim.batch.bind("qpos")[world], one.data.qpos, atol=1e-7)


def test_threads_change_nothing() -> None:
    ends = []
    for threads in (1, 3):
        sim = MujocoSimulator(HAND, some_objects(), WORLDS, PHYSICS, threads)
        start = grasping(some_objects(), everyone())
        start.into(sim)
        for step in range(10):
            sim.step(closing(start, step))
        ends.append(torch.from_numpy(sim.batch.bind("qpos")).clone())
    assert torch.equal(*ends)


def test_model_and_data_show_the_world(rig: Rig) -> None:
    start = grasping(some_objects(), everyone().flip(0))
    start.into(rig.sim)
    rig.sim.step(start.joint_pos)
    for world in range(WORLDS):
        model, data = rig.sim.model_and_data(world)
        item = some_objects().objects[WORLDS - 1 - world]
        np.testing.assert_allclose(data.body("object").xpos, rig.sim.state.object_pos[world], atol=1e-6)
        shown = [g for g in range(model.ngeom) if model.geom_bodyid[g] == rig.sim.scene.object_body]
        assert sum(model.geom_rgba[g, 3] > 0 for g in shown) == len(item.parts)


def test_overflow_is_reported_across_resets(rig: Rig) -> None:
    """Full buffers are counted once, even if the world was reset before anyone asked."""
    start = grasping(some_objects(), everyone())
    start.into(rig.sim)
    rig.sim.diagnostics()
    column = int(mujoco.mjtWarning.mjWARN_CONTACTFULL)
    rig.sim.batch.warning[1, column, 1] += 2
    start.into(rig.sim, torch.tensor([False, True, True, False, False]))
    rig.sim.batch.warning[3, column, 1] += 1
    rig.sim.step(start.joint_pos)
    assert rig.sim.diagnostics()["contact_overflow_worlds"] == 3
    start.into(rig.sim)
    assert rig.sim.diagnostics()["contact_overflow_worlds"] == 0


def test_no_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """If MuJoCo C runs out of memory it says so."""
    original = scene._set_options

    def cramped(spec: mujoco.MjSpec, physics: PhysicsCfg) -> None:
        original(spec, physics)
        spec.memory = 50_000

    monkeypatch.setattr(scene, "_set_options", cramped)
    sim = make(some_objects(), 2)
    start = grasping(some_objects(), torch.tensor([CUBE, TOY]))
    start.into(sim)
    with pytest.raises(RuntimeError, match="out of memory"):
        for step in range(14):
            sim.step(closing(start, step))
