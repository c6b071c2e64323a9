"""What a trained policy leans on, and how far its world may differ from that of its training.

    python benchmarks/robustness.py --json robustness.json

Each row starts from the same seed as the first, with one thing changed: a slice of the observation held at its mean, noise on all
of it, actions that come a step late, other frictions, other masses.  A slice that is masked here was there in training: what
a policy could do that never had it is another question.
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

Policy = Callable[[Tensor], Tensor]


@dataclass
class Args:
    """Held and ever, one change at a time."""

    checkpoint: Path = Path("checkpoints/shadow_grasp.pt")
    objects: str = "procedural"
    sim: Literal["auto", "mujoco_warp", "mujoco"] = "auto"
    num_envs: int = 100
    episodes: int = 300
    frictions: Tuple[float, ...] = (0.3, 0.5, 1.2)
    masses: Tuple[float, ...] = (0.5, 2.0, 4.0)
    """Times the objects' own."""
    noises: Tuple[float, ...] = (0.1, 0.3)
    """On the normalised observation, in standard deviations of what training met."""
    delays: Tuple[int, ...] = (1, 2)
    """Control steps."""
    json: Optional[Path] = None


SLICES = Layout(ACTOR, SHADOW_HAND).slices


def seen_through(policy: ActorCritic, change: Callable[[Tensor], Tensor]) -> Policy:
    """The deterministic policy behind a change of its normalised observation."""
    return lambda obs: policy.mean_from_normalized(change(policy.normalize_obs(obs)))


def masked(name: str) -> Callable[[Tensor], Tensor]:
    """Holds a slice of the observation at its mean."""

    def change(obs: Tensor) -> Tensor:
        obs = obs.clone()
        obs[:, SLICES[name]] = 0.0
        return obs

    return change


def noisy(std: float) -> Callable[[Tensor], Tensor]:
    """Adds normal noise."""
    return lambda obs: obs + std * torch.randn_like(obs)


class Delayed:
    """Acts on what it saw some steps ago; in the first steps of an episode, on the first that it saw."""

    def __init__(self, policy: Policy, steps: int) -> None:
        self.policy, self.steps = policy, steps
        self.waiting: List[Tensor] = []

    def __call__(self, obs: Tensor) -> Tensor:
        self.waiting.append(self.policy(obs))
        return self.waiting.pop(0) if len(self.waiting) > self.steps else self.waiting[0]


def heavier(objects: ObjectSet, factor: float) -> ObjectSet:
    """The set with other masses."""
    changed = [replace(o, mass=o.mass * factor, inertia=o.inertia * factor) for o in objects.objects]
    return replace(objects, objects=tuple(changed))


def main(args: Args) -> None:
    """Prints a table."""
    policy, meta = load_policy(args.checkpoint, "cuda" if torch.cuda.is_available() and args.sim != "mujoco" else "cpu")
    settings = trained_with(meta, args.checkpoint, policy.cfg.num_obs, policy.cfg.num_actions)
    as_seen = GraspCfg(hidden_inputs=settings.grasp.hidden_inputs)
    objects = load_objects(args.objects)
    rows: Dict[str, Dict[str, float]] = {}

    def measure(name: str, act: Policy, cfg: GraspCfg = as_seen, some: ObjectSet = objects) -> None:
        torch.manual_seed(0)
        task = make_task(args.sim, some, args.num_envs, cfg, settings=PhysicsCfg.fine(), evaluation=True)
        runner = PolicyRunner(task, act, graphs=False)  # what a delay remembers changes its address

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
