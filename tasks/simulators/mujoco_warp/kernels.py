"""Compiles MuJoCo Warp's GPU kernels ahead of time, on all cores, with or without a GPU.

    python -m tasks.compile_kernels --arch 90

Warp compiles a kernel at its first launch, one after the other, and keeps the result in its cache.  Which kernels a simulation
launches depends on its settings and sizes.  So one is built on Warp's CPU device and stepped with launches that are noted and
not made; what was noted is then compiled for the GPU into the same cache, where a training with these settings finds it.

Finding out what is needed takes seconds.  So a stamp in the cache lists the files that a simulation with the same settings,
sizes, shapes, sources and versions needed; while they are all there, nothing is to be done.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import mujoco
import mujoco_warp
import numpy as np
import torch
import warp as wp

from tasks.commands.arguments import check_numbers, check_writable, load_set, progress_bar
from tasks.grasp.environment import GraspTask
from tasks.hands import get_hand
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.errors import SimulatorError
from tasks.simulators.mujoco import scene
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.mujoco_warp import distance as surfaces
from tasks.simulators.mujoco_warp import reader, writer
from tasks.simulators.mujoco_warp import simulator as backend
from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator

BLOCK_DIM = 256
"""Threads of a block where a launch on a GPU does not say."""
MULTIPROCESSORS = 132
"""Of the GPU that is played; kernels do not depend on it, sizes of launches do."""


@dataclass(frozen=True)
class KernelModule:
    """What Warp compiles at a time: the kernels of a module, for a number of threads in a block."""

    module: wp.Module
    block_dim: int
    kernel: wp.Kernel
    """The one that was launched; Warp forgets kernels that nobody holds, and the module's hash with them."""

    @property
    def name(self) -> str:
        """To be read: a kernel that a function makes is called by that."""
        return self.kernel.key.split("__locals__")[0].strip("_")

    @property
    def identifier(self) -> str:
        """Name of its directory in the cache: module and hash of all that goes into it."""
        return self.module.get_module_identifier(self.block_dim)

    @property
    def weight(self) -> Tuple[bool, int]:
        """Grows with the time that compiling takes, roughly: kernels with a block of their own are elaborate."""
        self.module.get_module_hash(self.block_dim)
        return self.block_dim != BLOCK_DIM, len(self.module.hashers[self.block_dim].function_hashes)

    def files(self, arch: int) -> Tuple[str, str]:
        """What `compile` writes, from the cache's directory."""
        name = self.identifier
        return f"{name}/{name}.sm{arch}.cubin", f"{name}/{name}.meta"

    def compile(self, arch: int) -> bool:
        """Writes `files` to the cache; False if they are there."""
        self.module.get_module_hash(self.block_dim)
        options = self.module.resolve_options(wp.config, self.block_dim)
        return self.module._compile(output_arch=arch, use_ptx=False, options=options)


@dataclass(frozen=True)
class Compiled:
    """What `compile_kernels` did."""

    modules: int
    compiled: int
    """The others were in the cache."""
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

    arch: compute capability times ten, by default of the GPU in use.  cache_dir: where, by default Warp's own cache.
    workers: modules that are compiled at a time, by default one a core.  progress: is called with the number of modules that
    are done, of those that were not in the cache, and the name of the last; first with 0, and not at all if none is missing.
    Nothing else may launch Warp's kernels meanwhile.

    Raises SimulatorError without a GPU if arch is not given, and for an arch that Warp cannot compile for.
    """
    begin = time.perf_counter()
    arch = _checked_arch(arch)
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


def compile_missing(
    objects: ObjectSet, num_envs: Union[int, Sequence[int]], physics: PhysicsCfg, hand: str = "shadow"
) -> None:
    """Before a simulation starts on a GPU: `compile_kernels`, behind a progress bar, which also moves while it finds out what.

    What fails here is a warning: Warp compiles at first launches what it does not find.
    """
    if not torch.cuda.is_available():
        return  # whoever builds the simulator says so
    with progress_bar("compiling GPU kernels, once", "modules") as bar:
        row = bar.add_task("", total=None)

        def progress(done: int, total: int, last: str) -> None:
            if done == 0 and bar.disable:
                print(f"compiling {total} modules of GPU kernels, once", flush=True)
            bar.update(row, completed=done, total=total, description=last)

        try:
            compile_kernels(objects, num_envs, physics, hand, progress=progress)
        except Exception as error:
            failed = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            warnings.warn(f"GPU kernels are compiled one by one as they are needed ({failed})", stacklevel=2)


def fingerprint(objects: ObjectSet, num_envs: Sequence[int], physics: PhysicsCfg, hand: HandSpec, arch: int) -> str:
    """Of everything that decides which kernels simulations launch; of the objects their shapes, though not all of those count."""
    versions = wp.config.version, mujoco_warp.__version__, mujoco.__version__
    result = hashlib.sha256(repr((versions, arch, physics, tuple(num_envs))).encode())
    sources = [Path(str(module.__file__)) for module in (backend, surfaces, reader, writer, scene)]
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


def launched_modules(
    objects: ObjectSet,
    num_envs: int,
    physics: PhysicsCfg = PhysicsCfg(),  # noqa: B008 frozen
    hand: str = "shadow",
) -> List[KernelModule]:
    """The modules whose kernels a simulation launches on a GPU when it is built, reset and stepped; launches none."""
    spec = get_hand(hand)
    # A training must not depend on whether its kernels were looked for: what is drawn here leaves torch's generator as it was.
    with torch.random.fork_rng(devices=[]), _noted_launches() as launches:
        simulator = MujocoWarpSimulator(spec, objects, num_envs, torch.device("cpu"), physics)
        task = GraspTask(simulator, spec, objects)
        task.reset()
        task.step(torch.zeros(num_envs, task.num_actions))
        simulator.close()
    modules = {(id(kernel.module), block_dim): (kernel, block_dim) for kernel, block_dim in launches}
    return [KernelModule(kernel.module, block_dim, kernel) for kernel, block_dim in modules.values()]


def _compile_all(
    modules: List[KernelModule], arch: int, workers: int, progress: Optional[Callable[[int, int, str], None]]
) -> int:
    """How many were not in the cache.  Threads do: only the generation of sources, a small part, holds Python's lock."""
    modules = sorted(
        modules, key=lambda module: module.weight, reverse=True
    )  # one that takes long and starts late is waited for
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


@contextmanager
def _noted_launches() -> Iterator[List[Tuple[wp.Kernel, int]]]:
    """Kernels and threads of a block as they would be launched on a GPU, whatever device asks; nothing runs meanwhile."""
    launches: List[Tuple[wp.Kernel, int]] = []

    def launch(kernel: wp.Kernel, dim: Any, *_args: Any, block_dim: int = 0, **_named: Any) -> None:
        if np.prod(dim) == 0:  # nothing to do, and so nothing that Warp would load
            return
        if kernel.is_generic:  # its overloads are made by launching
            raise SimulatorError(f"{kernel.key} cannot be compiled ahead: a training compiles it when it starts")
        launches.append((kernel, block_dim or BLOCK_DIM))

    def get_suggested_block_size(kernel: wp.Kernel, _device: Any = None) -> Tuple[int, int]:
        block_dim = int(kernel.module.options["block_dim"] or BLOCK_DIM)
        launches.append((kernel, block_dim))  # Warp loads this one, to ask the driver about it
        return BLOCK_DIM, 8 * MULTIPROCESSORS

    def capture_while(_condition: Any, while_body: Callable[..., None], stream: Any = None, **named: Any) -> None:
        while_body(**named)

    def capture_if(
        _condition: Any, on_true: Any = None, on_false: Any = None, stream: Any = None, **named: Any
    ) -> None:
        for branch in filter(None, (on_true, on_false)):
            branch(**named)

    get_device = wp.get_device
    gpu = SimpleNamespace(is_cuda=True, is_cpu=False, sm_count=MULTIPROCESSORS)
    replaced = {
        "launch": launch,
        "launch_tiled": launch,
        "get_suggested_block_size": get_suggested_block_size,
        "capture_while": capture_while,
        "capture_if": capture_if,
        "get_device": lambda *named: get_device(*named) if named else gpu,
        "is_conditional_graph_supported": lambda: True,
    }
    before = {name: getattr(wp, name) for name in replaced}
    for name, value in replaced.items():
        setattr(wp, name, value)
    try:
        yield launches
    finally:
        for name, value in before.items():
            setattr(wp, name, value)


def _checked_arch(arch: Optional[int]) -> int:
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
    """Warp's cache in a subdirectory per version there, as with WARP_CACHE_PATH."""
    before = wp.config.kernel_cache_dir
    assert before is not None, "wp.init sets it"
    directory = Path(before) if path is None else path.absolute() / wp.config.version
    directory.mkdir(parents=True, exist_ok=True)
    wp.config.kernel_cache_dir = str(directory)
    try:
        yield directory
    finally:
        wp.config.kernel_cache_dir = before


@dataclass
class Args:
    """Compile the GPU kernels of a training before it starts, here or on a machine that has no GPU."""

    num_envs: Tuple[int, ...] = (4096, 512)
    """Hands in parallel, of the training and of its running evaluation; each number has a kernel of its own."""
    objects: str = "everyday"
    """A named object set, or a directory of meshes, as in the training."""
    object_scale: float = 1.0
    """Times the coordinates of meshes in a directory, to get metres."""
    skip_bad_objects: bool = False
    """Leave out meshes that cannot be used, with a warning each."""
    hand: str = "shadow"
    """Which hand."""
    arch: Optional[int] = None
    """Compute capability of the GPU times ten: 80 for an A100, 89 for an RTX 4090, 90 for an H100; by default this machine's."""
    cache_dir: Optional[Path] = None
    """Where; by default Warp's cache.  The training finds another with WARP_CACHE_PATH."""
    workers: Optional[int] = None
    """Modules that are compiled at a time; by default one a core."""
    physics: PhysicsCfg = field(default_factory=PhysicsCfg)


def main(args: Args) -> None:
    """Compiles and says what there is now."""
    check_numbers(args, positive=("object_scale", "timestep"))
    check_writable("--cache-dir", args.cache_dir, directory=True)
    get_hand(args.hand)
    arch = _checked_arch(args.arch)
    objects = load_set(args.objects, args.object_scale, args.skip_bad_objects)
    with progress_bar("compiling", "modules") as bar:
        row = bar.add_task("", total=None)
        made = compile_kernels(
            objects,
            args.num_envs,
            args.physics,
            args.hand,
            arch,
            args.cache_dir,
            args.workers,
            lambda done, total, last: bar.update(row, completed=done, total=total, description=last),
        )
    cached = f", {made.modules - made.compiled} were there" if made.compiled < made.modules else ""
    print(f"{made.modules} modules for sm_{arch} in {made.cache_dir}{cached}: {made.seconds:.0f} s")
