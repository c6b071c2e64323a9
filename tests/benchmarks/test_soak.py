"""What the soak test says of made-up trainings, and that its faults reach a real one and do no harm."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from small_trainer import trainer as small_trainer

from ppo_grasp import Trainer, checkpoint
from ppo_grasp.device.graphs import CapturedFunction

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from reliability import faults, soak  # noqa: E402
from time_to_success import rows_from  # noqa: E402


def test_a_leak_and_a_slowdown_are_seen_and_noise_is_not() -> None:
    seconds = [float(second) for second in range(1000)]
    flat = soak.in_windows([(s, 400.0 + 90.0 * (s % 50 == 0)) for s in seconds], 100.0, 1000.0)
    assert len(flat) == soak.WINDOWS and soak.growth(flat) == 0, "a peak while a checkpoint is written is no growth"
    leak = soak.in_windows([(s, 400.0 + 0.02 * s) for s in seconds], 0.0, 1000.0)
    assert soak.growth(leak) == pytest.approx(0.02 * 900, rel=1e-6)
    assert soak.growth(leak[::-1]) == 0
    assert soak.spread_percent([100.0, 101.0, 98.0]) == pytest.approx(3.0)


def rows(**odd: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Twenty iterations, of which some have other values."""
    usual = {"reward": 1.0, "nonfinite_steps": 0.0, "finite_weights": 1.0}
    return [{"iteration": i, **usual, **odd.get(f"at_{i}", {})} for i in range(1, 21)]


@pytest.mark.parametrize(
    "kind, odd, wrong",
    [
        ("reward", {"at_5": {"reward": None}}, []),
        ("reward", {}, ["does not show"]),
        ("gradient", {"at_5": {"nonfinite_steps": 5.0}}, []),
        ("gradient", {"at_5": {"nonfinite_steps": 5.0, "finite_weights": 0.0}}, ["reached the weights"]),
        ("worlds", {"at_6": {"diagnostics_nan_resets": 2.0}}, []),
        ("worlds", {"at_6": {"failed_worlds": 0.1}, "at_12": {"reward": None}}, ["is not over"]),
        ("slow-disk", {}, []),
    ],
)
def test_faults_must_show_and_heal(kind: str, odd: Dict[str, Dict[str, Any]], wrong: List[str]) -> None:
    ran = soak.Ran(rows=rows(**odd), faults=[{"kind": kind, "iteration": 5}])
    found = soak.judge_faults(ran)
    assert len(found) == len(wrong) and all(part in line for part, line in zip(wrong, found))


def test_a_checkpoint_that_is_not_finite_is_found(tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[1] / "formats" / "checkpoint_3.pt"
    (tmp_path / "1-good.pt").write_bytes(source.read_bytes())
    payload = torch.load(source, weights_only=True)
    next(iter(payload["model"].values())).view(-1)[0] = float("nan")
    torch.save(payload, tmp_path / "2-bad.pt")
    ran = soak.Ran()
    soak.check_written(tmp_path, ran)
    assert ran.checkpoints == 2 and len(ran.broken) == 1 and "2-bad.pt" in ran.broken[0]
    assert not list(tmp_path.iterdir())


def test_faults_reach_a_training_which_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, name in (
        *((Trainer, "_start"), (CapturedFunction, "__call__")),
        *((checkpoint, "_write"), (os, "fsync")),
    ):
        monkeypatch.setattr(place, name, getattr(place, name))  # so that what `install` changes is undone
    (tmp_path / "written").mkdir()
    plan = {"kinds": ["reward", "gradient", "slow-disk"], "from_s": 0.0, "every_s": 0.3, "slow_s": 0.2}
    faults.install({**plan, "log": str(tmp_path / "log"), "written": str(tmp_path / "written")})
    trainer = small_trainer(tmp_path / "run", steps=60)
    assert trainer.run()["iteration"] == 60
    ran = soak.Ran(rows=rows_from(tmp_path / "run" / "metrics.jsonl", 0)[0])
    ran.faults = rows_from(tmp_path / "log", 0)[0]
    assert {fault["kind"] for fault in ran.faults} == {"reward", "gradient", "slow-disk"}
    assert soak.judge_faults(ran) == []
    soak.check_written(tmp_path / "written", ran)
    assert ran.checkpoints >= 3 and not ran.broken


@pytest.mark.parametrize("overflowed, wrong", [(3.0, 0), (0.0, 2)])
def test_small_buffers_must_be_reported(
    overflowed: float, wrong: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("diagnostics_contact_overflow_worlds", "eval_contact_overflow_worlds")
    said = "contacts did not fit into the simulator's buffers in 3 worlds" if overflowed else ""
    ran = soak.Ran(0, said, [dict.fromkeys(names, overflowed)], checkpoints=1)
    monkeypatch.setattr(soak, "train", lambda *words: ran)
    found: List[str] = []
    result = soak.overflow([], tmp_path, {"sim": "mujoco_warp", "steps_per_iteration": 64}, found)
    assert len(found) == wrong and result["training_worlds"] == result["evaluation_worlds"] == overflowed
