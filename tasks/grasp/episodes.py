"""The running episodes: what they began with, how far they have come, and in evaluation how they ended."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.grasp.rewards import Outcome
from tasks.grasp.situation import Goal, Situation
from tasks.simulators.contract import Start

TOUCH_FORCE = 0.1
"""N, a fingertip that feels more than this, while it is at the object, touches it."""


@dataclass
class EpisodeRecord:
    """How the last episode that counts went in each world, (N,).  It is kept in evaluation only."""

    object_id: Tensor
    held: Tensor
    """bool, at the goal for the whole last `hold_time`."""
    ever: Tensor
    """bool, at the goal at any step."""
    touched: Tensor
    """bool, a fingertip ever touched the object."""
    dropped: Tensor
    """bool, ended off the table."""
    max_rise: Tensor
    """m"""
    final_rise: Tensor
    """m"""
    force_std: Tensor
    """N, standard deviation over `hold_time` at the end of the fingertips' summed contact force."""

    @classmethod
    def zeros(cls, num_envs: int, device: torch.device) -> EpisodeRecord:
        """A record of nothing."""

        def empty(dtype: torch.dtype) -> Tensor:
            return torch.zeros(num_envs, dtype=dtype, device=device)

        flags = {name: empty(torch.bool) for name in ("held", "ever", "touched", "dropped")}
        floats = {name: empty(torch.float32) for name in ("max_rise", "final_rise", "force_std")}
        return cls(object_id=empty(torch.int64), **flags, **floats)


class Episodes:
    """The episode that runs in each world.  All tensors are written in place and keep their addresses."""

    def __init__(
        self, num_envs: int, num_distances: int, hold_steps: int, evaluation: bool, device: torch.device
    ) -> None:
        """num_distances: of fingertips and palm; hold_steps: control steps at the goal that count as held."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(num_envs, *shape, device=device)

        self.hold_steps, self.evaluation = hold_steps, evaluation
        self.goal = Goal(pos=zeros(3), quat=zeros(4), rest_height=zeros())
        self.mass_scale, self.friction = zeros(), zeros()
        """(N,) of the object: times its own mass, and its sliding friction."""
        self.best_distance = zeros(num_distances)
        """(N, F + 1) m, the smallest distances of fingertips and palm to the object so far."""
        self.progress = torch.zeros(6, num_envs, device=device)
        """The rows are the properties below.  They are one tensor so that they are cleared and summed at once; flags are 1 or
        0 and counts are floats."""
        self.recent_force = zeros(hold_steps)
        self.counted = torch.zeros(num_envs, dtype=torch.bool, device=device)
        """(N,) in evaluation: the world's first episode has ended and is in `record`."""
        self.record = EpisodeRecord.zeros(num_envs, device)
        self._zero = torch.zeros((), device=device)

    # These are properties and not attributes: torch.compile of torch 2.11 mistakes a view for its base if it is given both.

    @property
    def ever(self) -> Tensor:
        """(N,) 1 where the object was at the goal at any step."""
        return self.progress[0]

    @property
    def touched(self) -> Tensor:
        """(N,) 1 where a fingertip touched the object."""
        return self.progress[1]

    @property
    def max_rise(self) -> Tensor:
        """(N,) m"""
        return self.progress[2]

    @property
    def total_reward(self) -> Tensor:
        """(N,) sum of rewards."""
        return self.progress[3]

    @property
    def time(self) -> Tensor:
        """(N,) steps taken."""
        return self.progress[4]

    @property
    def steps_at_goal(self) -> Tensor:
        """(N,) steps at the goal without a break, up to now."""
        return self.progress[5]

    @property
    def held(self) -> Tensor:
        """(N,) bool, at the goal for as long as counts as held."""
        return self.steps_at_goal >= self.hold_steps

    def begin(self, mask: Tensor, start: Start, lift: Tensor) -> None:
        """New episodes in the worlds in mask (N,).  lift (3,): from where the object rests to its goal."""

        def put(target: Tensor, value: Tensor) -> None:
            torch.where(mask.view(-1, *[1] * (target.dim() - 1)), value, target, out=target)

        put(self.mass_scale, start.mass_scale)
        put(self.friction, start.friction)
        put(self.goal.pos, start.object_pos + lift)
        put(self.goal.quat, start.object_quat)
        put(self.goal.rest_height, start.object_pos[:, 2])
        self.progress.masked_fill_(mask, 0)
        if self.evaluation:
            self.recent_force.masked_fill_(mask[:, None], 0)

    def begin_distances(self, mask: Tensor, now: Situation) -> None:
        """Where new episodes begin, their first distances are the smallest so far."""
        torch.where(mask[:, None], now.gaps, self.best_distance, out=self.best_distance)

    def advance(self, o: Outcome, reward: Tensor, failed: Tensor) -> None:
        """Takes in a step.  reward (N,); failed (N,) bool: worlds that diverged, whose numbers are worth nothing."""
        now = o.now
        torch.minimum(self.best_distance, now.gaps, out=self.best_distance)
        self.steps_at_goal.add_(1).mul_(now.at_goal)
        self.ever.logical_or_(now.at_goal)
        self.touched.logical_or_(((now.tip_force > TOUCH_FORCE) & (now.tip_distance < 0.005)).any(-1))
        torch.maximum(self.max_rise, torch.where(failed, self._zero, now.rise), out=self.max_rise)
        self.total_reward.add_(reward)
        if self.evaluation:
            force = torch.where(failed, self._zero, now.tip_force.sum(-1))[:, None]
            self.recent_force.copy_(torch.cat([self.recent_force[:, 1:], force], dim=-1))

    def keep_record(self, ended: Tensor, held: Tensor, now: Situation) -> None:
        """In evaluation: keeps how the first episode of each world went.  ended, held: (N,) bool."""
        new = {
            "object_id": now.state.object_id,
            "held": held,
            "ever": self.ever.bool(),
            "touched": self.touched.bool(),
            "dropped": now.off_table,
            "max_rise": self.max_rise,
            "final_rise": torch.where(now.state.failed, self._zero, now.rise),
            "force_std": self.recent_force.std(dim=-1),
        }
        counts = ended & ~self.counted
        for name, value in new.items():
            old = getattr(self.record, name)
            torch.where(counts, value, old, out=old)
        self.counted |= ended
