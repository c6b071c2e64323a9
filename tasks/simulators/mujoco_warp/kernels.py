"""Compiles MuJoCo Warp's GPU kernels ahead of time, on all cores, with or without a GPU.

Warp compiles a kernel when it is first launched, one after the other, and keeps the result in its cache.  `launches` finds
the kernels that a simulation launches; here they are compiled into the same cache, where a training with these settings
finds them.

Finding out which kernels are needed takes seconds.  So a stamp in the cache lists the files that a simulation needed, by a
fingerprint of its settings, sizes, shapes, sources and versions.  While all these files are there, there is nothing to do.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Union

import mujoco
import mujoco_warp
import numpy as np
import torch
import warp as wp

from tasks.hands import get_hand
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.errors import SimulatorError
from tasks.simulators.mujoco import scene
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.mujoco_warp import distance as surfaces
from tasks.simulators.mujoco_warp import launches, reader, writer
from tasks.simulators.mujoco_warp import simulator as backend
from tasks.simulators.mujoco_warp.launches import KernelModule, launched_modules


@dataclass(frozen=True)
class Compiled:
    """What `compile_kernels` did."""

    modules: int
    compiled: int
    """How many of them; the others were in the cache."""
    seconds: float
    cache_dir: Path


def compile_kernels(
    objects: ObjectSet,
    num_envs: Union[int, Sequence[int]],
    physics: PhysicsCfg = PhysicsCfg(),  # noqa: B008 frozen
    hand: str = "shadow",
    arch: Optional[int] = None,
    cache_dir: Optional[Path] = None,
    workers: Optional[int] = None,
    progress: Optional[Callable[[int, int, str], None]] = None,
) -> Compiled:
    """Compiles all kernels that simulations with these settings launch on a GPU, for each of the numbers of worlds.

    arch: compute capability times ten, by default of the GPU in use.  cache_dir: where to, by default Warp's own cache.
    workers: how many modules are compiled at once, by default one a core.  progress: is called with how many modules are
    done, how many were not in the cache, and the name of the last one; first with 0, and never if none is missing.
    Nothing else may launch Warp's kernels meanwhile.

    Raises SimulatorError without a GPU if arch is not given, and for an arch that Warp cannot compile for.
    """
    begin = time.perf_counter()
    arch = checked_arch(arch)
    numbers = [num_envs] if isinstance(num_envs, int) else sorted(set(num_envs))
    with _cache_at(cache_dir) as directory:
        stamp = directory / f"compiled_{fingerprint(objects, numbers, physics, get_hand(hand), arch)}.json"
        listed = _stamped(stamp)
        if listed:
            return Compiled(listed, 0, time.perf_counter() - begin, directory)
        wanted: Dict[str, KernelModule] = {}
        for number in numbers:
            wanted.update((found.identifier, found) for found in launched_modules(objects, number, physics, hand))
        files = {name: found.files(arch) for name, found in wanted.items()}
        missing = [
            wanted[name] for name, pair in files.items() if not all((directory / file).exists() for file in pair)
        ]
        if missing and progress:
            progress(0, len(missing), "")
        compiled = _compile_all(missing, arch, workers or len(os.sched_getaffinity(0)), progress)
        with suppress(OSError):  # a cache that cannot be written to is looked through each time
            stamp.write_text(json.dumps(sorted(files.values())), encoding="utf-8")
        return Compiled(len(wanted), compiled, time.perf_counter() - begin, directory)


def fingerprint(objects: ObjectSet, num_envs: Sequence[int], physics: PhysicsCfg, hand: HandSpec, arch: int) -> str:
    """A hash of everything that decides which kernels simulations launch.  Of the objects it takes all shapes."""
    versions = wp.config.version, mujoco_warp.__version__, mujoco.__version__
    result = hashlib.sha256(repr((versions, arch, physics, tuple(num_envs))).encode())
    sources = [Path(str(module.__file__)) for module in (launches, backend, surfaces, reader, writer, scene)]
    for source in (Path(__file__), *sources, Path(hand.mjcf)):
        result.update(hashlib.sha256(source.read_bytes()).digest())
    for item in objects.objects:
        result.update(repr([len(part) for part in item.parts]).encode())
        for part in item.parts:
            result.update(np.ascontiguousarray(part).tobytes())
    return result.hexdigest()[:16]


def _stamped(stamp: Path) -> int:
    """How many modules a stamp lists, if the files of each are there; else 0."""
    try:
        pairs = json.loads(stamp.read_text(encoding="utf-8"))
        return len(pairs) if all((stamp.parent / file).exists() for pair in pairs for file in pair) else 0
    except (OSError, ValueError, TypeError):
        return 0


def _compile_all(
    modules: List[KernelModule], arch: int, workers: int, progress: Optional[Callable[[int, int, str], None]]
) -> int:
    """Compiles in threads and returns how many modules were not in the cache.

    Threads suffice: only generating the sources, a small part, holds Python's lock.  Modules that take long come first, so
    that none of them is left alone at the end.
    """
    modules = sorted(modules, key=lambda module: module.weight, reverse=True)
    pool = ThreadPoolExecutor(workers)
    try:
        names = {pool.submit(module.compile, arch): module.name for module in modules}
        compiled = 0
        for done, future in enumerate(as_completed(names), start=1):
            compiled += future.result()
            if progress:
                progress(done, len(modules), names[future])
        return compiled
    finally:
        pool.shutdown(cancel_futures=True)


def checked_arch(arch: Optional[int]) -> int:
    """The architecture to compile for, by default that of the GPU in use.  Raises SimulatorError if there is none, or Warp
    cannot compile for it.
    """
    wp.config.log_level = wp.LOG_WARNING
    wp.init()
    if arch is None:
        if not torch.cuda.is_available():
            raise SimulatorError("there is no GPU here: say with --arch what to compile for, 90 for an H100 or H200")
        major, minor = torch.cuda.get_device_capability()
        arch = 10 * major + minor
    supported = wp.get_cuda_supported_archs()
    if arch not in supported:
        raise SimulatorError(
            f"--arch {arch}: choose from {', '.join(map(str, supported))}" if supported else "this Warp has no CUDA"
        )
    return arch


@contextmanager
def _cache_at(path: Optional[Path]) -> Iterator[Path]:
    """Warp's cache at this path, in a folder for each version of Warp, as with WARP_CACHE_PATH.  None leaves it as it is."""
    before = wp.config.kernel_cache_dir
    assert before is not None, "wp.init sets it"
    directory = Path(before) if path is None else path.absolute() / wp.config.version
    directory.mkdir(parents=True, exist_ok=True)
    wp.config.kernel_cache_dir = str(directory)
    try:
        yield directory
    finally:
        wp.config.kernel_cache_dir = before
