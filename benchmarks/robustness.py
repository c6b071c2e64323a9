"""Measures which inputs a trained policy needs, and how far its world may differ from that of its training.

    python benchmarks/robustness.py --json robustness.json

Each row has the seed of the first one and one change: a slice of the observation held at its mean, noise on the observation,
actions that come some steps late, other frictions, or other masses.  A masked slice was there in training; a policy that trains
without it may do better than these rows show.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Dict, List, Literal, Optional, Tuple

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ppo_grasp import load_policy
from ppo_grasp.actor_critic import ActorCritic
from ppo_grasp.device.policy_runner import PolicyRunner
from tasks.evaluation.measure import evaluate
from tasks.evaluation.settings import trained_with
from tasks.grasp.build import make_task
from tasks.grasp.config import GraspCfg
from tasks.grasp.observations import ACTOR, Layout
from tasks.hands import SHADOW_HAND
from tasks.objects import ObjectSet, load_objects
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.registry import choose

Policy = Callable[[Tensor], Tensor]


@dataclass
class Args:
    """Held and ever, with one change at a time."""

    checkpoint: Path = Path("checkpoints/shadow_grasp.pt")
    """The policy to measure."""
    objects: str = "procedural"
    """A named object set, or a directory of meshes."""
    sim: Literal["auto", "mujoco_warp", "mujoco"] = "auto"
    """The simulator."""
    num_envs: int = 100
    """Hands in parallel."""
    episodes: int = 300
    """Episodes of each row."""
    frictions: Tuple[float, ...] = (0.3, 0.5, 1.2)
    """Coefficients of friction that all objects get."""
    masses: Tuple[float, ...] = (0.5, 2.0, 4.0)
    """Factors for the masses of the objects."""
    noises: Tuple[float, ...] = (0.1, 0.3)
    """Normal noise on the observation, in standard deviations of what occurred in training."""
    delays: Tuple[int, ...] = (1, 2)
    """Control steps by which actions are late."""
    json: Optional[Path] = None
    """A file for all figures."""


SLICES = Layout(ACTOR, SHADOW_HAND).slices


def seen_through(policy: ActorCritic, change: Callable[[Tensor], Tensor]) -> Policy:
    """The deterministic policy, with a change applied to its normalised observation."""
    return lambda obs: policy.mean_from_normalized(change(policy.normalize_obs(obs)))


def masked(name: str) -> Callable[[Tensor], Tensor]:
    """A change that holds a slice of the observation at its mean."""

    def change(obs: Tensor) -> Tensor:
        obs = obs.clone()
        obs[:, SLICES[name]] = 0.0
        return obs

    return change


def noisy(std: float) -> Callable[[Tensor], Tensor]:
    """A change that adds normal noise."""
    return lambda obs: obs + std * torch.randn_like(obs)


class Delayed:
    """A policy that acts on what it saw some steps ago; in the first steps of an episode, on what it saw first."""

    def __init__(self, policy: Policy, steps: int) -> None:
        self.policy, self.steps = policy, steps
        self.waiting: List[Tensor] = []

    def __call__(self, obs: Tensor) -> Tensor:
        self.waiting.append(self.policy(obs))
        return self.waiting.pop(0) if len(self.waiting) > self.steps else self.waiting[0]


def heavier(objects: ObjectSet, factor: float) -> ObjectSet:
    """The set with all masses multiplied by a factor."""
    changed = [replace(o, mass=o.mass * factor, inertia=o.inertia * factor) for o in objects.objects]
    return replace(objects, objects=tuple(changed))


def main(args: Args) -> None:
    """Prints a table."""
    policy, meta = load_policy(args.checkpoint, "cuda" if choose(args.sim).on_gpu else "cpu")
    settings = trained_with(meta, args.checkpoint, policy.cfg.num_obs, policy.cfg.num_actions)
    as_seen = GraspCfg(hidden_inputs=settings.grasp.hidden_inputs)
    objects = load_objects(args.objects)
    rows: Dict[str, Dict[str, float]] = {}

    def measure(name: str, act: Policy, cfg: GraspCfg = as_seen, some: ObjectSet = objects) -> None:
        torch.manual_seed(0)
        task = make_task(args.sim, some, args.num_envs, cfg, settings=PhysicsCfg.fine(), evaluation=True)
        runner = PolicyRunner(task, act, graphs=False)  # a graph cannot be replayed with the memory of a delay

        def run_episode() -> None:
            if isinstance(act, Delayed):
                act.waiting.clear()
            runner.play(task.cfg.episode_steps)

        result = evaluate(task, run_episode, args.episodes).summary()
        rows[name] = {"held": result["success_rate"], "ever": result["ever_success_rate"]}
        print(f"{name:34s} held {100 * rows[name]['held']:5.1f} %  ever {100 * rows[name]['ever']:5.1f} %", flush=True)
        if args.json:
            args.json.write_text(json.dumps({"episodes": args.episodes, "rows": rows}, indent=2))
        task.simulator.close()

    plain = policy.act_deterministic
    measure("as it is", plain)
    for name in SLICES:
        measure(f"without {name}", seen_through(policy, masked(name)))
    for noise in args.noises:
        measure(f"noise {noise}", seen_through(policy, noisy(noise)))
    for steps in args.delays:
        measure(f"{steps} steps late", Delayed(plain, steps))
    start = as_seen.start
    for value in args.frictions:
        alike = replace(start, friction_low=value, friction_high=value)
        measure(f"friction {value}", plain, replace(as_seen, start=alike))
    for factor in args.masses:
        measure(f"{factor} times the mass", plain, some=heavier(objects, factor))
    table = Table(title=f"{args.objects}, {args.episodes} episodes each")
    for title in ("change", "held", "ever"):
        table.add_column(title)
    for name, row in rows.items():
        table.add_row(name, f"{100 * row['held']:.1f} %", f"{100 * row['ever']:.1f} %")
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Args))
