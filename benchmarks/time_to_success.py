"""Measures how long training takes: runs `train.py` as a user would, until its running evaluation has passed given levels.

    python benchmarks/time_to_success.py --json time_to_success.json
    python benchmarks/time_to_success.py --cold --objects mixed --seeds 0
    python benchmarks/time_to_success.py --keep-going --options "--eval-envs 2048"

Seconds count from the start of the process of train.py.  Imports, objects, kernels, recordings and evaluations are in them.
Success is *held*, of the deterministic policy, in the running evaluation.  A level is passed at the first evaluation that is not
below it, and its time is the end of that evaluation.  So the interval between evaluations and the few hundred episodes of each
limit the precision.  Every run is a new process.  It is interrupted, as by Ctrl-C, when the highest level is passed; use
`--keep-going` to see whether success falls later.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import tyro
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ROOT / "train.py"
CACHES = ("WARP_CACHE_PATH", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")
"""Environment variables that say where compiled kernels are kept.  With --cold each points to an empty directory."""
GOOD = 80.0
"""Percent held.  A policy that has reached this should not get much worse."""
INTERRUPTED = 130
POLL_S = 0.2
PATIENCE_S = 60.0
"""How long an interrupted run may take to write its checkpoint."""

Row = Dict[str, Any]


@dataclass
class Args:
    """Wall clock and steps to levels of success."""

    objects: Tuple[str, ...] = ("primitives", "mixed")
    """Object sets.  Each is trained on by itself."""
    seeds: Tuple[int, ...] = (0, 1, 2)
    """Each set is trained on once with each seed."""
    levels: Tuple[float, ...] = (50.0, 85.0, 95.0)
    """Percent held."""
    max_minutes: float = 5.0
    """A run ends this long after its process started, whatever it has reached, minutes."""
    eval_interval: int = 500_000
    """Environment steps between evaluations, which is the precision.  That of train.py is eight times as long."""
    keep_going: bool = False
    """Train until --max-minutes when the highest level is passed, to see whether success stays."""
    cold: bool = False
    """Start each run with empty caches of compiled kernels.  Cached objects and the file cache of the system stay."""
    options: str = ""
    """Further options of train.py, in one string.  They override those above."""
    grace: float = 180.0
    """A run is ended this long after --max-minutes, s.  train.py does not interrupt the compilation of kernels."""
    run_dir: Optional[Path] = None
    """The folder for the run directories and their logs; by default runs/time_to_success_DATE-TIME."""
    json: Optional[Path] = None
    """A file for all figures, with every evaluation.  It is written anew after each run."""


# --- reading the rows of a run --------------------------------------------------------------------------------------------


def rows_from(path: Path, offset: int) -> Tuple[List[Row], int]:
    """The rows of metrics.jsonl from a byte on, and the byte after them.  An unfinished line is left for the next call."""
    if not path.exists():
        return [], offset
    with open(path, "rb") as file:
        file.seek(offset)
        text = file.read()
    text = text[: text.rfind(b"\n") + 1]
    return [json.loads(line) for line in text.splitlines()], offset + len(text)


def evaluations_in(rows: Sequence[Row]) -> List[Row]:
    """Each evaluation: its wall_s, env_steps and percent held."""
    return [
        {"wall_s": row["wall_s"], "env_steps": row["env_steps"], "held": 100.0 * row["eval_success_rate"]}
        for row in rows
        if row.get("eval_success_rate") is not None
    ]


def passed(evaluations: Sequence[Row], level: float) -> Optional[Row]:
    """The first evaluation that is not below the level; None if there is none."""
    return next((e for e in evaluations if e["held"] >= level - 1e-9), None)


def fall_after(evaluations: Sequence[Row], level: float) -> Tuple[Optional[float], int]:
    """The largest fall after the level is passed, and the number of evaluations after that.

    A fall is the number of points from the best evaluation so far to a later one.  It is None if there is no later evaluation.
    """
    first = passed(evaluations, level)
    if first is None:
        return None, 0
    later = [e["held"] for e in evaluations if e["env_steps"] > first["env_steps"]]
    best, fall = first["held"], 0.0
    for held in later:
        best = max(best, held)
        fall = max(fall, best - held)
    return (fall if later else None), len(later)


def evaluation_seconds(rows: Sequence[Row]) -> List[float]:
    """The seconds that each evaluation took: the wall clock since the one before, minus the time of the iterations in between.

    The first is counted from the iteration before it, which without a GPU makes it too short by one iteration.  An evaluation in
    the very first row is left out, because there is nothing to count from.
    """
    result = []
    since: Optional[float] = None
    iterations_s = 0.0
    for before, row in zip(rows, rows[1:]):
        iteration_s = (row["env_steps"] - before["env_steps"]) / row["steps_per_s"]
        if since is None and before.get("eval_success_rate") is not None:
            since, iterations_s = before["wall_s"], 0.0
        iterations_s += iteration_s
        if row.get("eval_success_rate") is not None:
            span = (
                row["wall_s"] - before["wall_s"] - iteration_s
                if since is None
                else row["wall_s"] - since - iterations_s
            )
            result.append(max(0.0, span))
            since, iterations_s = row["wall_s"], 0.0
    return result


def analyse(rows: Sequence[Row], levels: Sequence[float]) -> Row:
    """What a run reached and when, computed from the rows of its metrics.jsonl."""
    evaluations = evaluations_in(rows)
    fall, later = fall_after(evaluations, GOOD)
    spent = evaluation_seconds(rows)
    wall_s = rows[-1]["wall_s"] if rows else math.nan
    reached = {}
    for level in levels:
        first = passed(evaluations, level)
        reached[f"{level:g}"] = first and {key: first[key] for key in ("wall_s", "env_steps")}
    return {
        "levels": reached,
        "best_held": max((e["held"] for e in evaluations), default=None),
        f"largest_fall_after_{GOOD:g}": fall,
        f"evaluations_after_{GOOD:g}": later,
        "first_iteration_s": rows[0]["wall_s"] if rows else None,
        "wall_s": wall_s if rows else None,
        "env_steps": rows[-1]["env_steps"] if rows else 0,
        "evaluation_s": statistics.median(spent) if spent else None,
        "evaluation_share": sum(spent) / wall_s if spent else None,
        "evaluations": evaluations,
    }


def spread(values: Sequence[Optional[float]]) -> Dict[str, Optional[float]]:
    """Minimum, median and maximum.  None means never and counts as more than any number."""
    numbers = [math.inf if value is None else float(value) for value in values]
    found = {"min": min(numbers), "median": statistics.median(numbers), "max": max(numbers)}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def summarise(runs: Sequence[Row], levels: Sequence[float]) -> List[Row]:
    """A row for each object set and level, over seeds.  A run that failed has reached nothing."""
    result = []
    for objects in dict.fromkeys(run["objects"] for run in runs):
        for level in (f"{level:g}" for level in levels):
            firsts = [run.get("levels", {}).get(level) or {} for run in runs if run["objects"] == objects]
            row: Row = {
                "objects": objects,
                "level": level,
                "seeds": len(firsts),
                "reached": len(list(filter(None, firsts))),
            }
            for key in ("wall_s", "env_steps"):
                row[key] = spread([first.get(key) for first in firsts])
            result.append(row)
    return result


# --- running it ----------------------------------------------------------------------------------------------------------


def train(
    words: Sequence[str],
    run_dir: Path,
    levels: Sequence[float],
    max_minutes: float,
    keep_going: bool = False,
    cold: bool = False,
    grace: float = 180.0,
    launcher: Sequence[str] = (sys.executable,),
) -> Row:
    """Runs train.py with these options until the highest level is passed or it ends by itself.  Returns `analyse` of the run.

    If it ended in another way, `failed` is the reason.  Its output goes to RUN_DIR/train.log.
    launcher: what runs a Python file.  torchrun ends with status 1 when it is interrupted.
    """
    run_dir.mkdir(parents=True)  # fails if the folder of an older run is there
    log = run_dir / "train.log"
    command = [*launcher, str(TRAIN), "--run-dir", str(run_dir), "--max-minutes", f"{max_minutes:g}", *words]
    rows: List[Row] = []
    offset, interrupted, gave_up = 0, False, False
    # A shell may have started us in the background with SIGINT ignored, and children inherit that.  They do not inherit a handler.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder, open(log, "w", encoding="utf-8") as out:
        caches = {name: str(Path(folder) / name.lower()) for name in CACHES} if cold else {}
        begin = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **caches})
        try:
            while process.poll() is None:
                time.sleep(POLL_S)
                more, offset = rows_from(run_dir / "metrics.jsonl", offset)
                rows += more
                done = passed(evaluations_in(more), max(levels)) is not None and not keep_going
                gave_up = time.monotonic() - begin > 60.0 * max_minutes + grace
                if done or gave_up:
                    interrupted = True
                    process.send_signal(signal.SIGINT)
                    break
        finally:  # interrupted, by us or by the same Ctrl-C of the user as we are, it writes its checkpoint
            try:
                status = process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
    rows += rows_from(run_dir / "metrics.jsonl", offset)[0]
    said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    result = {
        **analyse(rows, levels),
        "process_s": time.monotonic() - begin,
        "interrupted": interrupted,
        "where": next((line for line in said if "training on " in line), None),
        "command": shlex.join(command[1:]),
    }
    # The last but one if it was ending by itself already; the last is torchrun's.
    ends = (0, INTERRUPTED, -signal.SIGINT, *([1] if len(launcher) > 1 else [])) if interrupted else (0,)
    if gave_up:
        result["failed"] = f"not done {grace:g} s after --max-minutes"
    elif status not in ends:
        result["failed"] = f"status {status}: {said[-1].strip() if said else 'it said nothing'}"
    return result


# --- showing it ----------------------------------------------------------------------------------------------------------


def number(value: Optional[float], form: str = "{:.0f}", scale: float = 1.0) -> str:
    """The value as text; a dash if there is none."""
    return "-" if value is None else form.format(scale * value)


def time_and_steps(first: Optional[Row]) -> str:
    """The time and steps at which a level was passed, as text."""
    return "-" if first is None else f"{first['wall_s']:.0f} s, {first['env_steps'] / 1e6:.2f} M"


def runs_table(runs: Sequence[Row], levels: Sequence[float]) -> Table:
    """The table of runs."""
    table = Table(
        title="Wall clock from the start of the process and environment steps to each level", title_justify="left"
    )
    table.add_column("objects")
    levels_named = [f"{level:g}" for level in levels]
    late = f"{GOOD:g}"
    heads = (*(f"{level} % held" for level in levels_named), "best %", f"fall after {late} %, points (evaluations)")
    for head in ("seed", "first iteration s", *heads, "evaluating %", "one s", "ended at"):
        table.add_column(head, justify="right")
    for run in runs:
        if "levels" not in run:
            continue
        table.add_row(
            run["objects"],
            str(run["seed"]),
            number(run["first_iteration_s"]),
            *(time_and_steps(run["levels"][level]) for level in levels_named),
            number(run["best_held"], "{:.1f}"),
            f"{number(run[f'largest_fall_after_{late}'], '{:.1f}')} ({run[f'evaluations_after_{late}']})",
            number(run["evaluation_share"], scale=100.0),
            number(run["evaluation_s"], "{:.2f}"),
            time_and_steps(run if run["wall_s"] is not None else None),
        )
    return table


def summary_table(summary: Sequence[Row]) -> Table:
    """The table of object sets and levels."""
    table = Table(title="Over seeds: minimum, median, maximum; a dash is never", title_justify="left")
    table.add_column("objects")
    for head in ("held %", "reached", "wall clock, s", "steps, M"):
        table.add_column(head, justify="right")
    for row in summary:
        wall = " / ".join(number(value) for value in row["wall_s"].values())
        steps = " / ".join(number(value, "{:.2f}", 1e-6) for value in row["env_steps"].values())
        table.add_row(row["objects"], row["level"], f"{row['reached']} of {row['seeds']}", wall, steps)
    return table


def joined(words: Sequence[str]) -> List[str]:
    """Turns `--options "--a 1"` into `--options=--a 1`, because the parser takes no value that starts with a dash."""
    result: List[str] = []
    for word in words:
        if result and result[-1] == "--options":
            result[-1] += "=" + word
        else:
            result.append(word)
    return result


def main(args: Args) -> None:
    """Prints a line after each run and the tables at the end."""
    if not args.levels or not args.seeds or not args.objects:
        raise SystemExit("error: --levels, --seeds and --objects each need a value")
    args.levels = tuple(sorted(set(args.levels)))
    place = args.run_dir or Path("runs") / time.strftime("time_to_success_%Y-%m-%d_%H-%M-%S")
    if place.exists():
        raise SystemExit(f"error: --run-dir {place}: is there already; give another name")
    console = Console(width=None if sys.stdout.isatty() else 170)
    runs: List[Row] = []
    for (
        seed
    ) in args.seeds:  # all sets come with the first seed, then with the next, so that a break leaves figures of all
        for objects in args.objects:
            words = ["--objects", objects, "--seed", str(seed), "--eval-interval", str(args.eval_interval)]
            # The clock or a level ends it, not the number of steps.
            words += ["--total-timesteps", str(10**12), *shlex.split(args.options)]
            folder = place / f"{objects.replace(os.sep, '_')}_seed{seed}"
            run = train(words, folder, args.levels, args.max_minutes, args.keep_going, args.cold, args.grace)
            runs.append({"objects": objects, "seed": seed, "cold": args.cold, **run})
            said = ", ".join(f"{level} %: {time_and_steps(first)}" for level, first in run["levels"].items())
            failed = f"; failed: {run['failed']}" if "failed" in run else ""
            console.print(
                f"{objects}, seed {seed}: {said} ({run['process_s']:.0f} s){failed}", highlight=False, markup=False
            )
            if args.json:
                summary = summarise(runs, args.levels)
                written = {"where": run["where"], "args": asdict(args), "summary": summary, "runs": runs}
                args.json.write_text(json.dumps(written, indent=2, default=str))
    console.print(runs_table(runs, args.levels))
    console.print(summary_table(summarise(runs, args.levels)))
    shares = [run["evaluation_share"] for run in runs if run["evaluation_share"] is not None]
    if shares:
        console.print(f"evaluations took {100 * statistics.mean(shares):.0f} % of the wall clock, by metrics.jsonl")
    else:
        console.print("the wall clock that evaluations took cannot be told: there was none after a first iteration")
    if runs and all("failed" in run for run in runs):
        raise SystemExit(1)


if __name__ == "__main__":
    main(tyro.cli(Args, args=joined(sys.argv[1:])))
