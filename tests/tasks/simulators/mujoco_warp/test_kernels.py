"""Kernels that are compiled ahead of time are those that a simulation launches, and end up where Warp looks for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, List, Set

import pytest
import torch

pytest.importorskip("mujoco_warp", reason="needs MuJoCo Warp")

import warp as wp
from plain_mujoco import HAND, some_objects

from tasks.grasp.environment import GraspTask
from tasks.objects import ObjectModel, ObjectSet
from tasks.simulators.errors import SimulatorError
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.mujoco_warp import kernels as ahead
from tasks.simulators.mujoco_warp.kernels import (
    KernelModule,
    compile_kernels,
    fingerprint,
    launched_modules,
)
from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator

WORLDS = 5

ARCH = 90


@pytest.fixture(scope="module")
def modules() -> List[KernelModule]:
    return launched_modules(some_objects(), WORLDS)


def identifiers(modules: List[KernelModule]) -> Set[str]:
    return {module.identifier for module in modules}


def test_what_is_launched_on_the_cpu_is_compiled(modules: List[KernelModule], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every module that Warp loads for a simulation that does run; on a GPU there may be more."""
    loaded: Set[str] = set()
    load = wp.Module.load

    def noted(module: wp.Module, *args: Any, **named: Any) -> Any:
        loaded.add(module.name)
        return load(module, *args, **named)

    monkeypatch.setattr(wp.Module, "load", noted)
    objects = some_objects()
    task = GraspTask(MujocoWarpSimulator(HAND, objects, WORLDS, torch.device("cpu")), HAND, objects)
    task.reset()
    for _ in range(3):
        task.step(torch.rand(WORLDS, task.num_actions))
    task.simulator.close()
    # Kernels with the number of threads in their source: a block has one on the CPU.
    missing = {name for name in loaded - {found.module.name for found in modules} if "JTDACJ" not in name}
    assert len(loaded) > 20 and not missing


def test_nothing_is_launched_and_warp_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("launch", "launch_tiled", "get_suggested_block_size", "capture_while", "capture_if", "get_device")
    before = {name: getattr(wp, name) for name in names}
    monkeypatch.setattr(wp.Module, "load", lambda *_args, **_named: pytest.fail("a kernel was launched"))
    random = torch.get_rng_state()
    assert launched_modules(some_objects(), WORLDS)
    assert torch.equal(random, torch.get_rng_state()), "a training would depend on whether its kernels were looked for"
    assert before == {name: getattr(wp, name) for name in names}


def test_the_hash_has_the_settings_and_the_sizes(modules: List[KernelModule]) -> None:
    again = identifiers(launched_modules(some_objects(), WORLDS))
    assert identifiers(modules) == again
    for other in (
        launched_modules(some_objects(), WORLDS + 1),
        launched_modules(some_objects(), WORLDS, PhysicsCfg(ls_iterations=7)),
        launched_modules(some_objects(), WORLDS, PhysicsCfg(integrator="implicitfast")),
    ):
        new = identifiers(other) - again
        assert 0 < len(new) < len(again)


def test_modules_are_compiled_once(
    modules: List[KernelModule], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ARCH not in wp.get_cuda_supported_archs():
        pytest.skip("this Warp cannot compile for GPUs")
    small = next(found for found in modules if "zero_grad_dot" in found.name)
    monkeypatch.setattr(ahead, "launched_modules", lambda *_args: [small, replace(small)])
    told = []
    cache = wp.config.kernel_cache_dir

    def compiled() -> ahead.Compiled:
        progress = lambda *now: told.append(now)  # noqa: E731
        return compile_kernels(some_objects(), (WORLDS, WORLDS), arch=ARCH, cache_dir=tmp_path, progress=progress)

    first, second = compiled(), compiled()
    assert (first.modules, first.compiled, second.modules, second.compiled) == (1, 1, 1, 0)
    assert told == [(0, 1, ""), (1, 1, small.name)], "the second time there is nothing to show"
    assert wp.config.kernel_cache_dir == cache
    directory = tmp_path / wp.config.version / small.identifier
    assert first.cache_dir == directory.parent
    assert (directory / f"{small.identifier}.sm{ARCH}.cubin").read_bytes()[:4] == b"\x7fELF"
    assert json.loads((directory / f"{small.identifier}.meta").read_text())

    monkeypatch.setattr(ahead, "launched_modules", lambda *_args: pytest.fail("the stamp was not looked at"))
    assert (compiled().modules, compiled().compiled) == (1, 0)
    monkeypatch.setattr(ahead, "launched_modules", lambda *_args: [small])
    for lost in directory.iterdir():
        lost.unlink()
    assert compiled().compiled == 1, "a stamp does not count without the files that it lists"
    (stamp,) = first.cache_dir.glob("compiled_*.json")
    stamp.write_text("[")
    assert compiled().compiled == 0 and json.loads(stamp.read_text()) == [list(small.files(ARCH))]


def test_the_stamp_has_all_that_kernels_depend_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    objects = some_objects()
    hand = replace(HAND, mjcf=tmp_path / "hand.xml")
    hand.mjcf.write_bytes(HAND.mjcf.read_bytes())
    seen = [
        fingerprint(objects, [8], PhysicsCfg(), hand, ARCH),
        fingerprint(objects, [8, 4], PhysicsCfg(), hand, ARCH),
        fingerprint(objects, [8], PhysicsCfg.fine(), hand, ARCH),
        fingerprint(objects, [8], PhysicsCfg(), hand, 80),
        fingerprint(ObjectSet.of("fewer", objects.objects[1:]), [8], PhysicsCfg(), hand, ARCH),
        fingerprint(
            ObjectSet.of("larger", [scaled(objects.objects[0]), *objects.objects[1:]]), [8], PhysicsCfg(), hand, ARCH
        ),
    ]
    assert seen[0] == fingerprint(ObjectSet.of("other name", objects.objects), [8], PhysicsCfg(), HAND, ARCH)
    for version in ("mujoco_warp", "mujoco"):
        monkeypatch.setattr(getattr(ahead, version), "__version__", f"later {version}")
        seen.append(fingerprint(objects, [8], PhysicsCfg(), hand, ARCH))
    hand.mjcf.write_bytes(HAND.mjcf.read_bytes() + b" ")
    seen.append(fingerprint(objects, [8], PhysicsCfg(), hand, ARCH))
    for source in (ahead.launches, ahead.backend, ahead.surfaces, ahead.reader, ahead.writer):
        monkeypatch.setattr(source, "__file__", str(hand.mjcf))
        seen.append(fingerprint(objects, [8], PhysicsCfg(), hand, ARCH))
    assert len(set(seen)) == len(seen)


def scaled(item: ObjectModel) -> ObjectModel:
    return replace(item, parts=tuple(1.1 * part for part in item.parts))


def test_modules_have_names_to_be_read(modules: List[KernelModule]) -> None:
    assert all(found.name and "__" not in found.name for found in modules)


def test_what_cannot_be_compiled_for() -> None:
    with pytest.raises(SimulatorError, match="--arch 1"):
        compile_kernels(some_objects(), WORLDS, arch=1)
    if not torch.cuda.is_available():
        with pytest.raises(SimulatorError, match="no GPU"):
            compile_kernels(some_objects(), WORLDS)
