"""Loading Isaac Gym: the order of imports, and one line for each way in which it does not load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import pytest
from isaac_support.stage import DOUBLE

from tasks.simulators.errors import SimulatorError
from tasks.simulators.isaac_gym.preload import explain

ROOT = DOUBLE.parents[1]


def run(code: str, tmp_path: Path, path: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    variables: Dict[str, str] = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (path, str(ROOT)))), **env}
    return subprocess.run(
        [sys.executable, "-c", code], env=variables, cwd=str(tmp_path), capture_output=True, text=True
    )


def test_isaac_preload_needs_no_torch(tmp_path: Path) -> None:
    code = "import tasks.simulators.isaac_gym.preload as p, sys; p.preload_from_argv(['--seed', '1']); print(sorted(sys.modules))"
    result = run(code, tmp_path)
    assert result.returncode == 0
    assert "'torch'" not in result.stdout and "'numpy'" not in result.stdout and "'mujoco'" not in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["--sim", "isaac_gym"],
        ["--sim=isaac_gym"],
        ["--num-envs", "8", "--sim", "isaac-gym"],
        ["--config", "config.json"],
        ["--config=."],
    ],
)
def test_isaac_preload_from_the_command_line(words: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"task": {"sim": "isaac_gym"}}')
    code = (
        "import sys; from tasks.simulators.isaac_gym.preload import preload_from_argv as p; "
        f"p({words!r}); import torch; print('isaacgym.gymapi' in sys.modules)"
    )
    result = run(code, tmp_path, str(DOUBLE), ISAAC_DOUBLE_ANY_PYTHON="1", ISAAC_DOUBLE_TORCH_LOADED="")
    assert result.stdout.strip() == "True", result.stderr


def test_isaac_preload_is_not_asked_for_by_other_simulators(tmp_path: Path) -> None:
    code = (
        "import sys; from tasks.simulators.isaac_gym.preload import preload_from_argv as p; "
        "p(['--sim', 'mujoco']); print('isaacgym' in sys.modules)"
    )
    assert run(code, tmp_path, str(DOUBLE), ISAAC_DOUBLE_ANY_PYTHON="1").stdout.strip() == "False"


def test_isaac_torch_first_is_one_line(tmp_path: Path) -> None:
    code = "import torch; from tasks.simulators.isaac_gym.preload import preload; preload()"
    result = run(code, tmp_path, str(DOUBLE), ISAAC_DOUBLE_ANY_PYTHON="1")
    assert "SimulatorError: torch was imported before isaacgym" in result.stderr


def test_isaac_not_installed_ends_a_command_with_status_2(tmp_path: Path) -> None:
    code = "from tasks.simulators.isaac_gym.preload import preload_from_argv as p; p(['--sim', 'isaac_gym'])"
    result = run(code, tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: Isaac Gym ") and result.stderr.count("\n") == 1


def test_isaac_wrong_python_ends_a_command_with_status_2(tmp_path: Path) -> None:
    if sys.version_info[:2] == (3, 8):
        pytest.skip("this Python is the right one")
    code = "from tasks.simulators.isaac_gym.preload import preload_from_argv as p; p(['--sim', 'isaac_gym'])"
    result = run(code, tmp_path, str(DOUBLE), ISAAC_DOUBLE_ANY_PYTHON="")
    assert result.returncode == 2
    assert "has no build for Python" in result.stderr and "Python 3.8" in result.stderr


@pytest.mark.parametrize(
    "cause, words",
    [
        (RuntimeError("No gym module found for the active version of Python (3.10)"), "no build for Python"),
        (ImportError("PyTorch was imported before isaacgym modules.  Please import ..."), "torch was imported before"),
        (ImportError("libpython3.8.so.1.0: cannot open shared object file"), "LD_LIBRARY_PATH"),
        (ImportError("/lib/libstdc++.so.6: version `GLIBCXX_3.4.29' not found"), "C++ library that is too old"),
        (RuntimeError("Ninja is required to load C++ extensions"), "needs ninja"),
        (RuntimeError("Error building extension 'gymtorch'"), "needs ninja"),
        (OSError("something\nelse"), "did not load: OSError: something else"),
    ],
)
def test_isaac_causes_are_named(cause: BaseException, words: str) -> None:
    text = explain(cause)
    assert words in text and "\n" not in text


def test_isaac_not_installed_on_the_right_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 8, 20, "final", 0))
    text = explain(ModuleNotFoundError("No module named 'isaacgym'", name="isaacgym"))
    assert "pip install -e" in text


def test_isaac_error_is_no_subclass_that_commands_miss() -> None:
    assert issubclass(SimulatorError, RuntimeError)
