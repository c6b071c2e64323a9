"""The Isaac Gym backend through the double: the contract, and what only this backend has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import conformance
import pytest
from conformance import Bench
from torch import Tensor

from tasks.hands import get_hand
from tasks.objects import ObjectSet
from tasks.simulators.isaac_gym import IsaacGymCfg, IsaacGymSimulator


def make(objects: ObjectSet, num_envs: int, cache: Path, gpu: bool = True, **settings: Any) -> IsaacGymSimulator:
    options = {name: settings.pop(name) for name in ("seed", "object_ids") if name in settings}
    cfg = IsaacGymCfg(**{"cache": cache, "audit": False, "mass_scale": 1.0, **settings})
    return IsaacGymSimulator(get_hand("shadow"), objects, num_envs, "cpu", cfg=cfg, gpu_pipeline=gpu, **options)


def launch(sim: IsaacGymSimulator, velocity: Tensor) -> None:
    """Behind the tensors' back, in the double's worlds."""
    for world, env in enumerate(sim.scene.envs):
        inner = env.data.world
        body = inner.bodies[1][0]
        v = int(inner.model.body_dofadr[body])
        rotation = inner.data.xmat[body].reshape(3, 3)
        inner.data.qvel[v : v + 3] = velocity[world, :3].numpy()
        inner.data.qvel[v + 3 : v + 6] = rotation.T @ velocity[world, 3:].double().numpy()


@pytest.fixture
def bench(isaac: Any, tmp_path: Path) -> Bench:
    return Bench(lambda objects, num_envs: make(objects, num_envs, tmp_path), launch)


@pytest.mark.parametrize("check", conformance.CONFORMANCE, ids=lambda check: check.__name__)
def test_isaac_contract_gpu_pipeline(check: Any, bench: Bench) -> None:
    check(bench)


@pytest.mark.parametrize(
    "check", [conformance.free_fall, conformance.current_after_reset, conformance.reset_leaves_others_alone]
)
def test_isaac_contract_cpu_pipeline(check: Any, isaac: Any, tmp_path: Path) -> None:
    check(Bench(lambda objects, num_envs: make(objects, num_envs, tmp_path, gpu=False), launch))
    assert "fetch_results" in isaac.calls


@pytest.mark.parametrize("check", [conformance.free_fall, conformance.frames_and_quaternions])
def test_isaac_contract_global_frames(check: Any, isaac: Any, tmp_path: Path) -> None:
    """If positions were not relative to their world after all, the backend would notice and correct them."""
    isaac.frames = "global"
    check(Bench(lambda objects, num_envs: make(objects, num_envs, tmp_path), launch))


def test_isaac_contract_coupling_by_drives(isaac: Any, tmp_path: Path) -> None:
    conformance.drives_follow(Bench(lambda objects, n: make(objects, n, tmp_path, coupling="drive"), launch))
