"""Trains at full speed for minutes and says whether memory and throughput stay flat, if asked with faults on the way.

    python benchmarks/reliability/soak.py --json soak.json
    python benchmarks/reliability/soak.py --minutes 6.5 --inject nan overflow slow-disk --json soak.json

`train.py` runs in a process of its own and begins with the policy that ships, so that the work of a step changes little.  Its
first minute after the first iteration is a warm-up.  The time after that is cut into ten windows.  Memory is flat if no window's
median is more than --memory-mb above an earlier one: of the process's resident memory each second, and of the used memory
of its GPU each five seconds.  Throughput is flat if the windows' medians of `steps_per_s` lie within --throughput-percent.

`--inject nan`: a NaN in the positions of some worlds, in one reward, and in the gradients of an update, in turn.  Training must go on, and
must be healthy again soon.  After the training a second one gets a NaN in a weight: it must stop with status 1 and a dump.
`--inject slow-disk`: for a while each write to the disk waits two seconds.  Files must be whole, and training goes on.
`--inject overflow`: a further short training has buffers that are too small for its contacts.  It must say so.
Every checkpoint that any of them writes is loaded, and all numbers of its network and optimiser must be finite.

The status is 0 if all of this holds, and 1 if not.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import List, Literal, Optional, Sequence, Tuple

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parents[1]), str(ROOT)]

import tyro  # noqa: E402
from time_to_success import Row, joined, rows_from  # noqa: E402

from ppo_grasp.checkpoint import DUMP, load_checkpoint  # noqa: E402
from ppo_grasp.run.health import first_non_finite  # noqa: E402

WINDOWS = 10
HEALED = 5
"""Iterations after a fault after which all must be well again.  Faults are ten apart."""
EVER = 10**15
SHORT = 24
"""Iterations of the trainings with small buffers and with a broken weight."""
PATIENCE_S = 240.0
"""Longer than it should a training may take, kernels to compile included."""
SMALL = 0.02
"""Share of the usual room for contacts."""
SLOW_S = 2.0


@dataclass
class Args:
    """How long, with which faults, and what counts as flat."""

    minutes: float = 15.0
    """Length of the training, from the start of its process.  The short trainings for overflow and nan come on top."""
    inject: Tuple[Literal["nan", "overflow", "slow-disk"], ...] = ()
    """Faults."""
    every: float = 20.0
    """Seconds between two faults.  The first comes after the warm-up."""
    warm_up: float = 60.0
    """Seconds after the first iteration that are not judged."""
    memory_mb: float = 16.0
    """By how much memory may grow."""
    throughput_percent: float = 2.0
    """How far windows may differ."""
    checkpoint: Optional[Path] = Path("checkpoints/shadow_grasp.pt")
    """The policy to begin with, if it is there; else random networks."""
    options: str = ""
    """Further options of train.py, in one string."""
    run_dir: Optional[Path] = None
    """Where to leave what the trainings write; by default it is deleted."""
    json: Optional[Path] = None
    """A file for all figures."""


@dataclass
class Ran:
    """What a training left."""

    status: Optional[int] = None
    said: str = ""
    rows: List[Row] = field(default_factory=list)
    faults: List[Row] = field(default_factory=list)
    memory: List[Tuple[float, float, Optional[float]]] = field(default_factory=list)
    """Seconds since the start, MB of the process, MB of the GPUs."""
    checkpoints: int = 0
    broken: List[str] = field(default_factory=list)
    """Checkpoints that cannot be loaded or are not finite, and why."""
    folder: Path = Path()
    config: Row = field(default_factory=dict)


# --- running a training --------------------------------------------------------------------------------------------------


def resident_mb(pid: int) -> Optional[float]:
    """MB of memory that a process occupies; None once it has ended."""
    try:
        words = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return None
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 or None


def gpu_mb() -> Optional[float]:
    """MB that are in use on the GPUs that CUDA_VISIBLE_DEVICES names, or on all, together; None without nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return None
    ask = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    if os.environ.get("CUDA_VISIBLE_DEVICES"):
        ask += ["-i", os.environ["CUDA_VISIBLE_DEVICES"]]
    done = subprocess.run(ask, capture_output=True, text=True)
    words = done.stdout.split()
    return sum(map(float, words)) * 1.048576 if words and all(word.isdigit() for word in words) else None


def check_written(folder: Path, ran: Ran) -> None:
    """Loads the checkpoints that were written since the last call, and removes these links to them."""
    for path in sorted(folder.iterdir()):
        ran.checkpoints += 1
        try:
            payload = load_checkpoint(path)  # checksums, names, types and ranges
            bad = first_non_finite({"model": payload["model"], "ppo": payload["state"]["ppo"]})
            if bad is not None:
                ran.broken.append(f"{path.name}: {bad} is not finite")
        except ValueError as error:
            ran.broken.append(str(error))
        path.unlink()


def train(
    words: Sequence[object], folder: Path, kinds: Sequence[str], from_s: float, every_s: float, limit_s: float
) -> Ran:
    """Runs train.py with faults of these kinds until it ends by itself, or has taken `limit_s`."""
    written, run = folder / "written", folder / "run"
    written.mkdir(parents=True)
    plan = {"kinds": kinds, "from_s": from_s, "every_s": every_s, "slow_s": SLOW_S}
    plan.update(log=str(folder / "faults.jsonl"), written=str(written))
    (folder / "plan.json").write_text(json.dumps(plan))
    start = [sys.executable, str(HERE.parent / "faults.py"), str(folder / "plan.json"), "--run-dir", str(run)]
    ran = Ran(folder=run)
    with open(folder / "output.txt", "w") as log:
        begin = time.monotonic()
        process = subprocess.Popen([*start, *map(str, words)], stdout=log, stderr=log, cwd=ROOT)
        try:
            second = 0
            while process.poll() is None and time.monotonic() - begin < limit_s:
                used = resident_mb(process.pid)
                if used is not None:
                    ran.memory.append((time.monotonic() - begin, used, gpu_mb() if second % 5 == 0 else None))
                check_written(written, ran)
                second += 1
                time.sleep(max(0.0, begin + second - time.monotonic()))
            ran.status = process.poll()
        finally:
            process.kill()
            process.wait()
    check_written(written, ran)
    ran.rows, _ = rows_from(run / "metrics.jsonl", 0)
    ran.faults, _ = rows_from(folder / "faults.jsonl", 0)
    ran.said = (folder / "output.txt").read_text(errors="replace")
    if (run / "config.json").is_file():
        ran.config = json.loads((run / "config.json").read_text())
    return ran


# --- judging it ----------------------------------------------------------------------------------------------------------


def in_windows(points: Sequence[Tuple[float, Optional[float]]], begin: float, end: float) -> List[float]:
    """The median in each of ten equal windows of the time from `begin` to `end`; windows without a value are left out."""
    windows: List[List[float]] = [[] for _ in range(WINDOWS)]
    for when, value in points:
        if begin <= when < end and value is not None:
            windows[int(WINDOWS * (when - begin) / (end - begin))].append(value)
    return [statistics.median(window) for window in windows if window]


def growth(values: Sequence[float]) -> float:
    """The largest rise from a value to a later one."""
    return max((later - value for i, value in enumerate(values) for later in values[i:]), default=0.0)


def spread_percent(values: Sequence[float]) -> float:
    """The distance of the largest from the smallest, in percent of the median."""
    return 100.0 * (max(values) - min(values)) / statistics.median(values)


def flatness(args: Args, ran: Ran) -> Tuple[Row, List[str]]:
    """Memory and throughput after the warm-up, and what is not flat in them."""
    begin, end = ran.rows[0]["wall_s"] + args.warm_up, ran.rows[-1]["wall_s"]
    speed = in_windows([(row["wall_s"], row["steps_per_s"]) for row in ran.rows], begin, end)
    host = in_windows([(when, mb) for when, mb, _ in ran.memory], begin, end)
    gpu = in_windows([(when, mb) for when, _, mb in ran.memory], begin, end)
    if len(speed) < 2 or len(host) < 2:
        return {}, [f"only {end - begin:.0f} s after the warm-up: give more --minutes"]
    after = [row for row in ran.rows if row["wall_s"] >= begin]
    clock = (after[-1]["env_steps"] - after[0]["env_steps"]) / (after[-1]["wall_s"] - after[0]["wall_s"])
    result: Row = {
        "judged_s": end - begin,
        "iterations": len(after),
        "steps_per_s": speed,
        "host_mb": host,
        "gpu_mb": gpu,
    }
    result.update(steps_per_s_by_the_clock=clock, peak_host_mb=max(mb for _, mb, _ in ran.memory))
    result.update(
        steps_per_s_spread_percent=spread_percent(speed), host_growth_mb=growth(host), gpu_growth_mb=growth(gpu)
    )
    wrong = []
    grown = {where: result[f"{where}_growth_mb"] for where in ("host", "gpu")}
    wrong += [f"memory of the {where} grew by {mb:.1f} MB" for where, mb in grown.items() if mb > args.memory_mb]
    if result["steps_per_s_spread_percent"] > args.throughput_percent:
        wrong.append(f"throughput differs by {result['steps_per_s_spread_percent']:.1f} %")
    return result, wrong


def unhealthy(row: Row) -> bool:
    """Whether an iteration had a reward or a gradient that was not finite."""
    return row["reward"] is None or row["nonfinite_steps"] != 0


def judge_faults(ran: Ran) -> List[str]:
    """What did not follow on a fault as it must: it shows in the metrics, weights stay finite, and it is over soon."""
    wrong = []
    by_number = {row["iteration"]: row for row in ran.rows}
    for fault in ran.faults:
        name, number = f"{fault['kind']} in iteration {fault['iteration']}", fault["iteration"]
        rows = [by_number[i] for i in range(number, number + 2 * HEALED) if i in by_number]
        soon, later = rows[:3], rows[HEALED:]
        names = ("failed_worlds", "diagnostics_nan_resets")
        shows = {
            "worlds": any(row.get(name) for row in soon for name in names),
            "reward": bool(soon) and soon[0]["reward"] is None,
            "gradient": bool(soon) and soon[0]["nonfinite_steps"] > 0,
        }
        if not shows.get(fault["kind"], True):
            wrong.append(f"{name} does not show")
        if not all(row["finite_weights"] for row in rows):
            wrong.append(f"{name} reached the weights")
        if any(unhealthy(row) for row in later):
            wrong.append(f"{name} is not over after {HEALED} iterations")
    return wrong


def judge_end(ran: Ran, what: str, status: int) -> List[str]:
    """Whether a training ended as it must, with checkpoints that are whole and finite."""
    last = ran.said.strip().splitlines()[-1:] or ["it said nothing"]
    wrong = [f"{what}: {one}" for one in ran.broken]
    if ran.status != status:
        wrong.append(f"{what} ended with status {ran.status} and not {status}: {last[0]}")
    if not ran.checkpoints:
        wrong.append(f"{what} wrote no checkpoint")
    return wrong


def main() -> None:
    """Runs the trainings, prints what was found, and ends with status 1 if something is wrong."""
    args = tyro.cli(Args, args=joined(sys.argv[1:]))
    words: List[object] = []
    if args.checkpoint is not None and (ROOT / args.checkpoint).is_file():
        words += ["--init-policy", ROOT / args.checkpoint]
    words += shlex.split(args.options)
    with tempfile.TemporaryDirectory() as temporary:
        place = args.run_dir or Path(temporary)
        result, wrong = soak(args, words, place)
        if "nan" in args.inject:
            broken = train([*words, "--total-timesteps", EVER], place / "weight", ["weight"], 0.0, 1e9, PATIENCE_S)
            wrong += judge_end(broken, "the training with a broken weight", 1)
            if "a weight is not finite" not in broken.said or not (broken.folder / DUMP).is_file():
                wrong.append("the training with a broken weight does not say so, or leaves no dump")
            result["broken_weight"] = {"status": broken.status, "checkpoints": broken.checkpoints}
        if "overflow" in args.inject:
            result["overflow"] = overflow(words, place, result, wrong)
    result.update(arguments={k: str(v) for k, v in asdict(args).items()}, wrong=wrong)
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=1))
    print("\n".join(f"wrong: {one}" for one in wrong) or "all as it must be", flush=True)
    raise SystemExit(bool(wrong))


def soak(args: Args, words: Sequence[object], place: Path) -> Tuple[Row, List[str]]:
    """The long training."""
    kinds = (["worlds", "reward", "gradient"] if "nan" in args.inject else []) + (
        ["slow-disk"] if "slow-disk" in args.inject else []
    )
    long = ["--max-minutes", args.minutes, "--total-timesteps", EVER]
    limit_s = 60.0 * args.minutes + PATIENCE_S
    ran = train([*words, *long], place / "soak", kinds, args.warm_up, args.every, limit_s)
    wrong = judge_end(ran, "the training", 0)
    result: Row = {"status": ran.status, "where": next((x for x in ran.said.splitlines() if "training on " in x), "")}
    result.update(sim=ran.config.get("task", {}).get("sim"), faults=ran.faults, checkpoints=ran.checkpoints)
    if not ran.rows:
        return result, [*wrong, "the training has no metrics"]
    result["steps_per_iteration"] = ran.rows[-1]["env_steps"] // ran.rows[-1]["iteration"]
    flat, not_flat = flatness(args, ran)
    result.update(flat)
    if flat:
        print(
            f"{result['where']}\n{flat['judged_s']:.0f} s after the warm-up: "
            f"{statistics.median(flat['steps_per_s']):,.0f} steps/s, windows within {flat['steps_per_s_spread_percent']:.2f} %, "
            f"{flat['steps_per_s_by_the_clock']:,.0f} by the clock; process {flat['host_mb'][-1]:.0f} MB, "
            f"grew by {flat['host_growth_mb']:.1f}; GPU {max(flat['gpu_mb'], default=0):.0f} MB, grew by {flat['gpu_growth_mb']:.1f}",
            flush=True,
        )
    counts = {kind: sum(fault["kind"] == kind for fault in ran.faults) for kind in kinds}
    print(f"faults: {counts or 'none'}; {ran.checkpoints} checkpoints loaded, {len(ran.broken)} broken", flush=True)
    wrong += [f"no fault of kind {kind} was put in" for kind, count in counts.items() if not count]
    return result, wrong + not_flat + judge_faults(ran)


def overflow(words: Sequence[object], place: Path, result: Row, wrong: List[str]) -> Row:
    """A short training with small buffers, where the simulator has any; adds to `wrong`."""
    if result["sim"] != "mujoco_warp":
        print(f"overflow: left out, {result['sim']} has no buffers that can be too small", flush=True)
        return {}
    config = ["--physics.buffers", SMALL, "--max-minutes", PATIENCE_S / 120, "--eval-interval", 1, "--total-timesteps"]
    steps = SHORT * result["steps_per_iteration"]
    ran = train([*words, *config, steps], place / "overflow", [], 0.0, 1e9, PATIENCE_S)
    wrong += judge_end(ran, "the training with small buffers", 0)
    worlds = [row.get("diagnostics_contact_overflow_worlds") or 0 for row in ran.rows]
    measured = [row.get("eval_contact_overflow_worlds") or 0 for row in ran.rows]
    if not max(worlds, default=0) or not max(measured, default=0):
        wrong.append("small buffers: no overflow in the metrics of training and evaluation")
    if "contacts did not fit" not in ran.said:
        wrong.append("small buffers: the display does not say so")
    return {"training_worlds": max(worlds, default=0), "evaluation_worlds": max(measured, default=0)}


if __name__ == "__main__":
    main()
