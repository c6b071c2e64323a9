"""What commands read before they start, behind progress bars: checkpoints and objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from ppo_grasp import shipped_policy
from tasks.evaluation.settings import TrainingSettings
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


def mesh_options(args: Any, trained: Optional[TrainingSettings] = None) -> Dict[str, Any]:
    """What `load_set` must know of a directory's meshes, from a command's options.

    trained: where an option is None, the policy's training had this value.
    """
    names = {"scale": "object_scale", "density": "object_density", "most_parts": "object_parts"}
    values = {key: getattr(args, name, None) for key, name in names.items()}
    if trained is not None:
        values = {key: value or getattr(trained, names[key]) for key, value in values.items()}
    return {**values, "skip_bad": getattr(args, "skip_bad_objects", False)}


def load_set(name: str, option: str = "--objects", count: Optional[int] = None, **meshes: Any) -> ObjectSet:
    """`load_objects`, with a progress bar while meshes load.  meshes: from `mesh_options`."""
    check_set(name, option)
    with progress_bar(f"loading {name}", "objects") as bar:
        task = bar.add_task("", total=None)
        return load_objects(
            name,
            **meshes,
            count=count,
            progress=lambda done, total, last: bar.update(task, completed=done, total=total, description=last),
        )


def objects_for(trained: TrainedPolicy, args: Any = None) -> ObjectSet:
    """The objects to measure or show a policy with: those that a command's `--objects` names, or else those that the policy was
    trained on."""
    name = getattr(args, "objects", None)
    settings = trained.settings
    count = None if name else settings.object_count
    return load_set(name or settings.objects, count=count, **mesh_options(args, settings))


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
