"""Measures what makes a policy good on objects it has not seen.  Each variant changes one thing of the training.

    python benchmarks/ablations.py --json ablations.json
    python benchmarks/ablations.py --variants base few_shapes no_geometry --seeds 0 1 --together 4
    python benchmarks/ablations.py --variants base --options "--preset recipe" --run-dir runs/recipe

First `train.py` trains each variant on each seed.  Several trainings share the machine; on a GPU they share it by NVIDIA's MPS
where that is installed.  Then one process measures the last checkpoint of each training: the deterministic policy, in fine steps
of physics, from the default evaluation start.  All policies get the same objects, places and frictions.  Each sees the inputs
that it saw in training.

The steps to a level of success come from the running evaluation of a few hundred episodes, to the nearest million.  The running
evaluation of `same_friction` has the frictions of its training; that of `few_shapes` has the whole set of objects.
Run `python -m tasks.compile_kernels` before, else every process of the first batch compiles the kernels.
"""

from __future__ import annotations

import json
import shlex
import statistics
import sys
import time
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Dict, Generator, Iterator, List, Optional, Sequence, Tuple

import torch
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent))

from time_to_success import TRAIN, Row, analyse, joined, number, rows_from

from ppo_grasp import load_policy
from ppo_grasp.device.policy_runner import PolicyRunner
from tasks.commands.compile_kernels import compile_missing
from tasks.commands.sweep.jobs import Job, Pool, shared_gpu
from tasks.evaluation.measure import evaluate
from tasks.evaluation.settings import trained_with
from tasks.grasp.environment import GraspTask
from tasks.grasp.episodes import EpisodeRecord
from tasks.grasp.starts import StartCfg
from tasks.hands import get_hand
from tasks.objects import ObjectSet, load_objects
from tasks.simulators import registry

VARIANTS = {
    "base": "",
    "any_yaw": "--max-yaw 1.2 --start.pregrasp-yaw 1.6",
    "focus": "--curriculum-floor 0.05",
    "uniform": "--curriculum uniform",
    "more_hands": "--num-envs 8192",
    "two_stage": "--reward two_stage",
    "few_shapes": "--object-count 60 --eval-objects {objects}",
    "same_mass": "--start.mass-scale 1",
    "same_friction": "--start.friction-low 0.8 --start.friction-high 0.8",
    "no_geometry": "--hidden-inputs object_pose object_vel drive_force fingertip_quat fingertip_vel fingertip_wrench",
    "large_net": "--network.actor-hidden 1024 1024 512 --network.critic-hidden 1024 1024 512",
    "gamma_0.99": "--ppo.gamma 0.99",
    "gamma_0.96": "--ppo.gamma 0.96",
    "no_pregrasp": "--start.pregrasp-fraction 0",
    "no_still": "--reward loose",
    "level": "--reward level",
    "fast_turn": "--base-turn 0.2",
    "float32": "--no-amp",
    "no_smooth": "--ppo.smooth-coef 0",
    "no_bound": "--ppo.bound-coef 0",
    "straight": "--base-slope 1",
    "no_rest": "--reward-weights rest 0",
    "any_grip": "--reward-weights gentle 0 effort 0",
    "slow_fingers": "--finger-smoothing 0.8",
}
"""The name of each variant and its options of train.py."""
LEVELS = (50.0, 85.0)


@dataclass
class Args:
    """Train variants over seeds and measure each."""

    variants: Tuple[str, ...] = tuple(VARIANTS)
    """Which variants; all by default."""
    seeds: Tuple[int, ...] = (0, 1, 2)
    """Each variant trains once on each seed."""
    objects: str = "procedural"
    """What is trained on: a named object set, or a directory of meshes."""
    total_timesteps: int = 12_000_000
    """Environment steps of a training."""
    together: int = 8
    """Trainings at the same time."""
    episodes: int = 2048
    """Episodes of each policy on each set."""
    evaluate_on: Tuple[str, ...] = ("procedural", "holdout")
    """Object sets that policies are measured on."""
    options: str = ""
    """Further options of train.py for every variant, in one string.  They override those above; a variant's own override them."""
    run_dir: Optional[Path] = None
    """The folder for the run directories and their logs; by default runs/ablations_DATE-TIME."""
    json: Optional[Path] = None
    """A file for all figures.  It is written anew after each training and each policy."""


def trainings(args: Args, place: Path) -> List[Row]:
    """The trainings to run.  All variants come with the first seed, then with the next, so that a break leaves figures of all."""
    found = []
    for seed, variant in product(dict.fromkeys(args.seeds), dict.fromkeys(args.variants)):
        run_dir = place / f"{variant}_seed{seed}"
        words = ["--objects", args.objects, "--seed", str(seed), "--total-timesteps", str(args.total_timesteps)]
        words += ["--eval-interval", "1000000", "--run-dir", str(run_dir), *shlex.split(args.options)]
        words += [word.format(objects=args.objects) for word in shlex.split(VARIANTS[variant])]
        found.append({"variant": variant, "seed": seed, "run_dir": str(run_dir), "command": [str(TRAIN), *words]})
    return found


def run_all(waiting: Sequence[Row], together: int, environment: Dict[str, str]) -> Generator[Row, None, None]:
    """Runs all trainings, `together` at a time, with their output in RUN_DIR/train.log.  Yields each one when it ends."""
    rows = {run["run_dir"]: run for run in waiting}
    jobs = [Job(path, {"training": run["command"]}, Path(path) / "train.log") for path, run in rows.items()]
    pool = Pool(jobs, together, environment)
    try:
        while pool.waiting or pool.running:
            for job in pool.poll():
                run = rows[job.name]
                yield {**run, "process_s": job.seconds, **outcome(run, job.status or 0)}
            time.sleep(0.3)
    finally:
        pool.end()


def outcome(run: Row, status: int) -> Row:
    """What a training reached.  If it failed, `failed` is the reason."""
    folder = Path(run["run_dir"])
    log = (folder / "train.log").read_text(encoding="utf-8", errors="replace")
    said = [line.strip() for line in log.splitlines() if line.strip()]
    where = next((line for line in said if "training on " in line), None)
    found = {"where": where, **analyse(rows_from(folder / "metrics.jsonl", 0)[0], LEVELS), "held": {}}
    return {**found, "failed": f"status {status}: {said[-1] if said else 'it said nothing'}"} if status else found


def measure(runs: Sequence[Row], name: str, episodes: int) -> Iterator[Row]:
    """Measures the last policy of each run on a set and writes the result into its `held`.  Yields each run when it is done."""
    policies = []
    for run in runs:
        path = Path(run["run_dir"]) / "checkpoint_last.pt"
        policy, meta = load_policy(path)
        policies.append((run, policy, trained_with(meta, path, policy.cfg.num_obs, policy.cfg.num_actions)))
    # All runs have the same simulator, hand and control rate.
    first, sim = policies[0][2], registry.get(meta["config"]["task"]["sim"])
    hand, physics, objects = get_hand(first.hand), first.measured_in("fine"), load_objects(name)
    worlds = min(episodes, sim.evaluation_envs)
    if sim.compiles_kernels:
        compile_missing(objects, worlds, physics, first.hand)
    simulator = sim.make(hand, objects, worlds, physics, evaluation=True)
    for run, policy, settings in policies:
        torch.manual_seed(0)
        cfg = replace(settings.grasp, start=StartCfg())
        # A new task begins with the first object again.
        task = GraspTask(simulator, hand, objects, cfg, evaluation=True)
        runner = PolicyRunner(task, policy.to(task.device).act_deterministic)
        found = evaluate(task, lambda r=runner, t=task: r.play(t.cfg.episode_steps), episodes)  # type: ignore[misc]
        run["held"][name] = {key: value for key, value in found.summary().items() if key != "per_object"}
        run["held"][name]["by_kind"] = by_kind(found.episodes, objects)
        yield run
    simulator.close()


def by_kind(episodes: EpisodeRecord, objects: ObjectSet) -> Dict[str, float]:
    """The share held of each kind that occurred."""
    kind = torch.as_tensor(objects.kind_index)[episodes.object_id]
    rates = {name: episodes.held[kind == index].float() for index, name in enumerate(objects.kinds)}
    return {name: float(held.mean()) for name, held in rates.items() if len(held)}


def summarise(runs: Sequence[Row], sets: Sequence[str]) -> List[Row]:
    """A row for each variant with lists in the order of its seeds: percent held on each set, and steps to each level or None."""
    result = []
    for variant in dict.fromkeys(run["variant"] for run in runs):
        mine = sorted((run for run in runs if run["variant"] == variant), key=lambda run: run["seed"])
        row: Row = {"variant": variant, "seeds": [run["seed"] for run in mine], "held": {}, "mean": {}, "steps": {}}
        for name in sets:
            rates = [run["held"].get(name, {}).get("success_rate") for run in mine]
            row["held"][name] = [None if rate is None else 100.0 * rate for rate in rates]
            known = [rate for rate in row["held"][name] if rate is not None]
            row["mean"][name] = statistics.mean(known) if known else None
        for level in (f"{level:g}" for level in LEVELS):
            row["steps"][level] = [(run["levels"][level] or {}).get("env_steps") for run in mine]
        row["failed"] = [f"seed {run['seed']}: {run['failed']}" for run in mine if "failed" in run]
        result.append(row)
    return result


def table_of(summary: Sequence[Row], sets: Sequence[str], title: str) -> Table:
    """The table: a row for each variant."""
    heads = [head for name in sets for head in (f"held on {name}, %", "mean")]
    heads += [f"M steps to {level:g} %" for level in LEVELS]
    table = Table("variant", *heads, "note", title=title, title_justify="left")
    for row in summary:
        cells = []
        for name in sets:
            each = " / ".join(number(held, "{:.1f}") for held in row["held"][name])
            cells += [each, number(row["mean"][name], "{:.1f}")]
        cells += [" / ".join(number(s, "{:.1f}", 1e-6) for s in steps) for steps in row["steps"].values()]
        table.add_row(row["variant"], *cells, escape("; ".join(row["failed"])))
    return table


def main(args: Args) -> None:
    """Prints a line after each training and each policy, and the table at the end."""
    if not set(args.variants) <= set(VARIANTS):
        raise SystemExit(f"error: --variants {' '.join(args.variants)}: choose from {', '.join(VARIANTS)}")
    if min(args.together, args.episodes) < 1:
        raise SystemExit("error: --together and --episodes must be at least 1")
    place = args.run_dir or Path("runs") / time.strftime("ablations_%Y-%m-%d_%H-%M-%S")
    if place.exists():
        raise SystemExit(f"error: --run-dir {place}: is there already; give another name")
    console = Console(width=None if sys.stdout.isatty() else 170)
    runs: List[Row] = []

    def note(text: str) -> None:
        console.print(text, highlight=False, markup=False)
        if args.json:
            written = {"args": asdict(args), "summary": summarise(runs, args.evaluate_on), "runs": runs}
            args.json.write_text(json.dumps(written, indent=2, default=str))

    todo = trainings(args, place)
    with shared_gpu(args.together > 1 and torch.cuda.is_available()) as environment, closing(
        run_all(todo, args.together, environment)
    ) as ended:
        for run in ended:
            runs.append(run)
            said = run.get("failed") or f"best {number(run['best_held'])} % held in running evaluation"
            note(f"{run['variant']}, seed {run['seed']}: {said} ({run['process_s']:.0f} s)")
    trained = [run for run in runs if "failed" not in run]
    for name in args.evaluate_on if trained else ():
        for run in measure(trained, name, args.episodes):
            note(
                f"{run['variant']}, seed {run['seed']}: {100 * run['held'][name]['success_rate']:.1f} % held on {name}"
            )
    title = f"Trained on {args.objects}, {args.total_timesteps / 1e6:g} M steps, seeds {args.seeds}; a dash is never"
    console.print(table_of(summarise(runs, args.evaluate_on), args.evaluate_on, title))
    raise SystemExit(0 if trained else 1)


if __name__ == "__main__":
    main(tyro.cli(Args, args=joined(sys.argv[1:])))
