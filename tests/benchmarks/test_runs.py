"""The benchmarks that train: what they make of a run's rows, and each once, small, on the processor."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import time_to_success  # noqa: E402
from scaling import Args, trainer_cfg  # noqa: E402
from time_to_success import analyse, evaluation_seconds, joined, rows_from, spread, summarise  # noqa: E402

ITERATION_S = 0.5
EVALUATION_S = 2.0
STEPS = 1000


def rows(held: List[Optional[float]], reported_late: bool = True) -> List[Dict[str, Any]]:
    """A row per iteration, after each the percent that an evaluation found, or None without one.

    reported_late: as without a GPU, where an iteration is logged when the next has run, unless it is evaluated after.
    """
    result, end = [], 10.0
    for index, percent in enumerate(held):
        end += ITERATION_S
        row: Dict[str, Any] = {"iteration": index + 1, "env_steps": STEPS * (index + 1)}
        row.update(wall_s=end + (ITERATION_S if reported_late else 0.0), steps_per_s=STEPS / ITERATION_S)
        if percent is not None:
            end += EVALUATION_S
            row.update(wall_s=end, eval_success_rate=percent / 100.0)
        result.append(row)
    return result


def test_levels_are_passed_at_the_first_evaluation_that_is_not_below() -> None:
    found = analyse(rows([None, 20.0, None, 85.0, 40.0, 96.0, 94.0], reported_late=False), (50.0, 85.0, 95.0, 99.0))
    assert found["levels"] == {
        "50": {"wall_s": 10 + 4 * 0.5 + 2 * 2, "env_steps": 4000},
        "85": {"wall_s": 10 + 4 * 0.5 + 2 * 2, "env_steps": 4000},
        "95": {"wall_s": 10 + 6 * 0.5 + 4 * 2, "env_steps": 6000},
        "99": None,
    }
    assert found["best_held"] == 96.0
    assert found["first_iteration_s"] == 10.5
    assert found["env_steps"] == 7000


@pytest.mark.parametrize(
    ("held", "fall", "later"),
    [
        ([79.0, 10.0], None, 0),  # never good
        ([10.0, 85.0], None, 0),  # good at the end: nothing is known of later
        ([85.0, 90.0, 95.0], 0.0, 2),
        ([5.0, 2.0, 80.0, 90.0, 65.0, 95.0, 72.0, 96.0], 25.0, 5),  # from the best so far; before 80 nothing counts
    ],
)
def test_largest_fall_after_80(held: List[Optional[float]], fall: Optional[float], later: int) -> None:
    found = analyse(rows(held), (50.0,))
    assert found["largest_fall_after_80"] == (None if fall is None else pytest.approx(fall))
    assert found["evaluations_after_80"] == later


@pytest.mark.parametrize("reported_late", [False, True])
def test_time_of_evaluations_is_what_iterations_leave(reported_late: bool) -> None:
    run = rows([None, None, 0.0, None, None, 0.0, 0.0, None], reported_late)
    first, *others = evaluation_seconds(run)
    assert others == pytest.approx([EVALUATION_S] * 2)
    assert first == pytest.approx(EVALUATION_S - (ITERATION_S if reported_late else 0.0) * 1.0)
    assert evaluation_seconds(rows([0.0, None, 0.0])) == pytest.approx([EVALUATION_S])
    assert analyse(run, (50.0,))["evaluation_share"] == pytest.approx((first + sum(others)) / run[-1]["wall_s"])


def test_a_run_without_rows_or_numbers_has_reached_nothing() -> None:
    assert analyse([], (50.0,))["levels"] == {"50": None}
    broken = rows([None, 60.0])
    broken[-1]["eval_success_rate"] = None
    assert analyse(broken, (50.0,))["levels"] == {"50": None}


def test_spread_over_seeds_counts_never_as_longest() -> None:
    assert spread([30.0, None, 20.0]) == {"min": 20.0, "median": 30.0, "max": None}
    assert spread([None, None]) == {"min": None, "median": None, "max": None}
    runs = [{"objects": "a", "seed": seed, **analyse(rows([held]), (50.0,))} for seed, held in enumerate((60.0, 40.0))]
    (row,) = summarise([*runs, {"objects": "a", "seed": 2, "failed": "status 1"}], (50.0,))
    assert (row["reached"], row["seeds"]) == (1, 3)
    assert row["env_steps"] == {"min": 1000.0, "median": None, "max": None}


def test_rows_are_read_on_and_a_half_line_waits(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert rows_from(file, 0) == ([], 0)
    file.write_text('{"a": 1}\n{"a":')
    found, offset = rows_from(file, 0)
    assert found == [{"a": 1}]
    file.write_text('{"a": 1}\n{"a": 2}\n')
    assert rows_from(file, offset)[0] == [{"a": 2}]


def test_options_may_start_with_a_dash() -> None:
    assert joined(["--cold", "--options", "--a 1", "--seeds", "0"]) == ["--cold", "--options=--a 1", "--seeds", "0"]


def test_minibatch_keeps_its_size_unless_it_is_to_scale() -> None:
    sizes = [trainer_cfg(Args(scale_minibatch=scale), 1024).ppo.minibatch_size for scale in (False, True)]
    assert sizes == [16384, 4096]


def test_training_ends_at_the_highest_level_with_a_checkpoint(tmp_path: Path) -> None:
    """Started as shells start what runs in the background: with Ctrl-C ignored."""
    tiny = "--sim mujoco --num-envs 8 --eval-envs 2 --episode-steps 15 --network.actor-hidden 16 --network.critic-hidden 16"
    words = ["--objects", "primitives", "--seeds", "3", "--levels", "0", "--max-minutes", "0.5", "--eval-interval", "1"]
    words += ["--options", tiny, "--cold", "--run-dir", str(tmp_path / "runs"), "--json", str(tmp_path / "result.json")]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "time_to_success.py"), *words],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "result.json").read_text())
    (run,) = written["runs"]
    assert "failed" not in run and run["interrupted"], run
    assert run["levels"]["0"]["env_steps"] == run["evaluations"][0]["env_steps"] == 64
    assert 0.0 < run["levels"]["0"]["wall_s"] <= run["process_s"] < 30.0
    assert written["summary"][0]["reached"] == 1
    assert (tmp_path / "runs" / "primitives_seed3" / "checkpoint_last.pt").exists()
    assert "1 of 1" in done.stdout


@pytest.mark.parametrize("level", [80.0, 95.0])
def test_a_training_that_was_leaving_when_interrupted_has_not_failed(
    level: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own handler is gone by then, so SIGINT kills it; without our interruption, below the level, that is a failure."""
    script = tmp_path / "train.py"
    row = {"env_steps": 8, "wall_s": 1.0, "steps_per_s": 8.0, "eval_success_rate": 0.9}
    script.write_text(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        f"open(sys.argv[2] + '/metrics.jsonl', 'w').write({json.dumps(row)!r} + chr(10))\n"
        f"time.sleep(60) if {level < 90} else os.kill(os.getpid(), signal.SIGINT)\n"
    )
    monkeypatch.setattr(time_to_success, "TRAIN", script)
    before = signal.getsignal(signal.SIGINT)
    run = time_to_success.train([], tmp_path / "run", (level,), 1.0)
    signal.signal(signal.SIGINT, before)
    assert run["interrupted"] == ("failed" not in run) == (level < 90), run


def test_a_training_that_fails_says_why(tmp_path: Path) -> None:
    words = ["--objects", "nothing", "--seeds", "0", "--run-dir", str(tmp_path / "runs")]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "time_to_success.py"), *words], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "failed: status 2: error: --objects nothing" in done.stdout


def test_scaling_has_a_row_for_each_size_and_a_reason_for_what_fails(tmp_path: Path) -> None:
    words = ["--num-envs", "8", str(10**12), "--objects", "primitives", "--warm-up", "3", "--iterations", "2"]
    words += ["--sim", "mujoco", "--json", str(tmp_path / "result.json")]
    done = subprocess.run([sys.executable, str(BENCHMARKS / "scaling.py"), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    row, too_many = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert "failed" not in row, row
    assert row["steps_per_s"] == pytest.approx(1e3 * 64 / row["iteration_ms"])
    assert row["rollout_ms"] + row["update_ms"] > 0.0
    assert (row["minibatch_size"], row["gradient_steps"]) == (64, 5)
    assert too_many["failed"] and "failed: " in done.stdout
