"""`--config` repeats a run: every setting comes back, the command line changes it, and what does not fit is one line."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

from tasks.commands.options import given
from tasks.commands.presets import TrainArgs, defaults
from tasks.commands.repeat import NOT_REPEATED, defaults_with_config, notes
from tasks.commands.train import task_config
from tasks.simulators import registry

Run = Callable[..., Any]
Tiny = Tuple[object, ...]


def another(value: float) -> float:
    """Another number, which is in the range of its option, too."""
    return value + 1 if isinstance(value, int) else 1.01 * value if value > 0.99 else 0.99 * value or 0.001


def changed(settings: Any) -> Any:
    """A copy in which every number and every switch has another value."""
    values = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        if is_dataclass(value):
            values[f.name] = changed(value)
        elif isinstance(value, bool):
            values[f.name] = not value
        elif isinstance(value, (int, float)) and f.name != "control_hz":
            values[f.name] = 3 if f.name == "condim" else another(value)  # it may be 3, 4 or 6
        elif isinstance(value, tuple) and value and isinstance(value[0], (int, float)):
            values[f.name] = tuple(another(x) for x in value)
    return replace(settings, **values)


def write(path: Path, args: TrainArgs, sim: str, **more: Any) -> Path:
    """What a training with these settings would write."""
    task = {**task_config(args, registry.get(sim)), "reward_weights": {}}
    path.write_text(json.dumps({"trainer": asdict(args.trainer), "task": task, **more}))
    return path


@pytest.mark.parametrize(
    "words",
    [
        ("--sim=mujoco",),
        ("--sim=mujoco", "--preset=recipe"),
        ("--sim=mujoco", "--preset=sim2real", "--control-hz=60"),
        ("--sim=isaac_gym", "--preset=recipe"),
        ("--sim=physx", "--control-hz=15"),
    ],
)
def test_every_setting_comes_back(words: Tuple[str, ...], tmp_path: Path) -> None:
    sim = words[0].split("=")[1]
    named: Dict[str, Any] = {
        "sim": sim,
        "preset": given(words, "--preset") or "default",
        "control_hz": int(given(words, "--control-hz") or 30),
    }
    args = replace(
        changed(replace(defaults(words), **named)), eval_objects="holdout", init_policy=Path("p.pt"), object_count=7
    )
    args.task = replace(args.task, reward_weights={"lift": 0.25}, hidden_inputs=("goal_pose",))
    args.wandb = False  # it is not repeated
    again = defaults_with_config(["--config", str(write(tmp_path / "c.json", args, sim))])
    own = registry.get(sim).settings_field
    others = {entry.settings_field for entry in registry.SIMULATORS} - {own}  # the file has those that were used
    for f in fields(TrainArgs):
        if f.name not in others:
            assert getattr(again, f.name) == getattr(args, f.name), f.name
    assert {f.name for f in fields(TrainArgs)} >= set(NOT_REPEATED)


def test_a_repeated_run_writes_the_same_settings(run: Run, tiny: Tiny, tmp_path: Path) -> None:
    words = ("--total-timesteps", 32, "--reward-weights", "lift", 0.125, "--start.pregrasp-fraction", 0.5)
    first = run("train.py", *tiny, *words, "--run-dir", "runs/a")
    assert first.status == 0, first.err
    second = run("train.py", "--config", "runs/a", "--seed", 5, "--run-dir", "runs/b")
    assert second.status == 0, second.err
    assert "settings differ from the run's: trainer.seed: now 5, was 0\n" in second.out and "revision" not in second.out
    one, two = (json.loads((tmp_path / "runs" / name / "config.json").read_text()) for name in "ab")
    assert two["trainer"].pop("seed") == 5 and one["trainer"].pop("seed") == 0
    assert two == one


def test_a_file_from_before_an_option_has_the_presets_default(tmp_path: Path) -> None:
    args = defaults(["--sim=mujoco", "--preset=sim2real"])
    path = write(tmp_path / "c.json", replace(args, sim="mujoco", preset="sim2real"), "mujoco")
    values = json.loads(path.read_text())
    del values["task"]["grasp"]["random"]["push"], values["task"]["eval_envs"], values["trainer"]["ppo"]["gamma"]
    path.write_text(json.dumps(values))
    again = defaults_with_config(["--config", str(path)])
    assert again.task.random.push == args.task.random.push > 0
    assert (again.eval_envs, again.trainer.ppo.gamma) == (args.eval_envs, args.trainer.ppo.gamma)


def refused(tmp_path: Path, change: Callable[[Any], Any]) -> str:
    path = write(tmp_path / "c.json", defaults(["--sim=mujoco"]), "mujoco", versions={"program": "0123abc"})
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError) as error:
        defaults_with_config(["--config", str(path)])
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_does_not_fit_is_named_with_the_revision_that_wrote_it(tmp_path: Path) -> None:
    said = refused(tmp_path, lambda values: values["trainer"]["ppo"].update(wings=2))
    assert "settings.trainer.ppo has 'wings', which this version does not know" in said and "revision 0123abc" in said
    assert "settings has 'nose'" in refused(tmp_path, lambda values: values["task"].update(nose=2))
    assert "settings.num_envs is 'many'" in refused(tmp_path, lambda values: values["task"].update(num_envs="many"))
    assert "is not the config.json of a training" in refused(tmp_path, lambda values: values["task"].pop("grasp"))


def test_another_revision_is_a_note(tmp_path: Path) -> None:
    args = replace(defaults(["--sim=mujoco"]), sim="mujoco")
    path = write(tmp_path / "c.json", args, "mujoco", versions={"program": "0123abc"}, processes=2)
    now = {key: value for key, value in json.loads(path.read_text()).items() if key in ("trainer", "task")}
    found: List[str] = notes(replace(args, config=path), now)
    assert "of revision 0123abc" in found[0] and found[1].endswith("processes: now None, was 2") and len(found) == 2
    assert notes(args, now) == []


def test_presets_and_other_settings_do_not_mix(tmp_path: Path) -> None:
    path = str(write(tmp_path / "c.json", replace(defaults(["--sim=mujoco"]), sim="mujoco"), "mujoco"))
    for words in (["--preset", "recipe"], ["--control-hz", "60"], ["--control_hz=60"]):
        with pytest.raises(ValueError, match="leave one of the two out"):
            defaults_with_config(["--config", path, *words])
    assert defaults_with_config(["--config", path, "--preset", "default", "--control-hz", "30"]).preset == "default"


def test_what_a_command_line_gives() -> None:
    words = ["--sim", "mujoco", "--control_hz=60", "--seed", "--config", "a", "--config", "b"]
    found = [given(words, name) for name in ("--sim", "--control-hz", "--seed", "--config", "--preset")]
    assert found == ["mujoco", "60", None, "b", None]
