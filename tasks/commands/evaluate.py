"""What `python evaluate_policy.py` does: plays deterministic episodes from the evaluation start, and reports."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Literal, Optional, Sequence, Tuple

import torch
import tyro
from rich.console import Console
from torch import Tensor
from typing_extensions import Annotated

from ppo_grasp import ActorCritic
from ppo_grasp.device.policy_runner import PolicyRunner
from tasks.commands import errors, options
from tasks.commands.loading import checkpoint_path, objects_for, progress_bar
from tasks.evaluation.comparison import print_side_by_side
from tasks.evaluation.measure import Evaluation, evaluate
from tasks.evaluation.report import inference_speed, print_report
from tasks.evaluation.settings import MeasuredIn
from tasks.evaluation.trained import TrainedPolicy, load_trained
from tasks.grasp import build
from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.randomisation.config import check as check_random
from tasks.objects import ObjectSet, in_three_sizes
from tasks.simulators import memory, registry
from tasks.simulators.registry import SimulatorNameOrAll

PICTURES = 12
"""At most so many failures are drawn."""


@dataclass
class EvaluateArgs:
    """Measure a policy over many episodes."""

    checkpoint: Annotated[Optional[Path], tyro.conf.arg(aliases=("--model",))] = None
    """The policy to measure; by default the one that ships.  --model is the same."""
    num_episodes: int = 100
    """Episodes.  Objects take turns."""
    objects: Optional[str] = None
    """A named object set, or a directory of meshes; by default what the policy was trained on."""
    sim: SimulatorNameOrAll = "auto"
    """The physics.  auto: MuJoCo Warp on a GPU, MuJoCo C without one.  all: every one that runs here, side by side."""
    num_envs: Optional[int] = None
    """Episodes at once; by default as many as are needed, at most 4096 on a GPU and 64 without."""
    physics: MeasuredIn = "fine"
    """fine: MuJoCo and PhysX in steps of 1/240 s; trained: in the steps that the policy was trained in."""
    seed: int = 0
    """Seed of the objects' places, poses and friction."""
    json: Optional[Path] = None
    """Also write the figures to this file."""
    failures: Optional[Path] = None
    """Also draw how failed episodes end, to this .png, at most 12 of them."""
    object_scale: Optional[float] = None
    """Metres in one unit of the meshes in a directory: 0.001 for meshes in millimetres."""
    object_density: Optional[float] = None
    """kg/m^3 of the meshes in a directory."""
    object_parts: Optional[int] = None
    """Most convex parts that a mesh of a directory is cut into."""
    skip_bad_objects: bool = False
    """Leave out meshes that cannot be used, with a warning for each."""
    buffers: float = 1.0
    """Times the usual room for contacts and constraints in MuJoCo Warp."""
    hand: Optional[str] = None
    """The hand; by default the one that the policy was trained with."""
    preset: Literal["default", "sim2real"] = "default"
    """sim2real: all disturbances of that preset of train.py at once, in full.  Options --random change them."""
    random: RandomCfg = field(default_factory=RandomCfg)
    """What is disturbed; by default nothing, whatever the policy was trained with."""


def defaults(words: Sequence[str]) -> EvaluateArgs:
    """The defaults for the preset that the command line names."""
    sim = options.given(words, "--sim")
    random = RandomCfg.sim2real() if options.given(words, "--preset") == "sim2real" else RandomCfg()
    sims = [sim] if sim in registry.names() else registry.names() if sim == registry.ALL else []
    if not all(registry.get(sim).swaps_objects for sim in sims):  # side by side all have the same disturbances
        random = random.in_fixed_worlds()
    return EvaluateArgs(random=random)


def command() -> None:
    """Reads the command line and measures."""

    words = sys.argv[1:]

    def run() -> None:
        args = options.parse(EvaluateArgs, defaults(words))
        measure_and_report(args)

    errors.run(run)


def measure_and_report(args: EvaluateArgs) -> None:
    """Measures, reports, and writes what was asked for."""
    options.check_values(args)
    check_random(args.random)
    options.check_writable("--json", args.json)
    options.check_writable("--failures", args.failures, suffixes=(".png",))
    if args.failures is not None:
        registry.get("mujoco").check()  # which draws them
    if args.sim == registry.ALL and args.failures is not None:
        raise ValueError("--failures: draws the failures of one simulator; choose it with --sim")
    trained = load_trained(checkpoint_path(args.checkpoint, hand=args.hand), args.hand)
    objects = in_three_sizes(objects_for(trained, args), args.random.size)
    if args.sim == registry.ALL:
        compare(args, trained, objects)
        return
    result, found = measure_in(registry.choose(args.sim), args, trained, objects)
    write(args.json, result)
    print_report(result, Console())
    warn(result)
    if args.failures is not None:
        trained.policy.cpu()
        trained = replace(trained, settings=replace(trained.settings, grasp=disturbed(args, trained)))
        picture_failures(args.failures, trained, found, objects, args.physics)


def disturbed(args: EvaluateArgs, trained: TrainedPolicy) -> GraspCfg:
    """The task of the policy's training, with the disturbances that were asked for."""
    return replace(trained.settings.grasp, random=args.random)


def compare(args: EvaluateArgs, trained: TrainedPolicy, objects: ObjectSet) -> None:
    """Measures in every simulator that can run here, and reports side by side."""
    can, cannot = registry.runnable()
    for name, why in cannot.items():
        print(f"{name} is left out: {why}", flush=True)
    results = {sim.name: measure_in(sim, args, trained, objects)[0] for sim in can}
    write(args.json, {"sim": registry.ALL, "left_out": cannot, "simulators": results})
    print_side_by_side(results, Console())
    for result in results.values():
        warn(result)


def measure_in(
    sim: registry.SimulatorEntry, args: EvaluateArgs, trained: TrainedPolicy, objects: ObjectSet
) -> Tuple[Dict[str, Any], Evaluation]:
    """Measures in one simulator.  Returns the figures, as the JSON has them, and the episodes."""
    count = worlds(args.num_episodes, args.num_envs, sim.evaluation_envs)
    with memory.explained(count, 0, sim.runs_on_gpu(), 1):
        return _measure_in(sim, count, args, trained, objects)


def _measure_in(
    sim: registry.SimulatorEntry, count: int, args: EvaluateArgs, trained: TrainedPolicy, objects: ObjectSet
) -> Tuple[Dict[str, Any], Evaluation]:
    settings = trained.settings
    grasp = disturbed(args, trained)
    simulation = settings.of_simulator(sim, args.physics)
    torch.manual_seed(args.seed)
    in_mujoco = sim.settings_type() is type(settings.physics)
    if in_mujoco:
        simulation = replace(simulation, buffers=args.buffers)
    fine = sim.has_fine_settings()
    steps = f" in {simulation.substeps} x {1e3 * simulation.timestep:.3g} ms" if fine and simulation else ""
    print(f"evaluating {trained.path} on {sim.name}{steps}, {count} episodes at a time", flush=True)
    if sim.compiles_kernels:
        from tasks.commands.compile_kernels import compile_missing

        compile_missing(objects, count, simulation, trained.hand.name)
    task = build.make_task(
        sim.name, objects, count, grasp, trained.hand.name, simulation, evaluation=True, seed=args.seed
    )
    policy = trained.policy.to(task.device)
    begin = time.perf_counter()
    found = measure(task, policy, args.num_episodes)
    wall_s = time.perf_counter() - begin
    troubles = task.diagnostics()
    task.simulator.close()
    batch = max(count, 1024)
    inference_ms, per_s = inference_speed(
        policy.act_deterministic, policy.cfg.num_obs, batch, torch.device(task.device)
    )
    rounds = math.ceil(args.num_episodes / count)
    result: Dict[str, Any] = {
        **found.summary(),
        **troubles,
        "objects_covered": len(found.per_object()),
        "objects_in_set": len(objects),
        "inference_ms": inference_ms,
        "sim": sim.name,
        "physics": args.physics if fine else None,
        "buffers": args.buffers if in_mujoco else None,
        "objects": args.objects or settings.objects,
        "checkpoint": str(trained.path),
        "seed": args.seed,
        "random": {key: value for key, value in asdict(args.random).items() if value != getattr(RandomCfg(), key)},
        "num_envs": count,
        "wall_s": wall_s,
        "steps_per_s": rounds * count * settings.grasp.episode_steps / wall_s,
        "inference_batch": batch,
        "inference_per_s": per_s,
    }
    return result, found


def write(path: Optional[Path], result: Dict[str, Any]) -> None:
    """Writes figures as JSON, if a file was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def warn(result: Dict[str, Any]) -> None:
    """Says why figures are not to be trusted, or do not say all."""
    if result.get("contact_overflow_worlds"):
        print(
            f"warning: contacts did not fit into the simulator's buffers in {result['contact_overflow_worlds']:.0f} of "
            f"{result['num_envs']} worlds, so the figures are not to be trusted"
            + (f": raise --buffers, which is {result['buffers']:g}" if result["buffers"] else "")
        )
    if result.get("contact_overflows"):
        print(
            f"warning: PhysX said {result['contact_overflows']:.0f} times that a buffer was full, so the figures are not to be "
            "trusted: raise --physx.contacts-per-world"
        )
    covered, whole = result["objects_covered"], result["objects_in_set"]
    if covered < min(whole, result["num_episodes"]):
        print(
            f"note: {covered} of {whole} objects were met: on {result['sim']} each world keeps its object, so give at least "
            f"--num-envs {whole} to meet them all"
        )


def worlds(episodes: int, wanted: Optional[int], most: int) -> int:
    """How many episodes to play at once: in as few rounds as possible, and no round larger than needed."""
    rounds = math.ceil(episodes / (wanted or most))
    return math.ceil(episodes / rounds)


def measure(task: GraspTask, policy: ActorCritic, episodes: int) -> Evaluation:
    """Plays the episodes behind a progress bar.  It moves with each step, but on a GPU with each round."""
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
    path: Path, trained: TrainedPolicy, found: Evaluation, objects: ObjectSet, physics: MeasuredIn
) -> None:
    """Plays failed episodes again from their starts, on MuJoCo C, and draws how they end."""
    from tasks.viewing.failures import draw_episodes

    failed = found.failed(PICTURES)
    if len(failed) == 0:
        print("no failures to draw: all episodes were held")
        return
    start = found.starts_of(failed)
    with torch.no_grad():
        held = draw_episodes(
            trained.policy.act_deterministic,
            trained.hand,
            objects,
            start,
            trained.settings.grasp,
            trained.settings.measured_in(physics),
            path,
        )
    total = found.num_episodes - int(found.episodes.held.sum())
    again = f"; played again, {held} of them {'was' if held == 1 else 'were'} held" if held else ""
    print(f"{len(failed)} of {total} failed episodes, played again from their starts on MuJoCo C, in {path}{again}")
