"""What a PPO engine costs: this one and others on the same task, network, batch and hyper-parameters, on one GPU.

    python benchmarks/engines.py --json engines.json
    python benchmarks/engines.py --learner-only --engines ours rsl_rl
    python benchmarks/engines.py --equal-seconds 90 --minibatch-sizes 16384

The comparison is of engines, not of simulators.  Every engine steps the same task object, and the others get its control step,
physics, rewards and resets together, as one recorded CUDA graph, the way a user of a GPU simulator would have it; the recording
is theirs for free.  What this engine adds is that the policy between the steps, the whole rollout and the whole update are
recorded as well.  Tensor-based engines get tensors on the GPU and nothing is copied to the host for them;
stable-baselines3 has an interface of numpy arrays and pays for it, as it does for its users.  Everyone's networks may use TF32;
the task does not.  Each engine runs its own training loop with its own logging, each row in a process of its own.  The learner is
all that comes between the last step of a rollout and the first of the next, so advantages are in it, wherever the engine has them.

`--learner-only` puts random numbers in place of the simulator: the quickest fair figure, and steps/s is then what the engine
alone would allow.  A launch is one kernel that the host asks for; replaying a recorded graph of any size counts as one graph
launch and no kernel launch.  An engine that is not installed or fails has a row that says why.
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
    """Which, in this order."""
    minibatch_sizes: Tuple[int, ...] = (2048, 16384)
    """A row for each."""
    learner_only: bool = False
    """Random numbers in place of the simulator: times the updates alone."""
    equal_seconds: float = 0.0
    """Also train each this long after its warm-up, and measure the success of what it learnt."""
    sim: str = "auto"
    """The simulator."""
    objects: str = "mixed"
    """A named object set, or a directory of meshes."""
    device: str = "auto"
    """cuda, or cpu to try the program."""
    num_envs: int = 4096
    """Hands in parallel."""
    num_steps: int = 16
    """Steps of each per iteration."""
    num_epochs: int = 5
    """Passes over the rollout per iteration."""
    hidden: Tuple[int, ...] = (512, 512, 256)
    """Widths of both towers."""
    warm_up: int = 5
    """Iterations thrown away."""
    iterations: int = 20
    """Iterations timed; medians are reported."""
    phase_seconds: float = 20.0
    """A timing ends after this long, but not before three iterations."""
    eval_episodes: int = 1024
    """For --equal-seconds."""
    rl_games_compile: bool = True
    """Whether rl_games may use torch.compile, as it does by default."""
    tf32: bool = True
    """Whether the others' networks may use TF32; rl_games switches it on by itself."""
    seed: int = 0
    """Of everything."""
    timeout: float = 600.0
    """Seconds until a process is given up."""
    logs: Optional[Path] = None
    """A directory for what the engines print; by default it is thrown away where they succeed."""
    json: Optional[Path] = None
    """Everything measured, written after each row."""


@dataclass
class Column:
    """One figure of the table."""

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
    """One per row."""
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
    """Runs a job in a fresh process; a row with `failed` if it does not come to its end."""
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
    """Rows that failed say why in place of figures."""
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
    """Prints a table and the reasons for what is not in it."""
    todo = jobs(args)
    console = Console(width=None if sys.stdout.isatty() else 170)
    hardware = "CPU"
    rows: List[Dict[str, Any]] = []
    for job in todo:
        begin = time.perf_counter()
        row: Dict[str, Any] = {"engine": job.engine, "minibatch_size": job.settings.minibatch_size}
        row.update(measure(job, args.timeout, args.logs))
        rows.append(row)
        hardware = row.get("hardware", hardware)  # asked there: asking here would hold memory of the GPU
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
