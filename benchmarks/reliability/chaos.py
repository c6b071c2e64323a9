"""Kills a training at random moments and compares it with one that nothing disturbs.

    python benchmarks/reliability/chaos.py
    python benchmarks/reliability/chaos.py --sim mujoco_warp --num-envs 1024 --iterations 60 --kills 3

The training is killed by SIGKILL, SIGTERM, SIGHUP, SIGINT or two signals at once, and resumed each time.  At the end the
weights, the optimiser, the physics, the episodes and the metrics of both are compared.  On MuJoCo C they must be equal to the
bit.  On a GPU the physics may order its sums otherwise each time, so a second undisturbed training tells by how much two
trainings differ that nothing disturbs.  What must be equal to the bit there, too, is a checkpoint that is loaded and saved
again: the state of which all follows.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Literal

import torch
import tyro

from ppo_grasp.checkpoint import LAST
from ppo_grasp.metrics import TIMES as PARTS_OF_TIME

ROOT = Path(__file__).resolve().parents[2]
TIMES = ("wall_s", "steps_per_s", *PARTS_OF_TIME)
SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGTERM twice")


@dataclass
class Args:
    """How often and how long."""

    kills: int = 20
    """How often the training is killed."""
    iterations: int = 200
    """Iterations in all."""
    seed: int = 0
    """Seed of moments and signals."""
    sim: Literal["mujoco", "mujoco_warp"] = "mujoco"
    """The physics."""
    num_envs: int = 16
    """Hands in parallel."""


def command(args: Args, run_dir: Path, iterations: int) -> List[str]:
    """A training with short episodes and, on a processor, small networks.  It evaluates and saves often."""
    samples = 8 * args.num_envs
    words = f"""--sim {args.sim} --objects primitives --num-envs {args.num_envs} --eval-envs {max(4, args.num_envs // 8)}
        --episode-steps 40 --seed 0 --total-timesteps {samples * iterations} --eval-interval {8 * samples}
        --checkpoint-interval {5 * samples} --run-dir {run_dir} --resume auto --ppo.num-steps 8
        --ppo.minibatch-size {max(64, samples // 2)}"""
    if args.sim == "mujoco":
        words += " --network.actor-hidden 32 --network.critic-hidden 32"
    return [sys.executable, str(ROOT / "train.py"), *words.split()]


def train(args: Args, run_dir: Path, iterations: int) -> None:
    """Starts or resumes the training and waits for its end."""
    done = subprocess.run(command(args, run_dir, iterations), capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"training ended with status {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def rows(run_dir: Path) -> int:
    """How many lines of metrics there are."""
    path = run_dir / "metrics.jsonl"
    return path.read_text(errors="replace").count("\n") if path.exists() else 0


def until_killed(args: Args, run_dir: Path, last: int, after_s: float, how: str) -> int:
    """Starts or resumes the training and kills it a while after its row number `last`; returns its status."""
    with open(run_dir.parent / "output.txt", "a") as log:
        process = subprocess.Popen(command(args, run_dir, args.iterations), stdout=log, stderr=log, cwd=ROOT)
    while process.poll() is None and rows(run_dir) < last:
        time.sleep(0.005)
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


def different(a: Path, b: Path, metrics: bool = True) -> List[str]:
    """Names of what differs between the last checkpoints and the metrics of two runs, apart from times and settings."""
    loaded = [torch.load(run / LAST, weights_only=True) for run in (a, b)]
    one, other = (everything({"model": x["model"], "state": x["state"]}) for x in loaded)
    one, other = ({k: v for k, v in x.items() if not k.startswith("/state/config/")} for x in (one, other))
    names = sorted(one.keys() ^ other.keys())
    for name in sorted(one.keys() & other.keys()):
        x, y = one[name], other[name]
        same = torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        if not same and name != "/state/wall_s":
            names.append(name)
    if metrics:
        rows = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (a, b)]
        for run in rows:
            for row in run:
                for name in TIMES:
                    row.pop(name, None)
        keys = (
            f"metrics.jsonl, row {i + 1}, {k}"
            for i, (x, y) in enumerate(zip(*rows))
            for k in sorted({*x, *y})
            if x.get(k) != y.get(k)
        )
        names += list(keys) + (["metrics.jsonl, rows"] if len(rows[0]) != len(rows[1]) else [])
    return names


def distance(a: Path, b: Path) -> float:
    """By how much the weights of two runs differ, as a share of their length."""
    one, other = (
        torch.cat([x.double().flatten() for name, x in model.items() if "normalizer" not in name])
        for model in (torch.load(run / LAST, weights_only=True)["model"] for run in (a, b))
    )
    return float((one - other).norm() / one.norm())


def compare(what: str, a: Path, b: Path) -> bool:
    """Prints how two runs differ; returns whether they are equal to the bit."""
    names = different(a, b)
    told = f"{len(names)} values differ, weights by {100 * distance(a, b):.4f} %" if names else "equal to the bit"
    print(f"{what}: {told}" + (f"; the first are {', '.join(names[:6])}" if names else ""), flush=True)
    return not names


def main() -> None:
    """Runs the trainings.  The status is 0 if all is equal that must be."""
    args = tyro.cli(Args)
    rng = random.Random(args.seed)
    for number in (signal.SIGINT, signal.SIGHUP):  # a shell's background or nohup ignores them, and children would, too
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as place:
        whole, again, parts, loaded = (Path(place) / name / "run" for name in ("whole", "again", "parts", "loaded"))
        for run in (whole, again, parts, loaded):
            run.parent.mkdir()
        begin = time.monotonic()
        train(args, whole, args.iterations)
        print(f"in one go: {time.monotonic() - begin:.0f} s", flush=True)
        killed = 0
        while killed < args.kills:
            how = rng.choice(SIGNALS)
            last = rows(parts) + rng.randint(1, max(1, (args.iterations - 1) // args.kills))
            status = until_killed(args, parts, last, rng.uniform(0.0, 0.3), how)
            if status == 0:
                break
            killed += 1
            print(f"kill {killed}: {how}, status {status}, {rows(parts)} rows", flush=True)
        shutil.copytree(parts, loaded)
        state = torch.load(loaded / LAST, weights_only=True)["state"]
        train(args, loaded, state["iteration"])
        names = different(parts, loaded, metrics=False)
        if state["unlogged"] is not None:  # killed in an evaluation, which was made up for
            names = [
                name for name in names if not name.startswith(("/state/evaluation", "/state/unlogged", "/state/best"))
            ]
        print(
            "loaded and saved again: " + (f"{', '.join(names[:10])} differ" if names else "equal to the bit"),
            flush=True,
        )
        train(args, parts, args.iterations)
        equal = compare(f"{killed} kills", whole, parts)
        if args.sim != "mujoco":
            train(args, again, args.iterations)
            compare("in one go once more", whole, again)
            equal = True
    raise SystemExit(not equal or bool(names))


if __name__ == "__main__":
    main()
