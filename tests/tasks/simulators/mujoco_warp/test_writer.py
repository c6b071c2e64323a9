"""MuJoCo Warp's writer of starts, one kernel, against the same assignments made one by one in float64."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any, Callable, Dict

import numpy as np
import pytest
import torch
from plain_mujoco import HAND, PHYSICS, some_objects
from torch import Tensor

pytest.importorskip("mujoco_warp", reason="needs MuJoCo Warp")

import warp as wp
from warp_launches import launches_of_warp

from tasks.simulators.contract import SimState, Start
from tasks.simulators.mujoco.scene import BODY_FIELDS, GEOM_FIELDS
from tasks.simulators.mujoco.state import Places
from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator
from tasks.simulators.mujoco_warp.writer import WarpStartWriter

WORLDS = 40
MODEL = (*GEOM_FIELDS, *BODY_FIELDS, "geom_friction", "body_subtreemass", "dof_invweight0")
DATA = ("qpos", "qvel", "qacc_warmstart", "ctrl")
STATE = tuple(f.name for f in fields(SimState))

MASKS: Dict[str, Callable[[Tensor], Tensor]] = {
    "some": lambda draw: draw < 0.5,
    "none": lambda draw: draw < 0,
    "all": lambda draw: draw >= 0,
}
LAYOUTS: Dict[str, Callable[[Tensor], Tensor]] = {
    "side by side": lambda tensor: tensor,
    "a column": lambda tensor: torch.stack([tensor, tensor], dim=-1)[..., 0],
    "transposed": lambda tensor: tensor.t().contiguous().t(),
    "a piece": lambda tensor: torch.cat([tensor[:3], tensor, tensor])[3 : 3 + WORLDS],
    "one for all": lambda tensor: tensor[7:8].expand_as(tensor),
}
"""Ways in which a start's numbers may lie in memory."""


@pytest.fixture(scope="module")
def sim() -> MujocoWarpSimulator:
    """Of a hand whose actuators are in another order than its drives."""
    sim = MujocoWarpSimulator(HAND, some_objects(), WORLDS, torch.device("cpu"), PHYSICS)
    odd = replace(Places.of(sim.scene, HAND), actuators=actuators())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Places, "of", lambda *_args: odd)
        sim._writer = WarpStartWriter(sim.scene, HAND, sim.model, sim.data, sim.state, sim._nan_resets)
    return sim


def actuators() -> list:
    return torch.randperm(24, generator=torch.Generator().manual_seed(1)).tolist()


def memory(sim: MujocoWarpSimulator) -> Dict[str, Tensor]:
    """All that a simulation is made of: arrays of the model, of the data and of the state."""
    found = {
        f"{owner}.{name}": wp.to_torch(array)
        for owner, of in (("model", sim.model), ("data", sim.data))
        for name, array in vars(of).items()
        if isinstance(array, wp.array) and array.size
    }
    return {**found, **{f"state.{name}": getattr(sim.state, name) for name in STATE}}


def scramble(arrays: Dict[str, Tensor], generator: torch.Generator) -> None:
    """Other numbers in whatever a start may write to, and in all of the state."""
    for name in (*(f"model.{n}" for n in MODEL), *(f"data.{n}" for n in DATA), *(f"state.{n}" for n in STATE)):
        array = arrays[name]
        if array.dtype.is_floating_point:
            array.copy_(torch.randn(array.shape, generator=generator))
        else:
            array.copy_(torch.randint(2 if array.dtype == torch.bool else 10**6, array.shape, generator=generator))


def any_start(generator: torch.Generator) -> Start:
    rand = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    return Start(
        joint_pos=4 * rand(WORLDS, 24) - 2,
        object_pos=rand(WORLDS, 3) - 0.5,
        object_quat=torch.nn.functional.normalize(rand(WORLDS, 4) - 0.5, dim=-1),
        object_id=torch.randint(len(some_objects().objects), (WORLDS,), generator=generator),
        mass_scale=0.3 + 3 * rand(WORLDS),
        friction=0.2 + rand(WORLDS),
    )


def absurd_ids(count: int) -> Tensor:
    return torch.tensor([-1, 5, 10**6, -(10**6), 2**31, -(2**62), 2**62 + 1]).repeat(count)[:count]


def expected(sim: MujocoWarpSimulator, mask: Tensor, start: Start, before: Dict[str, Tensor]) -> Dict[str, np.ndarray]:
    """What must be in memory afterwards, world by world; floats are float64."""
    result = {n: t.double().numpy() if t.is_floating_point() else t.numpy().copy() for n, t in before.items()}
    scene = sim.scene
    geoms, body, q, v = scene.object_geoms, scene.object_body, scene.object_qpos, scene.object_dof
    joints = [scene.model.joint(name) for name in HAND.drives]
    for world in range(WORLDS):
        if not mask[world]:
            continue
        item, scale = int(start.object_id[world]), float(start.mass_scale[world])
        model = {name: result[f"model.{name}"][world] for name in MODEL}
        for name, values in scene.geom_rows.items():
            model[name][geoms] = values[item].reshape(model[name][geoms].shape)
        for name, values in scene.body_rows.items():
            model[name][body] = values[item]
        model["geom_friction"][geoms, 0] = float(start.friction[world])
        model["body_mass"][body] *= scale
        model["body_inertia"][body] *= scale
        model["body_invweight0"][body] /= scale
        model["dof_invweight0"][v : v + 6] = scene.dof_invweight0[item] / scale
        model["body_subtreemass"][body] = model["body_mass"][body]
        model["body_subtreemass"][0] = model["body_mass"][body] + scene.hand_mass
        data = {name: result[f"data.{name}"][world] for name in DATA}
        position = start.joint_pos[world].double().numpy()
        for joint, actuator, value in zip(joints, actuators(), position):
            data["qpos"][joint.qposadr], data["ctrl"][actuator] = value, value
        for name, source in HAND.coupled_joints.items():
            data["qpos"][scene.model.joint(name).qposadr] = position[HAND.drives.index(source)]
        data["qpos"][q : q + 3], data["qpos"][q + 3 : q + 7] = start.object_pos[world], start.object_quat[world]
        data["qvel"][:] = 0
        data["qacc_warmstart"][:] = 0
        result["state.drive_force"][world] = 0
        result["state.fingertip_wrench"][world] = 0
        result["state.hand_force"][world] = 0
        result["state.object_id"][world] = item
    return result


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("chosen", MASKS)
def test_of_any_start(sim: MujocoWarpSimulator, chosen: str, layout: str) -> None:
    """Masked worlds get what the reference writes; no bit of the others, nor of any other array, changes.

    Outside the mask the start holds NaN and objects that do not exist.
    """
    generator = torch.Generator().manual_seed(2)
    mask = MASKS[chosen](torch.rand(WORLDS, generator=generator))
    given = any_start(generator).__dict__
    if layout != "one for all":
        for value in given.values():
            value[~mask] = math.nan if value.is_floating_point() else absurd_ids(int((~mask).sum()))
    start = Start(**{name: LAYOUTS[layout](value) for name, value in given.items()})
    arrays = memory(sim)
    scramble(arrays, generator)
    sim._nan_resets.fill_(3)
    failed = sim.state.failed.clone()
    before = {name: array.clone() for name, array in arrays.items()}
    right = expected(sim, mask, start, before)
    sim._writer.write(LAYOUTS["a column"](mask) if layout == "a column" else mask, start)
    for name, array in arrays.items():
        untouched = right[name] == (before[name].double() if array.is_floating_point() else before[name]).numpy()
        if untouched.all():
            assert bits(array) == bits(before[name]), name
            continue
        assert bits(array[~mask]) == bits(before[name][~mask]), name
        kept = torch.from_numpy(untouched)
        assert torch.equal(array[kept], before[name][kept]), name
        np.testing.assert_allclose(array.numpy(), right[name], rtol=1e-6, atol=0.0, err_msg=name)
    changed = {name for name, array in arrays.items() if bits(array) != bits(before[name])}
    wanted = {f"model.{name}" for name in MODEL} | {f"data.{name}" for name in DATA}
    wanted |= {"state.drive_force", "state.fingertip_wrench", "state.hand_force", "state.object_id"}
    assert changed == (wanted if mask.any() else set())
    assert int(sim._nan_resets) == 3 + int((mask & failed).sum())


def test_numbers_of_another_kind_are_refused(sim: MujocoWarpSimulator) -> None:
    """The kernel takes them as they lie in memory."""
    mask = torch.ones(WORLDS, dtype=torch.bool)
    start = any_start(torch.Generator().manual_seed(3))
    wrong: Dict[str, Any] = {"object_id": start.object_id.int(), "joint_pos": start.joint_pos.double()}
    for name, value in wrong.items():
        with pytest.raises(RuntimeError, match=f"start_{name}"):
            sim._writer.write(mask, replace(start, **{name: value}))


def test_a_start_is_one_launch(sim: MujocoWarpSimulator) -> None:
    """One launch is enough however its numbers lie in memory, and the rest of a reset is Warp's, too."""
    given = any_start(torch.Generator().manual_seed(4)).__dict__
    start = Start(**{name: LAYOUTS["a column"](value) for name, value in given.items()})
    mask = torch.ones(WORLDS, dtype=torch.bool)
    with launches_of_warp() as launched:
        sim.reset(mask, start)
    ours = [name for name in launched if name in ("_write_start", "_read_forces", "_read_motion")]
    assert ours == [launched[0], launched[-1]] == ["_write_start", "_read_motion"]
