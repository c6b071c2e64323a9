"""GraspTask: pick an object off the table and hold it at its goal, the same for every simulator and hand."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any, Dict, Optional, Tuple

import torch
from torch import Tensor

from ppo_grasp.device.graphs import SecondStream, replayed
from ppo_grasp.device.ranges import named_range
from ppo_grasp.vec_task import Step, VecTask
from tasks.grasp.actions import DriveTargets
from tasks.grasp.config import GraspCfg
from tasks.grasp.curriculum import ObjectCurriculum
from tasks.grasp.episodes import Episodes, TaskMetrics, episodes_state, load_episodes_state
from tasks.grasp.observations import ACTOR, History, Layout, View, actor_view, critic_view, observation_sizes
from tasks.grasp.randomisation.disturbances import Disturbances, end_disturbances
from tasks.grasp.rewards import Outcome, Reward, resolve
from tasks.grasp.situation import Situation, SituationReader
from tasks.grasp.starts import EpisodeStart, StartSampler
from tasks.grasp.starts.demonstrations import FALLEN, IN_THE_AIR, STAGE_NAMES, GraspStarts
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.contract import COMPILE_OPTIONS, Simulator

START_FIELDS = tuple(f.name for f in fields(EpisodeStart) if f.name != "table_rise")
"""What the beginning of an episode reads of a start."""
GRAVITY = 9.81
"""m/s^2"""
PHASE_STEPS = 10_000_000
"""Environment steps over which the phase of rewards goes from 0 to 1."""


class GraspTask(VecTask):
    """The grasping task on a simulator.  See `VecTask` for the contract and `DriveTargets` for what actions mean."""

    def __init__(
        self,
        simulator: Simulator,
        hand: HandSpec,
        objects: ObjectSet,
        cfg: GraspCfg = GraspCfg(),  # noqa: B008 frozen
        evaluation: bool = False,
    ) -> None:
        """evaluation: every episode starts at the evaluation start, objects come round in turn, and each world counts only its
        first episode after `reset`.
        """
        self.simulator, self.hand, self.objects, self.cfg = simulator, hand, objects, cfg
        self.evaluation = evaluation
        self.num_envs, self.device = n, device = simulator.num_envs, simulator.device
        self.num_obs, self.num_critic_obs = observation_sizes(hand, cfg.history_inputs, cfg.history)
        self.num_actions, self.capturable = hand.num_drives, simulator.capturable

        self.library = objects.tensors(device)
        self.starts = StartSampler(hand, self.library, cfg.start, evaluation, cfg.lift_height)
        self.grasp_starts: Optional[GraspStarts] = None
        if cfg.start.grasp_fraction > 0 and not evaluation:
            self.grasp_starts = GraspStarts(hand, n, len(objects), cfg.start, device)
        self.curriculum = ObjectCurriculum(
            cfg.curriculum, self.library.kind, len(objects.kinds), device, cfg.curriculum_floor
        )
        self.reward = Reward(resolve(cfg.reward, cfg.reward_weights, cfg.reward_scale), device)
        self.targets = DriveTargets(hand, cfg, n, device)
        self.situation = SituationReader(simulator, hand, self.library, cfg.success_radius, cfg.table_half_side)
        self.episodes = Episodes(hand, cfg, n, simulator.control_dt, evaluation, device)
        if simulator.disturbed:
            end_disturbances(hand, simulator)
        self.disturbances: Optional[Disturbances] = None
        if cfg.random.active or cfg.pose_filter > 0:
            self.disturbances = Disturbances(hand, cfg.random, simulator, evaluation, cfg.pose_filter)
        self._widens = self.disturbances is not None and self.disturbances.levels.widens
        terms = [t.name for t in self.reward.terms]
        stages = () if self.grasp_starts is None else STAGE_NAMES
        of_steps = (*(f"start_success/{name}" for name in stages), *("disturbance_scale",) * self._widens)
        self.metrics = TaskMetrics(objects.kinds, self.library.kind, terms, of_steps)
        self.metric_names, self.metric_sums = self.metrics.names, self.metrics.sums

        self.previous_action = torch.zeros(n, hand.num_drives, device=device)
        self.env_steps = torch.zeros((), dtype=torch.int64, device=device)
        self.counts_from = torch.zeros((), dtype=torch.int64, device=device)
        """In training: as of so many `env_steps` the episodes that end are counted, see `reset`."""
        self._turn = torch.zeros((), dtype=torch.int64, device=device)
        """In evaluation: the object that the first world gets next."""
        self._lift = torch.tensor([0.0, 0.0, cfg.lift_height], device=device)
        self._mass_and_size = torch.cat([self.library.mass[:, None], self.library.half_extents], dim=-1)
        self.history = History(hand, cfg.history_inputs, cfg.history, n, device) if cfg.history else None
        self._hidden = Layout(ACTOR, hand).columns(cfg.hidden_inputs).to(device)
        self._zero = torch.zeros((), device=device)
        self._replays = device.type == "cuda" and not simulator.capturable
        """Whether the tensor code between the simulator's calls is replayed as CUDA graphs, rather than the whole step."""
        alone = device if self._replays else torch.device("cpu")
        self._before_physics = replayed(self._move_by_action, alone, "what moves the targets")
        self._after_physics = replayed(self._judge_and_draw, alone, "what judges a step")
        self._begin_replayed = replayed(self._begin_where_ended, alone, "what begins episodes")
        self._action = torch.zeros_like(self.previous_action)
        self._ended = torch.zeros(n, dtype=torch.bool, device=device)
        self._next_start = EpisodeStart.zeros(hand, n, device)
        self._second_stream = SecondStream(device)
        self.first_start: Optional[EpisodeStart] = None
        """In evaluation: where the episodes that count began, since the last `reset`."""

    def reward_weights(self) -> Dict[str, Dict[str, float]]:
        """Each term's weight at the start of training and after its phase, by name."""
        return {t.name: {"start": t.weight, "end": t.weight + t.slope} for t in self.reward.terms}

    # The order of a step.

    def reset(self) -> Tuple[Tensor, Tensor]:
        """See `VecTask.reset`.  Training worlds start at random times of their episodes, so that they do not end at once.

        They are counted once an episode's time has passed.  Before that only those end that began in their middle or were
        cut short, and their success says nothing of the policy.
        """
        everywhere = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        if self.grasp_starts is not None and not self.grasp_starts.ready:
            self.grasp_starts.find(self.simulator, self.starts)
        self.episodes.counted.zero_()
        start = self._draw_start(self._next_objects())
        self.simulator.reset(everywhere, start)
        if self.disturbances is not None:
            self.disturbances.vary_simulator(everywhere, start, self.library.half_extents)
        seen = self._begin(everywhere, start)
        if self.evaluation:
            self.first_start = start.on_usual_table()
            self.next_turn()
        else:
            self.episodes.time.copy_(torch.randint_like(self.episodes.time, self.cfg.episode_steps))
            torch.add(self.env_steps, self.cfg.episode_steps * self.num_envs * self.num_ranks, out=self.counts_from)
        return seen

    def next_turn(self) -> None:
        """In evaluation: the next episodes have the next objects.  `reset` does that; an episode that ends in a step does not."""
        self._turn += self.num_envs * self.num_ranks

    def step(self, action: Tensor) -> Step:
        """See `VecTask.step`.

        Between the calls of the simulator are three functions of tensors that stay where they are.  Where the simulator itself
        cannot be recorded, each of them is replayed as a CUDA graph.
        """
        torch.clamp(action, -1.0, 1.0, out=self._action)
        self._before_physics()
        if self.disturbances is not None:  # beside the pieces, because it calls the simulator
            mass = self.library.mass[self.simulator.state.object_id] * self.episodes.mass_scale
            rise = self.simulator.state.object_pos[:, 2] - self.episodes.goal.rest_height
            self.disturbances.push(mass, rise)
        with named_range("physics"):
            self.simulator.step(self.targets.position)
        with named_range("reward"):
            reward, terminated, truncated, final_critic_obs, ended, start = self._after_physics()
        with named_range("reset"):
            self.simulator.reset(ended, start)
            if self.disturbances is not None:
                self.disturbances.vary_simulator(ended, start, self.library.half_extents)
        with named_range("observation"):
            obs, critic_obs = self._after_reset(ended, start)
        return Step(obs, critic_obs, reward, terminated, truncated, final_critic_obs)

    def _move_by_action(self) -> None:
        self._move_targets(self._action)

    def _judge_and_draw(self) -> Tuple[Tensor, Tensor, Tensor, Tensor, Tensor, EpisodeStart]:
        """What `_judge` returns, which worlds ended (N,), and where they go on."""
        object_id = self._next_objects()  # chosen by what was known of objects before this step
        with self._second_stream.fork():
            start = self._draw_start(object_id)
        reward, terminated, truncated, final_critic_obs = self._judge(self._action)
        self._second_stream.join()
        return reward, terminated, truncated, final_critic_obs, terminated | truncated, start

    def _after_reset(self, ended: Tensor, start: EpisodeStart) -> Tuple[Tensor, Tensor]:
        """`_begin`; a graph of it reads copies of ended and start, which stay where they are."""
        if not self._replays:
            return self._begin(ended, start)
        self._ended.copy_(ended)
        for name in START_FIELDS:
            getattr(self._next_start, name).copy_(getattr(start, name))
        return self._begin_replayed()

    def _begin_where_ended(self) -> Tuple[Tensor, Tensor]:
        return self._begin(self._ended, self._next_start)

    # Between two calls of the simulator there is one function of tensors, fit for torch.compile.

    def _move_targets(self, action: Tensor) -> None:
        if self.disturbances is not None:
            action = self.disturbances.arriving(action)
        self.targets.move(action, self.simulator.state.joint_pos)

    def _judge(self, action: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """Judges the step: reward, terminated, truncated, and the critic's view of it."""
        self.episodes.time.add_(1)
        self.env_steps += self.num_envs * self.num_ranks
        now = self.situation.read(self.episodes.goal)
        outcome = self._outcome(action, now)
        failed = now.state.failed
        terminated = now.off_table | failed
        if self.cfg.max_stray > 0 and not self.evaluation:
            strayed = (now.state.object_pos - self.episodes.goal.pos)[:, :2].norm(dim=-1) > self.cfg.max_stray
            terminated = terminated | strayed
        over = self.episodes.time >= self.cfg.episode_steps
        if self.grasp_starts is not None:
            over = over | ((self.episodes.stage >= IN_THE_AIR) & (now.rise < FALLEN))
        truncated = over & ~terminated
        # A world that diverged is paid nothing: one number that is not finite would spoil every mean.
        parts = torch.where(failed, self._zero, self.reward.parts(outcome))
        reward = parts.sum(0)
        self.episodes.advance(outcome, reward, failed)
        if not self.evaluation:
            self.metrics.add_rewards(parts)
        self._add_step_metrics()
        self._count_ended(terminated | truncated, truncated, outcome)
        self.previous_action.copy_(action)
        # Diverged worlds have ended, so what the critic sees of them has no weight.  But it must be a number.
        truth = self._view(now)
        past = () if self.history is None else (self.history.read(),)
        final_critic_obs = torch.nan_to_num(critic_view(actor_view(truth), truth, past))
        return reward, terminated, truncated, final_critic_obs

    def _add_step_metrics(self) -> None:
        values = []
        if self.grasp_starts is not None:
            values.append(self.grasp_starts.success)
        if self._widens:
            assert self.disturbances is not None
            values.append(self.disturbances.levels.scale.view(1))
        if values:
            self.metrics.add_step(torch.cat(values))

    def _outcome(self, action: Tensor, now: Situation) -> Outcome:
        return Outcome(
            now=now,
            progress=(self.episodes.best_distance - now.gaps).clamp(min=0).mean(-1),
            goal_height=self.episodes.goal.pos[:, 2],
            lift_height=self.cfg.lift_height,
            weight=GRAVITY * self.library.mass[now.state.object_id] * self.episodes.mass_scale,
            action=action,
            previous_action=self.previous_action,
            phase=(self.env_steps / PHASE_STEPS).clamp(max=1),
        )

    def _count_ended(self, ended: Tensor, truncated: Tensor, o: Outcome) -> None:
        """Tells metrics, curriculum and, in evaluation, the records of the episodes that ended."""
        held, still = truncated & self.episodes.held, truncated & self.episodes.still
        counts = ended & (~self.episodes.counted if self.evaluation else self.env_steps >= self.counts_from)
        if self.grasp_starts is not None:
            self.grasp_starts.report(self.episodes.stage, counts, held)
            counts = counts & (self.episodes.stage == 0)  # those that begin inside a grasp are easier
        self.metrics.add_episodes(counts, self.episodes, held, still, o)
        self.curriculum.report(o.now.state.object_id, counts, held)
        if self.disturbances is not None:
            self.disturbances.report(counts, held)
        if self.evaluation:
            self.episodes.keep_record(ended, held, still, o)

    def _next_objects(self) -> Tensor:
        """(N,) ids: drawn by the curriculum, or in turn, or what the simulator was built with."""
        if not self.simulator.swaps_objects:
            return self.simulator.state.object_id
        if self.evaluation:
            ids = torch.arange(self.num_envs, device=self.device) + self._turn + self.rank * self.num_envs
            return ids % len(self.objects)
        return self.curriculum.draw(self.num_envs, self.env_steps)

    def _draw_start(self, object_id: Tensor) -> EpisodeStart:
        """A start for each world, object_id (N,).  Worlds whose episode goes on ignore theirs."""
        drawn = self.starts.draw(object_id)
        start = EpisodeStart.on_table(drawn) if self.grasp_starts is None else self.grasp_starts.mix(drawn)
        if self.disturbances is not None:
            start = self.disturbances.vary(start)
        if not self.simulator.swaps_objects:  # it keeps what it was built with
            start.mass_scale, start.friction = self.simulator.mass_scale, self.simulator.friction
        return start

    def _begin(self, mask: Tensor, start: EpisodeStart) -> Tuple[Tensor, Tensor]:
        """New episodes in the worlds in mask, which the simulator has reset; and what actor and critic see now."""
        self.targets.begin(mask, start.targets)
        self.episodes.begin(mask, start, self._lift)
        self.previous_action.masked_fill_(mask[:, None], 0)
        now = self.situation.read(self.episodes.goal)
        self.episodes.begin_distances(mask, now)
        truth = self._view(now)
        obs = true_obs = actor_view(truth)
        if self.disturbances is not None:
            self.disturbances.begin(mask, self.targets.holding(start.targets))
            obs = actor_view(replace(truth, now=self.disturbances.seen(mask, now, self.episodes.goal)))
        if self.cfg.hidden_inputs:
            obs = obs.masked_fill(self._hidden, 0.0)
        if self.history is None:
            return obs, critic_view(true_obs, truth)
        past = self.history.add(mask, obs)
        return torch.cat([obs, past], dim=-1), critic_view(true_obs, truth, (past,))

    def _view(self, now: Situation) -> View:
        """What the critic sees is cut from it; and what the actor sees, if nothing is disturbed."""
        mass, half_extents = self._mass_and_size[now.state.object_id].split([1, 3], dim=-1)
        return View(
            now=now,
            previous_action=self.previous_action,
            hold_progress=self.episodes.steps_at_goal / self.episodes.hold_steps,
            best_distance=self.episodes.best_distance.mean(-1),
            mass=mass.squeeze(-1) * self.episodes.mass_scale,
            friction=self.episodes.friction,
            half_extents=half_extents,
        )

    # The rest of the contract.

    def seed(self, seed: int) -> None:
        """See `VecTask.seed`.  In evaluation, the first world gets the first object again."""
        super().seed(seed)
        self._turn.zero_()

    def compile(self) -> None:
        """See `VecTask.compile`."""
        self._move_targets = torch.compile(self._move_targets, **COMPILE_OPTIONS)  # type: ignore[method-assign]
        self._judge = torch.compile(self._judge, **COMPILE_OPTIONS)  # type: ignore[method-assign]
        self._draw_start = torch.compile(self._draw_start, **COMPILE_OPTIONS)  # type: ignore[method-assign]
        self._begin = torch.compile(self._begin, **COMPILE_OPTIONS)  # type: ignore[method-assign]

    def capture(self) -> AbstractContextManager:
        """See `VecTask.capture`."""
        return self.simulator.capture()

    def diagnostics(self) -> Dict[str, float]:
        """See `VecTask.diagnostics`."""
        return self.simulator.diagnostics()

    def carried(self) -> Dict[str, Tensor]:
        """What history and disturbances carry over from step to step, by name; see `Disturbances.running`."""
        past = {} if self.history is None else {"history": self.history.values}
        return {**past, **({} if self.disturbances is None else self.disturbances.running())}

    def state_dict(self) -> Dict[str, Any]:
        """Curriculum, the steps it counts, how wide the disturbances are, and in evaluation whose turn it is."""
        wide = {} if self.disturbances is None else self.disturbances.state_dict()
        starts = {} if self.grasp_starts is None else self.grasp_starts.state_dict()
        return {"env_steps": self.env_steps, "turn": self._turn, **self.curriculum.state_dict(), **wide, **starts}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.env_steps.copy_(state["env_steps"])
        self._turn.copy_(state.get("turn", self._turn))  # checkpoints of format 1 have none
        self.curriculum.load_state_dict(state)
        if self.disturbances is not None:
            self.disturbances.load_state_dict(state)
        if self.grasp_starts is not None:
            self.grasp_starts.load_state_dict(state)

    def episodes_state(self) -> Optional[Dict[str, Any]]:
        """See `VecTask.episodes_state`."""
        return episodes_state(self)

    def load_episodes_state(self, state: Dict[str, Any]) -> None:
        """See `VecTask.load_episodes_state`."""
        load_episodes_state(self, state)
