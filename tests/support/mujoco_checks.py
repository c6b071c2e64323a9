"""What both MuJoCo simulators must do beyond the contract, as functions of a `Rig`.  Plain MuJoCo C is the oracle."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Dict

import mujoco
import numpy as np
import plain_mujoco
import torch
from plain_mujoco import (
    CUBE,
    CYLINDER,
    HAND,
    HULL,
    PHYSICS,
    SPHERE,
    TOY,
    PlainWorld,
    Start,
    closing,
    grasping,
    resting,
)
from torch import Tensor

from tasks.simulators.contract import SimState, Simulator
from tasks.simulators.mujoco.scene import PhysicsCfg

WORLDS = 5


@dataclass
class Rig:
    """A simulator of `WORLDS` worlds with `some_objects`, and its memory."""

    sim: Simulator
    arrays: Dict[str, Any]
    """Views (N, ...) of qpos, qvel, qacc_warmstart, ctrl and xfrc_applied that may be written to."""
    physics: PhysicsCfg = PHYSICS
    """Settings of the simulator, and so of the oracle."""

    def plain(self, start: Start, world: int) -> PlainWorld:
        """The oracle for a world."""
        return PlainWorld(start, int(world), self.physics)


def launch(rig: Rig, velocity: Tensor) -> None:
    """Gives the objects velocities (N, 6) of their origins, linear then angular, in the world's frame."""
    scene, qpos, qvel = rig.sim.scene, rig.arrays["qpos"], rig.arrays["qvel"]
    q, v = scene.object_qpos, scene.object_dof
    for world in range(rig.sim.num_envs):
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, np.asarray(qpos[world, q + 3 : q + 7], dtype=np.float64))
        local = rotation.reshape(3, 3).T @ velocity[world, 3:].double().numpy()
        qvel[world, v : v + 3] = velocity[world, :3].to(qvel.dtype)
        qvel[world, v + 3 : v + 6] = torch.as_tensor(local).to(qvel.dtype)


def snapshot(rig: Rig) -> Dict[str, Tensor]:
    """Everything that decides what comes next, and everything that is shown."""
    shown = {f.name: getattr(rig.sim.state, f.name).clone() for f in fields(SimState)}
    return {**shown, **{name: torch.as_tensor(array).clone() for name, array in rig.arrays.items()}}


def assert_same(a: Dict[str, Tensor], b: Dict[str, Tensor], worlds: Any) -> None:
    for name, value in a.items():
        assert torch.equal(value[worlds], b[name][worlds]), name


def varied(start: Start) -> Start:
    """The start with masses and frictions that differ between worlds."""
    start.mass_scale = torch.tensor([1.0, 0.6, 1.5, 2.0, 0.8])
    start.friction = torch.tensor([0.9, 1.1, 0.6, 0.5, 0.8])
    return start


def everyone() -> Tensor:
    return torch.arange(WORLDS)


def state_error(rig: Rig, plain: PlainWorld, world: int) -> Dict[str, float]:
    """Largest differences from plain MuJoCo: coordinates, speeds, drive forces, fingertip wrenches, force on the hand."""
    state, model, data = rig.sim.state, plain.model, plain.data
    wrench, _ = plain_mujoco.tip_wrenches(model, data)
    actuators = [model.actuator(name).id for name in HAND.drives]

    def worst(mine: Any, right: np.ndarray) -> float:
        return float(np.abs(np.asarray(mine, dtype=np.float64) - right).max())

    return {
        "qpos": worst(rig.arrays["qpos"][world], data.qpos),
        "qvel": worst(rig.arrays["qvel"][world], data.qvel),
        "drive_force": worst(state.drive_force[world], data.actuator_force[actuators]),
        "force": worst(state.fingertip_wrench[world, :, :3], wrench[:, :3]),
        "torque": worst(state.fingertip_wrench[world, :, 3:], wrench[:, 3:]),
        "hand_force": worst(state.hand_force[world], plain_mujoco.hand_force(model, data)),
    }


def object_swaps_at_a_masked_reset(rig: Rig, tolerance: float) -> None:
    """A world that gets another object, mass and friction goes on as plain MuJoCo compiled with them does."""
    sim = rig.sim
    first = varied(resting(plain_mujoco.some_objects(), everyone()))
    first.into(sim)
    for _ in range(3):
        sim.step(first.joint_pos)
    second = varied(grasping(plain_mujoco.some_objects(), everyone().flip(0)))
    mask = torch.tensor([True, True, False, False, True])
    second.into(sim, mask)
    assert sim.state.object_id.tolist() == [TOY, HULL, CYLINDER, HULL, SPHERE]
    plain = {world: rig.plain(second, world) for world in (0, 1, 4)}
    for step in range(9):
        sim.step(closing(second, step))
        for world, one in plain.items():
            one.step(closing(second, step)[world])
            error = state_error(rig, one, world)["qpos"]
            assert error < tolerance, f"world {world} is off by {error:.2g} at step {step}"


def reset_leaves_the_others_bits(rig: Rig) -> None:
    """A masked reset changes nothing in the arrays of the other worlds, whatever its other rows hold."""
    sim = rig.sim
    start = varied(grasping(plain_mujoco.some_objects(), everyone()))
    start.into(sim)
    for step in range(8):
        sim.step(closing(start, step))
    before = snapshot(rig)
    mask = torch.tensor([False, True, False, False, True])
    other = varied(grasping(plain_mujoco.some_objects(), everyone().flip(0)))
    for value in other.__dict__.values():
        value[~mask] = math.nan if value.dtype == torch.float32 else 10**6
    other.into(sim, mask)
    after = snapshot(rig)
    assert_same(before, after, ~mask)
    assert after["object_id"][mask].tolist() == [HULL, SPHERE]
    ends = []
    for disturbed in (True, False):
        if not disturbed:
            start.into(sim)
            for step in range(8):
                sim.step(closing(start, step))
        for step in range(8, 12):
            sim.step(closing(start, step))
        ends.append(snapshot(rig))
    assert_same(ends[0], ends[1], ~mask)


def nan_world_is_reported_and_recovers(rig: Rig) -> None:
    """NaN in one world is reported after the next step, gone after its reset, and counted once.  No other world changes."""
    sim = rig.sim
    others = torch.tensor([True, True, False, True, True])
    ends = []
    sim.diagnostics()
    for spoilt in (False, True):
        start = varied(grasping(plain_mujoco.some_objects(), everyone()))
        start.into(sim)
        sim.step(closing(start, 0))
        if spoilt:
            rig.arrays["qpos"][2, 9] = math.nan
        for step in range(1, 4):
            sim.step(closing(start, step))
            if spoilt and step == 1:
                assert sim.state.failed.tolist() == [False, False, True, False, False]
                start.into(sim, ~others)
                assert not sim.state.failed.any()
            assert not sim.state.failed.any(), f"step {step}"
        ends.append(snapshot(rig))
    assert_same(ends[0], ends[1], others)
    for name, value in ends[1].items():
        assert torch.isfinite(value.float()).all(), name
    assert sim.diagnostics()["nan_resets"] == 1
    assert sim.diagnostics()["nan_resets"] == 0
    plain = rig.plain(start, 2)
    for step in (2, 3):
        plain.step(closing(start, step)[2])
    assert state_error(rig, plain, 2)["qpos"] < 1e-4, "a world brought back moves like a fresh one"


def absurd_speed_is_a_failure(rig: Rig) -> None:
    """A world that is faster than anything real has failed, too, though all is finite."""
    sim = rig.sim
    start = resting(plain_mujoco.some_objects(), everyone())
    start.into(sim)
    velocity = torch.zeros(WORLDS, 6)
    velocity[3, 2] = 1000.0
    launch(rig, velocity)
    sim.step(start.joint_pos)
    assert sim.state.failed.tolist() == [False, False, False, True, False]
    start.into(sim)
    sim.step(start.joint_pos)
    assert not sim.state.failed.any()


def friction_brakes(rig: Rig) -> None:
    """A sliding cube comes to rest after v^2 / (2 mu g), whatever its mass."""
    sim, speed = rig.sim, 0.5
    start = resting(plain_mujoco.some_objects(), torch.full((WORLDS,), CUBE))
    start.friction = torch.tensor([0.2, 0.3, 0.4, 0.5, 0.4])
    start.mass_scale = torch.tensor([1.0, 1.0, 1.0, 1.0, 3.0])
    start.into(sim)
    for _ in range(3):
        sim.step(start.joint_pos)
    before = sim.state.object_pos[:, 0].clone()
    velocity = torch.zeros(WORLDS, 6)
    velocity[:, 0] = speed
    launch(rig, velocity)
    for _ in range(15):
        sim.step(start.joint_pos)
    way = sim.state.object_pos[:, 0] - before
    expected = speed**2 / (2 * 9.81 * start.friction)
    torch.testing.assert_close(way, expected, rtol=0.1, atol=0.0)


def mass_resists_force_and_torque(rig: Rig) -> None:
    """An object that is pushed in the air with F for t gains F t / m, and under a torque it turns as its inertia says."""
    sim = rig.sim
    start = resting(plain_mujoco.some_objects(), torch.full((WORLDS,), TOY), height=0.7)
    start.object_pos[:] = torch.tensor([0.4, -0.4, 1.5])
    start.mass_scale = torch.tensor([0.5, 1.0, 2.0, 4.0, 1.0])
    push = torch.tensor([0.05, -0.02, 0.03, 2e-4, -1e-4, 3e-4])  # at the centre of mass, in the world's frame
    start.into(sim)
    rig.arrays["xfrc_applied"][:, sim.scene.object_body] = push.to(rig.arrays["xfrc_applied"].dtype)
    sim.step(start.joint_pos)
    rig.arrays["xfrc_applied"][:] = 0.0
    item = plain_mujoco.some_objects().objects[TOY]
    flat = np.zeros(9)
    mujoco.mju_quat2Mat(flat, start.object_quat[0].double().numpy())
    rotation = flat.reshape(3, 3)
    inertia = rotation @ item.inertia @ rotation.T
    for world in range(WORLDS):
        scale = float(start.mass_scale[world])
        spin = np.linalg.solve(scale * inertia, push[3:].double().numpy()) * sim.control_dt
        gain = push[:3].double().numpy() * sim.control_dt / (scale * item.mass)
        gain[2] -= 9.81 * sim.control_dt
        velocity = gain - np.cross(spin, rotation @ item.com)
        mine = sim.state.object_vel[world].double().numpy()
        np.testing.assert_allclose(mine[:3], velocity, atol=0.03 * np.abs(velocity).max())
        np.testing.assert_allclose(mine[3:], spin, atol=0.03 * np.abs(spin).max())


def fingertip_presses_the_table(rig: Rig) -> None:
    """The table pushes the fingertips up as hard as the base's drive pushes the hand down."""
    sim = rig.sim
    start = resting(plain_mujoco.some_objects(), everyone(), height=0.05 + 0.16)
    start.object_pos[:, 1] = 0.35
    for name in ("FFJ3", "MFJ3", "RFJ3", "LFJ3"):
        start.joint_pos[:, HAND.drives.index(name)] = 1.2
    start.into(sim)
    targets = start.joint_pos.clone()
    for height in np.linspace(0.16, 0.06, 15):
        targets[:, 2] = 0.05 + float(height)
        sim.step(targets)
    for _ in range(30):
        sim.step(targets)
    up, down = sim.state.fingertip_wrench[:, :, 2].sum(-1), -sim.state.drive_force[:, 2]
    assert (down > 2).all() and sim.state.fingertip_wrench[:, 4].abs().max() == 0, "four fingers press, not the thumb"
    torch.testing.assert_close(up, down, rtol=0.1, atol=0.0)


BOTH = [
    reset_leaves_the_others_bits,
    nan_world_is_reported_and_recovers,
    absurd_speed_is_a_failure,
    friction_brakes,
    mass_resists_force_and_torque,
    fingertip_presses_the_table,
]

ACCURACY = [friction_brakes]
"""Those of them that need small steps.  A slide of a tenth of a second ends 14 % early in steps of 1/60 s, 4 % in fine ones."""
