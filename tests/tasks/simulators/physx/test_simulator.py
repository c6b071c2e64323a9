"""PhysX on the processor: the contract, and what only this backend has."""

from __future__ import annotations

import dataclasses
import logging
from typing import Callable

import conformance
import pytest
import torch
from conformance import CUBE, LOADED, Bench, start
from physx_support import launch, make, needs_physx

from tasks.grasp.environment import GraspTask
from tasks.hands import get_hand
from tasks.objects import ObjectSet
from tasks.simulators.contract import TABLE_HEIGHT
from tasks.simulators.errors import SimulatorError
from tasks.simulators.physx import library
from tasks.simulators.physx.settings import PhysxCfg

TWO = ObjectSet.of("two", [CUBE, LOADED])


@needs_physx
@pytest.mark.parametrize("check", conformance.CONFORMANCE, ids=lambda check: check.__name__)
def test_physx_contract(check: Callable[[Bench], None]) -> None:
    check(Bench(make, launch))


@needs_physx
@pytest.mark.parametrize("check", [conformance.object_rests_on_the_hand, conformance.fingertip_presses_the_table])
def test_physx_contract_in_the_steps_of_training(check: Callable[[Bench], None]) -> None:
    check(Bench(lambda objects, num_envs: make(objects, num_envs, fine=False), launch))


@needs_physx
@pytest.mark.parametrize("name", ["allegro", "leap"])
def test_physx_has_the_other_hands(name: str) -> None:
    hand = get_hand(name)
    tested = dataclasses.replace(conformance.SHADOW, spec=hand)
    for check in (conformance.current_after_reset, conformance.frames_and_quaternions):
        check(Bench(lambda objects, num_envs: make(objects, num_envs, hand), tested=tested))


@needs_physx
def test_physx_torques_are_those_of_the_points_of_contact() -> None:
    """The table pushes at the lowest point of a fingertip's round end, so the torque is known from the force."""
    sim = make(TWO, 2)
    begin = start(sim)
    tested = conformance.SHADOW
    for name, value in tested.pressing.items():
        begin.joint_pos[:, sim.hand.drives.index(name)] = value
    begin.joint_pos[:, 2] = TABLE_HEIGHT + tested.pressing_heights[0]
    begin.into(sim)
    targets = begin.joint_pos.clone()
    for step in range(25):
        targets[:, 2] = TABLE_HEIGHT + max(0.06, tested.pressing_heights[0] - 0.006 * step)
        targets[:, 0] = 0.002 * step  # it rubs, so that there is a torque
        sim.step(targets)
    tips = list(tested.pressing_tips)
    force, torque = sim.state.fingertip_wrench[:, tips].split(3, dim=-1)
    assert force[..., 2].max() > 1 and force[..., :2].norm(dim=-1).max() > 0.3
    arm = torch.zeros_like(force)
    arm[..., 2] = TABLE_HEIGHT - sim.state.fingertip_pos[:, tips, 2]
    found, right = torque[..., :2], torch.linalg.cross(arm, force)[..., :2]
    # The capsule touches along its side, too: up to 3 mm from below its end's centre.
    allowed = 3e-3 * force.norm(dim=-1, keepdim=True) + 1e-3
    assert ((found - right).abs() <= allowed).all(), (found - right).abs().max()
    assert not sim.state.fingertip_wrench[:, [t for t in range(5) if t not in tips], 3:].any()
    sim.close()
    sim = make(TWO, 2, fingertip_torques=False)
    begin.into(sim)
    for _ in range(25):
        sim.step(targets)
    assert sim.state.fingertip_wrench[..., 2].max() > 1 and not sim.state.fingertip_wrench[..., 3:].any()
    sim.close()


@needs_physx
def test_physx_diverged_world_is_reported_and_recovers() -> None:
    sim = make(TWO, 4)
    begin = start(sim)
    begin.into(sim)
    sim.step(begin.joint_pos)
    launch(sim, torch.tensor([[0.0] * 6, [5000.0, 0, 0, 0, 0, 0], [0.0] * 6, [0.0, 0, 900.0, 0, 0, 0]]))
    sim.step(begin.joint_pos)
    assert sim.state.failed.tolist() == [False, True, False, True]
    for f in dataclasses.fields(sim.state):
        assert torch.isfinite(getattr(sim.state, f.name).float()).all(), f.name
    begin.into(sim, sim.state.failed.clone())
    assert not sim.state.failed.any()
    for _ in range(3):
        sim.step(begin.joint_pos)
        assert not sim.state.failed.any()
    assert sim.state.object_pos[:, 2].max() < begin.object_pos[0, 2]
    assert sim.diagnostics() == {"nan_resets": 2.0, "contact_overflows": 0.0}
    assert sim.diagnostics()["nan_resets"] == 0
    sim.close()


@needs_physx
def test_physx_keeps_what_worlds_were_built_with() -> None:
    known = dataclasses.replace(CUBE, friction=0.65)
    sim = make(ObjectSet.of("two", [known, LOADED]), 4, seed=3, mass_scale=2.0)
    begin = start(sim)
    begin.object_id = 1 - sim.state.object_id
    begin.into(sim)
    assert sim.state.object_id.tolist() == [0, 1, 0, 1]
    assert not sim.swaps_objects and not sim.capturable
    types = library.load().types.TensorType
    masses, frictions = torch.zeros(4), torch.zeros(4, 2, 3)
    for kind, values in ((types.RIGID_BODY_MASS, masses), (types.RIGID_BODY_SHAPE_FRICTION_AND_RESTITUTION, frictions)):
        binding = sim.worlds.physx.create_tensor_binding(pattern="/World/env*/object", tensor_type=kind)
        values.resize_(tuple(binding.shape))
        binding.read(values)
        binding.destroy()
    own = torch.tensor([known.mass, LOADED.mass] * 2)
    torch.testing.assert_close(masses[sim._object_row], own * sim.mass_scale)
    torch.testing.assert_close(frictions[sim._object_row][:, 0, 0], sim.friction)
    assert len(set(sim.mass_scale.tolist())) == 4 and sim.mass_scale.min() >= 0.5 and sim.mass_scale.max() <= 2.0
    assert sim.friction[[0, 2]].tolist() == pytest.approx([0.65, 0.65])
    sim.close()


@needs_physx
def test_physx_counts_lost_contacts_and_worlds_are_independent_of_another_simulation() -> None:
    """A training has a second simulation for its running evaluation."""
    first, second = make(TWO, 2), make(TWO, 3)
    begin = start(first)
    begin.into(first)
    first.step(begin.joint_pos)
    before = first.state.object_pos.clone()
    other = start(second)
    other.into(second)
    for _ in range(3):
        second.step(other.joint_pos)
    assert torch.equal(first.state.object_pos, before)
    first.step(begin.joint_pos)
    assert (first.state.object_pos[:, 2] < before[:, 2]).all()
    logging.getLogger("ovphysx").error("Contact buffer overflow detected, please increase its size to at least 9")
    logging.getLogger("ovphysx").error("something else")
    assert first.diagnostics()["contact_overflows"] == second.diagnostics()["contact_overflows"] == 1
    assert first.diagnostics()["contact_overflows"] == 0
    first.close()
    second.step(other.joint_pos)
    second.close()


@needs_physx
def test_physx_runs_the_task() -> None:
    sim = make(TWO, 4, fine=False)
    task = GraspTask(sim, get_hand("shadow"), TWO)
    torch.manual_seed(0)
    task.reset()
    for _ in range(40):
        step = task.step(torch.rand(4, task.num_actions) * 2 - 1)
        for value in (step.obs, step.critic_obs, step.reward, step.final_critic_obs):
            assert torch.isfinite(value).all()
    sim.close()


@pytest.mark.parametrize(
    "cause, said",
    [
        (ModuleNotFoundError("No module named 'ovphysx'", name="ovphysx"), r"not installed .*pip install .*\[physx\].*licence"),
        (OSError("libX11.so.6: cannot open shared object file: No such file or directory"), "apt install libx11-6 libgl1"),
        (OSError("/lib/libc.so.6: version `GLIBC_2.35' not found"), "glibc 2.35 or newer.*this is"),
        (RuntimeError("odd"), "did not load: RuntimeError: odd"),
    ],
)  # fmt: skip
def test_what_physx_lacks_is_one_line(cause: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", (3, 11, 0))
    text = library.explain(cause)
    assert pytest.importorskip("re").search(said, text) and "\n" not in text


def test_physx_needs_a_newer_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", (3, 8, 18))
    assert "needs Python 3.11 or newer" in library.explain(ModuleNotFoundError("x", name="ovphysx"))


def test_without_ovphysx_the_check_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ovphysx", None)
    with pytest.raises(SimulatorError, match=r"PhysX"):
        library.load()


def test_physx_fine_steps_have_the_control_rate_of_the_policy() -> None:
    assert PhysxCfg().control_dt == pytest.approx(1 / 30) == PhysxCfg.fine().control_dt
    assert PhysxCfg.fine(1 / 60).substeps == 4
    assert PhysxCfg.recipe().position_iterations == 8 and PhysxCfg.recipe().velocity_iterations == 0
    with pytest.raises(ValueError, match="no whole number"):
        PhysxCfg.fine(1 / 50)
