"""Kills a training at random moments and checks that it ends as if nothing had happened: `python benchmarks/chaos.py`.

One training runs in one go.  Another one is killed again and again, by SIGKILL, SIGTERM, SIGHUP, SIGINT or two signals at once,
and resumed each time.  At the end the weights, the optimiser, the physics and the metrics of both must be equal to the bit.
It runs on MuJoCo C, on a CPU.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

import torch

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGTERM twice")
TIMES = ("wall_s", "steps_per_s", "physics_ms", "task_ms", "environment_ms", "policy_ms", "update_ms")


def command(run_dir: Path, steps: int) -> List[str]:
    """A training of 16 hands with small networks, on one thread."""
    words = f"""--sim mujoco --objects primitives --num-envs 16 --eval-envs 4 --episode-steps 40 --seed 0
        --total-timesteps {steps} --eval-interval 1024 --checkpoint-interval 640 --run-dir {run_dir} --resume auto
        --ppo.num-steps 8 --ppo.minibatch-size 64 --network.actor-hidden 32 --network.critic-hidden 32"""
    return [sys.executable, str(ROOT / "train.py"), *words.split()]


def until_killed(run_dir: Path, steps: int, after_s: float, how: str) -> int:
    """Starts or resumes the training and kills it a while after its first row; returns its status."""
    log = open(run_dir.parent / "output.txt", "a")  # noqa: SIM115 - the child's
    process = subprocess.Popen(command(run_dir, steps), stdout=log, stderr=log, cwd=ROOT)
    metrics = run_dir / "metrics.jsonl"
    before = metrics.stat().st_mtime if metrics.exists() else 0.0
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_mtime > before):
        time.sleep(0.01)
    time.sleep(after_s)
    for _ in range(2 if how.endswith("twice") else 1):
        if process.poll() is None:
            process.send_signal(getattr(signal, how.split()[0]))
    return process.wait(120)


def everything(value: Any, name: str = "") -> Dict[str, Any]:
    """All numbers and tensors in nested tables, by path."""
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in everything(inner, f"{name}/{key}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, inner in enumerate(value) for k, v in everything(inner, f"{name}/{i}").items()}
    return {name: value}


def different(a: Path, b: Path) -> List[str]:
    """Names of what differs between the last checkpoints and the metrics of two runs, apart from times."""
    loaded = [torch.load(run / "checkpoint_last.pt", weights_only=True) for run in (a, b)]
    one, other = (everything({"model": x["model"], "state": x["state"]}) for x in loaded)
    names = sorted(one.keys() ^ other.keys())
    for name in one.keys() & other.keys():
        x, y = one[name], other[name]
        same = torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        if not same and name != "/state/wall_s":
            names.append(name)
    rows = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (a, b)]
    for run in rows:
        for row in run:
            for name in TIMES:
                row.pop(name, None)
    if rows[0] != rows[1]:
        names.append("metrics.jsonl")
    return names


def main() -> None:
    """Runs both trainings and says how many kills ended equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often the training is killed")
    parser.add_argument("--iterations", type=int, default=200, help="iterations of 128 steps in all")
    parser.add_argument("--seed", type=int, default=0, help="seed of moments and signals")
    args = parser.parse_args()
    rng, steps = random.Random(args.seed), 128 * args.iterations
    with tempfile.TemporaryDirectory() as place:
        whole, parts = Path(place) / "whole" / "run", Path(place) / "parts" / "run"
        for run in (whole, parts):
            run.parent.mkdir()
        begin = time.monotonic()
        subprocess.run(command(whole, steps), check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        took = time.monotonic() - begin
        print(f"in one go: {took:.0f} s", flush=True)
        killed = 0
        while killed < args.kills:
            how = rng.choice(SIGNALS)
            status = until_killed(parts, steps, rng.uniform(0.0, 2.0 * took / args.kills), how)
            if status == 0:
                break
            killed += 1
            last = (parts / "metrics.jsonl").read_text().count("\n")
            print(f"kill {killed}: {how}, status {status}, {last} rows", flush=True)
        subprocess.run(command(parts, steps), check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        names = different(whole, parts)
        print(f"{killed} kills: " + (f"{len(names)} differ: {', '.join(names[:10])}" if names else "equal to the bit"))
    raise SystemExit(bool(names))


if __name__ == "__main__":
    main()
