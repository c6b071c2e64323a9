"""The process of one row: `python -m rivals.worker JOB.json ROW.json`, with benchmarks/ in PYTHONPATH."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any, Callable, Dict

import torch
from torch import Tensor

from ppo_grasp.adapters.stepped import ActorsView, SteppedTask
from ppo_grasp.device.graphs import side_stream
from ppo_grasp.vec_task import VecTask
from rivals import ENGINES
from rivals.meter import Finished, Meter
from rivals.settings import Job, Plan, Settings
from rivals.synthetic import SyntheticTask


def job_from(values: Dict[str, Any]) -> Job:
    """The job that `asdict` and JSON turned into plain values."""
    settings = {**values["settings"], "hidden": tuple(values["settings"]["hidden"])}
    return Job(**{**values, "settings": Settings(**settings), "plan": Plan(**values["plan"])})


def make_task(job: Job, device: torch.device) -> VecTask:
    """The task to train on."""
    if job.sim == "none":
        return SyntheticTask(job.settings.num_envs, device)
    from tasks.grasp import build
    from tasks.objects import load_objects

    return build.make_task(job.sim, load_objects(job.objects), job.settings.num_envs, seed=job.settings.seed)


def make_evaluation(job: Job) -> Callable[[Callable[[Tensor], Tensor]], Dict[str, Any]]:
    """A function that measures the success of a deterministic policy, in worlds of its own."""
    from tasks.evaluation.measure import evaluate
    from tasks.grasp import build
    from tasks.objects import load_objects

    task = build.make_task(job.sim, load_objects(job.objects), job.eval_episodes, evaluation=True)
    env = SteppedTask(ActorsView(task))
    env.prepare()

    def measure(policy: Callable[[Tensor], Tensor]) -> Dict[str, Any]:
        def run_episode() -> None:
            obs = env.reset()
            for _ in range(task.cfg.episode_steps):
                obs = env.step(policy(obs)).obs

        result = evaluate(task, run_episode, job.eval_episodes).summary()
        return {key: result[key] for key in ("success_rate", "success_ci95", "ever_success_rate")}

    return measure


def measure(job: Job) -> Dict[str, Any]:
    """Trains until everything is measured, and returns the row of the table."""
    began = time.perf_counter()
    engine = ENGINES[job.engine]
    # The import comes first: an engine that is not installed fails before a task is built.
    adapter = importlib.import_module(engine.module)
    device = torch.device(job.device, torch.cuda.current_device()) if job.device == "cuda" else torch.device(job.device)
    torch.manual_seed(job.settings.seed)
    meter = Meter(device, job.plan, job.settings)
    with side_stream(device), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        env = SteppedTask(ActorsView(make_task(job, device)))
        ours = job.engine.startswith("ours")
        if not ours:  # this engine records the whole rollout itself
            env.prepare()
        if job.plan.equal_seconds > 0 and job.sim != "none":
            meter.evaluate = make_evaluation(job)
        if not ours:
            torch.backends.cuda.matmul.allow_tf32 = job.tf32  # set after the recording, so it is for the networks only
        failed: Dict[str, str] = {}
        try:
            adapter.run(env, job.settings, meter, Path(directory), **engine.options)
        except Finished:
            pass
        except Exception as error:  # the row keeps what was measured before
            traceback.print_exc()
            failed = {"failed": reason(error)}
    version_of = version(engine.distribution) if engine.distribution else ""
    row = {"version": version_of, **meter.row, "iterations": meter.iterations, "notes": meter.notes}
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    about = {"process_s": time.perf_counter() - began, "torch": str(torch.__version__), "hardware": hardware}
    return {**row, **failed, **about}


def reason(error: Exception) -> str:
    """The exception as one line."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def main() -> None:
    """Reads a job and writes its row.  If the engine fails, the row says why."""
    job = job_from(json.loads(Path(sys.argv[1]).read_text()))
    try:
        row = measure(job)
    except ImportError as error:
        row = {"failed": f"not installed: {error}"}
    except Exception as error:
        traceback.print_exc()
        row = {"failed": reason(error)}
    Path(sys.argv[2]).write_text(json.dumps(row))


if __name__ == "__main__":
    main()
