"""Drives whose gains and limits differ between the worlds of MuJoCo Warp."""

from __future__ import annotations

import mujoco_warp as mjw
import torch
import warp as wp
from torch import Tensor

from tasks.simulators.contract import DriveFactors

_FIELDS = ("actuator_gainprm", "actuator_biasprm", "actuator_forcerange")


class WarpDrives:
    """Gives the model a row of gains and limits for each world, and writes into these rows."""

    def __init__(self, model: mjw.Model, num_envs: int) -> None:
        """Replaces arrays of the model, so no graph that was recorded before is valid afterwards."""
        self._own, self._rows = [], []
        for name in _FIELDS:
            own = wp.to_torch(getattr(model, name))[:1].clone()  # (1, actuators, 10 or 2)
            array = wp.zeros((num_envs, own.shape[1]), dtype=getattr(model, name).dtype)
            setattr(model, name, array)
            rows = wp.to_torch(array)
            rows.copy_(own.expand_as(rows))
            self._own.append(own)
            self._rows.append(rows)

    def vary(self, mask: Tensor, factors: DriveFactors, drive_of_actuator: Tensor) -> None:
        """See `Simulator.vary_drives`.  drive_of_actuator (actuators,): the column of each actuator in the factors."""
        stiffness, damping, force = (
            of.index_select(1, drive_of_actuator) for of in (factors.stiffness, factors.damping, factors.force)
        )
        (gain, bias, limits), (own_gain, own_bias, own_limits) = self._rows, self._own
        chosen = mask[:, None]
        for row, value in (
            (gain[..., 0], own_gain[..., 0] * stiffness),
            (bias[..., 1], own_bias[..., 1] * stiffness),
            (bias[..., 2], own_bias[..., 2] * damping),
            (limits[..., 0], own_limits[..., 0] * force),
            (limits[..., 1], own_limits[..., 1] * force),
        ):
            row.copy_(torch.where(chosen, value, row))
