"""train.py through torchrun: a killed process, going on, SIGTERM, and errors, with two processes and few hands."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import List, Tuple

from ppo_grasp.checkpoint import LAST, load_checkpoint

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 120.0


def torchrun(folder: Path, *words: object, restarts: int = 0) -> subprocess.Popen:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    start += ["--max-restarts", str(restarts)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*start, str(ROOT / "train.py"), *map(str, words)], cwd=folder, env=env, **pipes)  # type: ignore[call-overload, no-any-return]


def children(pid: int) -> List[int]:
    """Processes that this one started, in the order of their start: torchrun starts rank 0 first."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rows(run_dir: Path) -> int:
    path = run_dir / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def wait_for_rows(process: subprocess.Popen, run_dir: Path, count: int) -> None:
    begin = time.monotonic()
    while rows(run_dir) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() - begin < PATIENCE_S, "no rows"
        time.sleep(0.1)


def end(process: subprocess.Popen) -> Tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        raise
    return process.returncode, out, err


def errors(text: str) -> List[str]:
    return [line for line in text.splitlines() if line.startswith("error:")]


def test_a_killed_process_ends_the_run_which_goes_on_and_stops_at_sigterm(
    tmp_path: Path, tiny: Tuple[object, ...]
) -> None:
    run_dir = tmp_path / "run"
    words = (*tiny, "--run-dir", run_dir, "--resume", "auto", "--total-timesteps", 10**9)
    process = torchrun(tmp_path, *words)
    wait_for_rows(process, run_dir, 5)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    status, out, err = end(process)
    assert status != 0
    assert len(errors(err)) == 1 and "another process of this training has ended" in errors(err)[0]
    assert "2 processes of 4 environments, 8 in all" in out
    state = load_checkpoint(run_dir / LAST)["state"]
    assert state["iteration"] >= 4 and int(state["task"]["env_steps"]) >= state["env_steps"]

    before = rows(run_dir)
    process = torchrun(tmp_path, *words)
    wait_for_rows(process, run_dir, before + 5)
    process.send_signal(signal.SIGTERM)
    status, out, err = end(process)
    assert "interrupted by SIGTERM: " in out and not errors(err)
    assert "new episodes begin: one process saved the checkpoint without the others" in out
    later = load_checkpoint(run_dir / LAST)["state"]
    assert later["iteration"] >= before + 5 and later["env_steps"] == 64 * later["iteration"]
    assert len(later["rng_of_ranks"]) == 2
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    counted = [row["iteration"] for row in lines]
    assert counted == sorted(set(counted)) and counted[-1] == later["iteration"]
    assert len(counted) >= later["iteration"] - 1, "the killed iteration alone has no row"


def test_torchrun_restarts_a_training_that_goes_on_to_its_end(tmp_path: Path, tiny: Tuple[object, ...]) -> None:
    run_dir, iterations = tmp_path / "run", 40
    words = (*tiny, "--run-dir", run_dir, "--resume", "auto", "--total-timesteps", 64 * iterations)
    process = torchrun(tmp_path, *words, "--checkpoint-interval", 64 * 4, restarts=2)
    wait_for_rows(process, run_dir, 6)
    first = children(process.pid)
    os.kill(first[1], signal.SIGKILL)
    status, out, err = end(process)
    assert status == 0, err
    assert len(errors(err)) == 1 and "another process of this training has ended" in errors(err)[0]
    assert out.count("2 processes of 4 environments, 8 in all") == 2, "it was started twice"
    state = load_checkpoint(run_dir / LAST)["state"]
    assert state["iteration"] == iterations and state["env_steps"] == 64 * iterations
    assert len(state["of_ranks"]) == 2
    counted = [json.loads(line)["iteration"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert counted == sorted(set(counted)) and counted[-1] == iterations
    assert len(counted) >= iterations - 2, "the killed iteration and the one before may have no row"


def test_an_error_of_all_processes_is_one_line(tmp_path: Path, tiny: Tuple[object, ...]) -> None:
    status, _, err = end(torchrun(tmp_path, *tiny, "--objects", "nonsense"))
    assert status != 0 and len(errors(err)) == 1 and "--objects nonsense" in errors(err)[0]
