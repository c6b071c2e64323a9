"""The running episodes: what they began with, how far they have come, how they ended, and what is logged of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import torch
from torch import Tensor

from tasks.grasp.config import GraspCfg
from tasks.grasp.rewards import Outcome
from tasks.grasp.situation import Goal, Situation
from tasks.grasp.steadiness import SERIES, LastSteps
from tasks.hands.spec import HandSpec
from tasks.simulators.contract import Start

TOUCH_FORCE = 0.1
"""N, a fingertip that feels more than this, while it is at the object, touches it."""


@dataclass
class EpisodeRecord:
    """How the last episode that counts went in each world, (N,).  It is kept in evaluation only."""

    object_id: Tensor
    held: Tensor
    """bool, at the goal for the whole last `hold_time`."""
    still: Tensor
    """bool, held, and the object slower than `still_speed` and `still_turn` for all of that time."""
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
    """N, standard deviation over the last `hold_time` of the fingertips' summed contact force."""
    grip_to_weight: Tensor
    """`grip_force` as a multiple of the object's weight in that world."""
    grip_force: Tensor
    """N, the fingertips' summed contact force.  This and what follows are means over the last `hold_time`."""
    action_rate: Tensor
    """By how much an action changes in a step; at most 2."""
    base_action_rate: Tensor
    """The same of the base's actions alone."""
    sign_changes: Tensor
    """Share of the base's actions whose sign differs from the step before."""
    saturated_share: Tensor
    """Share of the actions beyond 0.95 of their range."""
    object_speed: Tensor
    """m/s"""
    object_turn: Tensor
    """rad/s"""
    joint_jerk: Tensor
    """rad/s^3, root mean square over the drives that turn, from their velocities in three steps."""
    drive_torque: Tensor
    """N m, root mean square over the fingers' drives."""

    @classmethod
    def zeros(cls, num_envs: int, device: torch.device) -> EpisodeRecord:
        """A record of nothing."""

        def empty(dtype: torch.dtype) -> Tensor:
            return torch.zeros(num_envs, dtype=dtype, device=device)

        flags = {name: empty(torch.bool) for name in ("held", "still", "ever", "touched", "dropped")}
        measured = ("max_rise", "final_rise", "force_std", "grip_to_weight", *SERIES)
        floats = {name: empty(torch.float32) for name in measured}
        return cls(object_id=empty(torch.int64), **flags, **floats)


class Episodes:
    """The episode that runs in each world.  All tensors are written in place and keep their addresses."""

    def __init__(
        self, hand: HandSpec, cfg: GraspCfg, num_envs: int, control_dt: float, evaluation: bool, device: torch.device
    ) -> None:
        """control_dt: seconds of a control step."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(num_envs, *shape, device=device)

        self.evaluation, self.still_speed, self.still_turn = evaluation, cfg.still_speed, cfg.still_turn
        self.hold_steps = round(cfg.hold_time / control_dt)
        """Control steps at the goal, without a break, that count as held."""
        self.goal = Goal(pos=zeros(3), quat=zeros(4), rest_height=zeros())
        self.mass_scale, self.friction = zeros(), zeros()
        """(N,) of the object: times its own mass, and its sliding friction."""
        self.best_distance = zeros(hand.num_fingertips + 1)
        """(N, F + 1) m, the smallest distances of fingertips and palm to the object so far."""
        self.progress = torch.zeros(7, num_envs, device=device)
        """The rows are the properties below.  They are one tensor so that they are cleared and summed at once; flags are 1 or
        0 and counts are floats."""
        self.last_steps = LastSteps(num_envs if evaluation else 0, self.hold_steps, hand.num_drives, control_dt, device)
        """In evaluation: what steadiness is measured by."""
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
    def steps_still(self) -> Tensor:
        """(N,) steps at the goal and still, without a break, up to now."""
        return self.progress[6]

    @property
    def still(self) -> Tensor:
        """(N,) bool, still at the goal for as long as counts as held."""
        return self.steps_still >= self.hold_steps

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
            self.last_steps.clear(mask)

    def begin_distances(self, mask: Tensor, now: Situation) -> None:
        """Where new episodes begin, their first distances are the smallest so far."""
        torch.where(mask[:, None], now.gaps, self.best_distance, out=self.best_distance)

    def advance(self, o: Outcome, reward: Tensor, failed: Tensor) -> None:
        """Takes in a step.  reward (N,); failed (N,) bool: worlds that diverged, whose numbers are worth nothing."""
        now = o.now
        torch.minimum(self.best_distance, now.gaps, out=self.best_distance)
        self.steps_at_goal.add_(1).mul_(now.at_goal)
        still = now.at_goal & (now.object_speed < self.still_speed) & (now.object_turn < self.still_turn)
        self.steps_still.add_(1).mul_(still)
        self.ever.logical_or_(now.at_goal)
        self.touched.logical_or_(((now.tip_force > TOUCH_FORCE) & (now.tip_distance < 0.005)).any(-1))
        torch.maximum(self.max_rise, torch.where(failed, self._zero, now.rise), out=self.max_rise)
        self.total_reward.add_(reward)
        if self.evaluation:
            self.last_steps.add(now.state, o.action, o.previous_action, now.tip_force.sum(-1))

    def keep_record(self, ended: Tensor, held: Tensor, still: Tensor, o: Outcome) -> None:
        """In evaluation: keeps how the first episode of each world went.  ended, held, still: (N,) bool."""
        now, means = o.now, self.last_steps.means()
        new = {
            "object_id": now.state.object_id,
            "held": held,
            "still": still,
            "ever": self.ever.bool(),
            "touched": self.touched.bool(),
            "dropped": now.off_table,
            "max_rise": self.max_rise,
            "final_rise": torch.where(now.state.failed, self._zero, now.rise),
            "force_std": self.last_steps.force_std(),
            "grip_to_weight": means["grip_force"] / o.weight,
            **means,
        }
        counts = ended & ~self.counted
        for name, value in new.items():
            old = getattr(self.record, name)
            torch.where(counts, value, old, out=old)
        self.counted |= ended


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

    def __init__(self, kinds: Sequence[str], kind: Tensor, terms: Sequence[str], of_steps: Sequence[str] = ()) -> None:
        """kinds: names of the kinds of objects; kind (V,) int64 on the device, the kind of each object; terms: of the reward;
        of_steps: names of what has one value for all worlds in each step."""
        self.names = (
            *OF_EPISODES,
            *(f"success_rate/{name}" for name in kinds),
            *(f"reward/{name}" for name in terms),
            *of_steps,
        )
        self._kind, self._split = kind, [len(OF_EPISODES), len(kinds), len(terms), len(of_steps)]
        self.sums = torch.zeros(len(self.names), 2, device=kind.device)
        """(len(names), 2) sum and count."""
        self._zero = torch.zeros((), device=kind.device)

    def add_episodes(self, counts: Tensor, episodes: Episodes, held: Tensor, still: Tensor, now: Situation) -> None:
        """Adds the episodes of the worlds in counts.  counts, held, still: (N,) bool."""
        flags = torch.stack([now.off_table, now.state.failed, still, held, counts]).float()
        values = torch.where(counts, torch.cat([episodes.progress[:5], flags]), self._zero)
        sums = values.sum(-1)
        of_episodes, of_kinds, _, _ = self.sums.split(self._split)
        of_episodes[:, 0] += sums[:-1]
        of_episodes[:, 1] += sums[-1]
        of_kinds.index_add_(0, self._kind[now.state.object_id], values[-2:].T)  # held, and 1

    def add_rewards(self, parts: Tensor) -> None:
        """Adds a step's weighted terms, (K, N)."""
        of_terms = self.sums.split(self._split)[2]
        of_terms[:, 0] += parts.sum(-1)
        of_terms[:, 1] += parts.shape[1]

    def add_step(self, values: Tensor) -> None:
        """Adds what has one value for all worlds, (len(of_steps),)."""
        of_steps = self.sums.split(self._split)[3]
        of_steps[:, 0] += values
        of_steps[:, 1] += 1
