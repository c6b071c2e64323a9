"""What the handles of a simulation and of an environment stand for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Set, Tuple

import numpy as np

from isaacgym._control import RefusedError, control
from isaacgym._types import Env
from isaacgym._world import Actor, World


@dataclass
class EnvData:
    """One environment while it is built and after."""

    sim: SimData
    number: int
    origin: np.ndarray
    actors: List[Actor] = field(default_factory=list)
    aggregate: Optional[Tuple[int, int]] = None
    world: Optional[World] = None


@dataclass
class SimData:
    """What a Sim handle stands for."""

    params: Any
    graphics: int
    envs: List[Env] = field(default_factory=list)
    actors: List[Tuple[EnvData, int]] = field(default_factory=list)
    bodies: int = 0
    dofs: int = 0
    plane: Any = None
    prepared: bool = False
    frames: int = 0
    materials: Set[Tuple[float, float]] = field(default_factory=set)
    buffers: Dict[str, np.ndarray] = field(default_factory=dict)
    pending: Dict[str, Any] = field(default_factory=dict)
    touched: Set[int] = field(default_factory=set)
    refreshed: Set[str] = field(default_factory=set)
    fetched: bool = True
    stepped: bool = False
    accessing: bool = False
    cameras: List[Any] = field(default_factory=list)

    @property
    def gpu(self) -> bool:
        """Whether the GPU pipeline's rules hold."""
        return bool(self.params.use_gpu_pipeline)

    def building(self, what: str) -> None:
        """T5: nothing is added after `prepare_sim`."""
        if self.prepared:
            raise RefusedError("T5", f"{what} after prepare_sim")

    def check_material(self, shapes: List[Any]) -> None:
        """T22."""
        self.materials |= {(round(s.friction, 7), round(s.restitution, 7)) for s in shapes}
        if len(self.materials) > control.max_materials:
            raise RefusedError("T22", f"more than {control.max_materials} materials")


def actor_of(env: Env, handle: int) -> Actor:
    """T2: handles are numbers of this environment only."""
    if not 0 <= handle < len(env.data.actors):
        raise RefusedError("T2", f"environment {env.data.number} has no actor {handle}")
    return env.data.actors[handle]
