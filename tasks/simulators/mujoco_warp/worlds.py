"""Tables, joints and centres of mass that differ between the worlds of MuJoCo Warp."""

from __future__ import annotations

from typing import Optional

import mujoco_warp as mjw
import torch
import warp as wp
from torch import Tensor

from tasks.simulators.contract import TABLE_HEIGHT, WorldChanges
from tasks.simulators.mujoco.scene import Scene


class WarpWorlds:
    """Writes what differs into rows of the model, which has one for each world."""

    def __init__(self, scene: Scene, model: mjw.Model, data: mjw.Data) -> None:
        self._model, self._scene = model, scene
        self._ipos = wp.to_torch(model.body_ipos)[:, scene.object_body]
        device = self._ipos.device
        self._own_ipos = torch.as_tensor(scene.body_rows["body_ipos"], dtype=torch.float32, device=device)
        # The geom's place in its body is for who draws it.  Warp places what never moves once and for all, in the data.
        self._tables = [wp.to_torch(array)[:, scene.table, 2] for array in (model.geom_pos, data.geom_xpos)]
        self._dofs = torch.as_tensor(scene.drive_dof, dtype=torch.int64, device=device)
        self._own_friction = wp.to_torch(model.dof_frictionloss)[:1, self._dofs].clone()
        self._friction: Optional[Tensor] = None

    def _rows_of_friction(self) -> Tensor:
        """Worlds share their joints until some are to differ.  Then an array of the model is replaced, so that no graph that
        was recorded before is valid any more."""
        shared = wp.to_torch(self._model.dof_frictionloss)
        self._model.dof_frictionloss = wp.zeros((len(self._ipos), shared.shape[1]), dtype=float)
        rows = wp.to_torch(self._model.dof_frictionloss)
        rows.copy_(shared[:1].expand_as(rows))
        return rows

    def vary(self, mask: Tensor, changes: WorldChanges, object_id: Tensor) -> None:
        """See `Simulator.vary_worlds`.  object_id (N,): what is in the worlds now."""
        if changes.com_shift is not None:
            ipos = self._own_ipos[object_id] + changes.com_shift
            self._ipos.copy_(torch.where(mask[:, None], ipos, self._ipos))
        if changes.table_rise is not None:
            for height in self._tables:
                height.copy_(torch.where(mask, TABLE_HEIGHT + changes.table_rise, height))
        if changes.joint_friction is not None:
            if self._friction is None:
                self._friction = self._rows_of_friction()
            friction = self._own_friction + changes.joint_friction
            now = self._friction[:, self._dofs]
            self._friction.index_copy_(1, self._dofs, torch.where(mask[:, None], friction, now))
