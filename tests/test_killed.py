"""train.py as schedulers treat it: told to save, started twice, told to stop, and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, List, Tuple

from ppo_grasp.checkpoint import LAST, load_checkpoint

ROOT = Path(__file__).resolve().parents[1]
Run = Callable[..., Any]


def wait_until(true: Callable[[], bool], process: subprocess.Popen) -> None:
    begin = time.monotonic()
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - begin < 60
        time.sleep(0.02)


def iterations(run_dir: Path) -> List[int]:
    path = run_dir / "metrics.jsonl"
    return [json.loads(line)["iteration"] for line in path.read_text().splitlines()] if path.exists() else []


def saved(run_dir: Path) -> int:
    return int(load_checkpoint(run_dir / LAST)["state"]["iteration"]) if (run_dir / LAST).exists() else 0


def test_a_scheduler_saves_starts_twice_stops_and_starts_again(
    run: Run, tiny: Tuple[object, ...], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    words = [*map(str, tiny), "--run-dir", str(run_dir), "--resume", "auto", "--checkpoint-interval", str(10**9)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words], env=environment, cwd=tmp_path, stdout=-1, stderr=-1, text=True
    )
    wait_until(lambda: len(iterations(run_dir)) > 2 and saved(run_dir) == 1, process)
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: saved(run_dir) > 1, process)

    second = run("train.py", *words)
    assert second.status == 2 and len(second.err.splitlines()) == 1
    assert f"process {process.pid} is training there" in second.err
    assert process.poll() is None

    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and not err
    *_, ended, report = out.splitlines()
    assert "saved as asked" in out and "interrupted by SIGTERM" in ended and report.startswith("report in ")
    last = saved(run_dir)
    assert iterations(run_dir) == list(range(1, last + 1))

    again = run("train.py", *words, "--total-timesteps", 32 * (last + 2))
    assert again.status == 0 and "new episodes" not in again.out
    assert iterations(run_dir) == list(range(1, last + 3))
