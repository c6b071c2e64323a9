"""The grasping task by name: `gymnasium.make_vec("tasks.gymnasium_ids:ShadowGrasp-v0", num_envs=64)`.

Importing this module registers the names.  `make_vec` gives a `ppo_grasp.adapters.gymnasium.VectorEnv`, `make` a single `Env`.
"""

from __future__ import annotations

from typing import Any

from ppo_grasp.adapters.gymnasium import Env, VectorEnv, gymnasium


def make_vector_env(num_envs: int = 1, to: str = "numpy", **options: Any) -> VectorEnv:
    """Hands in num_envs worlds.  to: see `VectorEnv`.  options: see `make_grasp`."""
    return VectorEnv(make_grasp(num_envs, **options), to)


def make_env(**options: Any) -> Env:
    """One hand.  options: see `make_grasp`."""
    return Env(make_grasp(1, **options))


def make_grasp(num_envs: int, objects: str = "mixed", sim: str = "auto", **options: Any) -> Any:
    """The task.  objects: a set's name or a directory of meshes.  sim: a simulator's name.  options: of `tasks.make_task`."""
    from tasks import make_task
    from tasks.objects import in_three_sizes, load_objects

    cfg = options.get("cfg")
    sizes = 0.0 if cfg is None else cfg.random.size
    return make_task(sim, in_three_sizes(load_objects(objects), sizes), num_envs, **options)


gymnasium.register(
    id="ShadowGrasp-v0",
    entry_point="tasks.gymnasium_ids:make_env",
    vector_entry_point="tasks.gymnasium_ids:make_vector_env",
)
