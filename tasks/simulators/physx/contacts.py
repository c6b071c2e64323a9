"""The torques of contacts on the fingertips, which PhysX does not sum up."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class FingertipTorques:
    """Sums the torques of contacts about the fingertips' origins.

    PhysX tells each contact's point and normal force, sensor after sensor in one long list, and of friction only the sum.  The
    friction of a fingertip is taken to act in the middle of its contacts, weighted by their normal forces.  With one patch of
    contact, which is what a fingertip has, that is where it acts.
    """

    def __init__(self, binding: Any, rows: np.ndarray, device: torch.device) -> None:
        """binding: of contacts, with room for them.  rows: (N, F), the sensor of each fingertip."""
        self._binding = binding
        self._row = torch.as_tensor(rows, dtype=torch.int64, device=device)
        room, sensors = binding.max_contact_data_count, binding.sensor_count
        self._force = torch.zeros(room, 1, device=device)
        self._point, self._normal = torch.zeros(room, 3, device=device), torch.zeros(room, 3, device=device)
        self._gap = torch.zeros(room, 1, device=device)
        self._layout = torch.zeros(sensors, 2, dtype=torch.int32, device=device)
        """Number of contacts, and place of the first one."""
        self._actors = torch.zeros(room, 2, dtype=torch.int64, device=device)

    def fetch(self) -> None:
        """Asks PhysX for the contacts of the last step."""
        self._binding.read_raw_contact_data(
            self._force, self._point, self._normal, self._gap, self._layout, self._actors
        )

    def about(self, origins: Tensor, friction: Tensor) -> Tensor:
        """(N, F, 3) N m.  origins: (N, F, 3) m, in PhysX's coordinates.  friction: (N, F, 3) N, on each fingertip."""
        push = self._force * self._normal
        weight = self._force.abs()
        # A running sum is fast along numbers that lie side by side, so each contact is a column.
        rows = torch.cat([torch.linalg.cross(self._point, push), push, weight, weight * self._point], dim=1).T.double()
        # What lies behind the last contact is old, and a world that diverged must not spoil those after it.
        sums = torch.nan_to_num(rows.contiguous(), nan=0.0, posinf=0.0, neginf=0.0).cumsum(1)
        sums = torch.cat([torch.zeros_like(sums[:, :1]), sums], dim=1)
        last = sums.shape[1] - 1
        count, first = self._layout[self._row].long().unbind(-1)
        inside = (sums[:, (first + count).clamp(0, last)] - sums[:, first.clamp(0, last)]).movedim(0, -1)
        about_world, force, total, moment = inside.split([3, 3, 1, 3], dim=-1)
        middle = moment / total.clamp(min=1e-9)
        normal = about_world - torch.linalg.cross(origins.double(), force)
        rubbing = torch.linalg.cross(middle - origins, friction.double())
        return (normal + torch.where(total > 1e-6, rubbing, torch.zeros_like(rubbing))).float()
