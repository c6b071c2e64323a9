"""Checks of the hand: drives, kinematics and forces.  Plain MuJoCo C is the oracle."""

from __future__ import annotations

import math
from typing import List

import mujoco
import numpy as np
import torch

from conformance.bench import (
    CUBE,
    GRAVITY,
    Bench,
    bent,
    close,
    plain_hand,
    plain_hand_and_table,
    same_turn,
    set_joints,
    start,
    steps,
)
from tasks.simulators.contract import TABLE_HEIGHT, Simulator


def drives_follow(bench: Bench) -> None:
    """Base and fingers go where their targets are, and the coupled joints with them."""
    sim = bench.simulator()
    begin = start(sim)
    begin.into(sim)
    targets = begin.joint_pos.clone()
    targets[:, :6] = torch.tensor([0.1, -0.2, 0.8, 0.3, -0.2, 0.4])
    names = bench.hand.drives
    for name, value in bench.tested.bent.items():
        targets[:, names.index(name)] = value
    steps(sim, targets, 2.5)
    # What a drive lacks in a finger is what the base's hinges lack in holding the hand's weight: little.
    close(sim.state.joint_pos, targets, 0.02, "joints")
    close(sim.state.joint_vel, torch.zeros_like(targets), 0.02, "joint speeds")
    model, data = plain_hand(bench.hand), None
    for world in range(sim.num_envs):
        data = mujoco.MjData(model)
        set_joints(model, data, bench.hand, sim.state.joint_pos[world].double().cpu().numpy())
        mujoco.mj_kinematics(model, data)
        tips = np.stack([data.site(name).xpos for name in bench.hand.fingertip_sites])
        close(sim.state.fingertip_pos[world], tips, 2e-3, "fingertips, which the coupled joints move,")
    sim.close()


def current_after_reset(bench: Bench) -> None:
    """Right after a reset every pose is that of plain MuJoCo's kinematics, at rest and without forces."""
    sim = bench.simulator()
    begin = start(sim)
    begin.into(sim)
    sim.step(begin.joint_pos)
    begin.joint_pos[:] = bent(bench.hand, sim.num_envs)
    begin.into(sim)
    state, hand = sim.state, bench.hand
    close(state.joint_pos, begin.joint_pos, 1e-6, "joints")
    model = plain_hand(hand)
    for world in range(sim.num_envs):
        data = mujoco.MjData(model)
        set_joints(model, data, hand, begin.joint_pos[world].double().cpu().numpy())
        mujoco.mj_kinematics(model, data)
        for name, pos, quat in (
            (hand.palm_site, state.palm_pos[world], state.palm_quat[world]),
            *zip(hand.fingertip_sites, state.fingertip_pos[world], state.fingertip_quat[world]),
        ):
            right = np.zeros(4)
            mujoco.mju_mat2Quat(right, data.site(name).xmat)
            close(pos, data.site(name).xpos, 1e-5, name)
            same_turn(quat, torch.tensor(right, dtype=torch.float32), 1e-5, name)
    close(state.palm_pos, begin.joint_pos[:, :3], 1e-5, "palm, which the slides carry,")
    close(state.object_pos, begin.object_pos, 1e-5, "object")
    same_turn(state.object_quat, begin.object_quat, 1e-5, "object")
    for name in ("joint_vel", "drive_force", "fingertip_vel", "fingertip_wrench", "object_vel"):
        assert not getattr(state, name).any(), name
    sim.close()


def fingertip_velocity_is_of_its_origin(bench: Bench) -> None:
    """While base and finger turn, the fingertips' velocities are those of plain MuJoCo at the same joints and speeds."""
    sim = bench.simulator(2)
    begin = start(sim)
    begin.into(sim)
    hand, model = bench.hand, plain_hand(bench.hand)
    rate = torch.zeros_like(begin.joint_pos)
    rate[:, 3:6] = torch.tensor([1.2, -0.8, 1.0])
    rate[:, hand.drives.index(next(iter(bench.tested.bent)))] = 2.0
    dofs = [int(model.joint(name).dofadr[0]) for name in hand.drives]
    velocity = np.zeros(6)
    for count in range(12):
        sim.step(begin.joint_pos + rate * (count + 1) * sim.control_dt)
        data = mujoco.MjData(model)
        set_joints(model, data, hand, sim.state.joint_pos[0].double().cpu().numpy())
        data.qvel[dofs] = sim.state.joint_vel[0].double().cpu().numpy()
        mujoco.mj_forward(model, data)
        for tip, name in enumerate(hand.fingertip_sites):
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_SITE, model.site(name).id, velocity, 0)
            # Coupled joints wobble a little; half a centimetre off the right point would be 0.01 m/s.
            close(sim.state.fingertip_vel[0, tip, :3], velocity[3:], 5e-3, f"velocity of {name}")
            close(sim.state.fingertip_vel[0, tip, 3:], velocity[:3], 0.1, f"angular velocity of {name}")
    assert sim.state.fingertip_vel[0, :, :3].norm(dim=-1).max() > 0.1
    sim.close()


def fingertip_presses_the_table(bench: Bench) -> None:
    """The table pushes a fingertip up, in the world's frame, as hard as the base pushes the hand down."""
    sim = bench.simulator(2)
    begin = start(sim)
    tested = bench.tested
    for name, value in tested.pressing.items():
        begin.joint_pos[:, bench.hand.drives.index(name)] = value
    high, low = tested.pressing_heights
    begin.joint_pos[:, 2] = TABLE_HEIGHT + high
    begin.into(sim)
    assert sim.state.fingertip_pos[..., 2].min() > TABLE_HEIGHT
    targets = begin.joint_pos.clone()
    followed = []
    for height in np.linspace(high, low, 20):
        targets[:, 2] = TABLE_HEIGHT + height
        followed.append(targets[0].double().cpu().numpy())
        sim.step(targets)
    held = steps(sim, targets, 1.5)
    _pressed_as_plain_mujoco(bench, sim, begin.joint_pos[0].double().cpu().numpy(), followed + followed[-1:] * held)
    force = sim.state.fingertip_wrench[..., :3].sum(dim=1)
    down = -sim.state.drive_force[:, 2]
    assert (down > 2.0).all(), f"the base presses with {down.tolist()} N"
    close(force[:, 2] / down, torch.ones(2), 0.15, "the table's force over the base's")
    pressing = list(tested.pressing_tips)
    others = [tip for tip in range(bench.hand.num_fingertips) if tip not in pressing]
    assert (sim.state.fingertip_wrench[:, pressing, 2] > -0.1).all(), "no finger is pulled down"
    assert (sim.state.fingertip_wrench[:, others].abs() < 0.1).all(), "the thumb touches nothing"
    of_tips = sim.state.fingertip_wrench[..., :3].norm(dim=-1).sum(-1)
    close(sim.state.hand_force / of_tips, torch.ones(2), 1e-3, "the force on all links over that on the fingertips")
    mask = torch.tensor([True, False], device=sim.device)
    kept = sim.state.fingertip_wrench[1].clone(), sim.state.hand_force[1].clone()
    begin.into(sim, mask)
    assert not sim.state.fingertip_wrench[0].any() and not sim.state.hand_force[0].any()
    assert torch.equal(sim.state.fingertip_wrench[1], kept[0]) and torch.equal(sim.state.hand_force[1], kept[1])
    sim.close()


def _pressed_as_plain_mujoco(bench: Bench, sim: Simulator, start_pos: np.ndarray, targets: List[np.ndarray]) -> None:
    """Drives hold a load as in plain MuJoCo: the base yields as far, and each finger's drives push as hard.

    A joint that is followed must feel what presses on the one that follows.
    """
    hand, model = bench.hand, plain_hand_and_table(bench.hand)
    data = mujoco.MjData(model)
    set_joints(model, data, hand, start_pos)
    controls = [model.actuator(name).id for name in hand.drives]
    qpos = [int(model.joint(name).qposadr[0]) for name in hand.drives]
    for target in targets:
        data.ctrl[controls] = target
        for _ in range(round(sim.control_dt / model.opt.timestep)):
            mujoco.mj_step(model, data)
    close(sim.state.joint_pos[0], data.qpos[qpos], bench.path_rad, "joints that are pressed")
    force = data.actuator_force[controls]
    for group in (slice(0, 3), slice(3, 6), slice(6, None)):
        most = float(np.abs(force[group]).max())
        close(sim.state.drive_force[0, group], force[group], 0.25 * most, "forces of drives that hold a load")


def drive_force_is_bounded(bench: Bench) -> None:
    """A drive that cannot reach its target exerts what its MJCF allows, and no more."""
    sim = bench.simulator(2)
    begin = start(sim)
    begin.into(sim)
    model = plain_hand(bench.hand)
    limit = torch.tensor(np.stack([model.actuator(name).forcerange for name in bench.hand.drives]), dtype=torch.float32)
    targets = begin.joint_pos.clone()
    targets[:, 0] = 1.0
    sim.step(targets)
    assert (sim.state.drive_force <= limit[:, 1].to(sim.device) + 1e-3).all()
    assert (sim.state.drive_force >= limit[:, 0].to(sim.device) - 1e-3).all()
    assert (sim.state.drive_force[:, 0] > 5).all(), "pushes towards the target"
    sim.close()


def same_path_as_plain_mujoco(bench: Bench) -> None:
    """The hand in the air follows moving targets as it does in plain MuJoCo with a fourth of the step."""
    sim = bench.simulator(2)
    begin = start(sim)
    begin.into(sim)
    hand, model = bench.hand, plain_hand(bench.hand)
    data = mujoco.MjData(model)
    set_joints(model, data, hand, begin.joint_pos[0].double().cpu().numpy())
    qpos = [int(model.joint(name).qposadr[0]) for name in hand.drives]
    controls = [model.actuator(name).id for name in hand.drives]
    low, high = model.actuator_ctrlrange[controls].T
    middle = np.where(np.arange(hand.num_drives) < 6, begin.joint_pos[0].double().cpu().numpy(), (low + high) / 2)
    reach = np.where(np.arange(hand.num_drives) < 6, 0.2, 0.35 * (high - low))
    phase = np.arange(float(hand.num_drives))
    for count in range(30):
        targets = middle + reach * np.sin(2 * math.pi * 0.7 * (count + 1) * sim.control_dt + phase)
        sim.step(torch.tensor(targets, dtype=torch.float32, device=sim.device).repeat(2, 1))
        data.ctrl[controls] = targets
        for _ in range(round(sim.control_dt / model.opt.timestep)):
            mujoco.mj_step(model, data)
        close(sim.state.joint_pos[0], data.qpos[qpos], bench.path_rad, f"joints at step {count}")
    close(sim.state.joint_pos[0], sim.state.joint_pos[1], 1e-5, "equal worlds")
    sim.close()


def jumps_as_plain_mujoco(bench: Bench) -> None:
    """After a jump of all targets the hand moves as in plain MuJoCo: it depends on force limits, armatures and damping."""
    sim = bench.simulator(2)
    begin = start(sim)
    begin.into(sim)
    hand, model = bench.hand, plain_hand(bench.hand)
    data = mujoco.MjData(model)
    set_joints(model, data, hand, begin.joint_pos[0].double().cpu().numpy())
    qpos = [int(model.joint(name).qposadr[0]) for name in hand.drives]
    controls = [model.actuator(name).id for name in hand.drives]
    targets = begin.joint_pos[0].double().cpu().numpy()
    targets[0] += 0.6  # m, for which the drive would need more than the force that it has
    targets[6:] += 0.35 * (model.actuator_ctrlrange[controls][6:, 1] - targets[6:])
    data.ctrl[controls] = targets
    for count in range(8):  # to the targets, past them and back, so that it depends on damping, too
        sim.step(torch.tensor(targets, dtype=torch.float32, device=sim.device).repeat(2, 1))
        for _ in range(round(sim.control_dt / model.opt.timestep)):
            mujoco.mj_step(model, data)
        close(sim.state.joint_pos[0], data.qpos[qpos], bench.path_rad, f"joints at step {count}")
    sim.close()


def object_rests_on_the_hand(bench: Bench) -> None:
    """A cube that is put down on the back of the hand stays there; the base's drive carries its weight, and the hand feels it."""
    sim = bench.simulator(2, CUBE)
    begin = start(sim, 1)
    back = torch.tensor(bench.tested.back, device=sim.device)
    begin.object_pos[:] = begin.joint_pos[:, :3] + back + torch.tensor([0.0, 0.0, 0.032], device=sim.device)
    begin.object_quat[:] = torch.tensor([1.0, 0.0, 0.0, 0.0], device=sim.device)
    begin.into(sim)
    steps(sim, begin.joint_pos, 0.5)
    felt = torch.zeros(2, device=sim.device)
    count = 15
    for _ in range(count):
        sim.step(begin.joint_pos)
        felt += sim.state.hand_force / count
    above = sim.state.object_pos[:, 2] - sim.state.palm_pos[:, 2]
    # A hull on a box has one point of contact, on which a cube rocks by some millimetres.
    close(above, torch.full((2,), bench.tested.back[2] + 0.03), 0.012, "height over the palm")
    weight = CUBE.mass * GRAVITY
    close(sim.state.drive_force[:, 2], torch.full((2,), weight), 0.15 * weight, "force of the base's drive")
    assert not sim.state.fingertip_wrench[..., :3].any(), "the fingertips touch nothing"
    # Two links that the cube lies on may push against each other, by as much as friction allows.
    most = weight * math.hypot(1.0, float(begin.friction[0]))
    assert (felt > 0.85 * weight).all() and (felt < 1.15 * most).all(), f"{felt.tolist()} N, not {weight} to {most}"
    sim.close()
