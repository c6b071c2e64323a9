"""The comparison of engines: every adapter trains, what fails says why, and calls are counted by their names."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from rivals.meter import Finished, Meter, tally  # noqa: E402
from rivals.settings import Job, Plan, Settings  # noqa: E402
from rivals.synthetic import SyntheticTask  # noqa: E402
from rivals.worker import job_from  # noqa: E402

from ppo_grasp.adapters.stepped import ActorsView, SteppedTask  # noqa: E402

SMALL = ("--num-envs", "64", "--hidden", "32", "--minibatch-sizes", "256", "--warm-up", "1", "--iterations", "2")
ENGINES = ("ours", "ours_amp", "cleanrl_style", "rl_games", "rsl_rl", "skrl", "sb3")
NEEDS = {"rl_games": "rl_games", "rsl_rl": "rsl_rl", "skrl": "skrl", "sb3": "stable_baselines3"}


def bench(tmp_path: Path, *words: str) -> Tuple[str, Dict[str, Any]]:
    """Runs the command; what it printed and what it wrote."""
    result = tmp_path / "engines.json"
    command = [sys.executable, str(BENCHMARKS / "engines.py"), "--learner-only", "--device", "cpu", *SMALL]
    done = subprocess.run([*command, "--json", str(result), *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(result.read_text())


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Dict[str, Any]]:
    """By name, the row of each engine that is installed.  One command trains them one after the other."""
    installed = [name for name in ENGINES if name not in NEEDS or find_spec(NEEDS[name]) is not None]
    _, written = bench(tmp_path_factory.mktemp("engines"), "--engines", *installed, "--no-rl-games-compile")
    assert [row["engine"] for row in written["rows"]] == installed
    return dict(zip(installed, written["rows"]))


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_trains_and_is_timed(engine: str, rows: Dict[str, Dict[str, Any]]) -> None:
    if engine in NEEDS and find_spec(NEEDS[engine]) is None:
        pytest.skip(f"{engine} is not installed")
    row = rows[engine]
    assert "failed" not in row, row
    assert row["iterations"] == 1 + 2 + 2
    assert row["learner_ms"] > 0.0 and row["steps_per_s"] > 0.0


def test_an_engine_that_fails_has_a_row_with_the_reason(tmp_path: Path) -> None:
    said, written = bench(tmp_path, "--engines", "ours", "--timeout", "0.01")
    (row,) = written["rows"]
    assert "not done after" in row["failed"]
    assert "not done after" in said


def test_bad_arguments_end_with_one_line() -> None:
    for words in (["--engines", "nobody"], ["--minibatch-sizes", "1000"]):
        done = subprocess.run(
            [sys.executable, str(BENCHMARKS / "engines.py"), "--device", "cpu", *words], capture_output=True, text=True
        )
        assert done.returncode != 0
        assert done.stderr.startswith("error: ")


def test_calls_are_counted_by_name() -> None:
    names = [
        *["cudaLaunchKernel"] * 3,
        *("cuLaunchKernelEx", "cudaLaunchKernelExC_v11060", "cudaLaunchCooperativeKernel"),
        *("cudaGraphLaunch_v10000", "cudaGraphInstantiate"),
        *("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy", "cudaMemcpyAsync"),
        *("Memcpy DtoH (Device -> Pageable)", "Memcpy HtoD (Pageable -> Device)", "Memset (Device)"),
    ]
    assert tally(names) == {"launches": 6, "graph_launches": 1, "synchronisations": 4, "copies_to_host": 1}


def test_job_survives_json() -> None:
    from dataclasses import asdict

    job = Job("ours", Settings(hidden=(8, 4)), Plan(iterations=7), sim="none")
    assert job_from(json.loads(json.dumps(asdict(job)))) == job


def test_meter_goes_through_its_phases() -> None:
    meter = Meter(torch.device("cpu"), Plan(warm_up=2, iterations=4, equal_seconds=1e-9), Settings(num_envs=8))
    meter.policy = torch.tanh
    meter.evaluate = lambda policy: {"success_rate": float(policy(torch.zeros(())))}
    with pytest.raises(Finished):
        while True:
            meter.begin_update()
            meter.end_update()
    assert meter.iterations == 2 + 1 + 4 + 4
    assert meter.row["trained_env_steps"] == 3 * 8 * 16
    assert meter.row["success_rate"] == 0.0
    assert meter.row["iterations_timed"] == 4


def test_stepped_task_returns_what_later_steps_leave_alone() -> None:
    torch.manual_seed(0)
    env = SteppedTask(ActorsView(SyntheticTask(16, torch.device("cpu"), num_obs=30, num_actions=4, episode_steps=3)))
    env.prepare()
    env.reset()
    with torch.inference_mode():
        first = env.step(torch.zeros(16, 4))
        before = [x.clone() for x in first[:4]]
        ended = 0
        for _ in range(5):
            out = env.step(torch.ones(16, 4))
            ended += int((out.terminated | out.truncated).sum())
    assert ended > 0
    for kept, copy in zip(first[:4], before):
        assert torch.equal(kept, copy)
    assert out.final_obs.shape == (16, 30)
