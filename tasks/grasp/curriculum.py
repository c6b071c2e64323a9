"""Which objects new episodes get, as probabilities on the device that follow steps taken or success so far."""

from __future__ import annotations

from typing import Dict

import torch
from torch import Tensor

CURRICULA = ("uniform", "recipe", "adaptive")
KIND_EVERY = 10_000_000
"""Environment steps after which the recipe adds the next kind."""


class ObjectCurriculum:
    """Draws object ids.

    uniform: every kind alike.  recipe: the published one, kind k (in the set's order) joins after k times 10 M steps and
    is mixed evenly with those before.  adaptive: every object from the start, those that fail more often.
    """

    def __init__(self, mode: str, kind: Tensor, num_kinds: int, device: torch.device, floor: float = 0.25) -> None:
        """kind (V,) int64: the kind of each object; floor: see `GraspCfg.curriculum_floor`."""
        if mode not in CURRICULA:
            raise ValueError(f"unknown curriculum {mode!r}: choose from {', '.join(CURRICULA)}")
        self.mode, self.kind, self.num_kinds, self.floor = mode, kind.to(device), num_kinds, floor
        per_kind = torch.bincount(kind.cpu(), minlength=num_kinds).to(device)
        self._share = 1.0 / per_kind[self.kind].float()  # (V,) of an object within its kind
        self.success = torch.full((len(kind),), 0.5, device=device)
        """(V,) running success per object."""

    def probabilities(self, env_steps: Tensor) -> Tensor:
        """(V,) of each object to be drawn, which sum to 1.  env_steps: ()."""
        weight = self._weights(env_steps)
        return weight / weight.sum()

    def _weights(self, env_steps: Tensor) -> Tensor:
        """(V,) the probabilities times a common factor."""
        weight = self._share
        if self.mode == "recipe":
            weight = weight * (self.kind * KIND_EVERY <= env_steps)
        elif self.mode == "adaptive":
            weight = weight * (self.floor + 1 - self.success)
        return weight

    def draw(self, count: int, env_steps: Tensor) -> Tensor:
        """Object ids (count,) int64; by inverting the cumulated weights, which a CUDA graph can record."""
        edges = self._weights(env_steps).cumsum(0)
        uniform = torch.rand(count, device=edges.device) * edges[-1]
        return torch.searchsorted(edges, uniform, right=True).clamp(max=len(edges) - 1)

    def report(self, object_id: Tensor, ended: Tensor, success: Tensor) -> None:
        """Learns from ended episodes; all (N,).  Success is averaged over about the last ten episodes of an object."""
        episodes = torch.stack([ended, ended & success]).float()
        count, wins = self.success.new_zeros(2, len(self.success)).index_add_(1, object_id, episodes)
        self.success.lerp_(wins / count.clamp(min=1), 1 - 0.9**count)

    def state_dict(self) -> Dict[str, Tensor]:
        """Success so far."""
        return {"success": self.success}

    def load_state_dict(self, state: Dict[str, Tensor]) -> None:
        """Restores `state_dict`; another object set starts from nothing."""
        if state["success"].shape == self.success.shape:
            self.success.copy_(state["success"])
