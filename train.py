"""Train a hand to grasp: `python train.py`; `--help` lists all that can be set."""

from __future__ import annotations

from tasks.simulators.isaac_gym_preload import preload_from_argv

preload_from_argv()  # Isaac Gym insists on being imported before torch

import time  # noqa: E402
from dataclasses import asdict, dataclass, field, replace  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, Dict, Literal, Optional  # noqa: E402

import torch  # noqa: E402
import tyro  # noqa: E402
from typing_extensions import Annotated  # noqa: E402

from ppo_grasp import ActorCritic, CheckpointError, PPOCfg, Trainer, TrainerCfg, find_last  # noqa: E402
from ppo_grasp.actor_critic import ActorCriticCfg  # noqa: E402
from ppo_grasp.policy_runner import PolicyRunner  # noqa: E402
from tasks.build import choose_simulator, make_task  # noqa: E402
from tasks.command_line import check_numbers, check_writable, load_set, run  # noqa: E402
from tasks.evaluation import evaluate  # noqa: E402
from tasks.grasp import GraspCfg  # noqa: E402
from tasks.hands import get_hand  # noqa: E402
from tasks.simulators.scene import PhysicsCfg  # noqa: E402

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

    num_envs: Optional[int] = None
    """Hands in parallel; by default 4096 on a GPU, 128 without."""
    sim: Literal["auto", "mujoco_warp", "mujoco", "isaac_gym"] = "auto"
    """Physics: auto takes MuJoCo Warp on a GPU, MuJoCo C without one."""
    objects: str = "mixed"
    """A named object set, or a directory of .obj, .stl or .ply files, one object each, in metres."""
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
    """A checkpoint to go on from; auto: the last one in --run-dir or, without that, the newest in runs/."""
    preset: Literal["default", "recipe"] = "default"
    """recipe: the published reward, curriculum and PPO settings, in place of those that train best."""
    eval_envs: Optional[int] = None
    """Episodes of the running evaluation; by default 512 on a GPU, 64 without."""
    trainer: Annotated[TrainerArgs, Flat] = field(default_factory=TrainerArgs)
    task: Annotated[GraspCfg, Flat] = field(default_factory=GraspCfg)
    physics: PhysicsCfg = field(default_factory=PhysicsCfg)


def main(args: TrainArgs) -> None:
    """Builds the task and trains."""
    check(args)
    checkpoint = find_checkpoint(args)
    args = resolve(args)
    sim = choose_simulator(args.sim)
    torch.manual_seed(args.trainer.seed)  # before anything is drawn
    objects = load_set(args.objects, args.object_scale, args.skip_bad_objects)
    eval_objects = objects
    if args.eval_objects:
        eval_objects = load_set(args.eval_objects, args.object_scale, args.skip_bad_objects, "--eval-objects")
    task = make_task(sim, objects, args.num_envs, args.task, args.hand, args.physics, seed=args.trainer.seed)
    eval_task = make_task(sim, eval_objects, args.eval_envs, args.task, args.hand, args.physics, evaluation=True)
    print(chosen(args, sim), flush=True)
    runner: Dict[str, PolicyRunner] = {}

    def measure(policy: ActorCritic) -> Dict[str, float]:
        play = runner.setdefault("eval", PolicyRunner(eval_task, policy.act_deterministic, args.trainer.graphs))
        result = evaluate(eval_task, lambda: play.play(args.task.episode_steps), args.eval_envs).summary()
        return {key: result[key] for key in ("success_rate", "ever_success_rate", "average_lift_height_m")}

    trainer = Trainer(task, args.trainer, args.run_dir, measure, extra_config=task_config(args, sim))
    if checkpoint is not None:
        trainer.load(checkpoint)
    if trainer.run()["interrupted"]:
        raise KeyboardInterrupt


def check(args: TrainArgs) -> None:
    """Raises ValueError for what cannot be meant, before anything slow."""
    check_numbers(
        args,
        flat=("trainer", "task"),
        positive=("max_minutes", "object_scale", "timestep", "hold_time", "learning_rate", "mass_scale"),
    )
    get_hand(args.hand)
    if args.run_dir is not None:
        check_writable("--run-dir", args.run_dir, directory=True)


def find_checkpoint(args: TrainArgs) -> Optional[Path]:
    """What to go on from; with `auto` and no --run-dir the run goes on in its directory.  Raises CheckpointError."""
    if args.resume is None:
        return None
    path = (args.run_dir or RUNS) if args.resume == "auto" else Path(args.resume)
    if path.is_file():
        return path
    try:
        found = find_last(path)
    except CheckpointError as error:
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
        "object_scale": args.object_scale,
        "hand": args.hand,
        "num_envs": args.num_envs,
        "preset": args.preset,
        "grasp": asdict(args.task),
        "physics": asdict(args.physics),
    }


def resolve(args: TrainArgs) -> TrainArgs:
    """Fills in what depends on the machine and on the preset."""
    on_gpu = torch.cuda.is_available() and choose_simulator(args.sim) != "mujoco"
    if args.preset == "recipe":
        args.task = replace(args.task, reward="recipe", curriculum="recipe")
        args.trainer = replace(args.trainer, ppo=PPOCfg.recipe())
    if args.num_envs is None:
        args.num_envs = 4096 if on_gpu else 128
    if args.eval_envs is None:
        args.eval_envs = 512 if on_gpu else 64
    if args.run_dir is None:
        args.run_dir = RUNS / time.strftime("%Y-%m-%d_%H-%M-%S")
    return args


if __name__ == "__main__":
    run(main, TrainArgs)
