"""Puts the double of Isaac Gym in its place."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

DOUBLE = Path(__file__).resolve().parents[2] / "isaac_double"


@pytest.fixture
def isaac(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The double's `control`, fresh; `isaacgym` is the double while the test runs."""
    monkeypatch.setenv("ISAAC_DOUBLE_ANY_PYTHON", "1")
    monkeypatch.setenv("ISAAC_DOUBLE_TORCH_LOADED", "1")
    monkeypatch.syspath_prepend(str(DOUBLE))
    from isaacgym import gymtorch  # noqa: F401
    from isaacgym._control import control

    control.reset()
    yield control
    control.reset()
    for name in [name for name in sys.modules if name.split(".")[0] == "isaacgym"]:
        monkeypatch.delitem(sys.modules, name)
