"""Makes PhysX's simulator for tests, and throws objects in its worlds.  Where ovphysx is not installed, its tests are skipped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

import pytest
import torch
from torch import Tensor

from tasks import rotations
from tasks.hands import HandSpec, get_hand
from tasks.objects import ObjectSet
from tasks.simulators.contract import Simulator
from tasks.simulators.errors import SimulatorError
from tasks.simulators.physx import check
from tasks.simulators.physx.settings import PhysxCfg


def why_not() -> str:
    """Why PhysX cannot be used here; empty if it can."""
    try:
        check()
    except SimulatorError as error:
        return str(error)
    return ""


WHY_NOT = why_not()
needs_physx = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def make(objects: ObjectSet, num_envs: int, hand: Optional[HandSpec] = None, fine: bool = True, **settings: Any) -> Any:
    from tasks.simulators.physx.simulator import PhysxSimulator

    options = {name: settings.pop(name) for name in ("seed", "evaluation", "object_ids") if name in settings}
    cfg = PhysxCfg.fine() if fine else PhysxCfg()
    cfg = replace(cfg, **{"mass_scale": 1.0, **settings})
    return PhysxSimulator(hand or get_hand("shadow"), objects, num_envs, cfg, torch.device("cpu"), **options)


def launch(sim: Simulator, velocity: Tensor) -> None:
    """Gives all objects velocities (N, 6) of their origins, behind the simulator's back."""
    assert hasattr(sim, "worlds") and hasattr(sim, "links") and hasattr(sim, "_object_row")
    arm = rotations.rotate(sim.state.object_quat, sim.links.object_com)
    of_com = velocity.clone()
    of_com[:, :3] += torch.linalg.cross(of_com[:, 3:], arm)
    rows = torch.zeros_like(of_com)
    rows[sim._object_row] = of_com
    sim.worlds.bindings["object_vel"].write(rows)
