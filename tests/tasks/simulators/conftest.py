"""Lets the tests of simulators import what they share, and puts the double of Isaac Gym in its place."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Iterator

import pytest

HERE = Path(__file__).parent
DOUBLE = HERE.parents[1] / "isaac_double"
sys.path.insert(0, str(HERE))


@pytest.fixture
def isaac(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
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
