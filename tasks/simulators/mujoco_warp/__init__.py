"""MuJoCo Warp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.simulators.errors import SimulatorError
from tasks.simulators.mujoco import check_version

if TYPE_CHECKING:
    from tasks.hands.spec import HandSpec
    from tasks.objects import ObjectSet
    from tasks.simulators.contract import Simulator
    from tasks.simulators.mujoco.scene import PhysicsCfg


def check() -> None:
    """See `SimulatorEntry`."""
    import torch

    check_version("mujoco_warp")
    if not torch.cuda.is_available():
        raise SimulatorError("mujoco_warp needs an NVIDIA GPU and a CUDA build of torch; --sim mujoco needs neither")


def make(
    hand: HandSpec, objects: ObjectSet, num_envs: int, settings: PhysicsCfg, evaluation: bool, seed: int
) -> Simulator:
    """See `SimulatorEntry`.  It draws nothing, so evaluation and seed change nothing."""
    import torch

    from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator

    device = torch.device("cuda", torch.cuda.current_device())
    return MujocoWarpSimulator(hand, objects, num_envs, device, settings)
