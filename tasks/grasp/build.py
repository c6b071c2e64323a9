"""Builds a grasping task from names: simulator, hand, objects."""

from __future__ import annotations

from typing import Any, Optional

from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.hands import get_hand
from tasks.objects import ObjectSet
from tasks.simulators.registry import make_simulator


def make_task(
    sim: str,
    objects: ObjectSet,
    num_envs: int,
    cfg: Optional[GraspCfg] = None,
    hand: str = "shadow",
    settings: Optional[Any] = None,
    evaluation: bool = False,
    seed: int = 0,
) -> GraspTask:
    """A grasping task in num_envs worlds.

    sim: a simulator's name, or "auto" for MuJoCo Warp on a GPU and MuJoCo C without one.  objects: what is grasped.
    cfg: the task's settings.  hand: a hand's name.  settings: the simulator's settings, of the type that
    `tasks.simulators.registry` names for it.  evaluation: whether policies are measured in it and not trained, see
    `GraspTask`.  seed: for what the simulator draws when it is built.
    Raises ValueError for an unknown hand and SimulatorError if the simulator cannot run here.
    """
    spec = get_hand(hand)
    simulator = make_simulator(sim, spec, objects, num_envs, settings, evaluation, seed)
    return GraspTask(simulator, spec, objects, cfg or GraspCfg(), evaluation)
