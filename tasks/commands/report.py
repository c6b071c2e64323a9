"""`python -m tasks.commands.report runs/A runs/B`: one HTML page about runs, alone or side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

import tyro
from typing_extensions import Annotated

from ppo_grasp.checkpoint import BEST, LAST
from tasks.commands import errors, options
from tasks.commands.loading import objects_for
from tasks.evaluation.page.episode import episode_charts, play
from tasks.evaluation.page.page import write_page
from tasks.evaluation.page.runs import ENVIRONMENT, Run, environment, load_run
from tasks.evaluation.settings import MeasuredIn
from tasks.evaluation.trained import load_trained

FILE = "report.html"


@dataclass
class ReportArgs:
    """Write one HTML page about training runs: curves, success, time, settings.

    Runs that differ in their seed alone are one line with a band.
    """

    runs: Annotated[Tuple[Path, ...], tyro.conf.Positional] = ()
    """Run directories, such as runs/NAME."""
    out: Optional[Path] = None
    """The file to write; by default report.html, in the run's directory if it is one run, else here."""
    episode: bool = False
    """Also play an episode of each run's policy on MuJoCo C, and draw the object's speed, the grip and the base's actions."""
    physics: MeasuredIn = "fine"
    """Of that episode.  fine: in steps of 1/240 s; trained: in the steps that the policy was trained in."""


def report(args: ReportArgs) -> None:
    """Writes the page and says where it is.  Raises ValueError for what is no run."""
    if not args.runs:
        raise ValueError("which runs? give their directories, such as runs/NAME")
    options.check_writable("--out", args.out, suffixes=(".html", ".htm"))
    runs = [load_run(path) for path in args.runs]
    episodes = [drawn_episode(run, args.physics) for run in runs] if args.episode else []
    out = args.out or (runs[0].path / FILE if len(runs) == 1 else Path(FILE))
    write_page(runs, out, episodes)
    print(f"{out}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}, {out.stat().st_size / 1e3:.0f} kB")


def drawn_episode(run: Run, physics: MeasuredIn) -> Tuple[str, str]:
    """The run's name, and the charts of an episode of its best checkpoint, or of its last."""
    found: List[Path] = [path for path in (run.path / BEST, run.path / LAST) if path.is_file()]
    if not found:
        raise ValueError(f"{run.path}: holds no checkpoint to play; leave --episode out")
    trained = load_trained(found[0])
    episode = play(trained, objects_for(trained), physics)
    return f"{run.name}, {found[0].name}", episode_charts(episode, trained.settings.grasp.still_speed)


def after_training(run_dir: Path) -> None:
    """Writes down what a training ran on, and its page, if it got as far as a line of metrics."""
    (run_dir / ENVIRONMENT).write_text(json.dumps(environment(), indent=2) + "\n", encoding="utf-8")
    try:
        runs = [load_run(run_dir)]
    except ValueError:
        return
    write_page(runs, run_dir / FILE)
    print(f"report in {run_dir / FILE}", flush=True)


def command() -> None:
    """Reads the command line and writes the page."""
    errors.run(lambda: report(options.parse(ReportArgs)))


if __name__ == "__main__":
    command()
