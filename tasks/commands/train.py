"""What `python train.py` does: builds the task and trains."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch

from ppo_grasp import ActorCritic, CheckpointError, Trainer, find_last, load_policy
from ppo_grasp.checkpoint import versions
from ppo_grasp.device.policy_runner import PolicyRunner
from ppo_grasp.distributed import RankError, Ranks, join
from ppo_grasp.metrics import FILE as METRICS
from ppo_grasp.run.files import directory_lock, discard_if_empty, new_directory
from ppo_grasp.trackers import wandb
from tasks.commands import errors, options, repeat
from tasks.commands.clips import Clips
from tasks.commands.loading import checkpoint_path, load_set, mesh_options
from tasks.commands.presets import COMMON, TrainArgs, check_together, settings_of
from tasks.commands.report import after_training
from tasks.evaluation.measure import STEADINESS, evaluate
from tasks.evaluation.trained_for import identity
from tasks.grasp import build
from tasks.grasp.environment import PHASE_STEPS, GraspTask
from tasks.grasp.observations import ACTOR, Layout, observation_sizes
from tasks.grasp.rewards import resolve
from tasks.hands import get_hand
from tasks.objects import ObjectSet, in_three_sizes
from tasks.simulators import memory, registry

RUNS = Path("runs")
BEST_BY = ("still_success_rate", "success_rate")
"""The measures that decide which checkpoint is the best."""
FIRST_GRASPS = {True: 0.5e6, False: 5e6}
"""Environment steps by which a training usually has its first grasps, with few hands and with thousands."""


def command() -> None:
    """Reads the command line and trains."""
    words = sys.argv[1:]

    errors.run(lambda: train(read(words)))


def read(words: Sequence[str]) -> TrainArgs:
    """The options of a command line.  Ends the program if they cannot be read.  Raises ValueError for another simulator's."""
    args = options.parse(TrainArgs, repeat.defaults_with_config(words), COMMON, words)
    options.check_simulator_options(words, registry.choose(args.sim))
    return args


def train(args: TrainArgs) -> None:
    """Builds the task and trains, with the other processes of torchrun if there are any."""
    ranks = join(args.trainer.rank_timeout)
    check(args)
    checkpoint = find_checkpoint(args)
    sim = registry.choose(args.sim)
    made = args.run_dir is None or not args.run_dir.exists()
    made_runs = args.run_dir is None and not RUNS.exists()
    if args.run_dir is None and ranks.writes:
        args.run_dir = new_directory(RUNS, time.strftime("%Y-%m-%d_%H-%M-%S"))
    run_dir, checkpoint = agree(args, checkpoint, sim, ranks)
    args.run_dir = run_dir
    try:
        of_evaluation, local = share(args.eval_envs, ranks), 1 if sim.runs_on_gpu() else ranks.local_size
        memory_explained = memory.explained(args.num_envs, of_evaluation, sim.runs_on_gpu(), local)
        with directory_lock(run_dir) if ranks.writes else contextlib.nullcontext(), memory_explained:
            train_in(run_dir, args, checkpoint, sim, ranks)
    finally:
        if made and ranks.writes:
            discard_if_empty(run_dir)
            if made_runs:
                discard_if_empty(RUNS)


def train_in(
    run_dir: Path, args: TrainArgs, checkpoint: Optional[Path], sim: registry.SimulatorEntry, ranks: Ranks
) -> None:
    """Trains in a directory, from a checkpoint, or from the start if that is None."""
    policy = None
    if args.init_policy is not None:
        policy, _ = load_policy(checkpoint_path(args.init_policy, "--init-policy"))
        for name in ("actor_hidden", "critic_hidden", "distribution", "init_std"):
            setattr(args.trainer.network, name, getattr(policy.cfg, name))
        args.trainer.privileged_critic = policy.cfg.num_critic_obs > policy.cfg.num_obs
    if not sim.runs_on_gpu():  # its threads and torch's take turns; they disturb each other if both want every core
        torch.set_num_threads(max(1, cores() // (2 * ranks.local_size)))
    forecast = ""
    if sim.memory_measured:
        on_gpu = sim.runs_on_gpu()
        processes = 1 if on_gpu else ranks.local_size
        free = memory.free_bytes(on_gpu)
        forecast = "\n" + memory.forecast(args.num_envs, share(args.eval_envs, ranks), on_gpu, processes, free)
    torch.manual_seed(args.trainer.seed)  # before anything is drawn
    meshes, size = mesh_options(args), args.task.random.size
    objects = eval_objects = in_three_sizes(load_set(args.objects, count=args.object_count, **meshes), size)
    if args.eval_objects and sim.running_evaluation:
        eval_objects = in_three_sizes(load_set(args.eval_objects, "--eval-objects", **meshes), size)
    if sim.compiles_kernels:
        compile_kernels(args, sim, objects, eval_objects, ranks)
    settings, seed = settings_of(args, sim), ranks.seed(args.trainer.seed)
    task = build.make_task(sim.name, objects, args.num_envs, args.task, args.hand, settings, seed=seed)
    print(f"{chosen(args, sim, ranks)}{forecast}", flush=True)
    config = {**task_config(args, sim), "reward_weights": task.reward_weights()}
    for note in ignored(args, sim):
        print(note, flush=True)
    eval_task = None
    if sim.running_evaluation:  # else the policy is measured in the worlds of the training
        episodes = share(args.eval_envs, ranks)
        eval_task = build.make_task(sim.name, eval_objects, episodes, args.task, args.hand, settings, evaluation=True)
    clips = Clips(run_dir, args.video_every if ranks.writes else None, config)
    measure = evaluation(args, ranks, task, eval_task, lambda: trainer.restart_episodes())
    measure = clips.beside(measure, lambda: trainer.env_steps)

    held_before = False

    def say(row: Dict[str, float]) -> str:
        nonlocal held_before
        progress = describe(row, sim.has_few_hands(), args.task.reward, held_before)
        held_before = held_before or _held(row) > 0
        return "; ".join(filter(None, (overflow(row, sim), progress)))

    trainer = Trainer(task, args.trainer, run_dir, measure, config, say, BEST_BY, ranks, eval_task)
    for note in repeat.notes(args, trainer.config):
        print(note, flush=True)
    if checkpoint is not None:
        trainer.load(checkpoint)
    elif policy is not None:
        trainer.begin_with(policy)
    tracker = tracked(args, trainer, clips.folder)
    result: Dict[str, float] = {}
    try:
        result = trainer.run()
    finally:
        clips.close(wait=bool(result) and not result["interrupted"])
        if tracker is not None:
            tracker.close(failed=not result)
    if ranks.writes:
        after_training(run_dir)
    ranks.close()
    if result["interrupted"]:
        raise SystemExit(128 + (int(result["signal"]) or signal.SIGINT))


def tracked(args: TrainArgs, trainer: Trainer, videos: Path) -> Optional[wandb.WandbRun]:
    """Makes a training send its numbers to Weights & Biases, if that is asked for.  Of several processes the first does."""
    if not args.wandb or not trainer.ranks.writes:
        return None
    settings = {**trainer.config, "versions": versions()}
    tracker = wandb.WandbRun(trainer.run_dir, settings, args.wandb_project, args.wandb_name, videos)
    trainer.trackers.append(tracker.log)
    return tracker


def agree(
    args: TrainArgs, checkpoint: Optional[Path], sim: registry.SimulatorEntry, ranks: Ranks
) -> Tuple[Path, Optional[Path]]:
    """The run directory and the checkpoint of rank 0, for all processes.  Raises RankError if their simulators differ."""
    here = {"sim": sim.name, "run_dir": str(args.run_dir), "checkpoint": checkpoint and str(checkpoint)}
    each = ranks.gather(here)
    for rank, other in enumerate(each):
        if other["sim"] != each[0]["sim"]:
            raise RankError(
                f"process 0 would simulate with {each[0]['sim']}, process {rank} with {other['sim']}: start no more "
                "processes on a machine than it has GPUs, or choose with --sim"
            )
    of_first = each[0]["checkpoint"]
    return Path(each[0]["run_dir"]), of_first and Path(of_first)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2


def share(eval_envs: int, ranks: Ranks) -> int:
    """Episodes of an evaluation that each process plays: equally many."""
    return -(-eval_envs // ranks.size)


def check(args: TrainArgs) -> None:
    """Raises ValueError for values that cannot be meant, before anything slow."""
    options.check_values(args)
    if args.wandb:
        wandb.require()
    elif args.wandb_project or args.wandb_name:
        raise ValueError("--wandb-project and --wandb-name do nothing without --wandb: add it")
    check_together(args, registry.choose(args.sim))
    Layout(ACTOR, get_hand(args.hand)).columns(args.task.hidden_inputs)
    observation_sizes(get_hand(args.hand), args.task.history_inputs, args.task.history)
    resolve(args.task.reward, args.task.reward_weights)
    if args.run_dir is not None:
        options.check_writable("--run-dir", args.run_dir, directory=True)
        if args.resume is None and (args.run_dir / METRICS).exists():
            raise ValueError(
                f"--run-dir {args.run_dir}: holds a run already; give another one, or --resume auto to go on with that run"
            )


def find_checkpoint(args: TrainArgs) -> Optional[Path]:
    """The checkpoint to go on from, if any.  With `--resume auto` and no --run-dir the run goes on in its directory."""
    if args.resume is None:
        return None
    path = (args.run_dir or RUNS) if args.resume == "auto" else Path(args.resume)
    if path.is_file():
        return path
    try:
        found = find_last(path)
    except CheckpointError as error:
        if args.resume == "auto":
            print(f"nothing to resume in {path}: starting anew")
            return None
        raise CheckpointError(f"--resume {args.resume}: {error}; leave --resume out to start anew") from error
    if args.resume == "auto" and args.run_dir is None:
        args.run_dir = found.parent
    return found


def compile_kernels(
    args: TrainArgs, sim: registry.SimulatorEntry, objects: ObjectSet, eval_objects: ObjectSet, ranks: Ranks
) -> None:
    """Compiles the GPU kernels that training will launch: ahead of time, on all cores, behind a progress bar.

    Of several processes on a machine the first compiles; the others wait, and find all in the cache.
    """
    from tasks.commands.compile_kernels import compile_missing

    first = int(os.environ.get("LOCAL_RANK", "0")) == 0 or ranks.size == 1
    if not first:
        ranks.gather("compiled")
    settings, eval_envs = settings_of(args, sim), share(args.eval_envs, ranks)
    if eval_objects is objects:
        compile_missing(objects, (args.num_envs, eval_envs), settings, args.hand)
    else:
        compile_missing(objects, args.num_envs, settings, args.hand)
        compile_missing(eval_objects, eval_envs, settings, args.hand)
    if first:
        ranks.gather("compiled")


def evaluation(
    args: TrainArgs, ranks: Ranks, training: GraspTask, own: Optional[GraspTask], go_on: Callable[[], None]
) -> Callable[[ActorCritic], Dict[str, float]]:
    """Returns a function that measures a policy in the worlds of `own`.  Of several processes each plays a share.

    Where a process can have one simulation only, `own` is None.  The policy is then measured in the worlds of the training,
    with their objects and masses.  go_on: resets the training afterwards.
    """
    task = own or GraspTask(training.simulator, training.hand, training.objects, args.task, evaluation=True)
    episodes = min(share(args.eval_envs, ranks), task.num_envs)
    task.rank, task.num_ranks = ranks.rank, ranks.size
    runner: List[PolicyRunner] = []

    def measure(policy: ActorCritic) -> Dict[str, float]:
        if not runner:
            runner.append(PolicyRunner(task, policy.act_deterministic, args.trainer.graphs))
        result = evaluate(task, lambda: runner[0].play(args.task.episode_steps), episodes).summary()
        if own is None:
            go_on()
        rates = ("success_rate", "still_success_rate", "ever_success_rate", "average_lift_height_m")
        return {key: float(result[key]) for key in (*rates, *STEADINESS)}

    return measure


def ignored(args: TrainArgs, sim: registry.SimulatorEntry) -> List[str]:
    """What the chosen simulator cannot do of what was asked for, in a line each."""
    notes = []
    if not sim.swaps_objects and args.task.curriculum != "uniform":
        notes.append(
            f"note: on {sim.name} each world keeps the object it was built with, so --curriculum {args.task.curriculum} does "
            "nothing: each kind of objects gets as many worlds, from the start"
        )
    if not sim.running_evaluation and args.eval_objects:
        notes.append(f"note: --eval-objects does nothing on {sim.name}, which measures in the worlds of the training")
    return notes


def chosen(args: TrainArgs, sim: registry.SimulatorEntry, ranks: Ranks) -> str:
    """What the machine decided, in a line."""
    on_gpu = torch.cuda.is_available() and sim.runs_on_gpu()
    where = f"on {torch.cuda.get_device_name()}" if on_gpu else "on the processor"
    why = "no GPU was found, so " if args.sim == registry.AUTO and not sim.on_gpu else ""
    envs = f"{args.num_envs} environments"
    if ranks.size > 1:
        envs = f"{ranks.size} processes of {envs}, {ranks.size * args.num_envs} in all"
    return f"{why}training {where}: {sim.title}, {envs}, into {args.run_dir}"


def overflow(row: Dict[str, float], sim: registry.SimulatorEntry) -> str:
    """What to do about contacts that did not fit into the simulator's buffers; empty if all fitted."""
    names = ("diagnostics_contact_overflow_worlds", "eval_contact_overflow_worlds")
    worlds = max(row.get(name, 0.0) for name in names)
    if not worlds:
        return ""
    raised = f": raise --{sim.prefix}.buffers" if hasattr(sim.settings_type(), "buffers") else ""
    return f"contacts did not fit into the simulator's buffers in {worlds:.0f} worlds{raised}"


def describe(row: Dict[str, float], few_hands: bool, reward: str = "default", held_before: bool = False) -> str:
    """How wide the disturbances are, if they widen; and how far a training has come that holds nothing.

    few_hands: hundreds of hands, not thousands.  reward: name of its preset.  held_before: an earlier row had a held grasp.
    """
    width = f"disturbances at {100 * row['disturbance_scale']:.0f} %" if "disturbance_scale" in row else ""
    return "; ".join(part for part in (width, _no_grasp_yet(row, few_hands, reward, held_before)) if part)


def _held(row: Dict[str, float]) -> float:
    """The share of grasps held, in training or in evaluation, whichever is larger."""
    return max(row.get("success_rate", 0.0), row.get("eval_success_rate", 0.0))


def _no_grasp_yet(row: Dict[str, float], few_hands: bool, reward: str, held_before: bool) -> str:
    """What episodes reach while none is held, and when to expect more; empty if some are held."""
    if _held(row) >= 0.005:
        return ""
    touched, at_goal, lift = (row.get(k, 0.0) for k in ("touched_rate", "ever_success_rate", "lift_height_m"))
    head = "a few grasps were held before, none now" if held_before else "nothing held yet"
    reached = (
        f"{head}: {100 * touched:.0f} % of episodes touch the object, {100 * at_goal:.0f} % bring it to the goal, "
        f"and it rises by {100 * lift:.1f} cm on average"
    )
    return "; ".join(part for part in (reached, _from_grasps(row), _outlook(row, few_hands, reward)) if part)


def _from_grasps(row: Dict[str, float]) -> str:
    """How many are held of the episodes that start inside a grasp, the easiest starts first; empty if none start there."""
    prefix = "start_success/"
    shares = {k[len(prefix) :].replace("_", " "): v for k, v in row.items() if k.startswith(prefix)}
    if not shares:
        return ""
    if max(shares.values()) < 0.005:
        return "none is held after a start inside a grasp either"
    each = reversed([f"{name} {100 * share:.0f} %" for name, share in shares.items()])
    return f"held after a start inside a grasp: {', '.join(each)}"


def _outlook(row: Dict[str, float], few_hands: bool, reward: str) -> str:
    """When to expect the first grasps."""
    if reward == "recipe":
        return f"this reward pays for lifting in full only after {PHASE_STEPS / 1e6:.0f} M steps; first grasps came after 15 to 27 M"
    usual = FIRST_GRASPS[few_hands]
    text = f"first grasps usually come before {usual / 1e6:g} M steps"
    left, speed = usual - row["env_steps"], row.get("steps_per_s", 0.0)
    if left < 0:
        return f"{text}: this one is late"
    if speed <= 0:
        return text
    seconds = left / speed
    return f"{text}, in {seconds / 60:.0f} min" if seconds >= 90 else f"{text}, in {seconds:.0f} s"


def task_config(args: TrainArgs, sim: registry.SimulatorEntry) -> Dict[str, Any]:
    """What play and evaluation must know of how a policy was trained, as plain values."""
    settings = {
        key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings_of(args, sim)).items()
    }
    return {
        **repeat.saved(args),
        "sim": sim.name,
        "hand_names": identity(get_hand(args.hand)),
        "threads": torch.get_num_threads(),
        "grasp": asdict(args.task),
        sim.settings_field: settings,
    }
