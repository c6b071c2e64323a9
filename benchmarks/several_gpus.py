"""What a second GPU brings: throughput of one process and of several, whether they stay equal, and the time to get good.

    python benchmarks/several_gpus.py --json several_gpus.json
    python benchmarks/several_gpus.py --quick --json several_gpus.json

One call of torchrun measures both: rank 0 trains alone while the others wait, then all train together, on the same worlds.
Each rank has --num-envs worlds, so that the batch grows with ranks.  Throughput is environment steps of all ranks by the wall
clock, after a warm-up in which everything is captured.  At the end ranks compare all parameters, Adam's moments and
normalisers, bit by bit.  Without --quick `train.py` then trains from nothing with one process and with all, until its running
evaluation has passed the levels.

One JSON is printed, whatever happens; what failed is in it.  The children have a time limit.  If they fail with reductions
inside the update's CUDA graph, they are measured once more with an update that is not captured.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from tasks.simulators.open_gpu import open_gpu, take_own_gpu  # noqa: E402

if os.environ.get("SEVERAL_GPUS_RESULT"):  # in a child, before torch sees all GPUs
    take_own_gpu()
    open_gpu()

import torch  # noqa: E402
import tyro  # noqa: E402
from time_to_success import joined, rows_from, train  # noqa: E402

from ppo_grasp import CheckpointError, Trainer, TrainerCfg, load_policy  # noqa: E402
from ppo_grasp.distributed import ALONE, Ranks, join  # noqa: E402
from ppo_grasp.metrics import FILE, process_age  # noqa: E402
from tasks.grasp.build import make_task  # noqa: E402
from tasks.objects import load_objects  # noqa: E402
from tasks.simulators.mujoco.scene import PhysicsCfg  # noqa: E402

NEVER = 10**15
RESULT = "SEVERAL_GPUS_RESULT"
"""Environment variable: where a child writes what it has measured so far."""
EAGER = "SEVERAL_GPUS_EAGER"
"""Environment variable: set if a child measures the ranks together alone, with an update that is not captured."""


@dataclass
class Args:
    """One process against several."""

    ranks: int = 2
    """Processes, each with a GPU."""
    quick: bool = False
    """Throughput and equality alone, in less than a minute once kernels are compiled."""
    num_envs: int = 4096
    """Worlds of each process."""
    sim: str = "auto"
    """The simulator."""
    objects: str = "everyday"
    """A named object set, or a directory of meshes."""
    checkpoint: Optional[Path] = Path("checkpoints/shadow_grasp.pt")
    """The policy that acts, and goes on learning, if its sizes fit; else random networks."""
    warm_up: int = 20
    """Iterations before anything is timed."""
    iterations: int = 110
    """Timed iterations; with those before they should make more than 1,000 gradient steps."""
    seconds: float = 20.0
    """A measurement ends after so many seconds, captures included, even if iterations are left."""
    timeout: float = 75.0
    """Seconds until the children are given up."""
    retry_timeout: float = 45.0
    """Seconds for measuring again without a captured update."""
    levels: Tuple[float, ...] = (85.0, 95.0)
    """Percent held, without --quick."""
    seeds: Tuple[int, ...] = (0,)
    """Of these trainings."""
    max_minutes: float = 5.0
    """Of each of these trainings."""
    eval_interval: int = 500_000
    """Environment steps between their evaluations."""
    options: str = ""
    """Their further options, in one string."""
    trainer: TrainerCfg = field(default_factory=TrainerCfg)
    """What is measured."""
    physics: PhysicsCfg = field(default_factory=PhysicsCfg)
    """How the simulator integrates."""
    json: Optional[Path] = None
    """Where to write what is printed."""


# --- in a child ----------------------------------------------------------------------------------------------------------


def measure(args: Args, task: Any, ranks: Ranks, capture_update: bool) -> Dict[str, Any]:
    """Trains for a while; throughput, and a digest of all that must be equal on all ranks."""
    cfg = replace(
        args.trainer,
        total_timesteps=(args.warm_up + args.iterations) * args.trainer.ppo.num_steps * args.num_envs * ranks.size,
        max_minutes=(process_age() + args.seconds) / 60.0,
        checkpoint_interval=NEVER,
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        trainer = Trainer(task, cfg, folder, ranks=ranks)
        trainer._learn.enabled = trainer._learn.enabled and capture_update
        started_from = "random networks"
        if args.checkpoint is not None and args.checkpoint.is_file():
            try:
                trainer.begin_with(load_policy(args.checkpoint, trainer.device)[0])
                started_from = str(args.checkpoint)
            except CheckpointError as error:
                started_from += f" ({error})"
        captured = trainer._learn.enabled
        trainer.run()
        captured = captured and trainer._learn.enabled
        rows, _ = rows_from(Path(folder) / FILE, 0)
        equal, iterations = digest(trainer), trainer.iteration
        del trainer
        gc.collect()  # its graphs must not be freed within the next capture
    minibatches = max(1, round(cfg.ppo.num_steps * args.num_envs / cfg.ppo.minibatch_size))
    result: Dict[str, Any] = {
        "ranks": ranks.size,
        "started_from": started_from,
        "update_captured": captured,
        "gradient_steps": iterations * minibatches * cfg.ppo.num_epochs,
        "digest": equal,
        "notes": [str(w.message) for w in warned if not issubclass(w.category, (DeprecationWarning, ImportWarning))],
    }
    timed = rows[args.warm_up :]
    if len(timed) > 1:
        first, last = timed[0], timed[-1]
        steps, seconds = last["env_steps"] - first["env_steps"], last["wall_s"] - first["wall_s"]
        result.update(steps_per_s=steps / seconds, timed_iterations=len(timed), timed_s=seconds)
        names = ("steps_per_s", "environment_ms", "policy_ms", "update_ms", "success_rate")
        result["medians"] = {
            name: statistics.median([row[name] for row in timed if row.get(name) is not None] or [float("nan")])
            for name in names
        }
    return result


def digest(trainer: Trainer) -> str:
    """Of parameters, Adam's moments, the learning rate and all normalisers."""
    result = hashlib.sha256()
    ppo = trainer.ppo.state_dict()
    ppo.pop("discounted_return")  # of each rank's own worlds
    for x in tensors([trainer.policy.state_dict(), ppo]):
        result.update(x.detach().cpu().contiguous().numpy().tobytes())
    return result.hexdigest()


def tensors(value: Any) -> List[torch.Tensor]:
    """All tensors in nested dicts and lists."""
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [x for each in inner for x in tensors(each)]


def child(args: Args, path: Path) -> None:
    """Measures rank 0 alone, then all ranks; rank 0 writes what there is after each."""
    ranks = join(args.trainer.rank_timeout)
    eager = bool(os.environ.get(EAGER))
    torch.set_num_threads(max(1, torch.get_num_threads() // ranks.local_size))
    torch.manual_seed(ranks.seed(args.trainer.seed))
    task = make_task(args.sim, load_objects(args.objects), args.num_envs, settings=args.physics)
    result: Dict[str, Any] = {"built_after_s": process_age()}
    print(f"built after {process_age():.1f} s", flush=True)
    if task.device.type == "cuda":
        result["hardware"] = torch.cuda.get_device_name()
    if ranks.writes and not eager:
        result["alone"] = measure(args, task, ALONE, capture_update=True)
        path.write_text(json.dumps(result))
    ranks.gather("begin")
    together = measure(args, task, ranks, capture_update=not eager)
    each = ranks.gather([together["digest"], together["notes"]])
    if ranks.writes:
        together["identical"] = len({one[0] for one in each}) == 1
        together["notes"] = sorted({note for one in each for note in one[1]})
        result["together"] = together
        path.write_text(json.dumps(result))
    ranks.close()


# --- in the parent -------------------------------------------------------------------------------------------------------


def torchrun(ranks: int) -> List[str]:
    """The start of a command line, on this machine and a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--nproc-per-node", str(ranks), "--master-addr", "127.0.0.1", "--master-port", str(port)]
    return [sys.executable, "-m", "torch.distributed.run", *words]


def environment() -> Dict[str, str]:
    """For children on one machine: no network is looked for, and no NVLink multicast is used unless somebody wants it."""
    local = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "NCCL_NVLS_ENABLE": "0", "OMP_NUM_THREADS": "1"}
    return {**local, **os.environ}


def throughput(args: Args, words: List[str], timeout: float, eager: bool = False) -> Dict[str, Any]:
    """Runs the children; what they measured, and `failed` if that is not all."""
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder) / "result.json", Path(folder) / "log"
        env = {**environment(), RESULT: str(path), **({EAGER: "1"} if eager else {})}
        command = [*torchrun(args.ranks), str(HERE), *words]
        with open(log, "w", encoding="utf-8") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, env=env, start_new_session=True)
            try:
                status: Any = process.wait(timeout)
            except subprocess.TimeoutExpired:
                status = f"not done after {timeout:g} s"
            finally:  # torchrun and its children, which are a group of their own
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        result: Dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        if "together" not in result:
            result["failed"] = status if isinstance(status, str) else f"status {status}"
            result["log"] = log.read_text(encoding="utf-8", errors="replace")[-6000:]
        return result


def time_to(args: Args, ranks: int, seed: int, place: Path) -> Dict[str, Any]:
    """A training from nothing, with one process or with several."""
    words = ["--num-envs", str(args.num_envs), "--objects", args.objects, "--sim", args.sim, "--seed", str(seed)]
    words += ["--eval-interval", str(args.eval_interval), "--total-timesteps", str(10**12), *shlex.split(args.options)]
    launcher = torchrun(ranks) if ranks > 1 else [sys.executable]
    run = train(words, place / f"ranks{ranks}_seed{seed}", args.levels, args.max_minutes, launcher=launcher)
    return {"ranks": ranks, "seed": seed, **run}


def main(args: Args, words: List[str]) -> None:
    """Prints one JSON."""
    begin = time.monotonic()
    result = throughput(args, words, args.timeout)
    if "failed" in result and "alone" in result:
        again = throughput(args, words, args.retry_timeout, eager=True)
        result["without_captured_update"] = again
        if "together" in again:
            result["together"] = again["together"]
    alone, together = result.get("alone", {}), result.get("together", {})
    if "steps_per_s" in alone and "steps_per_s" in together:
        result["times_one"] = together["steps_per_s"] / alone["steps_per_s"]
    result.update(torch=torch.__version__, args=asdict(args))
    if not args.quick:
        os.environ.update(environment())
        place = Path("runs") / time.strftime("several_gpus_%Y-%m-%d_%H-%M-%S")
        result["trainings"] = [time_to(args, n, s, place) for s in args.seeds for n in (1, args.ranks)]
    result["benchmark_s"] = time.monotonic() - begin
    text = json.dumps(result, indent=2, default=str)
    print(text, flush=True)
    if args.json:
        args.json.write_text(text + "\n")
    if "failed" in result:
        raise SystemExit(1)


if __name__ == "__main__":
    given = joined(sys.argv[1:])
    parsed = tyro.cli(Args, args=given)
    if os.environ.get(RESULT):
        child(parsed, Path(os.environ[RESULT]))
    else:
        main(parsed, given)
