"""Help, Ctrl-C and the names of options."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any, Callable, Tuple

import pytest
import tyro

from ppo_grasp import load_policy
from tasks.commands import loading
from tasks.commands.errors import INTERRUPTED
from tasks.commands.help import listed
from tasks.commands.presets import TrainArgs, defaults

COMMANDS = ("train.py", "evaluate_policy.py", "play.py")
Run = Callable[..., Any]
"""See `run` in conftest.py."""


@pytest.mark.parametrize("command", COMMANDS)
def test_help(run: Run, command: str) -> None:
    done = run(command, "--help")
    assert (done.status, done.err) == (0, "")
    assert "--objects" in done.out
    assert "num-obs" not in done.out, "shows what the task decides"


def test_help_comes_in_pages(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of what people use; --help-all has every option that the parser knows, each with a text."""
    monkeypatch.setenv("COLUMNS", "200")
    page, everything = run("train.py", "--help"), run("train.py", "--help-all")
    assert (page.status, everything.status) == (0, 0)
    monkeypatch.setenv("COLUMNS", "80")
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        tyro.cli(TrainArgs, default=defaults([]), config=(tyro.conf.AvoidSubcommands,), args=["--help"])
    known = set(re.findall(r"(?m)^ +(?:-h, )?(--[a-z][a-z.-]*)", said.getvalue())) - {"--help"}
    switched = {name.replace("[no-]", "") for name in re.findall(r"(?m)^(--[a-z.\[\]-]*)", everything.out)}
    assert known and switched == known
    shown = [name.replace("[no-]", "") for name in re.findall(r"(?m)^(--[a-z.\[\]-]*)", page.out)]
    assert 20 <= len(shown) - 1 <= 30 and set(shown) - {"--help-all"} < known
    assert f"--help-all shows all {len(known)} options" in page.out
    assert page.out.count("\n") < 50
    without = [option.name for option in listed(TrainArgs, TrainArgs()) if not option.help]
    assert not [name for name in without if not name.startswith("--isaac-gym.")]


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_is_quiet(run: Run, policy: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    if command == "play.py":
        pytest.importorskip("mujoco.batch", reason="play.py shows MuJoCo C and PhysX, which need Python 3.11")
    monkeypatch.setattr(loading, "load_objects", interrupted)
    done = run(command, *(() if command == "train.py" else ("--checkpoint", policy)))
    assert done.status == INTERRUPTED
    assert done.err == ""


def test_ctrl_c_in_training_keeps_the_checkpoint(
    run: Run, tiny: Tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mujoco.batch", reason="trains on MuJoCo C, which needs MuJoCo 4")
    from ppo_grasp.ppo import PPO

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PPO, "update", interrupted)
    done = run("train.py", *tiny, "--run-dir", "r")
    assert done.status == INTERRUPTED
    assert load_policy(tmp_path / "r" / "checkpoint_last.pt")[1]["iteration"] == 0
