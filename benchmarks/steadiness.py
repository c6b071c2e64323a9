"""How steady grasps are: policies side by side, in fine physics, also where they act some steps late.

    python benchmarks/steadiness.py --checkpoints runs/a/checkpoint_best.pt runs/b/checkpoint_best.pt --json steadiness.json

Every policy meets the same objects, places and frictions, from the evaluation start, with the settings it was trained with.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ppo_grasp.device.policy_runner import PolicyRunner
from tasks.evaluation.measure import evaluate
from tasks.evaluation.settings import MeasuredIn
from tasks.evaluation.trained import load_trained
from tasks.grasp.environment import GraspTask
from tasks.grasp.starts import StartCfg
from tasks.objects import load_objects
from tasks.simulators import registry

COLUMNS: Dict[str, Tuple[str, float, str]] = {
    "success_rate": ("held, %", 100.0, ".1f"),
    "still_success_rate": ("still, %", 100.0, ".1f"),
    "object_speed_m_s": ("object, cm/s", 100.0, ".2f"),
    "sign_changes": ("sign changes, %", 100.0, ".1f"),
    "saturated_share": ("saturated, %", 100.0, ".1f"),
    "action_rate": ("action rate", 1.0, ".3f"),
    "grip_force_n": ("grip, N", 1.0, ".1f"),
    "grip_to_weight": ("to weight", 1.0, ".1f"),
    "fingertip_force_n": ("fingertips, N", 1.0, ".1f"),
    "drive_torque_nm": ("torque, N m", 1.0, ".2f"),
}
"""Of the table: what it is called, in what unit, how it is written."""


@dataclass
class Args:
    """Measure policies."""

    checkpoints: Tuple[Path, ...] = (Path("checkpoints/shadow_grasp.pt"),)
    objects: Tuple[str, ...] = ("everyday",)
    """Sets to measure on."""
    delays: Tuple[int, ...] = (0,)
    """Control steps that actions come late."""
    episodes: int = 2048
    """Episodes of each policy on each set."""
    sim: registry.SimulatorName = "auto"
    num_envs: Optional[int] = None
    """Episodes at a time; by default 4096 at most on a GPU, 64 without."""
    physics: MeasuredIn = "fine"
    """fine: MuJoCo in steps of 1/240 s; trained: in those that the policy was trained in."""
    json: Optional[Path] = None
    """Also write the figures to this file."""


class Late:
    """Acts on what it saw some steps ago; in the first steps of an episode, on the first that it saw.  Fit for a CUDA graph."""

    def __init__(self, policy: Callable[[Tensor], Tensor], steps: int) -> None:
        self.policy, self.steps = policy, steps
        self.waiting: Optional[Tensor] = None
        self.fresh: Optional[Tensor] = None

    def restart(self) -> None:
        """Before an episode."""
        if self.fresh is not None:
            self.fresh.fill_(True)

    def __call__(self, obs: Tensor) -> Tensor:
        action = self.policy(obs)
        if self.waiting is None or self.fresh is None:
            self.waiting = action.expand(self.steps, *action.shape).clone()
            self.fresh = torch.ones((), dtype=torch.bool, device=action.device)
        waiting = torch.where(self.fresh, action, self.waiting)
        self.fresh.fill_(False)
        self.waiting.copy_(torch.cat([waiting[1:], action[None]]))
        return waiting[0]


def measure(args: Args, name: str) -> List[Dict[str, Any]]:
    """A row for each policy and delay on a set."""
    loaded = [load_trained(path) for path in args.checkpoints]
    hand, objects, sim = loaded[0].hand, load_objects(name), registry.choose(args.sim)
    physics = loaded[0].settings.of_simulator(sim, args.physics)
    worlds = args.num_envs or min(args.episodes, sim.evaluation_envs)
    if sim.compiles_kernels:
        from tasks.commands.compile_kernels import compile_missing

        compile_missing(objects, worlds, physics, hand.name)
    simulator = sim.make(hand, objects, worlds, physics, evaluation=True)
    rows = []
    for trained in loaded:
        for delay in args.delays:
            torch.manual_seed(0)
            cfg = replace(trained.settings.grasp, start=StartCfg())
            task = GraspTask(simulator, hand, objects, cfg, evaluation=True)
            act = trained.policy.to(task.device).act_deterministic
            late = Late(act, delay) if delay else None
            if late is not None:  # its tensors are made outside of the graph
                late(torch.zeros(worlds, task.num_obs, device=task.device))
            runner = PolicyRunner(task, late or act)

            def run_episode(late: Optional[Late] = late, runner: PolicyRunner = runner, task: GraspTask = task) -> None:
                if late is not None:
                    late.restart()
                runner.play(task.cfg.episode_steps)

            found = evaluate(task, run_episode, args.episodes).summary()
            found.pop("per_object")
            rows.append({"checkpoint": str(trained.path), "objects": name, "delay": delay, "sim": sim.name, **found})
    simulator.close()
    return rows


@torch.no_grad()
def main(args: Args) -> None:
    """Prints a table."""
    rows: List[Dict[str, Any]] = []
    for name in args.objects:
        rows += measure(args, name)
        if args.json is not None:
            args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    table = Table("policy", "objects", "late", *(title for title, _, _ in COLUMNS.values()))
    for row in rows:
        cells = [format(factor * row[key], form) for key, (_, factor, form) in COLUMNS.items()]
        table.add_row(row["checkpoint"], row["objects"], str(row["delay"]), *cells)
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Args))
