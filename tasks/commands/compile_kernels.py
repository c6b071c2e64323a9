"""Compiles GPU kernels before a training starts: as a command of its own, or as the first thing that a training does."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Sequence, Tuple, Union

import torch

from tasks.commands import errors, options
from tasks.commands.loading import load_set, progress_bar
from tasks.commands.options import check_values, check_writable
from tasks.hands import get_hand
from tasks.objects import MAX_PARTS, ObjectSet
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.mujoco_warp.kernels import checked_arch, compile_kernels


@dataclass
class Args:
    """Compile the GPU kernels of a training before it starts, here or on a machine that has no GPU."""

    num_envs: Tuple[int, ...] = (4096, 512)
    """Hands in parallel, of the training and of its running evaluation.  Each number has kernels of its own."""
    objects: str = "everyday"
    """A named object set, or a directory of meshes, as in the training."""
    object_scale: float = 1.0
    """Metres in one unit of the meshes in a directory: 0.001 for meshes in millimetres."""
    object_parts: int = MAX_PARTS
    """Most convex parts that a mesh of a directory is cut into."""
    skip_bad_objects: bool = False
    """Leave out meshes that cannot be used, with a warning each."""
    hand: str = "shadow"
    """Which hand."""
    arch: Optional[int] = None
    """Compute capability of the GPU times ten: 80 for an A100, 89 for an RTX 4090, 90 for an H100.  By default this
    machine's."""
    cache_dir: Optional[Path] = None
    """Where to; by default Warp's cache.  A training finds another folder with WARP_CACHE_PATH."""
    workers: Optional[int] = None
    """How many modules are compiled at once; by default one a core."""
    physics: PhysicsCfg = field(default_factory=PhysicsCfg)


def main(args: Args) -> None:
    """Compiles, and says how many modules there are now."""
    check_values(args)
    check_writable("--cache-dir", args.cache_dir, directory=True)
    get_hand(args.hand)
    arch = checked_arch(args.arch)
    objects = load_set(
        args.objects, scale=args.object_scale, most_parts=args.object_parts, skip_bad=args.skip_bad_objects
    )
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


def compile_missing(
    objects: ObjectSet, num_envs: Union[int, Sequence[int]], physics: PhysicsCfg, hand: str = "shadow"
) -> None:
    """Compiles the kernels that a simulation needs and the cache lacks, behind a progress bar, before it starts on a GPU.

    The bar also moves while it finds out which kernels are needed.  A failure is a warning only, because Warp compiles what
    it does not find when it is first launched.  Without a GPU nothing happens: building the simulator will say so.
    """
    if not torch.cuda.is_available():
        return
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


def command() -> None:
    """Reads the command line and compiles."""
    errors.run(lambda: main(options.parse(Args)))


if __name__ == "__main__":
    command()
