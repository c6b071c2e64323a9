"""What a training shows while its kernels are compiled."""

from __future__ import annotations

import io
import warnings
from typing import Any

import pytest
import torch

pytest.importorskip("mujoco_warp", reason="needs MuJoCo Warp")

from plain_mujoco import some_objects
from rich.console import Console
from rich.progress import Progress, TextColumn

from tasks.commands import compile_kernels as command
from tasks.commands.compile_kernels import compile_missing
from tasks.simulators.mujoco.scene import PhysicsCfg


def test_before_a_training(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Something is shown only if there is something to compile; what fails is one warning; without a GPU nothing is done."""
    asked, missing = [], 0

    def stand_in(*args: Any, progress: Any) -> None:
        asked.append(args)
        if missing < 0:
            raise OSError("no room\nleft")
        for done in range(missing + 1 if missing else 0):
            progress(done, missing, "")

    monkeypatch.setattr(command, "compile_kernels", stand_in)
    args = some_objects(), (8, 4), PhysicsCfg(), "shadow"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    compile_missing(*args)
    assert not asked
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    compile_missing(*args)
    assert asked == [args] and capsys.readouterr().out == ""
    missing = 3
    compile_missing(*args)
    assert capsys.readouterr().out == "compiling 3 modules of GPU kernels, once\n"
    missing = -1
    with pytest.warns(UserWarning, match=r"one by one as they are needed \(OSError: no room left\)"):
        compile_missing(*args)


def test_a_terminal_shows_that_something_happens_before_it_is_known_what_to_compile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = io.StringIO()

    def bar(what: str, unit: str) -> Progress:
        return Progress(TextColumn(what), TextColumn(unit), console=Console(file=shown, force_terminal=True))

    def stand_in(*_args: Any, progress: Any) -> None:
        assert "kernels" in shown.getvalue()

    monkeypatch.setattr(command, "progress_bar", bar)
    monkeypatch.setattr(command, "compile_kernels", stand_in)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a failed assertion in there would be one
        compile_missing(some_objects(), 8, PhysicsCfg())
