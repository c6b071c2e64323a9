"""The commands on Isaac Gym's double, each in a process of its own, as a user starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from isaac_support.stage import DOUBLE

ROOT = DOUBLE.parents[1]


def command(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{DOUBLE}{os.pathsep}{ROOT}", "XDG_CACHE_HOME": str(tmp_path)}
    env.update(ISAAC_DOUBLE_ANY_PYTHON="1", ISAAC_DOUBLE_TORCH_LOADED="", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    return subprocess.run(
        [sys.executable, str(ROOT / words[0]), "--sim", "isaac_gym", *words[1:]],
        env=env,
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_isaac_trains_and_its_policy_is_evaluated(tmp_path: Path) -> None:
    run, figures = tmp_path / "run", tmp_path / "figures.json"
    options = ["--num-envs", "8", "--objects", "primitives", "--total-timesteps", "512", "--run-dir", str(run)]
    measured = ["--eval-interval", "256", "--episode-steps", "20", "--eval-envs", "6", "--curriculum", "recipe"]
    result = command(tmp_path, "train.py", *options, *measured)
    assert result.returncode == 0, result.stderr
    assert "--curriculum recipe does nothing" in result.stdout and "torch sees no CUDA GPU" in result.stderr
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("eval_success_rate" in row for row in rows) and (run / "checkpoint_best.pt").exists()
    options = ["--num-envs", "6", "--num_episodes", "6", "--objects", "primitives", "--json", str(figures)]
    result = command(tmp_path, "evaluate_policy.py", "--checkpoint", str(run / "checkpoint_last.pt"), *options)
    assert result.returncode == 0, result.stderr
    found = json.loads(figures.read_text())
    assert found["sim"] == "isaac_gym" and found["num_episodes"] == 6
    assert len(found["per_object"]) == 6


def test_isaac_shipped_policy_grasps_through_the_double(tmp_path: Path) -> None:
    """It was trained on MuJoCo Warp, so indices, frames and units must be the same here."""
    figures = tmp_path / "figures.json"
    options = ["--num-envs", "18", "--num_episodes", "18", "--objects", "primitives", "--json", str(figures)]
    result = command(tmp_path, "evaluate_policy.py", *options)
    assert result.returncode == 0, result.stderr
    assert json.loads(figures.read_text())["success_rate"] >= 0.8
