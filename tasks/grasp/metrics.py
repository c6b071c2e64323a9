"""What training logs of the task: sums on the device that the engine turns into means."""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from tasks.grasp.episodes import Episodes
from tasks.grasp.situation import Situation

OF_EPISODES = (
    "ever_success_rate",
    "touched_rate",
    "lift_height_m",
    "episode_return",
    "episode_steps",
    "dropped_rate",
    "failed_worlds",
    "still_success_rate",
    "success_rate",
)
"""Means over the episodes that ended.  The first five are the first rows of `Episodes.progress`."""


class TaskMetrics:
    """Sums and counts of each metric since the engine last zeroed them."""

    def __init__(self, kinds: Sequence[str], kind: Tensor, terms: Sequence[str]) -> None:
        """kinds: names of the kinds of objects; kind (V,) int64 on the device, the kind of each object; terms: of the reward."""
        self.names = (*OF_EPISODES, *(f"success_rate/{name}" for name in kinds), *(f"reward/{name}" for name in terms))
        self._kind, self._split = kind, [len(OF_EPISODES), len(kinds), len(terms)]
        self.sums = torch.zeros(len(self.names), 2, device=kind.device)
        """(len(names), 2) sum and count."""
        self._zero = torch.zeros((), device=kind.device)

    def add_episodes(self, counts: Tensor, episodes: Episodes, held: Tensor, still: Tensor, now: Situation) -> None:
        """Adds the episodes of the worlds in counts.  counts, held, still: (N,) bool."""
        flags = torch.stack([now.off_table, now.state.failed, still, held, counts]).float()
        values = torch.where(counts, torch.cat([episodes.progress[:5], flags]), self._zero)
        sums = values.sum(-1)
        of_episodes, of_kinds, _ = self.sums.split(self._split)
        of_episodes[:, 0] += sums[:-1]
        of_episodes[:, 1] += sums[-1]
        of_kinds.index_add_(0, self._kind[now.state.object_id], values[-2:].T)  # held, and 1

    def add_rewards(self, parts: Tensor) -> None:
        """Adds a step's weighted terms, (K, N)."""
        of_terms = self.sums.split(self._split)[2]
        of_terms[:, 0] += parts.sum(-1)
        of_terms[:, 1] += parts.shape[1]
