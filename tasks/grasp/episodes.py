"""The running episodes: what they began with, how far they have come, how they ended, and what is logged of them.

`episodes_state` has them as plain tensors, so that a resumed training goes on in the middle of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence

import torch
from torch import Tensor

from tasks.grasp.config import GraspCfg
from tasks.grasp.rewards import Outcome
from tasks.grasp.situation import Goal, Situation
from tasks.grasp.starts import EpisodeStart
from tasks.grasp.steadiness import SERIES, LastSteps
from tasks.hands.spec import HandSpec
from tasks.simulators.contract import Start

if TYPE_CHECKING:
    from tasks.grasp.environment import GraspTask

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
    """N, standard deviation of the grip force over the last `hold_time`."""
    grip_to_weight: Tensor
    """`grip_force` as a multiple of the object's weight in that world."""
    grip_force: Tensor
    """N, the contact forces of all links of the hand.  This and what follows are means over the last `hold_time`."""
    fingertip_force: Tensor
    """N, the contact forces of the links of the fingertips alone."""
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
        self.stage = torch.zeros(num_envs, dtype=torch.int64, device=device)
        """(N,) where the episode started, see `EpisodeStart.stage`."""
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

    def begin(self, mask: Tensor, start: EpisodeStart, lift: Tensor) -> None:
        """New episodes in the worlds in mask (N,).  lift (3,): from where the object rests to its goal."""

        def put(target: Tensor, value: Tensor) -> None:
            torch.where(mask.view(-1, *[1] * (target.dim() - 1)), value, target, out=target)

        put(self.mass_scale, start.mass_scale)
        put(self.friction, start.friction)
        put(self.goal.pos, start.rest_pos + lift)
        put(self.goal.quat, start.rest_quat)
        put(self.goal.rest_height, start.rest_pos[:, 2])
        put(self.stage, start.stage)
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
            self.last_steps.add(now, o.action, o.previous_action)

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
OF_HELD = ("grip_force_n", "fingertip_force_n", "grip_to_weight")
"""Means over those that were held, of their last step."""


class TaskMetrics:
    """Sums and counts of each metric since the engine last zeroed them."""

    def __init__(self, kinds: Sequence[str], kind: Tensor, terms: Sequence[str], of_steps: Sequence[str] = ()) -> None:
        """kinds: names of the kinds of objects; kind (V,) int64 on the device, the kind of each object; terms: of the reward;
        of_steps: names of what has one value for all worlds in each step."""
        self.names = (
            *(*OF_HELD, *OF_EPISODES),
            *(f"success_rate/{name}" for name in kinds),
            *(f"reward/{name}" for name in terms),
            *of_steps,
        )
        ended = len(OF_HELD) + len(OF_EPISODES)
        self._kind, self._split = kind, [ended, len(kinds), len(terms), len(of_steps)]
        counts = [ended - 1] * len(OF_HELD) + [ended] * len(OF_EPISODES)
        self._counts = torch.tensor(counts, device=kind.device)
        """Which row of `add_episodes` counts the episodes of each metric: those that were held, or all that ended."""
        self.sums = torch.zeros(len(self.names), 2, device=kind.device)
        """(len(names), 2) sum and count."""
        self._zero = torch.zeros((), device=kind.device)

    def add_episodes(self, counts: Tensor, episodes: Episodes, held: Tensor, still: Tensor, o: Outcome) -> None:
        """Adds the episodes of the worlds in counts.  counts, held, still: (N,) bool."""
        now = o.now
        forces = torch.stack([now.hand_force, now.tip_force.sum(-1), now.hand_force / o.weight])
        flags = torch.stack([now.off_table, now.state.failed, still, held, counts]).float()
        rows = torch.cat([torch.where(held, forces, self._zero), episodes.progress[:5], flags])
        values = torch.where(counts, rows, self._zero)
        sums = values.sum(-1)
        of_episodes, of_kinds, _, _ = self.sums.split(self._split)
        of_episodes[:, 0] += sums[:-1]
        of_episodes[:, 1] += sums[self._counts]
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


def episodes_state(task: GraspTask) -> Optional[Dict[str, Any]]:
    """The physics, the episodes, and of which world they are; None if the simulator cannot give its physics."""
    physics = task.simulator.state_dict()
    if physics is None:
        return None
    tensors = {name: tensor.cpu().clone() for name, tensor in _tensors(task).items()}
    return {"world": _world(task), "physics": physics, "tensors": tensors}


def load_episodes_state(task: GraspTask, state: Dict[str, Any]) -> None:
    """Restores `episodes_state`.  Raises ValueError if the state is of another world; the task must then be reset."""
    there = state["world"]
    for name, value in _world(task).items():
        if there.get(name) != value:
            if name == "object_names":
                raise ValueError("the objects are others")
            raise ValueError(f"{name.replace('_', ' ')} is {value}, it was {there.get(name)}")
    own, tensors = _tensors(task), state["tensors"]
    more = sorted(tensors.keys() - own.keys())
    if more:
        raise ValueError(f"the checkpoint has {more[0]}, which is off now")
    for name, tensor in own.items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            raise ValueError(f"the checkpoint has no {name} of this shape")
        if not bool(torch.isfinite(tensors[name]).all()):
            raise ValueError(f"{name} is not finite")
    object_id = tensors["object_id"].long()
    if not bool(((object_id >= 0) & (object_id < len(task.objects))).all()):
        raise ValueError("the checkpoint names objects that are not there")
    task.simulator.reset(torch.ones(task.num_envs, dtype=torch.bool, device=task.device), _same_objects(task, tensors))
    task.simulator.load_state_dict(state["physics"])
    for name, tensor in own.items():
        tensor.copy_(tensors[name])
    if task.disturbances is not None:
        task.disturbances.replaced()


def _world(task: GraspTask) -> Dict[str, Any]:
    """What must be the same for a state to fit."""
    return {
        "simulator": task.simulator.name,
        "number_of_environments": task.num_envs,
        "hand": task.hand.name,
        "control_dt": task.simulator.control_dt,
        "object_names": [o.name for o in task.objects.objects],
    }


def _tensors(task: GraspTask) -> Dict[str, Tensor]:
    """Everything that a step of training carries over to the next one, besides the physics."""
    episodes = task.episodes
    return {
        "targets": task.targets.position,
        "previous_action": task.previous_action,
        "goal_pos": episodes.goal.pos,
        "goal_quat": episodes.goal.quat,
        "rest_height": episodes.goal.rest_height,
        "mass_scale": episodes.mass_scale,
        "friction": episodes.friction,
        "best_distance": episodes.best_distance,
        "progress": episodes.progress,
        "counts_from": task.counts_from,
        "stage": episodes.stage,
        "object_id": task.simulator.state.object_id,
        **task.carried(),
    }


def _same_objects(task: GraspTask, tensors: Dict[str, Tensor]) -> Start:
    """A start with the objects, masses and friction of the saved worlds.  Its poses are replaced afterwards."""
    start = task.starts.draw(tensors["object_id"].to(task.device))
    start.mass_scale = tensors["mass_scale"].to(task.device)
    start.friction = tensors["friction"].to(task.device)
    return start
