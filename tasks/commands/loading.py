"""What commands read before they start, behind progress bars: checkpoints and objects."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from ppo_grasp import shipped_policy
from tasks.evaluation.trained import TrainedPolicy
from tasks.objects import OBJECT_SETS, ObjectSet, load_objects


def checkpoint_path(given: Optional[Path], option: str = "--checkpoint", hand: Optional[str] = None) -> Path:
    """The checkpoint that was asked for, or the policy that ships, that for `hand` if one is named.

    Raises ValueError if it is not there.
    """
    if given is None and hand is None:
        return shipped_policy()
    if given is None:
        own = shipped_policy().with_name(f"{hand}_grasp.pt")
        if Path(str(hand)).name != hand or not own.is_file():
            raise ValueError(f"no policy ships for the hand {hand}: train one and give its file with --checkpoint")
        return own
    if given.is_dir():
        raise ValueError(f"{option} {given}: is a directory, give a .pt file such as {given / 'checkpoint_best.pt'}")
    if not given.is_file():
        raise ValueError(f"{option} {given}: no such file; training writes runs/NAME/checkpoint_best.pt")
    return given


def check_set(name: str, option: str = "--objects") -> None:
    """Raises ValueError if there are no such objects."""
    if name not in OBJECT_SETS and not Path(name).is_dir():
        raise ValueError(f"{option} {name}: choose from {', '.join(OBJECT_SETS)}, or give a directory of meshes")


def load_set(
    name: str, scale: float = 1.0, skip_bad: bool = False, option: str = "--objects", count: Optional[int] = None
) -> ObjectSet:
    """`load_objects`, with a progress bar while meshes load."""
    check_set(name, option)
    with progress_bar(f"loading {name}", "objects") as bar:
        task = bar.add_task("", total=None)
        return load_objects(
            name,
            scale=scale,
            skip_bad=skip_bad,
            count=count,
            progress=lambda done, total, last: bar.update(task, completed=done, total=total, description=last),
        )


def objects_for(
    trained: TrainedPolicy, name: Optional[str], scale: Optional[float], skip_bad: bool = False
) -> ObjectSet:
    """The objects to measure or show a policy with: those named, or else those that it was trained on."""
    settings = trained.settings
    count = None if name else settings.object_count
    return load_set(name or settings.objects, scale or settings.object_scale, skip_bad, count=count)


def progress_bar(what: str, unit: str) -> Progress:
    """A bar that is gone when it is done.  There is none where the output is no terminal."""
    console = Console()
    return Progress(
        SpinnerColumn(),
        TextColumn(what, style="bold"),
        BarColumn(40),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.description}", style="dim"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
