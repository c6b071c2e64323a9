"""How strong the disturbances are: widened by success, and drawn for each episode."""

from __future__ import annotations

from typing import Dict, Tuple

import torch
from torch import Tensor

from tasks.grasp.randomisation.config import RandomCfg

KINDS: Tuple[str, ...] = ("joints", "object", "tips", "forces", "sight", "delay", "push")
"""Kinds of disturbances whose strengths are drawn apart."""


class Levels:
    """The strength of each kind in each world, from 0 to 1, and the scale that all of them have."""

    def __init__(self, cfg: RandomCfg, num_envs: int, evaluation: bool, device: torch.device) -> None:
        """evaluation: all is at its full strength."""
        self._drawn = cfg.strength == "drawn" and not evaluation
        self.widens = cfg.widen and not evaluation
        self._above, self._below, self._increment = cfg.widen_above, cfg.narrow_below, 1 / cfg.widen_increments
        self._enough = num_envs
        self.scale = torch.full((), 0.0 if self.widens else 1.0, device=device)
        """() what all disturbances are multiplied by, from 0 to 1."""
        self.recent = torch.zeros(2, device=device)
        """(2,) training episodes since the scale was last looked at: how many ended, and how many of them were held."""
        self.of = torch.zeros(len(KINDS), num_envs, device=device)
        """(K, N) strength of each of KINDS in this episode."""

    def begin(self, mask: Tensor) -> None:
        """Widens or narrows, and draws the strengths of the worlds in mask (N,), whose episodes begin."""
        self._widen()
        share = torch.rand_like(self.of) if self._drawn else torch.ones_like(self.of)
        torch.where(mask, share * self.scale, self.of, out=self.of)

    def kind(self, name: str) -> Tensor:
        """(N,) strength of a kind."""
        return self.of[KINDS.index(name)]

    def report(self, ended: Tensor, held: Tensor) -> None:
        """Counts episodes that ended, and of these the held ones.  ended, held: (N,) bool."""
        if self.widens:
            self.recent += torch.stack([ended, ended & held]).sum(-1)

    def _widen(self) -> None:
        """Moves the scale by one increment at most, once as many episodes have ended as there are worlds.

        It is apart from `report`, because starts are drawn at the same time as a step is judged, and need the scale.
        """
        if not self.widens:
            return
        count, wins = self.recent
        enough = count >= self._enough
        share = wins / count.clamp(min=1)
        step = ((share > self._above).float() - (share < self._below).float()) * self._increment
        self.scale.add_(step * enough).clamp_(0, 1)
        self.recent.mul_(~enough)

    def state_dict(self) -> Dict[str, Tensor]:
        """How wide the disturbances are."""
        return {"disturbance_scale": self.scale, "disturbance_recent": self.recent} if self.widens else {}

    def load_state_dict(self, state: Dict[str, Tensor]) -> None:
        """Restores `state_dict`.  A checkpoint without it begins anew."""
        if self.widens and "disturbance_scale" in state:
            self.scale.copy_(state["disturbance_scale"])
            self.recent.copy_(state["disturbance_recent"])


def steps_of(most: int, level: Tensor) -> Tensor:
    """A whole number from 0 to most for levels (...) from 0 to 1, each for an equal part of them, int64."""
    return ((most + 1) * level).long().clamp(max=most)
