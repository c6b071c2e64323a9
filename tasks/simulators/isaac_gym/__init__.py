"""Isaac Gym Preview 4."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.hands.spec import HandSpec
    from tasks.objects import ObjectSet
    from tasks.simulators.contract import Simulator
    from tasks.simulators.isaac_gym.settings import IsaacGymCfg


def check() -> None:
    """See `SimulatorEntry`."""
    from tasks.simulators.isaac_gym.preload import load_gymtorch, preload

    preload()
    load_gymtorch()


def make(
    hand: HandSpec, objects: ObjectSet, num_envs: int, settings: IsaacGymCfg, evaluation: bool, seed: int
) -> Simulator:
    """See `SimulatorEntry`.  In evaluation each object has its own mass."""
    from tasks.simulators.isaac_gym.simulator import IsaacGymSimulator

    cfg = replace(settings, mass_scale=1.0) if evaluation else settings
    return IsaacGymSimulator(
        hand, objects, num_envs, seed=seed, control_dt=cfg.control_dt, cfg=cfg, evaluation=evaluation
    )
