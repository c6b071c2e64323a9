"""Warp's distances to surfaces against `tasks.objects.distance` in float64, which test_shapes.py checks against geometry."""

from __future__ import annotations

import pytest
import torch
from plain_mujoco import HAND, PHYSICS

pytest.importorskip("mujoco_warp", reason="needs MuJoCo Warp")

from warp_launches import launches_of_warp

from tasks.objects import ObjectSet, distance, load_objects
from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator

WORLDS, POINTS = 48, 6


@pytest.fixture(scope="module")
def objects() -> ObjectSet:
    """Of one part and of several, with few faces and with many."""
    found = [o for o in load_objects("everyday").objects if len(o.parts) > 1][:6] + list(
        load_objects("primitives").objects[:6]
    )
    return ObjectSet.of("some", found)


@pytest.fixture(scope="module")
def sim(objects: ObjectSet) -> MujocoWarpSimulator:
    return MujocoWarpSimulator(HAND, objects, WORLDS, torch.device("cpu"), PHYSICS)


def test_distances_are_those_of_torch_in_float64(sim: MujocoWarpSimulator, objects: ObjectSet) -> None:
    """Inside, near and far, for objects whose padding differs; points that do not lie side by side in memory, too."""
    torch.manual_seed(0)
    faces = objects.tensors().faces
    used = (faces[..., :3] != 0).any(-1).sum((1, 2))
    assert faces.shape[1] > 1 and used.min() * 3 < used.max(), "padding of parts and of faces"
    sim.state.object_id.copy_(torch.arange(WORLDS) % len(objects))
    for spread in (0.01, 0.1, 1.0):
        points = spread * torch.randn(WORLDS, 3, POINTS).transpose(1, 2)
        expected = distance(faces[sim.state.object_id].double(), points.double())
        torch.testing.assert_close(sim.distances(faces, points).double(), expected, rtol=1e-5, atol=1e-6)
        assert spread > 0.01 or (expected < 0).any()


def test_it_is_one_launch(sim: MujocoWarpSimulator, objects: ObjectSet) -> None:
    faces, points = objects.tensors().faces, torch.zeros(WORLDS, POINTS, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "warp_launches.NoTorch.__torch_dispatch__", lambda _self, f, _types, args=(), kw=None: f(*args, **kw or {})
        )
        with launches_of_warp() as launched:
            sim.distances(faces, points)
    assert launched == ["_signed_distance"]
