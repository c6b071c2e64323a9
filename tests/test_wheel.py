"""What a wheel holds: the program without its source tree still has the policy that ships."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_a_wheel_has_the_policy_that_ships_and_all_data(tmp_path: Path) -> None:
    """Builds what would go into a wheel, and asks it for the policy from an empty folder."""
    pytest.importorskip("setuptools")
    wheel, empty = tmp_path / "wheel", tmp_path / "empty"
    empty.mkdir()
    build = ["setup.py", "-q", "egg_info", "--egg-base", str(tmp_path), "build_py", "--build-lib", str(wheel)]
    subprocess.run([sys.executable, *build], cwd=str(ROOT), check=True)
    shipped = {path.name: path.read_bytes() for path in (ROOT / "checkpoints").glob("*.pt")}
    assert shipped and {p.name: p.read_bytes() for p in (wheel / "tasks" / "checkpoints").iterdir()} == shipped
    for data in (*(ROOT / "tasks").rglob("*.xml"), *ROOT.glob("*/py.typed"), *ROOT.glob("ppo_grasp/**/*.py")):
        assert (wheel / data.relative_to(ROOT)).read_bytes() == data.read_bytes()

    ask = "from tasks.commands.loading import checkpoint_path; print(checkpoint_path(None))"
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=str(empty), env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    assert Path(done.stdout.strip()).parent == wheel / "tasks" / "checkpoints"
