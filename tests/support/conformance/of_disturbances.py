"""Checks of pushes and of drives that differ, for the simulators that have them."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import torch

from conformance.bench import GRAVITY, Bench, close, plain_hand, set_joints, start
from tasks.simulators.contract import DriveFactors


def pushed_objects_accelerate(bench: Bench) -> None:
    """A falling object gets the force over its mass, on top of gravity, in pushed worlds alone; and nothing afterwards."""
    sim = bench.simulator()
    if not sim.pushes_objects:
        return
    begin = start(sim)
    begin.mass_scale[1] = 2.0
    begin.into(sim)
    mass = torch.tensor([0.15, 2 * 0.3, 0.15, 0.3])
    force = torch.zeros(4, 3)
    force[0], force[1] = torch.tensor([0.3, 0.0, -0.1]), torch.tensor([0.0, 0.6, 0.3])
    sim.push(force.to(sim.device))
    sim.step(begin.joint_pos)
    # Of the centre of mass, which the loaded object has away from its origin: there is no torque, so all points move alike.
    expected = force / mass[:, None] * sim.control_dt
    expected[:, 2] -= GRAVITY * sim.control_dt
    close(sim.state.object_vel[:, :3], expected, 2e-3, "speed after a push")
    close(sim.state.object_vel[:, 3:], torch.zeros(4, 3), 2e-3, "turn after a push")
    sim.push(torch.zeros(4, 3, device=sim.device))
    sim.step(begin.joint_pos)
    expected[:, 2] -= GRAVITY * sim.control_dt
    close(sim.state.object_vel[:, :3], expected, 2e-3, "speed after the push")
    sim.close()


def drives_differ(bench: Bench) -> None:
    """A jump of all targets is followed as in plain MuJoCo with these gains and limits, and they outlast a reset."""
    sim, hand = bench.simulator(3), bench.hand
    if not sim.varies_drives:
        return
    random = np.random.default_rng(0)
    given = np.exp(random.uniform(math.log(0.4), math.log(2.0), size=(3, 3, hand.num_drives)))
    given[:, 2] = 1.0  # the third world is not in the mask
    torn = torch.full((3, hand.num_drives), math.nan)
    for mask, factors in (([True] * 3, np.ones_like(given)), ([True, True, False], given)):
        rows = [torch.where(torch.tensor(mask)[:, None], torch.tensor(f, dtype=torch.float32), torn) for f in factors]
        sim.vary_drives(torch.tensor(mask, device=sim.device), DriveFactors(*(row.to(sim.device) for row in rows)))
    begin = start(sim)
    begin.into(sim)
    model = plain_hand(hand)
    qpos = [int(model.joint(name).qposadr[0]) for name in hand.drives]
    controls = [model.actuator(name).id for name in hand.drives]
    targets = begin.joint_pos[0].double().cpu().numpy()
    targets[6:] += 0.35 * (model.actuator_ctrlrange[controls][6:, 1] - targets[6:])
    for _ in range(3):
        sim.step(torch.tensor(targets, dtype=torch.float32, device=sim.device).repeat(3, 1))
    ends = []
    for world in range(3):
        model, (stiffness, damping, force) = plain_hand(hand), given[:, world]
        model.actuator_gainprm[controls, 0] *= stiffness
        model.actuator_biasprm[controls, 1] *= stiffness
        model.actuator_biasprm[controls, 2] *= damping
        model.actuator_forcerange[controls] *= force[:, None]
        data = mujoco.MjData(model)
        set_joints(model, data, hand, begin.joint_pos[world].double().cpu().numpy())
        data.ctrl[controls] = targets
        for _ in range(round(3 * sim.control_dt / model.opt.timestep)):
            mujoco.mj_step(model, data)
        close(sim.state.joint_pos[world], data.qpos[qpos], bench.path_rad, f"joints of world {world}")
        ends.append(data.qpos[qpos])
    assert np.abs(ends[0] - ends[2]).max() > 3 * bench.path_rad, "the factors must matter for this to say something"
    sim.close()
