"""Makes the Isaac Gym backend on the double, and throws objects in its worlds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from tasks.hands import get_hand
from tasks.objects import ObjectSet
from tasks.simulators.isaac_gym.settings import IsaacGymCfg
from tasks.simulators.isaac_gym.simulator import IsaacGymSimulator


def make(objects: ObjectSet, num_envs: int, cache: Path, gpu: bool = True, **settings: Any) -> IsaacGymSimulator:
    IsaacGymSimulator.built = False  # each test is a process of its own to the double
    options = {name: settings.pop(name) for name in ("seed", "object_ids") if name in settings}
    cfg = IsaacGymCfg(**{"cache": cache, "audit": False, "watch_errors": False, "mass_scale": 1.0, **settings})
    return IsaacGymSimulator(get_hand("shadow"), objects, num_envs, "cpu", cfg=cfg, gpu_pipeline=gpu, **options)


def launch(sim: IsaacGymSimulator, velocity: Tensor) -> None:
    """Behind the tensors' back, in the double's worlds."""
    for world, env in enumerate(sim.scene.envs):
        inner = env.data.world
        body = inner.bodies[1][0]
        v = int(inner.model.body_dofadr[body])
        rotation = inner.data.xmat[body].reshape(3, 3)
        inner.data.qvel[v : v + 3] = velocity[world, :3].numpy()
        inner.data.qvel[v + 3 : v + 6] = rotation.T @ velocity[world, 3:].double().numpy()
