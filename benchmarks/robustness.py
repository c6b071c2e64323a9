"""What disturbances cost: held grasps of policies side by side, under each disturbance alone and under all together.

    python benchmarks/robustness.py --checkpoints checkpoints/shadow_grasp.pt runs/a/checkpoint_last.pt --objects everyday DIR

Every policy meets the same objects and places, from the evaluation start, with the settings it was trained with but for the
disturbances, which are at their full strength.  `--rows` chooses rows by a part of their names.  `--inputs` also measures the
policies with one slice of the observation held at its mean, or with noise on all of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ppo_grasp.actor_critic import ActorCritic
from ppo_grasp.device.policy_runner import PolicyRunner
from tasks.evaluation.measure import evaluate
from tasks.evaluation.settings import MeasuredIn
from tasks.evaluation.trained import TrainedPolicy, load_trained
from tasks.grasp.environment import GraspTask
from tasks.grasp.observations import ACTOR, Layout
from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.starts import StartCfg
from tasks.hands import SHADOW_HAND, HandSpec
from tasks.objects import ObjectSet, in_three_sizes, load_objects
from tasks.simulators import registry
from tasks.simulators.contract import Simulator

Policy = Callable[[Tensor], Tensor]

POSE = RandomCfg(object_noise=0.01, object_bias=0.01, object_turn_noise=0.1, object_turn_bias=0.08)
ROWS: Dict[str, RandomCfg] = {
    "undisturbed": RandomCfg(),
    "actions one step late": RandomCfg(action_delay=1),
    "actions two steps late": RandomCfg(action_delay=2),
    "actions none to three steps late": RandomCfg(action_jitter=3),
    "joints 0.02 + 0.02 rad": RandomCfg(joint_noise=0.02, joint_bias=0.02),
    "joints 0.08 + 0.08 rad": RandomCfg(joint_noise=0.08, joint_bias=0.08),
    "object 1 + 1 cm, 0.1 + 0.08 rad": POSE,
    "the same, and joints 0.02 rad": replace(POSE, joint_noise=0.02),
    "object 3 + 2 cm, 0.1 + 0.08 rad": replace(POSE, object_noise=0.03, object_bias=0.02),
    "object seen every third step": RandomCfg(pose_every=3),
    "object out of sight now and then": RandomCfg(occlusion_rate=1.0, occlusion_steps=10),
    "fingertips 5 + 5 mm": RandomCfg(tip_noise=0.005, tip_bias=0.005),
    "forces 0.2 + 0.2 N": RandomCfg(force_noise=0.2, force_bias=0.2),
    "pushes of 3 m/s2": RandomCfg(push=3.0),
    "pushes of 10 m/s2": RandomCfg(push=10.0),
    "friction 0.3": RandomCfg(friction=(0.3, 0.3)),
    "friction 0.2": RandomCfg(friction=(0.2, 0.2)),
    "mass x 0.5": RandomCfg(mass=(0.5, 0.5)),
    "mass x 3": RandomCfg(mass=(3.0, 3.0)),
    "drives x 0.5 to 2": RandomCfg(stiffness=(0.5, 2.0), damping=(0.5, 2.0)),
    "torque limits x 0.7": RandomCfg(torque_limit=(0.7, 0.7)),
    "dry friction in the joints, up to 0.05 N m": RandomCfg(joint_friction=0.05),
    "centre of mass off by up to 0.3 of the half sides": RandomCfg(com=0.3),
    "table up to 3 cm higher or lower": RandomCfg(table_height=0.03),
    "objects x 0.9 to 1.1": RandomCfg(size=0.1),
    "all of --preset sim2real": RandomCfg.sim2real(),
}
"""Name of a row -> its disturbances."""
SHOWN: Dict[str, Tuple[str, float, str]] = {
    "success_rate": ("held", 100.0, ".1f"),
    "still_success_rate": ("still", 100.0, ".1f"),
    "joint_jerk_rad_s3": ("jerk", 1.0, ".1f"),
    "drive_torque_nm": ("torque", 1.0, ".3f"),
}
"""Of the table: what it is called, times what, how it is written.  Jerk in rad/s^3 and torque in N m are of held grasps."""


@dataclass
class Args:
    """Held and still, in percent, under disturbances."""

    checkpoints: Tuple[Path, ...] = (Path("checkpoints/shadow_grasp.pt"),)
    """The policies to measure, all for one hand."""
    objects: Tuple[str, ...] = ("everyday",)
    """Named object sets, or directories of meshes."""
    rows: Tuple[str, ...] = ()
    """Parts of the names of rows; by default all rows."""
    inputs: bool = False
    """Also measure without each slice of the observation, and with noise on it."""
    noises: Tuple[float, ...] = (0.1, 0.3)
    """Normal noise on the observation, in standard deviations of what occurred in training."""
    sim: registry.SimulatorName = "auto"
    """The simulator."""
    physics: MeasuredIn = "fine"
    """fine: MuJoCo in steps of 1/240 s; trained: in those that the policy was trained in."""
    num_envs: Optional[int] = None
    """Episodes at a time; by default at most 4096 on a GPU and 64 without."""
    episodes: int = 2048
    """Episodes of each policy in each row."""
    seed: int = 0
    """Seed of the places, and of the disturbances."""
    json: Optional[Path] = None
    """A file for all figures."""


SLICES = Layout(ACTOR, SHADOW_HAND).slices


def seen_through(policy: ActorCritic, change: Callable[[Tensor], Tensor]) -> Policy:
    """The deterministic policy, with a change applied to its normalised observation."""
    return lambda obs: policy.mean_from_normalized(change(policy.normalize_obs(obs)))


def masked(name: str, slices: Optional[Dict[str, slice]] = None) -> Callable[[Tensor], Tensor]:
    """A change that holds a slice of the observation at its mean.  slices: where each is, by default the Shadow Hand's."""

    def change(obs: Tensor) -> Tensor:
        obs = obs.clone()
        obs[:, (slices or SLICES)[name]] = 0.0
        return obs

    return change


def noisy(std: float) -> Callable[[Tensor], Tensor]:
    """A change that adds normal noise."""
    return lambda obs: obs + std * torch.randn_like(obs)


def chosen_rows(parts: Tuple[str, ...]) -> Dict[str, RandomCfg]:
    """The rows with one of these parts in their names.  Raises ValueError for a part that is in none."""
    for part in parts:
        if not any(part in name for name in ROWS):
            raise ValueError(f"--rows {part}: is in none of the names: {', '.join(ROWS)}")
    return {name: cfg for name, cfg in ROWS.items() if not parts or any(part in name for part in parts)}


def conditions(args: Args, trained: TrainedPolicy) -> Dict[str, Tuple[RandomCfg, Optional[Callable[[Tensor], Tensor]]]]:
    """Name of a row -> the disturbances, and the change to the observation."""
    found: Dict[str, Tuple[RandomCfg, Optional[Callable[[Tensor], Tensor]]]] = {
        name: (cfg, None) for name, cfg in chosen_rows(args.rows).items()
    }
    if args.inputs:
        slices = Layout(ACTOR, trained.hand).slices
        found.update({f"without {name}": (RandomCfg(), masked(name, slices)) for name in slices})
        found.update({f"noise {std}": (RandomCfg(), noisy(std)) for std in args.noises})
    return found


def simulator_of(args: Args, hand: HandSpec, objects: ObjectSet, physics: Any) -> Simulator:
    """A simulator with these objects."""
    sim = registry.choose(args.sim)
    worlds = min(args.num_envs or sim.evaluation_envs, args.episodes)
    if sim.compiles_kernels:
        from tasks.commands.compile_kernels import compile_missing

        compile_missing(objects, worlds, physics, hand.name)
    return sim.make(hand, objects, worlds, physics, evaluation=True)


def measure(
    args: Args,
    trained: TrainedPolicy,
    simulator: Simulator,
    objects: ObjectSet,
    random: RandomCfg,
    change: Optional[Callable[[Tensor], Tensor]],
) -> Dict[str, Any]:
    """The figures of a policy in a row."""
    torch.manual_seed(args.seed)
    cfg = replace(trained.settings.grasp, start=StartCfg(), random=random)
    task = GraspTask(simulator, trained.hand, objects, cfg, evaluation=True)
    policy = trained.policy.to(task.device)
    runner = PolicyRunner(task, seen_through(policy, change) if change else policy.act_deterministic)
    found = evaluate(task, lambda: runner.play(cfg.episode_steps), args.episodes).summary()
    return {key: value for key, value in found.items() if key != "per_object"}


@torch.no_grad()
def main(args: Args) -> None:
    """Prints a table for each set of objects."""
    loaded = [load_trained(path) for path in args.checkpoints]
    sim, hand = registry.choose(args.sim), loaded[0].hand
    physics = loaded[0].settings.of_simulator(sim, args.physics)
    rows: List[Dict[str, Any]] = []
    for name in args.objects:
        objects = own = load_objects(name)
        simulator, size = None, 0.0
        table = Table(title=f"{name}, {args.episodes} episodes each, {sim.title}")
        table.add_column("", no_wrap=True)
        for letter, path in zip(ascii_uppercase, args.checkpoints):
            print(f"{letter}: {path}")
            for title, _, _ in SHOWN.values():
                table.add_column(f"{letter} {title}", justify="right")
        for row, (random, _) in conditions(args, loaded[0]).items():
            if simulator is None or random.size != size:
                if simulator is not None:
                    simulator.close()
                objects, size = in_three_sizes(own, random.size), random.size
                simulator = simulator_of(args, hand, objects, physics)
            cells = []
            for trained in loaded:
                change = conditions(args, trained)[row][1]
                figures = measure(args, trained, simulator, objects, random, change)
                rows.append({"checkpoint": str(trained.path), "objects": name, "row": row, "sim": sim.name, **figures})
                cells += [format(factor * figures[key], form) for key, (_, factor, form) in SHOWN.items()]
            print(f"{name}, {row}: {' '.join(cells)}", flush=True)
            table.add_row(row, *cells)
            if args.json is not None:
                args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        if simulator is not None:
            simulator.close()
        Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Args))
