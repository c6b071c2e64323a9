"""Compares PPO engines on one GPU: this one and others, with the same task, network, batch and hyper-parameters.

    python benchmarks/engines.py --json engines.json
    python benchmarks/engines.py --learner-only --engines ours rsl_rl
    python benchmarks/engines.py --equal-seconds 90 --minibatch-sizes 16384

It compares engines, not simulators.  Every engine steps the same task object.  For the other engines, physics, rewards and
resets of a control step are recorded together as one CUDA graph, as a user of a GPU simulator would do it.  This engine records
the policy, the whole rollout and the whole update as well.

Engines that work on tensors get tensors on the GPU, and nothing is copied to the host for them.  stable-baselines3 works on
numpy arrays and pays for the copies, as it does for its users.  All networks may use TF32; the task does not.  Each engine runs
its own training loop with its own logging, and each row of the table is a process of its own.  "learner" is everything between
the last step of a rollout and the first step of the next one.  So the advantages are in it, wherever an engine computes them.

With `--learner-only`, random numbers take the place of the simulator.  steps/s is then what the engine alone would allow.
A launch is a kernel that the host starts.  The replay of a recorded graph of any size counts as one graph launch and no kernel
launch.  An engine that is not installed or fails gets a row that says why.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import torch
import tyro
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rivals import ENGINES
from rivals.settings import Job, Plan, Settings

HERE = Path(__file__).resolve().parent


@dataclass
class Args:
    """PPO engines on one task."""

    engines: Tuple[str, ...] = tuple(ENGINES)
    """Which engines, in this order."""
    minibatch_sizes: Tuple[int, ...] = (2048, 16384)
    """Samples in a minibatch; a row for each size."""
    learner_only: bool = False
    """Time the updates alone, with random numbers in place of the simulator."""
    equal_seconds: float = 0.0
    """s.  Also train each engine this long after its warm-up, and measure the success of its policy."""
    sim: str = "auto"
    """The simulator."""
    objects: str = "mixed"
    """A named object set, or a directory of meshes."""
    device: str = "auto"
    """cuda, or cpu to try the program; auto takes the GPU if there is one."""
    num_envs: int = 4096
    """Hands in parallel."""
    num_steps: int = 16
    """Steps of each hand in an iteration."""
    num_epochs: int = 5
    """Passes over the rollout in an iteration."""
    hidden: Tuple[int, ...] = (512, 512, 256)
    """Widths of both towers."""
    warm_up: int = 5
    """Iterations before anything is timed."""
    iterations: int = 20
    """Timed iterations; the median counts."""
    phase_seconds: float = 20.0
    """s.  A timing ends after this long, but not before three iterations."""
    eval_episodes: int = 1024
    """Episodes that measure success, for --equal-seconds."""
    rl_games_compile: bool = True
    """Whether rl_games may use torch.compile, as it does by default."""
    tf32: bool = True
    """Whether the networks of the other engines may use TF32; rl_games switches it on by itself."""
    seed: int = 0
    """The seed of all random numbers."""
    timeout: float = 600.0
    """s.  A process that takes longer is ended."""
    logs: Optional[Path] = None
    """A directory for what the engines print.  By default only the output of engines that fail is kept."""
    json: Optional[Path] = None
    """A file for all figures.  It is written anew after each row."""


@dataclass
class Column:
    """A column of the table."""

    title: str
    key: str
    form: str
    scale: float = 1.0


COLUMNS = (
    Column("steps/s", "steps_per_s", "{:,.0f}"),
    Column("iteration ms", "iteration_ms", "{:.1f}"),
    Column("learner ms", "learner_ms", "{:.1f}"),
    Column("launches", "launches", "{:,.0f}"),
    Column("graph launches", "graph_launches", "{:,.0f}"),
    Column("host waits", "synchronisations", "{:,.0f}"),
    Column("copies to host", "copies_to_host", "{:,.0f}"),
    Column("torch peak GB", "torch_peak_mb", "{:.2f}", 1 / 1024),
    Column("GPU used GB", "device_used_mb", "{:.2f}", 1 / 1024),
    Column("held %", "success_rate", "{:.1f}", 100.0),
    Column("process s", "process_s", "{:.0f}"),
)


def jobs(args: Args) -> List[Job]:
    """The jobs, one for each row."""
    unknown = [name for name in args.engines if name not in ENGINES]
    if unknown:
        raise SystemExit(f"error: there is no engine {unknown[0]!r}: choose from {', '.join(ENGINES)}")
    for size in args.minibatch_sizes:
        if args.num_envs * args.num_steps % size:
            raise SystemExit(
                f"error: --minibatch-sizes {size} does not divide {args.num_envs} x {args.num_steps} samples"
            )
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    plan = Plan(args.warm_up, args.iterations, args.phase_seconds, args.equal_seconds)
    return [
        Job(
            engine=name,
            settings=Settings(
                num_envs=args.num_envs,
                num_steps=args.num_steps,
                minibatch_size=size,
                num_epochs=args.num_epochs,
                hidden=args.hidden,
                seed=args.seed,
                rl_games_compile=args.rl_games_compile,
            ),
            plan=plan,
            sim="none" if args.learner_only else args.sim,
            objects=args.objects,
            device=device,
            eval_episodes=args.eval_episodes,
            tf32=args.tf32,
        )
        for size in args.minibatch_sizes
        for name in args.engines
    ]


def measure(job: Job, timeout: float, logs: Optional[Path]) -> Dict[str, Any]:
    """Runs a job in a new process.  The row has `failed` if the process does not finish."""
    root = str(HERE.parent)
    path = os.pathsep.join(filter(None, [str(HERE), root, os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task, result = folder / "job.json", folder / "row.json"
        task.write_text(json.dumps(asdict(job)))
        log = (logs or folder) / f"{job.engine}_{job.settings.minibatch_size}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "rivals.worker", str(task), str(result)]
        with open(log, "w", encoding="utf-8") as out:
            try:
                env = {**os.environ, "PYTHONPATH": path}
                status = subprocess.run(command, stdout=out, stderr=out, timeout=timeout, env=env).returncode
            except subprocess.TimeoutExpired:
                return {"failed": f"not done after {timeout:.0f} s", "log": tail(log)}
        if not result.exists():
            return {"failed": f"ended with status {status}", "log": tail(log)}
        row = json.loads(result.read_text())
        if "failed" in row and not row["failed"].startswith("not installed"):
            row["log"] = tail(log)
        return row


def tail(log: Path, size: int = 3000) -> str:
    """The end of what an engine printed."""
    return log.read_text(encoding="utf-8", errors="replace")[-size:]


def table(rows: List[Dict[str, Any]], title: str) -> Table:
    """The table.  A row that failed has dashes."""
    columns = [c for c in COLUMNS if any(c.key in row for row in rows)]
    result = Table(title=title, title_justify="left")
    result.add_column("engine")
    result.add_column("minibatch", justify="right")
    for column in columns:
        result.add_column(column.title, justify="right")
    for row in rows:
        figures = [c.form.format(c.scale * row[c.key]) if c.key in row else "-" for c in columns]
        result.add_row(f"{row['engine']} {row.get('version', '')}".strip(), str(row["minibatch_size"]), *figures)
    return result


def main(args: Args) -> None:
    """Prints the table, and why rows are missing in it."""
    todo = jobs(args)
    console = Console(width=None if sys.stdout.isatty() else 170)
    hardware = "CPU"
    rows: List[Dict[str, Any]] = []
    for job in todo:
        begin = time.perf_counter()
        row: Dict[str, Any] = {"engine": job.engine, "minibatch_size": job.settings.minibatch_size}
        row.update(measure(job, args.timeout, args.logs))
        rows.append(row)
        # The other process asks for the name.  Here that would take memory of the GPU.
        hardware = row.get("hardware", hardware)
        seconds = time.perf_counter() - begin
        said = row.get("failed") or f"{row['steps_per_s']:,.0f} steps/s, learner {row['learner_ms']:.1f} ms"
        console.print(
            f"{job.engine} {job.settings.minibatch_size}: {said} ({seconds:.0f} s)", highlight=False, markup=False
        )
        if args.json:
            args.json.write_text(
                json.dumps({"hardware": hardware, "args": asdict(args), "rows": rows}, indent=2, default=str)
            )
    what = "no simulator" if args.learner_only else args.sim
    size = f"{args.num_envs} x {args.num_steps} steps, {args.num_epochs} epochs, {what}, {hardware}"
    console.print(table(rows, f"{size}; counts are per iteration, a replayed graph is one graph launch"))
    for row in rows:
        name = f"{row['engine']} {row['minibatch_size']}"
        notes: List[str] = list(row.get("notes", []))
        if "failed" in row:
            notes.append(f"failed: {row['failed']}")
        for note in notes:
            console.print(f"{name}: {note}", highlight=False, markup=False)


if __name__ == "__main__":
    main(tyro.cli(Args))
