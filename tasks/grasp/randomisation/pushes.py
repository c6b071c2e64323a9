"""Forces that push the object about while it is lifted."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.grasp.randomisation.config import RandomCfg

LIFTED = 0.03
"""m, an object that has risen by this is lifted, and may be pushed."""


class Pushes:
    """A direction for each world, uniform on the sphere, that stays for an exponentially distributed time."""

    def __init__(self, cfg: RandomCfg, num_envs: int, dt: float, device: torch.device) -> None:
        """dt: s of a step."""
        self._chance, self._acceleration = min(1.0, dt / cfg.push_time), cfg.push
        self.direction = torch.zeros(num_envs, 3, device=device)
        """(N, 3) a unit vector, or 0 in a pause."""

    def begin(self, mask: Tensor) -> None:
        """Episodes begin in the worlds in mask (N,): with a pause."""
        self.direction.masked_fill_(mask[:, None], 0.0)

    def forces(self, mass: Tensor, rise: Tensor, level: Tensor) -> Tensor:
        """(N, 3) N of this step.  mass (N,) kg; rise (N,) m of the object above where it rested; level (N,): see `Levels`."""
        count = len(mass)
        way = torch.randn(count, 3, device=mass.device)
        changes, pauses = torch.rand(2, count, 1, device=mass.device)
        new = way / way.norm(dim=-1, keepdim=True).clamp(min=1e-9) * (pauses < 0.5)
        self.direction.copy_(torch.where(changes < self._chance, new, self.direction))
        return self.direction * (self._acceleration * level * mass * (rise > LIFTED))[:, None]
