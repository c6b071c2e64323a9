"""PhysX 5, Isaac Gym's engine, from PyPI."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.hands.spec import HandSpec
    from tasks.objects import ObjectSet
    from tasks.simulators.contract import Simulator
    from tasks.simulators.physx.settings import PhysxCfg


def check() -> None:
    """See `SimulatorEntry`."""
    from tasks.simulators.physx.library import load

    load()


def make(
    hand: HandSpec, objects: ObjectSet, num_envs: int, settings: PhysxCfg, evaluation: bool, seed: int
) -> Simulator:
    """See `SimulatorEntry`.  In evaluation each object has its own mass, and objects take turns."""
    from tasks.simulators.physx.simulator import PhysxSimulator

    cfg = replace(settings, mass_scale=1.0) if evaluation else settings
    return PhysxSimulator(hand, objects, num_envs, cfg, seed=seed, evaluation=evaluation)
