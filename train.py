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

from ppo_grasp import ActorCritic, PPOCfg, Trainer, TrainerCfg, find_last  # noqa: E402
from ppo_grasp.policy_runner import PolicyRunner  # noqa: E402
from tasks.build import choose_simulator, make_task  # noqa: E402
from tasks.command_line import run  # noqa: E402
from tasks.evaluation import evaluate  # noqa: E402
from tasks.grasp import GraspCfg  # noqa: E402
from tasks.objects import load_objects  # noqa: E402
from tasks.simulators.scene import PhysicsCfg  # noqa: E402

Flat = tyro.conf.arg(name="")


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
    run_dir: Optional[Path] = None
    """Where everything is written; by default runs/DATE-TIME."""
    resume: Optional[str] = None
    """A checkpoint to go on from, or auto: the last one in --run-dir, if there is one."""
    preset: Literal["default", "recipe"] = "default"
    """recipe: the published reward, curriculum and PPO settings, in place of those that train best."""
    eval_envs: Optional[int] = None
    """Episodes of the running evaluation; by default 512 on a GPU, 64 without."""
    trainer: Annotated[TrainerCfg, Flat] = field(default_factory=TrainerCfg)
    task: Annotated[GraspCfg, Flat] = field(default_factory=GraspCfg)
    physics: PhysicsCfg = field(default_factory=PhysicsCfg)


def main(args: TrainArgs) -> None:
    """Builds the task and trains."""
    args = resolve(args)
    sim = choose_simulator(args.sim)
    torch.manual_seed(args.trainer.seed)  # before anything is drawn
    objects = load_objects(args.objects)
    task = make_task(sim, objects, args.num_envs, args.task, physics=args.physics, seed=args.trainer.seed)
    eval_objects = load_objects(args.eval_objects) if args.eval_objects else objects
    eval_task = make_task(sim, eval_objects, args.eval_envs, args.task, physics=args.physics, evaluation=True)
    runner: Dict[str, PolicyRunner] = {}

    def measure(policy: ActorCritic) -> Dict[str, float]:
        play = runner.setdefault("eval", PolicyRunner(eval_task, policy.act_deterministic, args.trainer.graphs))
        result = evaluate(eval_task, lambda: play.play(args.task.episode_steps), args.eval_envs).summary()
        return {key: result[key] for key in ("success_rate", "ever_success_rate", "average_lift_height_m")}

    trainer = Trainer(task, args.trainer, args.run_dir, measure, extra_config=task_config(args, sim))
    checkpoint = find_last(args.run_dir) if args.resume == "auto" else args.resume
    if checkpoint is not None:
        trainer.load(checkpoint)
    trainer.run()


def task_config(args: TrainArgs, sim: str) -> Dict[str, Any]:
    """What play and evaluation must know of how a policy was trained, as plain values."""
    return {
        "sim": sim,
        "objects": args.objects,
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
        args.run_dir = Path("runs") / time.strftime("%Y-%m-%d_%H-%M-%S")
    return args


if __name__ == "__main__":
    run(main, TrainArgs)
