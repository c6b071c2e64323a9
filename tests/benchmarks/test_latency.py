"""benchmarks/deployment/latency.py: every way runs, gives the policy's actions, and is timed call by call."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
import torch

from ppo_grasp import load_policy

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "deployment"))
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import latency


def test_every_way_is_measured_and_written_down(
    policy_maker: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    path, out = policy_maker(tmp_path / "p.pt"), tmp_path / "latency.json"
    try:
        latency.main(latency.Args(checkpoint=path, calls=50, warm_up=2, json=out))
    finally:
        torch.set_num_threads(threads)
    written = json.loads(out.read_text())
    assert {"torch, processor", "TorchScript, processor", "ONNX, processor"} <= set(written["microseconds"])
    for found in written["microseconds"].values():
        assert 0 < found["p50"] <= found["p99"] <= found["longest"]
    assert written["machine"]["threads"] == 1 and "ONNX, processor" in capsys.readouterr().out


def test_percentiles_are_of_single_calls_in_microseconds() -> None:
    """Of 20 calls one waits for 30 ms: the longest shows it, the median does not."""
    waits = iter([0.0] * 7 + [0.03] + [0.0] * 12)

    def act(obs: np.ndarray) -> np.ndarray:
        time.sleep(next(waits))
        return obs

    found = latency.measure(act, [np.zeros(1)], calls=20, warm_up=0)
    assert found.longest >= 30_000 and found.p50 < 15_000


def test_counts_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ValueError, match="--calls and --threads must be at least 1"):
        latency.main(latency.Args(calls=0))


def test_wrong_actions_are_refused(policy_maker: Callable[..., Path], tmp_path: Path) -> None:
    policy, _ = load_policy(policy_maker(tmp_path / "p.pt"))
    right = latency.on_device(policy, torch.device("cpu"))
    seen = latency.observations(policy, 3)
    latency.check("right", right, policy, seen)
    with pytest.raises(ValueError, match="wrong: its actions differ"):
        latency.check("wrong", lambda obs: right(obs) + 0.01, policy, seen)
