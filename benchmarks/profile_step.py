"""Shows where the time of training goes, kernel by kernel: profiles a replayed rollout and a replayed update with torch.profiler.

    python benchmarks/profile_step.py
    python benchmarks/profile_step.py --trainer.compile

The iterations of the solver are the body of a conditional node, and the profiler does not see every run of such a body.  So they
are most of the difference between the whole time and the sum of the kernels.  Needs a GPU.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List

import torch
import tyro
from torch.profiler import ProfilerActivity, profile

from ppo_grasp import Trainer, TrainerCfg, load_policy
from ppo_grasp.device.graphs import side_stream
from ppo_grasp.metrics import MetricsLogger
from tasks.grasp.build import make_task
from tasks.objects import load_objects

TORCH = ("at::", "at_cuda", "triton_", "gemm", "nvjet", "cublas", "cutlass", "Memcpy", "Memset")
"""Parts of the names of torch's kernels.  All others are Warp's."""


@dataclass
class Args:
    """The kernels of an iteration of training in which hands hold objects."""

    checkpoint: Path = Path("checkpoints/shadow_grasp.pt")
    """The policy that acts and goes on learning."""
    objects: str = "procedural"
    """A named object set, or a directory of meshes."""
    num_envs: int = 4096
    """Hands in parallel."""
    warm_up: int = 25
    """Iterations before the profile; 25 are two episodes."""
    rows: int = 30
    """How many kernels of each group are shown."""
    trainer: TrainerCfg = field(default_factory=TrainerCfg)
    """Settings of the training."""


def report(name: str, function: Callable[[], Any], rows: int) -> None:
    """Prints the kernels of one call."""
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        function()
        torch.cuda.synchronize()
    kernels: Dict[str, List[float]] = defaultdict(list)
    events = [event for event in recorded.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    for event in events:
        kernels[event.name].append(event.device_time_total)
    span = max(e.time_range.end for e in events) - min(e.time_range.start for e in events)
    print(f"{name}: {span / 1e3:.2f} ms from the first kernel to the last")
    for group in ("torch", "Warp"):
        found = {k: v for k, v in kernels.items() if any(part in k for part in TORCH) == (group == "torch")}
        launches, total = sum(map(len, found.values())), sum(map(sum, found.values()))
        print(f"  {group}: {total / 1e3:.2f} ms in {launches} launches")
        for kernel, times in sorted(found.items(), key=lambda item: -sum(item[1]))[:rows]:
            print(f"{sum(times):10.0f} us x{len(times):5d} {sum(times) / len(times):8.1f}  {kernel[:100]}")


def main(args: Args) -> None:
    """Trains for the warm-up, then profiles a replay of each of the two graphs."""
    torch.manual_seed(args.trainer.seed)
    task = make_task("mujoco_warp", load_objects(args.objects), args.num_envs)
    trainer = Trainer(task, args.trainer, tempfile.mkdtemp())
    policy, _ = load_policy(args.checkpoint, "cuda")
    trainer.policy.load_state_dict(policy.state_dict())
    log = MetricsLogger(trainer.run_dir, 10**9, None, 0, 0)
    with side_stream(task.device):
        trainer._start(log)
        for _ in range(args.warm_up):
            trainer._iterate(log)
        torch.cuda.synchronize()
        log.close("")
        report("rollout", trainer._collect, args.rows)
        report("update", trainer._learn, args.rows)


if __name__ == "__main__":
    main(tyro.cli(Args))
