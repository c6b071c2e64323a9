"""Actions that come late."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.randomisation.levels import steps_of


class DelayLine:
    """Actions on their way to the drives.  No action overtakes another; a newer one that arrives replaces those before."""

    def __init__(self, cfg: RandomCfg, num_envs: int, num_actions: int, device: torch.device) -> None:
        self._delay, self._jitter = cfg.action_delay, cfg.action_jitter
        self.waiting = torch.zeros(cfg.action_delay + cfg.action_jitter, num_envs, num_actions, device=device)
        """(L, N, D) the last actions, the newest first."""
        self.late = torch.zeros(num_envs, dtype=torch.int64, device=device)
        """(N,) steps by which the action that acts now is late."""

    def begin(self, mask: Tensor, hold: Tensor) -> None:
        """Episodes begin in the worlds in mask (N,).  Until their first action arrives, `hold` (N, D) acts."""
        torch.where(mask[:, None], hold, self.waiting, out=self.waiting)
        self.late.masked_fill_(mask, len(self.waiting))

    def arriving(self, action: Tensor, level: Tensor) -> Tensor:
        """(N, D) what acts in this step.  action (N, D): what the policy has just decided.  level (N,): see `Levels`."""
        line = torch.cat([action[None], self.waiting])
        wanted = steps_of(self._delay, level)
        if self._jitter > 0:
            wanted = wanted + steps_of(self._jitter, level * torch.rand_like(level))
        torch.minimum(self.late + 1, wanted, out=self.late)
        self.waiting.copy_(line[:-1])
        return line.gather(0, self.late[None, :, None].expand(1, *action.shape))[0]
