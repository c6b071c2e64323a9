"""Where the time of a control step goes, kernel by kernel, with torch.profiler.

python benchmarks/profile_step.py --checkpoint checkpoints/shadow_grasp.pt
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch.profiler import ProfilerActivity, profile

from ppo_grasp import load_policy
from ppo_grasp.graphs import side_stream
from ppo_grasp.policy_runner import PolicyRunner
from tasks.build import make_task
from tasks.objects import load_objects


@dataclass
class Args:
    """Kernels of one step, hands holding objects."""

    checkpoint: Path = Path("checkpoints/shadow_grasp.pt")
    objects: str = "mixed"
    num_envs: int = 4096
    steps: int = 2
    rows: int = 30


def main(args: Args) -> None:
    """Plays 70 steps, so that most hands hold their objects, then profiles replays of the recorded step."""
    torch.manual_seed(0)
    task = make_task("auto", load_objects(args.objects), args.num_envs, evaluation=True)
    policy, _ = load_policy(args.checkpoint, "cuda")
    runner = PolicyRunner(task, policy.act_deterministic)
    runner.play(70)
    torch.cuda.synchronize()
    activities = [ProfilerActivity.CUDA, ProfilerActivity.CPU]
    with torch.no_grad(), side_stream(task.device), profile(activities=activities) as recorded:
        for _ in range(args.steps):
            runner._step()
        torch.cuda.synchronize()
    rows = [(e.key, e.count, e.self_device_time_total) for e in recorded.key_averages() if e.self_device_time_total > 0]
    rows.sort(key=lambda row: -row[2])
    total, launches = sum(row[2] for row in rows), sum(row[1] for row in rows)
    print(
        f"{total / args.steps:.0f} us and {launches / args.steps:.0f} launches a step, body of solver loops not counted"
    )
    for name, count, time in rows[: args.rows]:
        print(f"{time / args.steps:8.1f} us {100 * time / total:5.1f} % x{count / args.steps:6.1f}  {name[:90]}")


if __name__ == "__main__":
    main(tyro.cli(Args))
