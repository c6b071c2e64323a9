"""Checks of pushes, and of drives and worlds that differ, for the simulators that have them."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import torch

from conformance.bench import GRAVITY, LOADED, Bench, close, plain_hand, set_joints, start, steps
from tasks import rotations
from tasks.simulators.contract import TABLE_HEIGHT, DriveFactors, WorldChanges


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


def tables_differ(bench: Bench) -> None:
    """Cubes come to rest on tables that are higher or lower, also after a reset; those of worlds outside the mask stay."""
    sim = bench.simulator(3)
    if not sim.varies_worlds:
        return
    begin = start(sim)
    begin.object_id[:] = 0
    begin.object_quat[:] = torch.eye(4, device=sim.device)[0]
    rise = torch.tensor([0.04, -0.03, math.nan], device=sim.device)
    mask = torch.tensor([True, True, False], device=sim.device)
    right = TABLE_HEIGHT + 0.03 + torch.nan_to_num(rise)
    begin.object_pos[:, 2] = right + 0.001
    for first in (True, False):
        begin.into(sim)
        if first:
            sim.vary_worlds(mask, WorldChanges(table_rise=rise))
        steps(sim, begin.joint_pos, 0.2)
        close(1e3 * sim.state.object_pos[:, 2], 1e3 * right, bench.settle_mm, "height, mm,")
    sim.close()


def centres_of_mass_differ(bench: Bench) -> None:
    """Seen from above, the shifted centre of mass of a thrown, tumbling object goes straight on.  A reset puts it back."""
    sim = bench.simulator(3)
    if not sim.varies_worlds or bench.launch is None:
        return
    begin = start(sim)
    begin.object_id[:] = 1
    velocity = torch.tensor([0.3, -0.2, 0.5, 3.0, -2.0, 4.0]).repeat(3, 1)
    shift = torch.tensor([[0.02, 0.0, -0.01], [-0.02, 0.02, 0.01], [math.nan] * 3])
    mask = torch.tensor([True, True, False], device=sim.device)
    own = torch.tensor(LOADED.com, dtype=torch.float32).repeat(3, 1)

    def centre(point: torch.Tensor) -> torch.Tensor:
        return (sim.state.object_pos + rotations.rotate(sim.state.object_quat, point.to(sim.device))).cpu()

    for shifted in (True, False):
        begin.into(sim)
        if shifted:
            sim.vary_worlds(mask, WorldChanges(com_shift=shift.to(sim.device)))
        bench.launch(sim, velocity)
        point = own + torch.nan_to_num(shift) * shifted
        before, away = centre(point), own - torch.nan_to_num(shift) * (not shifted)
        ways = []
        for origin in (point, away):  # `away` is a point that is not the centre of mass, but in the third world
            arm = centre(origin) - sim.state.object_pos.cpu()
            ways.append(velocity[:, :3] + torch.linalg.cross(velocity[:, 3:], arm))
        other = centre(away)
        time = sim.control_dt * steps(sim, begin.joint_pos, 0.15)
        close(centre(point)[:, :2], (before + time * ways[0])[:, :2], 1e-3, "centre of mass")
        bent = (centre(away) - other - time * ways[1])[:2, :2].norm(dim=-1)
        assert (bent > 2e-3).all(), "the shift must matter for this to say something"
    sim.close()


def joints_have_friction(bench: Bench) -> None:
    """A jump of all targets is followed as in plain MuJoCo with this dry friction in the joints, and it outlasts a reset."""
    sim, hand = bench.simulator(3), bench.hand
    if not sim.varies_worlds:
        return
    model = plain_hand(hand)
    joints = [model.joint(name) for name in hand.drives]
    dofs, qpos = ([int(of[0]) for of in all_of] for all_of in zip(*((j.dofadr, j.qposadr) for j in joints)))
    controls = [model.actuator(name).id for name in hand.drives]
    most = np.abs(model.actuator_forcerange[controls]).max(axis=1)
    friction = np.random.default_rng(0).uniform(0.0, 0.3, size=(3, hand.num_drives)) * most
    friction[:, :6] = friction[2] = 0.0  # the third world is not in the mask
    for mask, rows in (([True] * 3, np.zeros_like(friction)), ([True, True, False], friction)):
        given = torch.where(torch.tensor(mask)[:, None], torch.tensor(rows, dtype=torch.float32), math.nan)
        sim.vary_worlds(torch.tensor(mask, device=sim.device), WorldChanges(joint_friction=given.to(sim.device)))
    begin = start(sim)
    begin.into(sim)
    targets = begin.joint_pos[0].double().cpu().numpy()
    targets[6:] += 0.35 * (model.actuator_ctrlrange[controls][6:, 1] - targets[6:])
    for _ in range(4):
        sim.step(torch.tensor(targets, dtype=torch.float32, device=sim.device).repeat(3, 1))
    ends = []
    for world in range(3):
        model = plain_hand(hand)
        model.dof_frictionloss[dofs] += friction[world]
        data = mujoco.MjData(model)
        set_joints(model, data, hand, begin.joint_pos[world].double().cpu().numpy())
        data.ctrl[controls] = targets
        for _ in range(round(4 * sim.control_dt / model.opt.timestep)):
            mujoco.mj_step(model, data)
        close(sim.state.joint_pos[world], data.qpos[qpos], bench.path_rad, f"joints of world {world}")
        ends.append(data.qpos[qpos])
    assert np.abs(ends[0] - ends[2]).max() > 3 * bench.path_rad, "friction must matter for this to say something"
    sim.close()
