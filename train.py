"""Train a hand to grasp: `python train.py`; `--help` lists all that can be set."""

from __future__ import annotations

from tasks.commands.open_gpu import open_gpu
from tasks.simulators.isaac_gym.preload import preload_from_argv

preload_from_argv()  # Isaac Gym insists on being imported before torch
open_gpu()

import argparse  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from dataclasses import asdict, dataclass, field, replace  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, Callable, Dict, List, Literal, Optional, Sequence  # noqa: E402

import torch  # noqa: E402
import tyro  # noqa: E402
from typing_extensions import Annotated  # noqa: E402

from ppo_grasp import (  # noqa: E402
    ActorCritic,
    CheckpointError,
    PPOCfg,
    Trainer,
    TrainerCfg,
    find_last,
    load_policy,
)
from ppo_grasp.actor_critic import ActorCriticCfg  # noqa: E402
from ppo_grasp.device.policy_runner import PolicyRunner  # noqa: E402
from ppo_grasp.metrics import FILE as METRICS  # noqa: E402
from tasks.commands.arguments import check_numbers, check_writable, checkpoint_path, load_set, run  # noqa: E402
from tasks.evaluation.measure import evaluate  # noqa: E402
from tasks.grasp.build import make_task  # noqa: E402
from tasks.grasp.config import GraspCfg  # noqa: E402
from tasks.grasp.observations import ACTOR, Layout  # noqa: E402
from tasks.grasp.rewards import resolve  # noqa: E402
from tasks.hands import get_hand  # noqa: E402
from tasks.objects import ObjectSet  # noqa: E402
from tasks.simulators import registry  # noqa: E402
from tasks.simulators.mujoco.scene import PhysicsCfg  # noqa: E402

Flat = tyro.conf.arg(name="")
RUNS = Path("runs")
FromTask = Annotated[int, tyro.conf.Fixed, tyro.conf.Suppress]


@dataclass
class NetworkArgs(ActorCriticCfg):
    """The networks; what the task decides is no option."""

    num_obs: FromTask = 0
    num_critic_obs: FromTask = 0
    num_actions: FromTask = 0


@dataclass
class TrainerArgs(TrainerCfg):
    """How long to train, what to write when, and how to run it."""

    network: NetworkArgs = field(default_factory=NetworkArgs)
    """The networks."""


@dataclass
class TrainArgs:
    """Train a hand to grasp."""

    num_envs: int = 4096
    """Hands in parallel."""
    sim: Literal["auto", "mujoco_warp", "mujoco", "isaac_gym"] = "auto"
    """Physics: auto takes MuJoCo Warp on a GPU, MuJoCo C without one."""
    objects: str = "everyday"
    """A named object set, or a directory of .obj, .stl or .ply files, one object each, in metres."""
    object_count: Optional[int] = None
    """Only so many of --objects, the first, or more of a set that is generated; --eval-objects stays whole."""
    eval_objects: Optional[str] = None
    """What the running evaluation grasps, if not the same."""
    object_scale: float = 1.0
    """Times the coordinates of meshes in a directory, to get metres."""
    skip_bad_objects: bool = False
    """Leave out meshes that cannot be used, with a warning each."""
    hand: str = "shadow"
    """Which hand."""
    run_dir: Optional[Path] = None
    """Where everything is written; by default runs/DATE-TIME."""
    resume: Optional[str] = None
    """A checkpoint to go on from; auto: the last one in --run-dir or, without that, the newest in runs/, if there is one."""
    init_policy: Optional[Path] = None
    """A policy to begin with in place of random networks, such as checkpoints/shadow_grasp.pt.  The networks are then as large
    as its own.  A run that is resumed goes before."""
    preset: Literal["default", "recipe"] = "default"
    """recipe: the published reward, curriculum and PPO settings, in place of those that train best."""
    eval_envs: int = 512
    """Episodes of the running evaluation."""
    trainer: Annotated[TrainerArgs, Flat] = field(default_factory=TrainerArgs)
    task: Annotated[GraspCfg, Flat] = field(default_factory=GraspCfg)
    physics: PhysicsCfg = field(default_factory=PhysicsCfg)


def main(args: TrainArgs) -> None:
    """Builds the task and trains."""
    check(args)
    checkpoint = find_checkpoint(args)
    policy = None
    if args.init_policy is not None:
        policy, _ = load_policy(checkpoint_path(args.init_policy, "--init-policy"))
        network = args.trainer.network
        network.actor_hidden, network.critic_hidden = policy.cfg.actor_hidden, policy.cfg.critic_hidden
    if args.run_dir is None:
        args.run_dir = RUNS / time.strftime("%Y-%m-%d_%H-%M-%S")
    sim = registry.choose(args.sim).name
    if sim == "mujoco":  # its threads and torch's take turns, and get in each other's way if both want every core
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    torch.manual_seed(args.trainer.seed)  # before anything is drawn
    objects = eval_objects = load_set(args.objects, args.object_scale, args.skip_bad_objects, count=args.object_count)
    if args.eval_objects and sim != "isaac_gym":
        eval_objects = load_set(args.eval_objects, args.object_scale, args.skip_bad_objects, "--eval-objects")
    if sim == "mujoco_warp":
        compile_kernels(args, objects, eval_objects)
    physics = None if sim == "isaac_gym" else args.physics
    task = make_task(sim, objects, args.num_envs, args.task, args.hand, physics, seed=args.trainer.seed)
    print(chosen(args, sim), flush=True)
    trainer = Trainer(task, args.trainer, args.run_dir, evaluation(args, sim, eval_objects), task_config(args, sim))
    if checkpoint is not None:
        trainer.load(checkpoint)
    elif policy is not None:
        trainer.begin_with(policy)
    if trainer.run()["interrupted"]:
        raise KeyboardInterrupt


def compile_kernels(args: TrainArgs, objects: ObjectSet, eval_objects: ObjectSet) -> None:
    """What MuJoCo Warp will launch, ahead of time: on all cores, and with something to look at."""
    from tasks.commands.compile_kernels import compile_missing

    if eval_objects is objects:
        compile_missing(objects, (args.num_envs, args.eval_envs), args.physics, args.hand)
    else:
        compile_missing(objects, args.num_envs, args.physics, args.hand)
        compile_missing(eval_objects, args.eval_envs, args.physics, args.hand)


def evaluation(args: TrainArgs, sim: str, objects: ObjectSet) -> Optional[Callable[[ActorCritic], Dict[str, float]]]:
    """Measures a policy on worlds of its own; Isaac Gym has one simulation per process and trains without."""
    if sim == "isaac_gym":
        return None
    task = make_task(sim, objects, args.eval_envs, args.task, args.hand, args.physics, evaluation=True)
    runner: List[PolicyRunner] = []

    def measure(policy: ActorCritic) -> Dict[str, float]:
        if not runner:
            runner.append(PolicyRunner(task, policy.act_deterministic, args.trainer.graphs))
        result = evaluate(task, lambda: runner[0].play(args.task.episode_steps), args.eval_envs).summary()
        return {key: result[key] for key in ("success_rate", "ever_success_rate", "average_lift_height_m")}

    return measure


def defaults(words: Sequence[str]) -> TrainArgs:
    """The defaults for this machine and for the preset that the command line names; its other options then override them."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--sim", default="auto")
    peek.add_argument("--preset", default="default")
    asked, _ = peek.parse_known_args([word for word in words if word not in ("-h", "--help")])
    args = TrainArgs()
    if asked.preset == "recipe":
        args.task = replace(args.task, reward="recipe", curriculum="recipe")
        args.trainer.ppo = PPOCfg.recipe()
    known = asked.sim in ("auto", *registry.names())  # of another, the parser of the options says so
    if known and registry.choose(asked.sim).few_hands:
        args.objects, args.num_envs, args.eval_envs = "primitives", 256, 64
        # Few hands may find no grasp for long, or learn to lift too high and never come down again.
        if asked.preset == "default":
            more = replace(args.task.start, pregrasp_fraction=0.8)
            args.task = replace(args.task, reward="level", start=more)
        # Where the policy's update is a third of the time coarse steps save little, and few hands learn less in them.
        args.physics = replace(args.physics, timestep=1 / 120, substeps=4, integrator="implicitfast")
        args.trainer.total_timesteps = 3_000_000
        args.trainer.eval_interval = args.trainer.checkpoint_interval = 200_000
        args.trainer.ppo.minibatch_size = 512
        args.trainer.network.actor_hidden = args.trainer.network.critic_hidden = (256, 128)
    return args


def check(args: TrainArgs) -> None:
    """Raises ValueError for what cannot be meant, before anything slow."""
    check_numbers(
        args,
        flat=("trainer", "task"),
        positive=("max_minutes", "object_scale", "timestep", "hold_time", "learning_rate", "mass_scale"),
    )
    Layout(ACTOR, get_hand(args.hand)).columns(args.task.hidden_inputs)
    resolve(args.task.reward, args.task.reward_weights)
    if args.run_dir is not None:
        check_writable("--run-dir", args.run_dir, directory=True)
        if args.resume is None and (args.run_dir / METRICS).exists():
            raise ValueError(
                f"--run-dir {args.run_dir}: holds a run already; give another one, or --resume auto to go on with that run"
            )


def find_checkpoint(args: TrainArgs) -> Optional[Path]:
    """What to go on from, if anything; with `auto` and no --run-dir the run goes on in its directory."""
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


def chosen(args: TrainArgs, sim: str) -> str:
    """What the machine decided, in a line."""
    where = (
        f"on {torch.cuda.get_device_name()}" if torch.cuda.is_available() and sim != "mujoco" else "on the processor"
    )
    why = "no GPU was found, so " if args.sim == "auto" and sim == "mujoco" else ""
    names = {"mujoco": "MuJoCo C", "mujoco_warp": "MuJoCo Warp", "isaac_gym": "Isaac Gym"}
    return f"{why}training {where}: {names[sim]}, {args.num_envs} environments, into {args.run_dir}"


def task_config(args: TrainArgs, sim: str) -> Dict[str, Any]:
    """What play and evaluation must know of how a policy was trained, as plain values."""
    return {
        "sim": sim,
        "objects": args.objects,
        "object_count": args.object_count,
        "object_scale": args.object_scale,
        "hand": args.hand,
        "num_envs": args.num_envs,
        "preset": args.preset,
        "init_policy": args.init_policy and str(args.init_policy),
        "grasp": asdict(args.task),
        "physics": asdict(args.physics),
    }


if __name__ == "__main__":
    run(main, TrainArgs, defaults(sys.argv[1:]))
