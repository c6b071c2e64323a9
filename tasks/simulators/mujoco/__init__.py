"""MuJoCo C, and what both MuJoCo simulators share."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from tasks.simulators.errors import SimulatorError

if TYPE_CHECKING:
    from tasks.hands.spec import HandSpec
    from tasks.objects import ObjectSet
    from tasks.simulators.contract import Simulator
    from tasks.simulators.mujoco.scene import PhysicsCfg


def check() -> None:
    """See `SimulatorEntry`."""
    check_version("mujoco")


def check_version(simulator: str) -> None:
    """Raises SimulatorError without MuJoCo 4.  simulator: the name of the one that needs it."""
    if find_spec("mujoco.batch") is None:
        raise SimulatorError(
            f"{simulator} needs MuJoCo 4 and so Python 3.11 or newer; with this Python only isaac_gym runs"
        )


def make(
    hand: HandSpec, objects: ObjectSet, num_envs: int, settings: PhysicsCfg, evaluation: bool, seed: int
) -> Simulator:
    """See `SimulatorEntry`.  It draws nothing, so evaluation and seed change nothing."""
    from tasks.simulators.mujoco.simulator import MujocoSimulator

    return MujocoSimulator(hand, objects, num_envs, settings)
