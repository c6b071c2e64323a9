"""ShadowHandGrasp: pick an object off the table and hold it at its goal, the same for every simulator and hand."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Dict, Literal, Tuple

import torch
from torch import Tensor

from ppo_grasp.device.graphs import Aside
from ppo_grasp.device.ranges import named_range
from ppo_grasp.vec_task import Step, VecTask
from tasks import rotations
from tasks.grasp.curriculum import ObjectCurriculum
from tasks.grasp.observations import NUM_OBS, SLICES, hidden_columns, observe
from tasks.grasp.rewards import REWARDS, Situation, StepOutcome
from tasks.grasp.starts import StartCfg, StartSampler
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.contract import COMPILE_OPTIONS, NUM_DRIVES, NUM_FINGERTIPS, Simulator, Start

NUM_PRIVILEGED = 21


@dataclass(frozen=True)
class GraspCfg:
    """The task's settings; lengths in metres, angles in radians, one step is a control step."""

    reward: Literal["default", "recipe", "level", "loose", "two_stage"] = "default"
    """Preset of `tasks.grasp.rewards`."""
    curriculum: Literal["uniform", "recipe", "adaptive"] = "adaptive"
    """Which objects training episodes get, see `tasks.grasp.curriculum`."""
    curriculum_floor: float = 0.25
    """adaptive: how often an object comes that never fails, where one that always does comes 1 + this."""
    episode_steps: int = 100
    """3.3 s at 30 Hz."""
    lift_height: float = 0.25
    """The goal above where the object rested."""
    success_radius: float = 0.05
    """Of the object's origin about the goal."""
    hold_time: float = 0.5
    """s within the radius at the end of the episode, without a break, that count as held."""
    base_step: float = 0.03
    """A full base action moves the base's target by this much in a step, and in a turn by `base_turn`."""
    base_turn: float = 0.1
    base_leash: float = 0.04
    """The base's target stays within this of where the base is, and in a turn within `turn_leash`."""
    turn_leash: float = 0.25
    base_reach: Tuple[float, float, float] = (0.3, 0.3, 0.8)
    """Targets stay within +- x, +- y and below z."""
    max_tilt: float = 0.6
    """Targets of the base's hinges x and y stay within +- this.  With 1.2, hands learn to lift by rolling over on the table,
    and hang there: see docs/experiments.md."""
    max_yaw: float = 1.6
    """Targets of the hinge z stay within +- this: a quarter turn either way brings the grip across any box."""
    max_fingers_up: float = 0.3
    """The hinge y tips the fingers up by no more: a forearm would be in the table."""
    finger_smoothing: float = 0.5
    """Share of the old finger target in the new one."""
    table_half_side: float = 0.4
    """An object whose origin leaves this square, or rises above 1 m, is off the table."""
    hidden_inputs: Tuple[str, ...] = ()
    """Slices of the observation, as `tasks.grasp.observations` names them, that are zero to the policy and not to the critic."""
    start: StartCfg = field(default_factory=StartCfg)


@dataclass
class EpisodeRecord:
    """How each world's last episode that counts went, (N,); kept in evaluation only."""

    object_id: Tensor
    held: Tensor
    """bool, at the goal for the whole last `hold_time`."""
    ever: Tensor
    """bool, at the goal at any step."""
    touched: Tensor
    """bool, a fingertip ever felt more than 0.1 N while at the object."""
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
        def empty(dtype: torch.dtype) -> Tensor:
            return torch.zeros(num_envs, dtype=dtype, device=device)

        flags = {name: empty(torch.bool) for name in ("held", "ever", "touched", "dropped")}
        floats = {name: empty(torch.float32) for name in ("max_rise", "final_rise", "force_std")}
        return cls(object_id=empty(torch.int64), **flags, **floats)


class GraspTask(VecTask):
    """See `VecTask`.  Actions: 6 increments of the base's targets, then 18 finger targets over the joints' ranges."""

    def __init__(
        self,
        simulator: Simulator,
        hand: HandSpec,
        objects: ObjectSet,
        cfg: GraspCfg = GraspCfg(),
        evaluation: bool = False,
    ) -> None:
        """evaluation: every episode starts at the evaluation start, objects come round in turn, and each world counts its
        first episode after `reset` only.
        """
        self.simulator, self.hand, self.objects, self.cfg = simulator, hand, objects, cfg
        self.evaluation = evaluation
        self.num_envs, self.device = simulator.num_envs, simulator.device
        self.num_obs, self.num_critic_obs = NUM_OBS, NUM_OBS + NUM_PRIVILEGED
        self.num_actions, self.capturable = NUM_DRIVES, simulator.capturable
        n, device = self.num_envs, self.device

        self.library = objects.tensors(device)
        self.starts = StartSampler(hand, self.library, cfg.start, evaluation)
        self.curriculum = ObjectCurriculum(
            cfg.curriculum, self.library.kind, len(objects.kinds), device, cfg.curriculum_floor
        )
        self._reward = REWARDS[cfg.reward]
        self._hold_steps = round(cfg.hold_time / simulator.control_dt)

        ranges = torch.as_tensor(hand.drive_ranges(), dtype=torch.float32, device=device)
        self.joint_low, self.joint_high = ranges.unbind(-1)
        self._finger_middle = (self.joint_low + self.joint_high)[6:] / 2
        self._finger_reach = (self.joint_high - self.joint_low)[6:] / 2
        reach = torch.tensor(cfg.base_reach, device=device)
        turn_high = torch.tensor([cfg.max_tilt, cfg.max_tilt, cfg.max_yaw], device=device)
        turn_low = -torch.tensor([cfg.max_tilt, cfg.max_fingers_up, cfg.max_yaw], device=device)
        self._base_low = torch.cat([-reach[:2], torch.zeros(1, device=device), turn_low])
        self._base_high = torch.cat([reach, turn_high])
        self._base_step = torch.tensor([cfg.base_step] * 3 + [cfg.base_turn] * 3, device=device)
        self._leash = torch.tensor([cfg.base_leash] * 3 + [cfg.turn_leash] * 3, device=device)
        self._radius = torch.tensor([*hand.fingertip_radius, 0.0], device=device)
        self._lift = torch.tensor([0.0, 0.0, cfg.lift_height], device=device)
        self._palm_centre = torch.tensor(hand.palm_centre, device=device)
        # Of |x|, |y| and |z|, for nothing gets 1 m below the ground.
        self._table_reach = torch.tensor([cfg.table_half_side, cfg.table_half_side, 1.0], device=device)
        self._mass_and_size = torch.cat([self.library.mass[:, None], self.library.half_extents], dim=-1)
        self._zero = torch.zeros((), device=device)
        self._hidden = hidden_columns(cfg.hidden_inputs).to(device)
        self._aside = Aside(device)

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(n, *shape, dtype=dtype, device=device)

        self.targets = zeros(NUM_DRIVES)
        self.previous_action = zeros(NUM_DRIVES)
        self.goal_pos, self.goal_quat = zeros(3), zeros(4)
        self.rest_height = zeros()
        self.mass_scale, self.friction = zeros(), zeros()
        self.best_distance = zeros(NUM_FINGERTIPS + 1)
        self.episode = torch.zeros(6, n, device=device)
        """What the running episodes have come to, in one tensor, to be cleared and summed at once: rows are the properties
        `ever` to `steps_at_goal`; flags are 1 or 0 and counts are floats."""
        self.recent_force = zeros(self._hold_steps)
        self.counted = zeros(dtype=torch.bool)
        self.record = EpisodeRecord.zeros(n, device)
        self.env_steps = torch.zeros((), dtype=torch.int64, device=device)
        self._turn = torch.zeros((), dtype=torch.int64, device=device)

        # The order of `_report`.
        self.metric_names = (
            "ever_success_rate",
            "touched_rate",
            "lift_height_m",
            "episode_return",
            "episode_steps",
            "dropped_rate",
            "failed_worlds",
            "success_rate",
            *(f"success_rate/{kind}" for kind in objects.kinds),
        )
        self.metric_sums = torch.zeros(len(self.metric_names), 2, device=device)

    # Rows of `episode`, (N,), to be written in place.  They are no attributes: torch.compile of torch 2.11 mistakes a view that
    # it is given beside its base for the base.

    @property
    def ever(self) -> Tensor:
        """1 where the object was at the goal at any step."""
        return self.episode[0]

    @property
    def touched(self) -> Tensor:
        """1 where a fingertip felt more than 0.1 N while at the object."""
        return self.episode[1]

    @property
    def max_rise(self) -> Tensor:
        """m"""
        return self.episode[2]

    @property
    def episode_return(self) -> Tensor:
        """Sum of rewards."""
        return self.episode[3]

    @property
    def time(self) -> Tensor:
        """Steps taken."""
        return self.episode[4]

    @property
    def steps_at_goal(self) -> Tensor:
        """Without a break, up to now."""
        return self.episode[5]

    # The contract.

    def reset(self) -> Tuple[Tensor, Tensor]:
        """See `VecTask.reset`; training worlds start at random times of their episodes, so that they do not end at once."""
        everywhere = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self.counted.zero_()
        start = self._draw_start(self._next_objects())
        self.simulator.reset(everywhere, start)
        seen = self._begin(everywhere, start)
        if self.evaluation:
            self._turn += self.num_envs
        else:
            self.time.copy_(torch.randint_like(self.time, self.cfg.episode_steps))
        return seen

    def step(self, action: Tensor) -> Step:
        """See `VecTask.step`."""
        action = action.clamp(-1, 1)
        with named_range("physics"):
            self._move_targets(action)
            self.simulator.step(self.targets)
        with named_range("reward"):
            object_id = self._next_objects()  # by what was learnt of objects before this step
            with self._aside():
                start = self._draw_start(object_id)
            reward, terminated, truncated, final_critic_obs = self._conclude(action)
            self._aside.join()
        with named_range("reset"):
            ended = terminated | truncated
            self.simulator.reset(ended, start)
        with named_range("observation"):
            obs, critic_obs = self._begin(ended, start)
        return Step(obs, critic_obs, reward, terminated, truncated, final_critic_obs)

    def compile(self) -> None:
        """See `VecTask.compile`."""
        self._move_targets = torch.compile(self._move_targets, **COMPILE_OPTIONS)  # type: ignore[method-assign]
        self._conclude = torch.compile(self._conclude, **COMPILE_OPTIONS)  # type: ignore[method-assign]
        self._draw_start = torch.compile(self._draw_start, **COMPILE_OPTIONS)  # type: ignore[method-assign]
        self._begin = torch.compile(self._begin, **COMPILE_OPTIONS)  # type: ignore[method-assign]

    def capture(self) -> AbstractContextManager:
        """See `VecTask.capture`."""
        return self.simulator.capture()

    def diagnostics(self) -> Dict[str, float]:
        """See `VecTask.diagnostics`."""
        return self.simulator.diagnostics()

    def state_dict(self) -> Dict[str, Any]:
        """Curriculum and the steps it counts."""
        return {"env_steps": self.env_steps, **self.curriculum.state_dict()}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.env_steps.copy_(state["env_steps"])
        self.curriculum.load_state_dict(state)

    # Within a step: what happens between two calls of the simulator is one function of tensors, fit for torch.compile.

    def _conclude(self, action: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """Judges the step: reward, terminated, truncated, and the critic's view of it."""
        self.time.add_(1)
        self.env_steps += self.num_envs
        obs = observe(self.simulator.state, action, self.goal_pos, self.goal_quat)
        gaps = self._surface_distances(obs)
        outcome = self._measure(action, gaps)
        failed = self.simulator.state.failed
        terminated = outcome.dropped | failed
        truncated = (self.time >= self.cfg.episode_steps) & ~terminated
        reward = self._if_sane(self._reward(outcome))
        self._remember(outcome, gaps, reward)
        self._report(terminated | truncated, truncated, outcome)
        self.previous_action.copy_(action)
        # Diverged worlds have ended, so what the critic sees of them has no weight, but must be a number.
        final_critic_obs = torch.nan_to_num(self._critics_view(obs, outcome))
        return reward, terminated, truncated, final_critic_obs

    def _move_targets(self, action: Tensor) -> None:
        """Base: the target moves, on a leash, within reach.  Fingers: absolute, smoothed."""
        base, fingers = self.targets[:, :6], self.targets[:, 6:]
        measured = self.simulator.state.joint_pos[:, :6]
        base.addcmul_(action[:, :6], self._base_step)
        base.clamp_(measured - self._leash, measured + self._leash).clamp_(self._base_low, self._base_high)
        wanted = torch.addcmul(self._finger_middle, action[:, 6:], self._finger_reach)
        fingers.lerp_(wanted, 1 - self.cfg.finger_smoothing)

    def _surface_distances(self, obs: Tensor) -> Tensor:
        """(N, 6) from the five fingertips' surfaces and the point before the palm to the object's surface, m.

        obs: from `observe`, which has object and fingertips in the palm's frame.
        """
        pos, quat = obs[:, None, SLICES["object_pose"]].split([3, 4], dim=-1)
        tips = obs[:, SLICES["fingertips_to_object"]].unflatten(-1, (NUM_FINGERTIPS, 3))
        points = rotations.rotate_inverse(quat, torch.cat([tips, self._palm_centre - pos], dim=1))
        gaps = self.simulator.distances(self.library.faces, points)
        return (gaps - self._radius).clamp(min=0)

    def _situation(self, gaps: Tensor) -> Situation:
        """gaps (N, 6) from `_surface_distances`"""
        s = self.simulator.state
        height = s.object_pos[:, 2]
        goal_distance = (s.object_pos - self.goal_pos).norm(dim=-1)
        return Situation(
            tip_distance=gaps[:, :NUM_FINGERTIPS],
            palm_distance=gaps[:, NUM_FINGERTIPS],
            tip_force=s.fingertip_wrench[..., :3].norm(dim=-1),
            height=height,
            rise=height - self.rest_height,
            goal_distance=goal_distance,
            at_goal=goal_distance < self.cfg.success_radius,
            object_speed=s.object_vel[:, :3].norm(dim=-1),
        )

    def _measure(self, action: Tensor, gaps: Tensor) -> StepOutcome:
        """action (N, 24), gaps (N, 6) from `_surface_distances`"""
        now = self._situation(gaps)
        return StepOutcome(
            tip_distance=now.tip_distance,
            palm_distance=now.palm_distance,
            tip_force=now.tip_force,
            height=now.height,
            rise=now.rise,
            goal_distance=now.goal_distance,
            at_goal=now.at_goal,
            object_speed=now.object_speed,
            progress=(self.best_distance - gaps).clamp(min=0).sum(-1),
            dropped=(self.simulator.state.object_pos.abs() > self._table_reach).any(-1),
            goal_height=self.goal_pos[:, 2],
            lift_height=self.cfg.lift_height,
            action=action,
            previous_action=self.previous_action,
            phase=(self.env_steps / 10_000_000).clamp(max=1),
        )

    def _remember(self, o: StepOutcome, gaps: Tensor, reward: Tensor) -> None:
        """Carries what an episode's end is judged by."""
        torch.minimum(self.best_distance, gaps, out=self.best_distance)
        self.steps_at_goal.add_(1).mul_(o.at_goal)
        self.ever.logical_or_(o.at_goal)
        self.touched.logical_or_(((o.tip_force > 0.1) & (o.tip_distance < 0.005)).any(-1))
        torch.maximum(self.max_rise, self._if_sane(o.rise), out=self.max_rise)
        self.episode_return.add_(reward)
        if self.evaluation:
            force = self._if_sane(o.tip_force.sum(-1))[:, None]
            self.recent_force.copy_(torch.cat([self.recent_force[:, 1:], force], dim=-1))

    def _if_sane(self, value: Tensor) -> Tensor:
        """0 for worlds that diverged: one number that is not finite, or absurd, would spoil every mean."""
        return torch.where(self.simulator.state.failed, self._zero, value)

    def _report(self, ended: Tensor, truncated: Tensor, o: StepOutcome) -> None:
        """Into the metrics, the curriculum, and in evaluation the records."""
        object_id, failed = self.simulator.state.object_id, self.simulator.state.failed
        held = truncated & (self.steps_at_goal >= self._hold_steps)
        counts = ended & ~self.counted if self.evaluation else ended
        # A row for each metric but those of kinds, and a last one to count the episodes.
        flags = torch.stack([o.dropped, failed, held, counts]).float()
        values = torch.where(counts, torch.cat([self.episode[:5], flags]), self._zero)
        sums = values.sum(-1)
        of_all, of_kinds = self.metric_sums.split([len(sums) - 1, len(self.objects.kinds)])
        of_all[:, 0] += sums[:-1]
        of_all[:, 1] += sums[-1]
        of_kinds.index_add_(0, self.library.kind[object_id], values[-2:].T)  # held, and 1
        self.curriculum.report(object_id, ended, held)
        if self.evaluation:
            self._record(counts, held, o)
            self.counted |= ended

    def _record(self, counts: Tensor, held: Tensor, o: StepOutcome) -> None:
        """Keeps how the episodes of the worlds that count went."""
        new = {
            "object_id": self.simulator.state.object_id,
            "held": held,
            "ever": self.ever.bool(),
            "touched": self.touched.bool(),
            "dropped": o.dropped,
            "max_rise": self.max_rise,
            "final_rise": self._if_sane(o.rise),
            "force_std": self.recent_force.std(dim=-1),
        }
        for name, value in new.items():
            old = getattr(self.record, name)
            torch.where(counts, value, old, out=old)

    def _next_objects(self) -> Tensor:
        """(N,) ids: drawn by the curriculum, or in turn, or what the simulator was built with."""
        if not self.simulator.swaps_objects:
            return self.simulator.state.object_id
        if self.evaluation:
            ids = torch.arange(self.num_envs, device=self.device) + self._turn
            return ids % len(self.objects)
        return self.curriculum.draw(self.num_envs, self.env_steps)

    def _draw_start(self, object_id: Tensor) -> Start:
        """For all worlds, object_id (N,); those whose episode goes on ignore theirs."""
        start = self.starts.draw(object_id)
        if not self.simulator.swaps_objects:  # it keeps what it was built with
            start.mass_scale, start.friction = self.simulator.mass_scale, self.simulator.friction
        return start

    def _begin(self, mask: Tensor, start: Start) -> Tuple[Tensor, Tensor]:
        """New episodes in the worlds of the mask, which the simulator has reset; what policy and critic see now."""

        def put(target: Tensor, value: Tensor) -> None:
            torch.where(mask.view(-1, *[1] * (target.dim() - 1)), value, target, out=target)

        put(self.mass_scale, start.mass_scale)
        put(self.friction, start.friction)
        rest = start.object_pos
        put(self.goal_pos, rest + self._lift)
        put(self.goal_quat, start.object_quat)
        put(self.rest_height, rest[:, 2])
        put(self.targets, start.joint_pos)
        self.episode.masked_fill_(mask, 0)
        self.previous_action.masked_fill_(mask[:, None], 0)
        if self.evaluation:
            self.recent_force.masked_fill_(mask[:, None], 0)
        obs = observe(self.simulator.state, self.previous_action, self.goal_pos, self.goal_quat)
        gaps = self._surface_distances(obs)
        put(self.best_distance, gaps)
        critic_obs = self._critics_view(obs, self._situation(gaps))
        return (obs.masked_fill(self._hidden, 0.0) if self.cfg.hidden_inputs else obs), critic_obs

    def _critics_view(self, obs: Tensor, now: Situation) -> Tensor:
        """The policy's view, and then the object and the reward's own quantities."""
        s = self.simulator.state
        mass, half_extents = self._mass_and_size[s.object_id].split([1, 3], dim=-1)
        columns = [
            now.tip_distance,  # 5
            now.palm_distance,
            now.rise,
            now.goal_distance,
            now.at_goal.float(),
            now.object_speed,
            self.steps_at_goal / self._hold_steps,
            self.best_distance.sum(-1),
            mass * self.mass_scale[:, None],
            self.friction,
            half_extents,  # 3
            now.tip_force.sum(-1),
            (now.tip_force > 0.1).float().sum(-1),
            s.object_vel[:, 2],
            s.palm_pos[:, 2],
        ]
        return torch.cat([obs, *(c.view(self.num_envs, -1) for c in columns)], dim=-1)
