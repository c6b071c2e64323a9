"""Compares training with the physics in it: how long an iteration takes, and how long its simulator's sub-steps take alone.

    python benchmarks/physics_limit.py --checkpoint checkpoints/shadow_grasp.pt --json limit.json

First a policy trains for some iterations, until its episodes are in every phase.  Then the state is kept and iterations of
training are timed.  Then the targets of one rollout are played again from the kept state, as one CUDA graph with nothing but the
simulator's sub-steps in it: no policy, no observations, no rewards, no resets.  The result is the ratio of the two times.
Needs a GPU.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import mujoco_warp
import torch
import tyro
import warp as wp
from rich.console import Console
from rich.table import Table

from ppo_grasp import Trainer, TrainerCfg, load_policy
from ppo_grasp.device.graphs import CapturedFunction, side_stream
from ppo_grasp.metrics import MetricsLogger
from tasks.grasp.build import make_task
from tasks.objects import load_objects
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator

KEPT = ("qpos", "qvel", "ctrl", "qacc_warmstart", "time")
"""Arrays of MuJoCo Warp that the next sub-step depends on."""


@dataclass
class Args:
    """Physics alone against training."""

    checkpoint: Path = Path("checkpoints/shadow_grasp.pt")
    """The policy that acts.  The cost of physics depends on what the hands do."""
    objects: str = "procedural"
    """A named object set, or a directory of meshes."""
    num_envs: int = 4096
    """Hands in parallel."""
    warm_up: int = 25
    """Iterations before anything is timed; 25 are two episodes."""
    repeats: int = 15
    """Timed iterations and replays; the median counts."""
    trainer: TrainerCfg = field(default_factory=TrainerCfg)
    """Settings of the training."""
    physics: PhysicsCfg = field(default_factory=PhysicsCfg)
    """How the simulator integrates."""
    json: Optional[Path] = None
    """A file for all figures."""


def milliseconds(function: Callable[[], Any], repeats: int, before: Callable[[], Any] = lambda: None) -> float:
    """The median time of a function on the GPU.  `before` is called before each call and is not timed."""
    times = []
    for _ in range(repeats):
        before()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        function()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def measure(args: Args) -> Dict[str, float]:
    """The figures of the table, in milliseconds an iteration unless the name says otherwise."""
    torch.manual_seed(args.trainer.seed)
    task = make_task("mujoco_warp", load_objects(args.objects), args.num_envs, settings=args.physics)
    trainer = Trainer(task, args.trainer, tempfile.mkdtemp())
    policy, _ = load_policy(args.checkpoint, "cuda")
    trainer.policy.load_state_dict(policy.state_dict())
    simulator, buffer = task.simulator, trainer.buffer
    assert isinstance(simulator, MujocoWarpSimulator)
    arrays = {name: wp.to_torch(getattr(simulator.data, name)) for name in KEPT}
    played: List[torch.Tensor] = [torch.zeros_like(task.targets.position) for _ in range(buffer.num_steps)]

    log = MetricsLogger(trainer.run_dir, 10**9, None, 0, 0)
    with side_stream(task.device):
        trainer._start(log)
        for _ in range(args.warm_up):
            trainer._iterate(log)
        torch.cuda.synchronize()
        log.close("")
        iteration = milliseconds(lambda: (trainer._collect(), trainer._learn()), args.repeats)
        rollout = milliseconds(trainer._collect, args.repeats)
        update = milliseconds(trainer._learn, args.repeats)

        state = {name: array.clone() for name, array in arrays.items()}

        def restore() -> None:
            for name, array in arrays.items():
                array.copy_(state[name])

        # One rollout from the kept state, with a simulator step that also keeps its targets.
        step, count = simulator.step, 0

        def step_and_keep(targets: torch.Tensor) -> None:
            nonlocal count
            played[count].copy_(targets)
            count += 1
            step(targets)

        simulator.step = step_and_keep  # type: ignore[method-assign]
        with torch.no_grad():
            trainer._rollout()
        simulator.step = step  # type: ignore[method-assign]

        def substeps() -> None:
            for targets in played:
                torch.index_select(targets, 1, simulator._drive_of_actuator, out=simulator._ctrl)
                with simulator._on_stream():
                    for _ in range(simulator.substeps):
                        mujoco_warp.step(simulator.model, simulator.data)

        def steps() -> None:
            for targets in played:
                simulator.step(targets)

        result = {"iteration": iteration, "rollout": rollout, "update": update}
        for name, function in (("simulator.step", steps), ("sub-steps alone", substeps)):
            captured = CapturedFunction(function, context=simulator.capture)
            for _ in range(2):
                restore()
                captured()
            result[name] = milliseconds(captured, args.repeats, restore)
    samples = args.num_envs * buffer.num_steps
    result["policy"] = trainer._times.time_policy(trainer._collect.enabled)
    result["training, steps/s"] = 1e3 * samples / iteration
    result["physics alone, steps/s"] = 1e3 * samples / result["sub-steps alone"]
    result["ratio"] = result["sub-steps alone"] / iteration
    result["peak memory, GB"] = (torch.cuda.mem_get_info()[1] - torch.cuda.mem_get_info()[0]) / 1e9
    return result


def main(args: Args) -> None:
    """Prints the table."""
    result = measure(args)
    table = Table(
        title=f"{args.objects}, {args.num_envs} environments, {args.trainer.ppo.num_steps} steps an iteration"
    )
    table.add_column("part")
    table.add_column("", justify="right")
    for name, value in result.items():
        table.add_row(name, f"{value:,.0f}" if "steps/s" in name else f"{value:.2f}")
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps({"gpu": torch.cuda.get_device_name(), **result}, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Args))
