"""Reads the command line of a sweep, trains, and reports."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Literal, Optional, Sequence, Tuple

import tyro
from rich.console import Console
from rich.live import Live
from typing_extensions import Annotated

from ppo_grasp.checkpoint import BEST, LAST
from ppo_grasp.metrics import FILE as METRICS
from ppo_grasp.run.files import directory_lock, replace_file
from ppo_grasp.run.signals import name_of
from tasks.commands import errors, options
from tasks.commands.loading import check_set
from tasks.commands.sweep import measures, picture, plan, tables
from tasks.commands.sweep.jobs import Job, Pool, Stop, shared_gpu
from tasks.commands.train import cores
from tasks.evaluation.page.runs import Group, environment, load_run
from tasks.simulators import memory, registry

RESULT, PICTURE, LOG = "sweep.json", "sweep.png", "train.log"
MOST_ON_GPU = 4
"""Trainings at a time that share a GPU by default: they divide its time, and only starts and evaluations overlap well."""
POLL_S = 0.3


@dataclass
class SweepArgs:
    """Train with several values of options, each over seeds, and compare them.  Options of train.py for all trainings come last,
    after `--`."""

    vary: Annotated[Tuple[Tuple[str, ...], ...], tyro.conf.UseAppendAction] = ()
    """An option of train.py and its values: `--vary ppo.learning-rate 1e-4 3e-4`.  May be given several times.  Quote values of
    several words; options without a value are on or off."""
    variant: Annotated[Tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Options that change together, under a name: `--variant "fine: --physics.timestep 0.008 --physics.substeps 4"`.  May be
    given several times."""
    grid: bool = False
    """Train all values of one --vary with all of the next.  Without it one option differs from the base at a time."""
    seeds: Tuple[int, ...] = (0,)
    """Every combination trains once with each."""
    out: Optional[Path] = None
    """The folder for runs and results; by default runs/sweep_DATE-TIME.  The same command goes on there: what is done is
    skipped, what was broken off goes on."""
    jobs: Optional[int] = None
    """Trainings at a time; by default on a GPU as many as fit, at most 4, and else one for two cores."""
    evaluate: Optional[int] = None
    """Measure each policy by evaluate_policy.py with so many episodes, too; by default by the last running evaluation alone."""
    evaluate_on: Tuple[str, ...] = ()
    """Objects of that evaluation, one set or more; by default those of the training."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint is measured so."""


def command(words: Optional[Sequence[str]] = None) -> None:
    """Reads the command line and sweeps.  words: instead of the command line's."""
    words = sys.argv[1:] if words is None else words
    cut = words.index("--") if "--" in words else len(words)

    def run() -> None:
        args = options.parse(SweepArgs, words=words[:cut])
        raise SystemExit(sweep(args, words[cut + 1 :]))

    errors.run(run)


def sweep(args: SweepArgs, base: Sequence[str]) -> int:
    """Trains and reports; returns the exit status.  base: options of train.py for all.  Raises ValueError before any training
    starts if one of them could not be."""
    options.check_values(args)
    if not args.seeds or min(args.seeds) < 0:
        raise ValueError("--seeds: give at least one, none below 0")
    for name in args.evaluate_on:
        check_set(name, "--evaluate-on")
    if args.evaluate_on and args.evaluate is None:
        raise ValueError("--evaluate-on: say with how many episodes, by --evaluate")
    out = args.out or Path("runs") / time.strftime("sweep_%Y-%m-%d_%H-%M-%S")
    options.check_writable("--out", out, directory=True)
    combinations = plan.combinations(args.vary, args.variant, args.grid, base)
    trainings = plan.trainings(combinations, args.seeds, out)
    done = [training for training in trainings if training.is_done()]
    with directory_lock(out):
        return Sweep(args, list(base), out, combinations, trainings, done).run()


class Sweep:
    """Trainings, what has become of them, and the files about them."""

    def __init__(
        self,
        args: SweepArgs,
        base: List[str],
        out: Path,
        combinations: List[plan.Combination],
        trainings: List[plan.Training],
        done: List[plan.Training],
    ) -> None:
        """done: those that an earlier call has ended."""
        self.args, self.base, self.out = args, base, out
        self.combinations, self.trainings = combinations, trainings
        self.failed: Dict[Path, str] = {}
        self.console = Console(width=None if sys.stdout.isatty() else 170, highlight=False)
        self.of_job: Dict[str, plan.Training] = {}
        jobs = [self._job(training, training in done) for training in trainings]
        self.jobs = [job for job in jobs if job.commands]
        self.before = len(trainings) - len(self.jobs)

    def run(self) -> int:
        """Runs everything; returns 0, 1 if a training failed, or 128 and the number of the signal that ended it."""
        sims = [registry.choose(combination.args.sim) for combination in self.combinations]
        on_gpu = any(sim.runs_on_gpu() for sim in sims)
        at_once = min(self.args.jobs or at_a_time(self.combinations, on_gpu), max(1, len(self.jobs)))
        say = self.console.print
        counted = f"{len(self.combinations)} combinations, {len(self.args.seeds)} seeds"
        already = f", {self.before} of them done before" if self.before else ""
        say(f"{counted}: {len(self.trainings)} trainings{already}, {at_once} at a time, into {self.out}", markup=False)
        with Stop() as stop, shared_gpu(on_gpu and at_once > 1) as variables:
            gpus = visible_gpus() if on_gpu else []
            pool = Pool(self.jobs, at_once, variables, self._begins, gpus, one_starts=on_gpu, pin=not on_gpu)
            try:
                with self._shown(pool) as refresh:
                    while (pool.waiting or pool.running) and stop.received is None:
                        for job in pool.poll():
                            self._ended(job)
                        refresh()
                        time.sleep(POLL_S)
            finally:
                if pool.running:
                    say(f"waiting for {len(pool.running)} trainings to save ...")
                pool.end(lambda: stop.again)
        rows = self.report()
        if rows:
            say(tables.results(rows, self._title(rows)))
        for line in tables.failures(rows):
            say(line, markup=False)
        say(", ".join(str(path) for path in (self.out / RESULT, self.out / PICTURE) if path.exists()), markup=False)
        if stop.received is not None:
            say(f"ended by {name_of(stop.received)}: the same command goes on")
            return 128 + stop.received
        return 1 if self.failed else 0

    def report(self) -> List[Dict[str, Any]]:
        """Writes the results so far; returns a row for each combination that has some."""
        found: Dict[Path, Dict[str, Any]] = {}
        groups: Dict[str, Group] = {}
        runs = {}
        for training in self.trainings:
            with contextlib.suppress(ValueError):
                run = load_run(training.run_dir)
                files = [file for _, file in self._evaluations(training) if file.is_file()]
                runs[training.run_dir] = run
                if training.run_dir not in self.failed and training.is_done():
                    found[training.run_dir] = measures.reached(run, training.combination.args.eval_envs, files)
        rows = []
        for combination in self.combinations:
            mine = [t for t in self.trainings if t.combination.folder == combination.folder]
            failed = [f"seed {t.seed}: {self.failed[t.run_dir]}" for t in mine if t.run_dir in self.failed]
            ended = [t for t in mine if t.run_dir in found]
            if not ended and not failed:
                continue
            rows.append(
                {
                    "name": combination.name,
                    "varied": combination.varied,
                    "options": list(combination.words),
                    "seeds": [t.seed for t in ended] + [t.seed for t in mine if t.run_dir in self.failed],
                    "runs": [str(t.run_dir) for t in ended],
                    **measures.summary([found[t.run_dir] for t in ended]),
                    "failed": failed,
                }
            )
            if ended:
                groups[combination.name] = Group([runs[t.run_dir] for t in ended], combination.name)
        written = {
            "intervals": {"student_t": measures.STUDENT, "wilson": measures.WILSON},
            "levels": measures.LEVELS,
            "environment": environment(),
            "base": self.base,
            "rows": rows,
            "runs": [{"run": str(path), **figures} for path, figures in found.items()],
        }
        replace_file(self.out / RESULT, [json.dumps(written, indent=1), "\n"])
        if groups:
            picture.draw(rows, groups, self.out / PICTURE)
        return rows

    def _job(self, training: plan.Training, done: bool) -> Job:
        """What is left to do for a training: to train, and to measure."""
        root = Path(__file__).resolve().parents[3]
        commands = {} if done else {tables.TRAINING: [str(root / "train.py"), *training.words]}
        for objects, file in self._evaluations(training):
            if done and file.is_file():
                continue
            checkpoint = training.run_dir / (BEST if self.args.checkpoint == "best" else LAST)
            more = ["--objects", objects] if objects else []
            words = ["--checkpoint", str(checkpoint), "--num_episodes", str(self.args.evaluate), "--json", str(file)]
            sim = ["--sim", training.combination.args.sim]
            commands[f"measuring {objects}".rstrip()] = [str(root / "evaluate_policy.py"), *sim, *words, *more]
        metrics, began = training.run_dir / METRICS, time.time()

        def has_begun() -> bool:
            return metrics.exists() and metrics.stat().st_mtime > began

        self.of_job[training.name] = training
        return Job(training.name, commands, training.run_dir / LOG, has_begun)

    def _evaluations(self, training: plan.Training) -> List[Tuple[str, Path]]:
        """Each set of objects to measure on, and the file for the result."""
        if self.args.evaluate is None:
            return []
        sets = self.args.evaluate_on or ("",)
        end = f"{self.args.checkpoint}_{self.args.evaluate}.json"
        return [(name, training.run_dir / f"evaluation_{name.replace(os.sep, '_') or 'own'}_{end}") for name in sets]

    def _begins(self, job: Job) -> None:
        if job.doing == tables.TRAINING:
            self.of_job[job.name].note(done=False)
        if not self.console.is_terminal:
            self.console.print(f"{job.name}: {job.doing}", markup=False)

    def _ended(self, job: Job) -> None:
        training = self.of_job[job.name]
        if job.done > 0:
            training.note(done=True)
        why = job.failure()
        if why:
            self.failed[training.run_dir] = why
        self.report()
        row = measures.last_row(training.run_dir / METRICS) or {}
        held = tables.percent(row.get("eval_success_rate"))
        said = f"failed: {why}" if why else f"{held} held in the last running evaluation" if held else "done"
        self.console.print(f"{job.name}: {said} ({job.seconds:.0f} s)", markup=False)

    @contextlib.contextmanager
    def _shown(self, pool: Pool) -> Iterator[Callable[[], None]]:
        """A table that lives while the block runs, if the output is a terminal.  Yields what refreshes it."""
        if not self.console.is_terminal:
            yield lambda: None
            return

        def refresh() -> None:
            ended = len(self.jobs) - len(pool.running) - len(pool.waiting)
            counts = f"{self.before + ended} of {len(self.trainings)} ended, {len(pool.running)} running, "
            counts += f"{len(pool.waiting)} waiting, {len(self.failed)} failed"
            live.update(tables.running(pool.running, self._row, counts), refresh=True)

        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            yield refresh

    def _row(self, job: Job) -> Optional[Dict[str, Any]]:
        return measures.last_row(self.of_job[job.name].run_dir / METRICS)

    def _title(self, rows: Sequence[Dict[str, Any]]) -> str:
        one = all(len(row["runs"]) < 2 for row in rows)
        by = (
            f"evaluate_policy.py, {self.args.evaluate} episodes"
            if self.args.evaluate
            else "the last running evaluation"
        )
        return f"By {by}; {measures.WILSON if one else measures.STUDENT}; levels by running evaluations"


def at_a_time(combinations: Sequence[plan.Combination], on_gpu: bool) -> int:
    """How many trainings fit on this machine beside each other.  All GPUs count as the first."""
    if not on_gpu:
        return max(1, cores() // 2)
    base, per_hand = memory.GPU
    needed = max(base + per_hand * (c.args.num_envs + c.args.eval_envs) for c in combinations)
    free = memory.free_bytes(True) or 0.0
    return max(1, min(MOST_ON_GPU, int(free / needed))) * max(1, len(visible_gpus()))


def visible_gpus() -> List[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]


if __name__ == "__main__":
    command()
