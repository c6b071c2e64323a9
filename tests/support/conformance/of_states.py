"""Checks of the state's tensors and of resets."""

from __future__ import annotations

import math
from dataclasses import fields

import torch

from conformance.bench import Bench, bent, close, same_turn, snapshot, start
from tasks.simulators.contract import SimState


def shapes_and_addresses(bench: Bench) -> None:
    """`state` has the contract's shapes and types, and its tensors stay where they are."""
    sim = bench.simulator()
    begin = start(sim)
    expected = SimState.zeros(bench.hand, sim.num_envs, sim.device)
    addresses = {f.name: getattr(sim.state, f.name).data_ptr() for f in fields(SimState)}
    begin.into(sim)
    sim.step(begin.joint_pos)
    for f in fields(SimState):
        mine, right = getattr(sim.state, f.name), getattr(expected, f.name)
        assert (mine.shape, mine.dtype, mine.device) == (right.shape, right.dtype, right.device), f.name
        assert mine.data_ptr() == addresses[f.name], f.name
    assert not sim.state.failed.any()
    assert isinstance(sim.diagnostics(), dict)
    sim.close()


def frames_and_quaternions(bench: Bench) -> None:
    """A step later an asymmetric pose is still that pose: in the world's frame, and (w, x, y, z)."""
    sim = bench.simulator()
    begin = start(sim)
    begin.joint_pos[:] = bent(bench.hand, sim.num_envs, seed=3)
    begin.into(sim)
    before = snapshot(sim.state)
    sim.step(begin.joint_pos)
    state = sim.state
    close(state.object_pos, before["object_pos"], 0.01, "object")
    for name in ("palm_pos", "fingertip_pos"):
        close(getattr(state, name), before[name], 3e-3, name)
    for name in ("palm_quat", "fingertip_quat", "object_quat"):
        same_turn(getattr(state, name), before[name], 1e-3, name)
    sim.close()


def reset_leaves_others_alone(bench: Bench) -> None:
    """A masked reset changes no bit of the other worlds, neither at once nor in what they do next."""
    sim = bench.simulator(4)
    begin = start(sim)
    mask = torch.tensor([False, True, False, True], device=sim.device)
    targets = bent(bench.hand, sim.num_envs, seed=5).to(sim.device)
    ends = []
    for disturb in (False, True):
        begin.into(sim)
        for _ in range(3):
            sim.step(targets)
        if disturb:
            before = snapshot(sim.state)
            other = start(sim)
            for f in fields(other):
                value = getattr(other, f.name)
                if value.dtype == torch.float32:
                    value[~mask] = math.nan  # rows outside the mask may hold anything
            other.into(sim, mask)
            for name, value in before.items():
                assert torch.equal(getattr(sim.state, name)[~mask], value[~mask]), name
            close(sim.state.object_pos[mask], begin.object_pos[mask], 1e-5, "object of a reset world")
        for _ in range(3):
            sim.step(targets)
        ends.append(snapshot(sim.state))
    for name, value in ends[0].items():
        mine = ends[1][name][~mask]
        if bench.exact:
            assert torch.equal(value[~mask], mine), name
        elif value.dtype == torch.float32:
            close(mine, value[~mask], 1e-3, name)
    assert (ends[0]["object_pos"] - ends[1]["object_pos"])[mask].abs().max() > 0.1
    sim.close()


def several_resets_in_one_step(bench: Bench) -> None:
    """Resets between two steps all count; of two of one world the last one does; an empty mask does nothing."""
    sim = bench.simulator(4)
    begin = start(sim)
    begin.into(sim)
    sim.step(begin.joint_pos)
    first, second = start(sim), start(sim)
    first.object_pos[:, 0], second.object_pos[:, 0] = 0.1, 0.2
    first.into(sim, torch.tensor([True, True, False, False], device=sim.device))
    second.into(sim, torch.tensor([False, True, True, False], device=sim.device))
    before = snapshot(sim.state)
    second.into(sim, torch.zeros(4, dtype=torch.bool, device=sim.device))
    for name, value in before.items():
        assert torch.equal(getattr(sim.state, name), value), name
    sim.step(begin.joint_pos)
    close(sim.state.object_pos[:, 0], torch.tensor([0.1, 0.2, 0.2, 0.4]), 1e-4, "x")
    sim.close()
