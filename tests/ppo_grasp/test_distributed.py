"""Two processes against one with twice the environments, through gloo, as on GPUs through NCCL."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from rank_cases import STEPS, WORLDS, deterministic

from ppo_grasp.checkpoint import LAST
from ppo_grasp.distributed import ALONE, Ranks
from ppo_grasp.run.signals import Signals

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
sys.path.insert(0, str(ROOT / "benchmarks"))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start(case: str, folder: Path, size: int = 2) -> List[subprocess.Popen]:
    """The processes of a case, without torchrun."""
    port, path = str(free_port()), os.pathsep.join([str(ROOT), str(SUPPORT)])
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(size)}
    env.update(PYTHONPATH=path, OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo")
    command = [sys.executable, str(SUPPORT / "rank_cases.py"), case, str(folder)]
    return [subprocess.Popen(command, env={**env, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(size)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Any]:
    """What two processes came to; they are started once for all tests."""
    folder = tmp_path_factory.mktemp("two")
    processes = start("equal", folder)
    try:
        assert [process.wait(240) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    result = torch.load(folder / "result.pt", weights_only=True)
    return {**result, "folder": folder}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Any]:
    """The same by one process with twice the environments."""
    folder = tmp_path_factory.mktemp("one")
    return {**deterministic(ALONE, folder / "deterministic"), "folder": folder}


def test_normalizers_are_those_of_all_samples(one: Dict[str, Any], two: Dict[str, Any]) -> None:
    for name, expected in one["normalizers"].items():
        torch.testing.assert_close(two["normalizers"][name], expected, rtol=1e-5, atol=1e-9, msg=name)
    assert float(two["normalizers"]["obs_normalizer.count"]) == 4 * STEPS * WORLDS


def test_advantages_are_normalised_over_all_ranks(one: Dict[str, Any], two: Dict[str, Any]) -> None:
    torch.testing.assert_close(two["advantages"], one["advantages"], rtol=1e-3, atol=1e-4)
    assert abs(float(two["advantages"][0].mean())) < 1e-5 and float(two["advantages"][0].std()) == pytest.approx(1)
    own = two["advantages"][0][:, : WORLDS // 2]
    assert abs(float(own.mean())) > 1e-3, "of one rank alone they are not: the test would see that"


def test_updates_are_those_of_one_process_with_all_environments(one: Dict[str, Any], two: Dict[str, Any]) -> None:
    scale = float(one["gradient"].abs().max())
    torch.testing.assert_close(two["gradient"], one["gradient"], rtol=1e-3, atol=1e-3 * scale)
    torch.testing.assert_close(two["parameters"], one["parameters"], rtol=1e-3, atol=1e-4)
    assert float(two["learning_rate"]) == float(one["learning_rate"])
    assert two["env_steps"] == one["env_steps"] == 3 * STEPS * WORLDS


def test_one_process_writes_metrics_of_all(one: Dict[str, Any], two: Dict[str, Any]) -> None:
    rows = [
        [json.loads(line) for line in (x["folder"] / "deterministic" / "metrics.jsonl").read_text().splitlines()]
        for x in (one, two)
    ]
    assert len(rows[0]) == len(rows[1]) == 3
    for a, b in zip(*rows):
        assert (a["iteration"], a["env_steps"]) == (b["iteration"], b["env_steps"])
        for name in ("reward", "distance", "kl", "policy_loss", "value_loss", "grad_norm", "learning_rate"):
            assert b[name] == pytest.approx(a[name], rel=2e-3, abs=1e-5), name
    config = json.loads((two["folder"] / "deterministic" / "config.json").read_text())
    assert config["processes"] == 2


def test_ranks_stay_equal_bit_by_bit_and_draw_other_numbers(two: Dict[str, Any]) -> None:
    many = two["many"]
    assert many["iteration"] == 50, "of 20 gradient steps each"
    assert many["states"][0] == many["states"][1]
    assert many["draws"][0] != many["draws"][1]


def test_resume_is_exact_and_changes_the_number_of_ranks(two: Dict[str, Any]) -> None:
    resumes = two["resumes"]
    assert resumes["parts"] == resumes["whole"]
    assert resumes["begun_at"] == 8, "six by two ranks and two by one"
    assert resumes["steps"] == [11, 11 * STEPS * WORLDS]
    assert resumes["states"][0] == resumes["states"][1]


def test_a_resume_in_the_middle_of_episodes_is_exact_on_every_rank(tmp_path: Path) -> None:
    """Weights, metrics, and each rank's physics, episodes, curriculum and random state."""
    pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
    from reliability.chaos import different

    processes = start("grasp", tmp_path)
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    differ = different(tmp_path / "whole", tmp_path / "parts")
    assert [name for name in differ if "diagnostics" not in name] == [], "these belong to the stop's own checkpoint"
    parts = torch.load(tmp_path / "parts" / LAST, weights_only=True)["state"]["of_ranks"]
    qpos = [part["episodes"]["physics"]["qpos"] for part in parts]
    assert len(parts) == 2 and not torch.equal(*qpos), "each rank has worlds of its own"


def test_evaluations_are_pooled(two: Dict[str, Any]) -> None:
    assert two["evaluation"]["best"] == 0.5


def test_a_rank_that_hangs_ends_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    processes = start("hang", tmp_path)
    try:
        begin = time.monotonic()
        assert processes[0].wait(90) == 1
        assert time.monotonic() - begin < 60
    finally:
        for process in processes:
            process.kill()
            process.wait()
    iteration, _, said = (tmp_path / "said").read_text().partition(" ")
    assert int(iteration) >= 8
    assert "has not answered for 2 s" in said and "checkpoint_last.pt" in said


def test_alone_nothing_is_changed() -> None:
    x, ranks = torch.randn(5), Ranks()
    before = x.clone()
    ranks.average(x)
    ranks.broadcast(x)
    assert torch.equal(x, before)
    assert ranks.pool(x, x) == (x, x) and ranks.total([1.0]) == [1.0] and ranks.gather("a") == ["a"]
    mean, std = ranks.mean_and_std(x)
    assert torch.equal(mean, x.mean()) and torch.equal(std, x.std())
    assert ranks.collect({"a": x})[0]["a"] is x
    assert ranks.agree(Signals()) == (None, False) and ranks.largest(2.0) == 2.0 and ranks.writes and ranks.seed(7) == 7
