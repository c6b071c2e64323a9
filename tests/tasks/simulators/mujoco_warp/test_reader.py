"""MuJoCo Warp's reader of states, one kernel for forces and one for motion, against the reader made of torch's operations."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from functools import partial
from typing import Dict, Set

import pytest
import torch
from mujoco_checks import WORLDS, everyone, varied
from plain_mujoco import HAND, PHYSICS, closing, grasping, some_objects
from torch import Tensor

pytest.importorskip("mujoco_warp", reason="needs MuJoCo Warp")

import warp as wp
from warp_launches import launches_of_warp

from tasks.simulators.contract import SimState
from tasks.simulators.mujoco.state import MAX_SPEED, MujocoArrays, Places, StateReader
from tasks.simulators.mujoco_warp.reader import WarpStateReader
from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator

FORCES = {"drive_force", "fingertip_wrench", "hand_force"}
MOTION = {f.name for f in fields(SimState)} - FORCES - {"object_id"}


@pytest.fixture
def sim() -> MujocoWarpSimulator:
    return MujocoWarpSimulator(HAND, some_objects(), WORLDS, torch.device("cpu"), PHYSICS)


def views(sim: MujocoWarpSimulator) -> Dict[str, Tensor]:
    """Views of all arrays that are read."""
    return {f.name: wp.to_torch(getattr(sim.data, f.name)) for f in fields(MujocoArrays)}


def check_forces(sim: MujocoWarpSimulator) -> None:
    compare(sim, "read_forces", FORCES)


def check_motion(sim: MujocoWarpSimulator) -> None:
    compare(sim, "read_motion", MOTION)


def compare(sim: MujocoWarpSimulator, part: str, names: Set[str]) -> None:
    """Both readers write the same numbers into these fields, all of them, and nothing into the others."""
    right = SimState.zeros(HAND, WORLDS, sim.device)
    for state in (sim.state, right):
        for f in fields(SimState):
            getattr(state, f.name).fill_(True if f.name == "failed" else 77)
    # What Warp does not write stays at 77, which no state is, or at True, though nothing failed.
    getattr(StateReader(sim.scene, HAND, MujocoArrays(**views(sim)), right), part)()
    getattr(sim._reader, part)()
    for f in fields(SimState):
        mine, other = getattr(sim.state, f.name), getattr(right, f.name)
        if f.name in names and f.name != "failed":
            assert not (mine == 77).any(), f"{f.name} was not written"
        torch.testing.assert_close(
            mine, other, rtol=1e-5, atol=1e-5, equal_nan=True, msg=partial("{}: {}".format, f.name)
        )


def test_of_grasps(sim: MujocoWarpSimulator) -> None:
    """After steps in which fingers meet objects; what is read is not zero."""
    start = varied(grasping(some_objects(), everyone()))
    start.into(sim)
    touched = torch.zeros(WORLDS, dtype=torch.bool)
    for step in range(12):
        sim.step(closing(start, step))
        touched |= (sim.state.fingertip_wrench[:, :, :3].norm(dim=-1) > 0.05).any(-1)
        check_forces(sim)
        check_motion(sim)
        assert not sim.state.failed.any()
    assert touched.sum() >= 3


def test_of_any_numbers(sim: MujocoWarpSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays that no physics made, all different; a hand whose drives are in another order and whose sites are turned."""
    generator = torch.Generator().manual_seed(0)
    for array in views(sim).values():
        array.copy_(3.0 * torch.randn(array.shape, generator=generator))
    places = Places.of(sim.scene, HAND)
    turned = torch.randn(places.site_quat.shape, generator=generator).numpy()
    odd = replace(places, actuators=places.actuators[::-1], site_quat=turned)
    monkeypatch.setattr(Places, "of", lambda *_args: odd)
    sim._reader = WarpStateReader(sim.scene, HAND, sim.data, sim.state)
    check_forces(sim)
    check_motion(sim)
    assert not sim.state.failed.any()


BROKEN = {
    "nan in the first coordinate": ("qpos", 0, math.nan),
    "nan in the last coordinate": ("qpos", -1, math.nan),
    "inf": ("qpos", 5, math.inf),
    "-inf": ("qpos", 5, -math.inf),
    "fast": ("qvel", 0, 1.01 * MAX_SPEED),
    "fast backwards, last": ("qvel", -1, -1.01 * MAX_SPEED),
    "at the limit": ("qvel", 3, MAX_SPEED),
    "nan in a speed": ("qvel", 7, math.nan),
}


@pytest.mark.parametrize("case", BROKEN)
def test_of_worlds_that_diverged(sim: MujocoWarpSimulator, case: str) -> None:
    """One number is enough, and only its world has failed; just below the limit none has."""
    name, column, value = BROKEN[case]
    arrays = views(sim)
    arrays["qvel"][:, 3] = 0.999 * MAX_SPEED
    arrays["qvel"][::2, 3] *= -1
    arrays[name][2, column] = value
    check_motion(sim)
    assert sim.state.failed.tolist() == [False, False, True, False, False]


def test_of_no_rotation(sim: MujocoWarpSimulator) -> None:
    """A quaternion of zeros has no direction: NaN, as torch has it, and not a made-up rotation."""
    at = sim.scene.object_qpos
    views(sim)["qpos"][1, at + 3 : at + 7] = 0.0
    check_motion(sim)
    assert sim.state.object_quat[1].isnan().all() and not sim.state.object_quat[[0, 2, 3, 4]].isnan().any()


def test_each_part_is_one_launch(sim: MujocoWarpSimulator) -> None:
    with launches_of_warp() as launched:
        sim._reader.read_forces()
        sim._reader.read_motion()
    assert launched == ["_read_forces", "_read_motion"]
