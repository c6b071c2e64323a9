"""Checks of how the object moves."""

from __future__ import annotations

from typing import Dict

import numpy as np
import torch
from torch import Tensor

from conformance.bench import CUBE, GRAVITY, LOADED, Bench, close, same_turn, snapshot, start, steps
from tasks import rotations
from tasks.objects import ObjectModel
from tasks.simulators.contract import TABLE_HEIGHT


def free_fall(bench: Bench) -> None:
    """An object falls by g t^2 / 2, whatever its mass, and does not turn."""
    sim = bench.simulator()
    begin = start(sim)
    begin.into(sim)
    count = steps(sim, begin.joint_pos, 0.4)
    t = count * sim.control_dt
    fallen = begin.object_pos - sim.state.object_pos
    close(fallen[:, 2], torch.full((sim.num_envs,), GRAVITY * t * t / 2), 0.025 * GRAVITY * t * t / 2, "fall")
    close(fallen[:, :2], torch.zeros(sim.num_envs, 2), 1e-4, "drift")
    close(sim.state.object_vel[:, 2], torch.full((sim.num_envs,), -GRAVITY * t), 0.01, "speed")
    same_turn(sim.state.object_quat, begin.object_quat, 1e-5, "orientation")
    sim.close()


def rests_on_the_table(bench: Bench) -> None:
    """Put down in a stable pose an object stays where it is, at its rest height over the table."""
    sim = bench.simulator()
    begin = start(sim)
    items = [(CUBE, LOADED)[int(i)] for i in begin.object_id]
    begin.object_pos[:, 2] = torch.tensor([TABLE_HEIGHT + float(o.rest_height[0]) for o in items]).to(sim.device)
    rest = torch.tensor(np.stack([o.rest_quat[0] for o in items]), dtype=torch.float32, device=sim.device)
    begin.object_quat[:] = rotations.multiply(rotations.about_z(torch.tensor(0.4, device=sim.device)), rest)
    begin.into(sim)
    steps(sim, begin.joint_pos, 1.0)
    close(sim.state.object_pos, begin.object_pos, bench.settle_mm * 1e-3, "place")
    close(sim.state.object_vel[:, :3], torch.zeros(sim.num_envs, 3), 0.02, "speed")
    same_turn(sim.state.object_quat, begin.object_quat, 2e-3, "orientation")
    sim.close()


def object_velocity_is_of_its_origin(bench: Bench) -> None:
    """A spinning object whose mass is off its origin: the origin's velocity is what its positions' differences say."""
    if bench.launch is None:
        return
    sim = bench.simulator(3, LOADED)
    begin = start(sim, 1)
    begin.into(sim)
    sim.step(begin.joint_pos)
    bench.launch(sim, torch.tensor([0.3, -0.2, 0.5, 8.0, -4.0, 6.0], device=sim.device).repeat(3, 1))
    poses = []
    for _ in range(5):
        sim.step(begin.joint_pos)
        poses.append(snapshot(sim.state))
    dt = sim.control_dt
    for before, now, after in zip(poses, poses[1:], poses[2:]):
        velocity = (after["object_pos"] - before["object_pos"]) / (2 * dt)
        # A semi-implicit step's velocity is ahead of its position by half a sub-step's gravity.
        close(now["object_vel"][:, :3], velocity, 0.06, "velocity of the origin")
        turn = rotations.multiply(after["object_quat"], rotations.conjugate(before["object_quat"]))
        angle = 2 * torch.atan2(turn[:, 1:].norm(dim=-1), turn[:, 0].abs())
        axis = turn[:, 1:] * turn[:, :1].sign() / turn[:, 1:].norm(dim=-1, keepdim=True)
        close(now["object_vel"][:, 3:], axis * angle[:, None] / (2 * dt), 0.4, "angular velocity")
    momentum = [_angular_momentum(LOADED, pose) for pose in poses]
    close(
        momentum[-1],
        momentum[0],
        bench.momentum_share * momentum[0].norm(),
        "angular momentum, which nothing takes away,",
    )
    com = torch.tensor(LOADED.com, dtype=torch.float32, device=sim.device)
    assert (
        torch.linalg.cross(poses[0]["object_vel"][0, 3:], rotations.rotate(poses[0]["object_quat"][0], com)).norm()
        > 0.03
    )
    sim.close()


def _angular_momentum(item: ObjectModel, state: Dict[str, Tensor]) -> Tensor:
    """(3,) of the first world's object about its centre of mass, kg m^2/s."""
    quat = state["object_quat"][0].double().cpu()
    inertia = torch.tensor(item.inertia, dtype=torch.float64)
    return rotations.rotate(quat, inertia @ rotations.rotate_inverse(quat, state["object_vel"][0, 3:].double().cpu()))
