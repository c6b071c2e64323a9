"""An episode of a policy, step by step, on MuJoCo C: how fast the object moves, how hard the hand grips, what the base is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List

import numpy as np
import torch
from torch import Tensor

from tasks.evaluation.page.charts import Line, chart, legend
from tasks.evaluation.settings import MeasuredIn
from tasks.evaluation.trained import TrainedPolicy
from tasks.grasp.actions import BASE
from tasks.grasp.environment import GRAVITY, GraspTask
from tasks.objects import ObjectSet
from tasks.simulators import registry

WORLDS = 8
"""Episodes that are played; the first that is held is shown."""


@dataclass
class Episode:
    """What happened in one episode of T steps."""

    object_name: str
    held: bool
    still: bool
    weight: float
    """N, of the object."""
    hold_time: float
    """s, at the end, in which the object must be at the goal."""
    time: np.ndarray
    """(T,) s, at the end of each step; and so are the others."""
    object_speed: np.ndarray
    """(T,) m/s"""
    hand_force: np.ndarray
    """(T,) N, of all links."""
    fingertip_force: np.ndarray
    """(T,) N"""
    base_action: np.ndarray
    """(T, 6) as the policy gives it, from -1 to 1."""


@torch.no_grad()
def play(trained: TrainedPolicy, objects: ObjectSet, physics: MeasuredIn = "fine", worlds: int = WORLDS) -> Episode:
    """Plays an episode each with objects from all over the set.  Returns the first that was held, or else the first.

    Raises SimulatorError without MuJoCo C.
    """
    entry = registry.choose("mujoco")
    every = max(1, len(objects) // worlds)
    some = ObjectSet.of(objects.name, list(objects.objects[::every])[:worlds])
    settings = trained.settings.of_simulator(entry, physics)
    simulator: Any = entry.make(trained.hand, some, len(some), settings, evaluation=True)
    task = GraspTask(simulator, trained.hand, some, trained.settings.grasp, evaluation=True)
    policy = trained.policy.act_deterministic
    seen: List[Tensor] = []
    step = simulator.step

    def watched(targets: Tensor) -> None:
        """A task resets what has ended before it returns, so the state is read as soon as it is there."""
        step(targets)
        s = simulator.state
        tips = s.fingertip_wrench[..., :3].norm(dim=-1).sum(-1)
        seen.append(torch.stack([s.object_vel[:, :3].norm(dim=-1), s.hand_force, tips], dim=-1))

    simulator.step = watched
    task.seed(0)
    obs = task.reset()[0]
    weight = GRAVITY * task.library.mass[simulator.state.object_id] * task.episodes.mass_scale
    ids = simulator.state.object_id.clone()
    actions: List[Tensor] = []
    alive: List[Tensor] = []
    for _ in range(task.cfg.episode_steps):
        alive.append(~task.episodes.counted)
        actions.append(policy(obs).clamp(-1, 1))
        obs = task.step(actions[-1]).obs
    record = task.episodes.record
    world = int(record.held.int().argmax())
    length = int(torch.stack(alive)[:, world].sum())
    values = torch.stack(seen)[:length, world].double().numpy()
    simulator.close()
    return Episode(
        object_name=some.objects[int(ids[world])].name,
        held=bool(record.held[world]),
        still=bool(record.still[world]),
        weight=float(weight[world]),
        hold_time=task.episodes.hold_steps * simulator.control_dt,
        time=simulator.control_dt * np.arange(1, length + 1),
        object_speed=values[:, 0],
        hand_force=values[:, 1],
        fingertip_force=values[:, 2],
        base_action=torch.stack(actions)[:length, world, :BASE].double().numpy(),
    )


def episode_charts(episode: Episode, still_speed: float) -> str:
    """The three charts of an episode.  still_speed: m/s, below which the object counts as still.

    Speeds above four times that are cut off: what matters is how little is left of them.
    """
    e = episode
    end = float(e.time[-1])
    last = (end - e.hold_time, end)
    speed = [Line(e.time, e.object_speed, 0, name="object")]
    force = [Line(e.time, e.hand_force, 0, name="all links"), Line(e.time, e.fingertip_force, 1, name="fingertips")]
    most = 1.05 * max(float(e.hand_force.max()), e.weight)
    axes = ("x", "y", "z", "about x", "about y", "about z")
    base = [Line(e.time, e.base_action[:, i], i, name=name) for i, name in enumerate(axes)]
    charts = [
        chart("object's speed", speed, "s", "m/s", (0, 4 * still_speed), [(still_speed, "still")], last),
        chart("contact force on the hand", force, "s", "N", (0, most), [(e.weight, "weight")], last)
        + legend(("all links", "fingertips")),
        chart("base action", base, "s", "", (-1.05, 1.05), x_band=last) + legend(axes),
    ]
    ended = "held and still" if e.still else "held" if e.held else "not held"
    told = f"{e.object_name}, {ended}. The object must be at its goal in the shaded time. MuJoCo C, deterministic."
    return f"<p>{told}</p>" + '<div class="grid-of">' + "".join(f"<div>{one}</div>" for one in charts) + "</div>"
