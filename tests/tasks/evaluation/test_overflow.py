"""An evaluation whose contact buffers ran over says so beside its figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from tasks.grasp.environment import GraspTask

Run = Callable[..., Any]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="MuJoCo's simulators need Python 3.11")
def test_overflow_is_said_and_written(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--checkpoint", policy, "--num_episodes", 2, "--sim", "mujoco", "--json", "x.json")
    done = run("evaluate_policy.py", *words)
    assert "warning" not in done.out and json.loads(Path("x.json").read_text())["contact_overflow_worlds"] == 0
    monkeypatch.setattr(GraspTask, "diagnostics", lambda self: {"nan_resets": 0.0, "contact_overflow_worlds": 2.0})
    done = run("evaluate_policy.py", *words)
    assert "contacts did not fit into the simulator's buffers in 2 of 2 worlds" in done.out
    assert json.loads(Path("x.json").read_text())["contact_overflow_worlds"] == 2
