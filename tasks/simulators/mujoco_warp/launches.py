"""Finds out which kernels a simulation launches on a GPU, with or without a GPU.

Which kernels are launched depends on the simulation's settings and sizes.  So a simulation is built on Warp's CPU device,
reset and stepped, while its launches are noted and not made.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Callable, Iterator, List, Tuple

import numpy as np
import torch
import warp as wp

from tasks.hands import get_hand
from tasks.objects import ObjectSet
from tasks.simulators.contract import Start
from tasks.simulators.errors import SimulatorError
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator

BLOCK_DIM = 256
"""Threads of a block where a launch on a GPU does not say."""
MULTIPROCESSORS = 132
"""Of the GPU that is pretended.  Sizes of launches depend on it, kernels do not."""


@dataclass(frozen=True)
class KernelModule:
    """What Warp compiles at a time: the kernels of a module, for a number of threads in a block."""

    module: wp.Module
    block_dim: int
    kernel: wp.Kernel
    """The kernel that was launched.  It is held here because Warp forgets kernels that nobody holds, and the module's hash
    with them."""

    @property
    def name(self) -> str:
        """A name for people.  A kernel that was made inside a function gets that function's name."""
        return self.kernel.key.split("__locals__")[0].strip("_")

    @property
    def identifier(self) -> str:
        """Name of its folder in the cache: the module's name and a hash of all that goes into it."""
        return self.module.get_module_identifier(self.block_dim)

    @property
    def weight(self) -> Tuple[bool, int]:
        """Grows roughly with the time that compiling takes.  Kernels with a block size of their own take longest."""
        self.module.get_module_hash(self.block_dim)
        return self.block_dim != BLOCK_DIM, len(self.module.hashers[self.block_dim].function_hashes)

    def files(self, arch: int) -> Tuple[str, str]:
        """What `compile` writes, relative to the cache's folder."""
        name = self.identifier
        return f"{name}/{name}.sm{arch}.cubin", f"{name}/{name}.meta"

    def compile(self, arch: int) -> bool:
        """Writes `files` to the cache.  Returns False if they are there already."""
        self.module.get_module_hash(self.block_dim)
        options = self.module.resolve_options(wp.config, self.block_dim)
        return self.module._compile(output_arch=arch, use_ptx=False, options=options)


def launched_modules(
    objects: ObjectSet,
    num_envs: int,
    physics: PhysicsCfg = PhysicsCfg(),  # noqa: B008 frozen
    hand: str = "shadow",
) -> List[KernelModule]:
    """The modules whose kernels a simulation launches on a GPU when it is built, reset and stepped.  Launches none of them."""
    spec = get_hand(hand)
    with _noted_launches() as launches:
        simulator = MujocoWarpSimulator(spec, objects, num_envs, torch.device("cpu"), physics)
        _use(simulator, objects)
        simulator.close()
    modules = {(id(kernel.module), block_dim): (kernel, block_dim) for kernel, block_dim in launches}
    return [KernelModule(kernel.module, block_dim, kernel) for kernel, block_dim in modules.values()]


def _use(simulator: MujocoWarpSimulator, objects: ObjectSet) -> None:
    """Calls all of the simulator that launches kernels, as a task does."""
    count, state = simulator.num_envs, simulator.state
    everywhere, ones = torch.ones(count, dtype=torch.bool), torch.ones(count)
    targets = torch.zeros_like(state.joint_pos)
    simulator.reset(everywhere, Start(targets, state.object_pos, state.object_quat, state.object_id, ones, ones))
    simulator.step(targets)
    simulator.distances(objects.tensors(simulator.device).faces, state.fingertip_pos)


@contextmanager
def _noted_launches() -> Iterator[List[Tuple[wp.Kernel, int]]]:
    """Collects (kernel, threads of a block) of every launch, as it would be on a GPU.  Nothing is launched meanwhile."""
    launches: List[Tuple[wp.Kernel, int]] = []

    def launch(kernel: wp.Kernel, dim: Any, *_args: Any, block_dim: int = 0, **_named: Any) -> None:
        if np.prod(dim) == 0:  # Warp loads nothing for an empty launch
            return
        if kernel.is_generic:  # its variants are made when it is launched
            raise SimulatorError(f"{kernel.key} cannot be compiled ahead: a training compiles it when it starts")
        launches.append((kernel, block_dim or BLOCK_DIM))

    def get_suggested_block_size(kernel: wp.Kernel, _device: Any = None) -> Tuple[int, int]:
        block_dim = int(kernel.module.options["block_dim"] or BLOCK_DIM)
        launches.append((kernel, block_dim))  # Warp loads this kernel, to ask the driver about it
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
