"""`--config runs/NAME/config.json`: the settings of an earlier run, which the command line may change."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ppo_grasp.checkpoint import program_version
from ppo_grasp.run.settings import describe_differences
from tasks.commands.options import given
from tasks.commands.presets import TrainArgs, defaults
from tasks.evaluation.settings import FOR_OLD_CHECKPOINTS, SettingsError, rebuild
from tasks.simulators import registry

CONFIG = "config.json"
NOT_REPEATED = ("config", "run_dir", "resume", "wandb", "wandb_project", "wandb_name", "trainer", "task")
"""Fields of `TrainArgs` that are not in the file's `task`: those of one start alone, and those with a place of their own."""
FOLLOW = ("hand_names", "threads", "reward_weights", "grasp")
"""What else is in the file's `task`: it follows from the settings, or has another name."""


def defaults_with_config(words: Sequence[str]) -> TrainArgs:
    """The defaults for this command line: with `--config` those of the run, else those of the machine and the preset.

    Raises ValueError if the file is no run's, or holds a setting that this version does not know.
    """
    path = given(words, "--config")
    if path is None:
        return defaults(words)
    values = read_config(Path(path))
    task = dict(values["task"])
    for option in ("preset", "control_hz"):
        name = "--" + option.replace("_", "-")
        asked = given(words, name)
        if option in task and asked not in (None, str(task[option])):
            raise ValueError(
                f"{name} {asked}: sets the defaults of many options, and --config has them all already ({task[option]}): "
                "leave one of the two out"
            )
    chosen = given(words, "--sim") or task.get("sim", registry.AUTO)
    base = [
        f"--preset={task.get('preset', 'default')}",
        f"--control-hz={task.get('control_hz', 30)}",
        f"--sim={chosen}",
    ]
    repeated = {key: value for key, value in task.items() if key not in FOLLOW}
    repeated.update(trainer=values["trainer"], task={**FOR_OLD_CHECKPOINTS, **task["grasp"]})
    try:
        return rebuild(TrainArgs, repeated, "settings", defaults(base))
    except SettingsError as error:
        raise ValueError(f"--config {path}: {error}{made_by(values)}") from error


def read_config(path: Path) -> Dict[str, Any]:
    """The content of a run's config.json, given by its path or by its directory.  Raises ValueError if that is none."""
    path = path / CONFIG if path.is_dir() else path
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"--config {path}: {error.strerror}; a training writes runs/NAME/{CONFIG}") from error
    except ValueError as error:
        raise ValueError(f"--config {path}: is not JSON ({error}); a training writes runs/NAME/{CONFIG}") from error
    parts = [values.get(key) if isinstance(values, dict) else None for key in ("task", "trainer")]
    if not all(isinstance(part, dict) for part in parts) or not isinstance(parts[0].get("grasp"), dict):  # type: ignore[union-attr]
        raise ValueError(f"--config {path}: is not the {CONFIG} of a training of train.py")
    return values


def notes(args: TrainArgs, now: Mapping[str, Any]) -> List[str]:
    """What a repeated run does differently: by another revision of the program, and by other settings, in a line each.

    now: the settings of this run, as its config.json has them.
    """
    if args.config is None:
        return []
    before = read_config(args.config)
    versions = before.pop("versions", {})
    here, there = program_version(), versions.get("program", "unknown")
    found = [describe_differences(before, dict(now))]
    if here != there:
        found.insert(0, f"note: --config is of revision {there}, this is {here}: the run may come out differently")
    return [line for line in found if line]


def made_by(values: Mapping[str, Any]) -> str:
    """Which revision wrote a config.json, to be added to an error; empty if that is this one."""
    there: Optional[str] = values.get("versions", {}).get("program")
    return f" (revision {there}, this is {program_version()})" if there not in (None, program_version()) else ""


def saved(args: TrainArgs) -> Dict[str, Any]:
    """The options that config.json keeps for a repetition, beside the trainer's, the task's and the simulator's own."""
    own = {entry.settings_field for entry in registry.SIMULATORS}
    names = [f.name for f in fields(args) if f.name not in (*NOT_REPEATED, *own)]
    return {name: str(value) if isinstance(value := getattr(args, name), Path) else value for name in names}
