"""The commands on PhysX."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from physx_support import needs_physx

ROOT = Path(__file__).resolve().parents[4]


def command(tmp_path: Path, *words: str) -> str:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(ROOT / words[0]), *words[1:]],
        env=env,
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_physx
def test_physx_trains_and_its_policy_is_measured_in_every_simulator(tmp_path: Path) -> None:
    run, figures = tmp_path / "run", tmp_path / "figures.json"
    options = ["--num-envs", "8", "--objects", "primitives", "--total-timesteps", "256", "--eval-interval", "256"]
    short = ["--episode-steps", "20", "--eval-envs", "4", "--physx.substeps", "2", "--physx.timestep", str(1 / 60)]
    said = command(tmp_path, "train.py", "--sim", "physx", "--run-dir", str(run), *options, *short)
    assert "training on the processor: PhysX 5, 8 environments" in said
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("eval_success_rate" in row for row in rows)
    assert json.loads((run / "config.json").read_text())["task"]["physx"]["substeps"] == 2
    measure = ["--num-episodes", "3", "--checkpoint", str(run / "checkpoint_last.pt"), "--json", str(figures)]
    said = command(tmp_path, "evaluate_policy.py", "--sim", "all", *measure)
    found = json.loads(figures.read_text())
    assert "mujoco_warp is left out" in said and "isaac_gym" in found["left_out"]
    assert set(found["simulators"]) == {"mujoco", "physx"}
    for name, result in found["simulators"].items():
        assert result["sim"] == name and result["physics"] == "fine" and result["num_episodes"] == 3
        assert result["objects_covered"] == 3 and result["objects_in_set"] == 60


@needs_physx
def test_the_shipped_policy_grasps_in_physx(tmp_path: Path) -> None:
    """It was trained in MuJoCo Warp: indices, frames, units and contacts must be alike."""
    figures = tmp_path / "figures.json"
    words = ["--sim", "physx", "--num_episodes", "24", "--objects", "primitives", "--json", str(figures)]
    command(tmp_path, "evaluate_policy.py", *words, "--physics", "trained")
    found = json.loads(figures.read_text())
    assert found["success_rate"] >= 0.85 and found["object_turn_rad_s"] < 0.15
    assert found["nan_resets"] == 0 and found["contact_overflows"] == 0


@pytest.mark.skipif(sys.version_info < (3, 11), reason="MuJoCo's simulators need Python 3.11")
def test_failures_are_drawn_of_one_simulator(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="--failures: draws the failures of one simulator"):
        command(tmp_path, "evaluate_policy.py", "--sim", "all", "--failures", "f.png")
