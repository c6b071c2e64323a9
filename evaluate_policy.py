"""Measure a policy: `python evaluate_policy.py`; deterministic episodes from the evaluation start, on any simulator."""

from __future__ import annotations

from tasks.simulators.isaac_gym.preload import preload_from_argv

preload_from_argv()  # Isaac Gym insists on being imported before torch

import json  # noqa: E402
import math  # noqa: E402
import time  # noqa: E402
from dataclasses import dataclass, replace  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, Dict, Literal, Optional  # noqa: E402

import torch  # noqa: E402
import tyro  # noqa: E402
from rich.console import Console  # noqa: E402
from torch import Tensor  # noqa: E402
from typing_extensions import Annotated  # noqa: E402

from ppo_grasp import ActorCritic, load_policy  # noqa: E402
from ppo_grasp.device.policy_runner import PolicyRunner  # noqa: E402
from tasks.commands.arguments import (  # noqa: E402
    check_numbers,
    check_writable,
    checkpoint_path,
    load_set,
    progress_bar,
    run,
)
from tasks.evaluation.measure import Evaluation, evaluate  # noqa: E402
from tasks.evaluation.report import inference_speed, print_report  # noqa: E402
from tasks.evaluation.settings import MeasuredIn, TrainingSettings, trained_with  # noqa: E402
from tasks.grasp.build import make_task  # noqa: E402
from tasks.grasp.environment import GraspTask  # noqa: E402
from tasks.hands import get_hand  # noqa: E402
from tasks.objects import ObjectSet  # noqa: E402
from tasks.simulators.registry import choose  # noqa: E402


@dataclass
class EvaluateArgs:
    """Measure a policy over many episodes."""

    checkpoint: Annotated[Optional[Path], tyro.conf.arg(aliases=("--model",))] = None
    """The policy to measure; by default the one that ships in checkpoints/."""
    num_episodes: int = 100
    """Episodes; objects come round in turn."""
    objects: Optional[str] = None
    """A named object set, or a directory of meshes; by default what the policy was trained on."""
    sim: Literal["auto", "mujoco_warp", "mujoco", "isaac_gym"] = "auto"
    """Physics: auto takes MuJoCo Warp on a GPU, MuJoCo C without one."""
    num_envs: Optional[int] = None
    """Episodes at once; by default as many as are needed, at most 4096 on a GPU and 64 without."""
    physics: MeasuredIn = "fine"
    """fine: MuJoCo in steps four times finer than training's default; trained: in those that the policy was trained in."""
    seed: int = 0
    """Seeds the objects' places, poses and friction."""
    json: Optional[Path] = None
    """Also write the figures to this file."""
    failures: Optional[Path] = None
    """Also draw how grasps of the worst objects end, to this .png."""
    object_scale: Optional[float] = None
    """Times the coordinates of meshes in a directory, to get metres."""
    skip_bad_objects: bool = False
    """Leave out meshes that cannot be used, with a warning each."""
    hand: Optional[str] = None
    """Which hand; by default the one the policy was trained with."""


def main(args: EvaluateArgs) -> None:
    """Evaluates, reports, and writes what was asked for."""
    check_numbers(args, positive=("object_scale",))
    check_writable("--json", args.json)
    check_writable("--failures", args.failures, suffixes=(".png",))
    path = checkpoint_path(args.checkpoint)
    policy, meta = load_policy(path)
    settings = trained_with(meta, path, policy.cfg.num_obs, policy.cfg.num_actions)
    sim, hand = choose(args.sim).name, args.hand or settings.hand
    get_hand(hand)  # before anything slow
    physics = None if sim == "isaac_gym" else settings.measured_in(args.physics)
    torch.manual_seed(args.seed)
    scale = args.object_scale or settings.object_scale
    objects = load_set(
        args.objects or settings.objects,
        scale,
        args.skip_bad_objects,
        count=None if args.objects else settings.object_count,
    )
    count = worlds(args.num_episodes, args.num_envs, 64 if sim == "mujoco" else 4096)
    steps = f" in {physics.substeps} x {1e3 * physics.timestep:.3g} ms" if physics else ""
    print(f"evaluating {path} on {sim}{steps}, {count} episodes at a time", flush=True)
    if sim == "mujoco_warp" and physics:
        from tasks.commands.compile_kernels import compile_missing

        compile_missing(objects, count, physics, hand)
    task = make_task(sim, objects, count, settings.grasp, hand, physics, evaluation=True, seed=args.seed)
    policy = policy.to(task.device)
    begin = time.perf_counter()
    found = measure(task, policy, args.num_episodes)
    wall_s = time.perf_counter() - begin
    batch = max(count, 1024)
    inference_ms, per_s = inference_speed(
        policy.act_deterministic, policy.cfg.num_obs, batch, torch.device(task.device)
    )
    rounds = math.ceil(args.num_episodes / count)
    result: Dict[str, Any] = {
        **found.summary(),
        "inference_ms": inference_ms,
        "sim": sim,
        "physics": args.physics if physics else None,
        "objects": args.objects or settings.objects,
        "checkpoint": str(path),
        "seed": args.seed,
        "num_envs": count,
        "wall_s": wall_s,
        "steps_per_s": rounds * count * settings.grasp.episode_steps / wall_s,
        "inference_batch": batch,
        "inference_per_s": per_s,
    }
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print_report(result, Console())
    if args.failures is not None:
        settings = replace(settings, physics=physics or settings.physics, hand=hand)
        picture_failures(args.failures, policy.cpu(), found, objects, settings)


def worlds(episodes: int, wanted: Optional[int], most: int) -> int:
    """How many to play at once: in as few rounds as possible, none larger than needed."""
    rounds = math.ceil(episodes / (wanted or most))
    return math.ceil(episodes / rounds)


def measure(task: GraspTask, policy: ActorCritic, episodes: int) -> Evaluation:
    """Plays the episodes behind a progress bar: by the step where the host sees each one, else by the round."""
    steps = task.cfg.episode_steps
    with progress_bar("evaluating", "steps") as bar:
        shown = bar.add_task("", total=math.ceil(episodes / task.num_envs) * steps)

        def act(obs: Tensor) -> Tensor:
            if not task.capturable:
                bar.advance(shown)
            return policy.act_deterministic(obs)

        def report(done: int, _total: int, success: float) -> None:
            completed = math.ceil(done / task.num_envs) * steps
            bar.update(shown, completed=completed, description=f"{100 * success:.1f} % held")

        runner = PolicyRunner(task, act)
        return evaluate(task, lambda: runner.play(steps), episodes, report)


def picture_failures(
    path: Path, policy: ActorCritic, found: Evaluation, objects: ObjectSet, settings: TrainingSettings
) -> None:
    """Plays the objects that failed most often anew on MuJoCo C and draws how that ends."""
    from tasks.viewing.rendering import draw_failures

    rates = {name: row["success_rate"] for name, row in found.per_object().items() if row["success_rate"] < 1}
    worst = sorted(rates, key=lambda name: rates[name])[:12]
    chosen = ObjectSet.of(objects.name, [o for o in objects.objects if o.name in worst])
    drawn = 0
    if worst:
        with torch.no_grad():
            drawn = draw_failures(
                policy.act_deterministic, get_hand(settings.hand), chosen, settings.grasp, settings.physics, path
            )
    print(f"{drawn} failures drawn in {path}" if drawn else "no failures to draw")


if __name__ == "__main__":
    run(main, EvaluateArgs)
