"""Measures throughput, times and memory of whole iterations of training, by the number of environments.

    python benchmarks/scaling.py --json scaling.json
    python benchmarks/scaling.py --num-envs 2048 4096 --seconds-to 85 --objects mixed --json scaling.json

Each size trains in a process of its own.  It starts from a policy that grasps, because the cost of physics depends on what the
hands do.  It is a whole training without evaluation, whose worlds would take time and memory of their own.  Figures are medians
of the rows that training logs, after a warm-up.  The minibatch keeps its size, so that more environments mean more gradient
steps.  `--scale-minibatch` keeps the number of gradient steps instead.

"GPU memory" is what all processes use of the device at the end (cudaMemGetInfo), minus what was in use before the first tensor of
this process.  The CUDA context of this process is not in it; what other processes took meanwhile is.  "torch peak" counts torch's
tensors only, so the simulator's memory is not in it.  A size that fails gets a row with the reason.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import torch
import tyro
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent))

from time_to_success import joined, rows_from, train

from ppo_grasp import Trainer, TrainerCfg, load_policy
from tasks.grasp.build import make_task
from tasks.objects import load_objects
from tasks.simulators.mujoco.scene import PhysicsCfg

NEVER = 10**15
REFERENCE_ENVS = 4096
"""The number of environments at which --scale-minibatch does not change the size."""


@dataclass
class Args:
    """Training by the number of environments."""

    num_envs: Tuple[int, ...] = (512, 1024, 2048, 4096, 8192, 16384, 32768)
    """Environments; a row for each number."""
    checkpoint: Path = Path("checkpoints/shadow_grasp.pt")
    """The policy that acts and goes on learning."""
    sim: str = "auto"
    """The simulator."""
    objects: str = "procedural"
    """A named object set, or a directory of meshes."""
    warm_up: int = 25
    """Iterations before anything is timed; 25 are two episodes."""
    iterations: int = 20
    """Timed iterations; the median counts."""
    scale_minibatch: bool = False
    """Scale the minibatch with the number of environments, from its own size at 4096."""
    timeout: float = 300.0
    """s.  A size that takes longer is ended."""
    seconds_to: Optional[float] = None
    """Also train each size from nothing with train.py, until its running evaluation has passed this percentage held."""
    max_minutes: float = 5.0
    """The longest such a training may take, minutes."""
    eval_interval: int = 500_000
    """Environment steps between the evaluations of such a training."""
    options: str = ""
    """Further options of such a training, in one string.  Of the options here it gets size, objects, simulator, seed and minibatch."""
    trainer: TrainerCfg = field(default_factory=TrainerCfg)
    """Settings of the training.  Its length and its intervals are set by this benchmark."""
    physics: PhysicsCfg = field(default_factory=PhysicsCfg)
    """How the simulator integrates."""
    json: Optional[Path] = None
    """A file for all figures.  It is written anew after each row."""


@dataclass
class Column:
    """A column of the table."""

    title: str
    key: str
    form: str = "{:.1f}"
    scale: float = 1.0


COLUMNS = (
    Column("steps/s", "steps_per_s", "{:,.0f}"),
    Column("iteration ms", "iteration_ms"),
    Column("rollout ms", "rollout_ms"),
    Column("update ms", "update_ms"),
    Column("success %", "success_rate", "{:.0f}", 100.0),
    Column("minibatch", "minibatch_size", "{:,.0f}"),
    Column("gradient steps", "gradient_steps", "{:.0f}"),
    Column("GPU memory GB", "gpu_used_gb", "{:.2f}"),
    Column("torch peak GB", "torch_peak_gb", "{:.2f}"),
    Column("first iteration s", "first_iteration_s", "{:.0f}"),
    Column("held after s", "held_wall_s", "{:.0f}"),
    Column("held after M steps", "held_env_steps", "{:.2f}", 1e-6),
)


def trainer_cfg(args: Args, num_envs: int) -> TrainerCfg:
    """The settings of the training of one size."""
    ppo = args.trainer.ppo
    if args.scale_minibatch:
        ppo = replace(ppo, minibatch_size=max(1, round(ppo.minibatch_size * num_envs / REFERENCE_ENVS)))
    steps = (args.warm_up + args.iterations) * ppo.num_steps * num_envs
    return replace(args.trainer, ppo=ppo, total_timesteps=steps, max_minutes=None, checkpoint_interval=NEVER)


def used_gb() -> float:
    """GB in use on the device, by all processes."""
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 1e9


def measure(args: Args, num_envs: int) -> Dict[str, Any]:
    """Trains for a while and returns the figures of a row."""
    on_cuda = torch.cuda.is_available()
    before = used_gb() if on_cuda else 0.0
    cfg = trainer_cfg(args, num_envs)
    torch.manual_seed(cfg.seed)
    task = make_task(args.sim, load_objects(args.objects), num_envs, settings=args.physics)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")  # a recording that fails, as for lack of memory, is only a warning
        trainer = Trainer(task, cfg, folder)
        policy, _ = load_policy(args.checkpoint, trainer.device)
        trainer.policy.load_state_dict(policy.state_dict())
        trainer.run()
        rows, _ = rows_from(Path(folder) / "metrics.jsonl", 0)
    timed = rows[args.warm_up :]
    samples = cfg.ppo.num_steps * num_envs
    minibatches = max(1, round(samples / cfg.ppo.minibatch_size))
    iteration_ms = statistics.median(1e3 * samples / row["steps_per_s"] for row in timed)
    result = {
        "steps_per_s": 1e3 * samples / iteration_ms,
        "iteration_ms": iteration_ms,
        "rollout_ms": statistics.median(row["environment_ms"] + row["policy_ms"] for row in timed),
        "policy_ms": statistics.median(row["policy_ms"] for row in timed),
        "update_ms": statistics.median(row["update_ms"] for row in timed),
        "success_rate": timed[-1]["success_rate"],
        "minibatch_size": samples // minibatches,
        "gradient_steps": minibatches * cfg.ppo.num_epochs,
        "first_iteration_s": rows[0]["wall_s"],
        "notes": [str(w.message) for w in warned if not issubclass(w.category, (DeprecationWarning, ImportWarning))],
        "hardware": "the processor",
    }
    for name, count in task.diagnostics().items():
        if count:
            result["notes"].append(f"{name}: {count:g}")
    if on_cuda:
        result["gpu_used_gb"] = used_gb() - before
        result["torch_peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
        result["gpu_before_gb"] = before
        result["gpu_total_gb"] = torch.cuda.mem_get_info()[1] / 1e9
        result["hardware"] = torch.cuda.get_device_name()
    return result


def work(args: Args, num_envs: int, result: Path, log: Path) -> None:
    """The process of one size.  It writes its row to `result` and its output to `log`."""
    with open(log, "w", encoding="utf-8") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    try:
        row = measure(args, num_envs)
    except Exception as error:
        traceback.print_exc()
        first = (str(error).strip() or "no reason given").splitlines()[0]
        row = {"failed": f"{type(error).__name__}: {first}"}
    result.write_text(json.dumps(row))


def measure_apart(args: Args, num_envs: int) -> Dict[str, Any]:
    """Runs `measure` in a new process.  The row has `failed` if the process does not finish."""
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder) / "row.json", Path(folder) / "log"
        process = multiprocessing.get_context("spawn").Process(target=work, args=(args, num_envs, result, log))
        process.start()
        try:
            process.join(args.timeout)
        finally:
            late = process.is_alive()
            if late:
                process.kill()
                process.join()
        if result.exists() and not late:
            return json.loads(result.read_text())
        said = log.read_text(encoding="utf-8", errors="replace")[-3000:] if log.exists() else ""
        return {
            "failed": f"not done after {args.timeout:g} s" if late else f"ended with {process.exitcode}",
            "log": said,
        }


def time_to(args: Args, num_envs: int, level: float, place: Path) -> Dict[str, Any]:
    """The figures of a training from nothing until `level` percent are held."""
    minibatch = str(trainer_cfg(args, num_envs).ppo.minibatch_size)
    words = ["--num-envs", str(num_envs), "--objects", args.objects, "--sim", args.sim]
    words += ["--seed", str(args.trainer.seed), "--ppo.minibatch-size", minibatch]
    words += ["--eval-interval", str(args.eval_interval), "--total-timesteps", str(10**12), *shlex.split(args.options)]
    run = train(words, place / f"{num_envs}", (level,), args.max_minutes)
    first = run["levels"][f"{level:g}"] or {}
    result = {f"held_{key}": value for key, value in first.items()}
    if "failed" in run:
        result["training_failed"] = run["failed"]
    return {**result, "training": run}


def table(rows: List[Dict[str, Any]], title: str) -> Table:
    """The table.  A row that failed has dashes."""
    columns = [c for c in COLUMNS if any(c.key in row for row in rows)]
    result = Table(title=title, title_justify="left")
    result.add_column("environments", justify="right")
    for column in columns:
        result.add_column(column.title, justify="right")
    for row in rows:
        figures = [c.form.format(c.scale * row[c.key]) if c.key in row else "-" for c in columns]
        result.add_row(f"{row['num_envs']:,}", *(figures or ["-"]))
    return result


def main(args: Args) -> None:
    """Prints a line after each size, then the table, and why rows are missing in it."""
    if not args.num_envs or min(args.num_envs) < 1 or args.warm_up < 3 or args.iterations < 1:
        raise SystemExit(
            "error: --num-envs and --iterations must be at least 1, --warm-up at least 3, because graphs are recorded in it"
        )
    if not args.checkpoint.is_file():
        raise SystemExit(f"error: --checkpoint {args.checkpoint}: no such file")
    console = Console(width=None if sys.stdout.isatty() else 170)
    place = Path("runs") / time.strftime("scaling_%Y-%m-%d_%H-%M-%S")
    rows: List[Dict[str, Any]] = []
    for num_envs in args.num_envs:
        begin = time.monotonic()
        row: Dict[str, Any] = {"num_envs": num_envs, **measure_apart(args, num_envs)}
        if args.seconds_to is not None and "failed" not in row:
            row.update(time_to(args, num_envs, args.seconds_to, place))
        rows.append(row)
        said = f"failed: {row['failed']}" if "failed" in row else f"{row['steps_per_s']:,.0f} steps/s"
        took = f"({time.monotonic() - begin:.0f} s)"
        console.print(f"{num_envs} environments: {said} {took}", highlight=False, markup=False)
        if args.json:
            args.json.write_text(json.dumps({"args": asdict(args), "rows": rows}, indent=2, default=str))
    hardware = next((row["hardware"] for row in rows if "hardware" in row), "nothing measured")
    minibatch = (
        "scaled with the environments" if args.scale_minibatch else f"fixed at {args.trainer.ppo.minibatch_size}"
    )
    title = f"{args.objects}, {args.trainer.ppo.num_steps} steps an iteration, minibatch {minibatch}, {hardware}"
    if args.seconds_to is not None:
        title += f"; held: {args.seconds_to:g} %"
    console.print(table(rows, title))
    for row in rows:
        notes: List[str] = list(row.get("notes", []))
        for key, prefix in (("failed", "failed: "), ("training_failed", "train.py failed: ")):
            if key in row:
                notes.append(prefix + row[key])
        for note in notes:
            console.print(f"{row['num_envs']} environments: {note}", highlight=False, markup=False)
    if all("failed" in row for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main(tyro.cli(Args, args=joined(sys.argv[1:])))
