"""From names on a command line to a task that can be stepped."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Optional

import torch

from tasks.grasp.environment import GraspCfg, GraspTask
from tasks.hands import get_hand
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.contract import Simulator
from tasks.simulators.errors import SimulatorError

if TYPE_CHECKING:
    from tasks.simulators.mujoco.scene import PhysicsCfg

SIMULATORS = ("mujoco_warp", "mujoco", "isaac_gym")


def choose_simulator(name: str) -> str:
    """Resolves "auto": MuJoCo Warp on a GPU, MuJoCo C without one."""
    if name != "auto":
        return name
    return "mujoco_warp" if torch.cuda.is_available() else "mujoco"


def make_simulator(
    name: str,
    hand: HandSpec,
    objects: ObjectSet,
    num_envs: int,
    physics: Optional[PhysicsCfg] = None,
    evaluation: bool = False,
    seed: int = 0,
) -> Simulator:
    """Builds the named simulator, for which a new one needs a branch here.  Raises SimulatorError where it cannot run.

    physics: how the two MuJoCo simulators integrate.  evaluation and seed: for what Isaac Gym draws once, when it is built:
    masses are the objects' own in evaluation.
    """
    if num_envs < 1:
        raise SimulatorError(f"{num_envs} environments: at least 1 is needed")
    if name in ("mujoco", "mujoco_warp") and find_spec("mujoco.batch") is None:
        raise SimulatorError(f"{name} needs MuJoCo 4 and so Python 3.11 or newer; with this Python only isaac_gym runs")
    if name == "mujoco":
        from tasks.simulators.mujoco import scene
        from tasks.simulators.mujoco import simulator as mujoco

        return mujoco.MujocoSimulator(hand, objects, num_envs, physics or scene.PhysicsCfg())
    if name == "mujoco_warp":
        if not torch.cuda.is_available():
            raise SimulatorError(
                "mujoco_warp needs an NVIDIA GPU and a CUDA build of torch; --sim mujoco needs neither"
            )
        from tasks.simulators.mujoco import scene
        from tasks.simulators.mujoco_warp import simulator as mujoco_warp

        device = torch.device("cuda", torch.cuda.current_device())
        return mujoco_warp.MujocoWarpSimulator(hand, objects, num_envs, device, physics or scene.PhysicsCfg())
    if name == "isaac_gym":
        from tasks.simulators.isaac_gym import simulator as isaac_gym

        cfg = isaac_gym.IsaacGymCfg(mass_scale=1.0) if evaluation else isaac_gym.IsaacGymCfg()
        return isaac_gym.IsaacGymSimulator(hand, objects, num_envs, seed=seed, cfg=cfg)
    raise SimulatorError(f"there is no simulator {name!r}: choose from auto, {', '.join(SIMULATORS)}")


def make_task(
    sim: str,
    objects: ObjectSet,
    num_envs: int,
    cfg: Optional[GraspCfg] = None,
    hand: str = "shadow",
    physics: Optional[PhysicsCfg] = None,
    evaluation: bool = False,
    seed: int = 0,
) -> GraspTask:
    """A grasping task on a simulator ("auto" included); the arguments are those of its parts."""
    spec = get_hand(hand)
    simulator = make_simulator(choose_simulator(sim), spec, objects, num_envs, physics, evaluation, seed)
    return GraspTask(simulator, spec, objects, cfg or GraspCfg(), evaluation)
