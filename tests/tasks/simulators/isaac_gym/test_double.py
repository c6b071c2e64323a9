"""The double of Isaac Gym is strict: it refuses each of the wrong callers of `isaac_support.wrong_callers`.

Rules that show as wrong numbers instead are in test_double_numbers.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from isaac_support.stage import DOUBLE, Stage
from isaac_support.wrong_callers import WRONG


@pytest.fixture
def stage(isaac: Any, tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.parametrize("rule, caller", WRONG)
def test_isaac_double_refuses(rule: str, caller: Callable[[Stage], None], stage: Stage) -> None:
    with pytest.raises((RuntimeError, TypeError, AttributeError)) as refusal:
        caller(stage)
    text = str(refusal.value)
    assert text.startswith(f"{rule}: "), text


@pytest.mark.parametrize(
    "owner, name",
    [
        *(
            ("gym", n)
            for n in ("create_force_sensor", "create_cylinder", "set_dof_velocity_tensor_indexed", "load_asset_urdf")
        ),
        ("api", "DTYPE_INT32"),
    ],
)
def test_isaac_double_t3_has_no_such_name(owner: str, name: str, stage: Stage) -> None:
    with pytest.raises(AttributeError):
        getattr(getattr(stage, owner), name)


@pytest.mark.parametrize(
    "code, python, expected",
    [
        ("import torch, isaacgym", "1", "ImportError: PyTorch was imported before isaacgym modules"),
        ("import isaacgym", "", "RuntimeError: No gym module found for the active version of Python"),
        ("import isaacgym, torch; print('fine')", "1", ""),
    ],
)
def test_isaac_double_t1_import_order_and_python(code: str, python: str, expected: str) -> None:
    if not python and sys.version_info[:2] == (3, 8):
        pytest.skip("this Python is the right one")
    env = {**os.environ, "PYTHONPATH": str(DOUBLE), "ISAAC_DOUBLE_ANY_PYTHON": python, "ISAAC_DOUBLE_TORCH_LOADED": ""}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True)
    assert expected in result.stderr.decode()
    assert (result.returncode == 0) == (not expected)


def test_isaac_double_covers_every_rule() -> None:
    """T1 to T30 each have a wrong caller, or a test here or in test_double_numbers.py; T28 is the backend's, in test_simulator.py."""
    text = Path(__file__).read_text() + Path(__file__).with_name("test_double_numbers.py").read_text()
    shown = {f"T{number}" for number in re.findall(r"def test_isaac_double_t(\d+)_", text)}
    assert {param.values[0] for param in WRONG} | shown | {"T28"} == {f"T{i}" for i in range(1, 31)}
