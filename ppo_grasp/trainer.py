"""The training loop: collect, update, report, checkpoint."""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

import torch
from torch import Tensor

from ppo_grasp.actor_critic import ActorCritic, ActorCriticCfg
from ppo_grasp.checkpoint import BEST, LAST, CheckpointError, save_checkpoint, versions
from ppo_grasp.device.graphs import CapturedFunction, side_stream
from ppo_grasp.device.precision import tf32
from ppo_grasp.device.ranges import mark_ranges, named_range, time_physics
from ppo_grasp.device.timing import Stopwatch, milliseconds, now
from ppo_grasp.display import Describe
from ppo_grasp.metrics import CHARTS, COUNTERS, LOSSES, MetricsLogger, process_age
from ppo_grasp.ppo import PPO, PPOCfg
from ppo_grasp.rollout import RolloutBuffer
from ppo_grasp.run.files import directory_lock, excused, replace_file
from ppo_grasp.run.health import Health
from ppo_grasp.run.random_state import OwnRandomState
from ppo_grasp.run.signals import Signals, name_of
from ppo_grasp.run.training_state import SIZES, load_training_state, rescue, resume_episodes, score_in, training_state
from ppo_grasp.vec_task import VecTask

Evaluate = Callable[[ActorCritic], Dict[str, float]]


@dataclass
class TrainerCfg:
    """How long to train, what to write when, and how to run it."""

    total_timesteps: int = 50_000_000
    """Environment steps in all, over all environments.  Those before a resume count."""
    max_minutes: Optional[float] = None
    """Minutes from the start of the process after which training ends, even if steps are left."""
    eval_interval: int = 4_000_000
    """Environment steps between two evaluations."""
    checkpoint_interval: int = 5_000_000
    """Environment steps between two writes of checkpoint_last.pt, which is also written at the end and on Ctrl-C."""
    seed: int = 0
    """Seed of all random numbers."""
    graphs: bool = True
    """Whether to replay rollout and update as CUDA graphs, if the device and the task can."""
    compile: bool = False
    """Whether to compile the task's tensor code and the losses with torch.compile.  The start takes longer, then kernels are fewer."""
    amp: bool = True
    """Whether the learner's networks compute in bfloat16, if the GPU has it."""
    profile: bool = False
    """Whether to mark what training is doing for Nsight Systems, with NVTX ranges."""
    ppo: PPOCfg = field(default_factory=PPOCfg)
    """The algorithm."""
    network: ActorCriticCfg = field(default_factory=ActorCriticCfg)
    """The networks."""


class _Issued(NamedTuple):
    """An iteration that was issued to the device and may still be running there."""

    iteration: int
    env_steps: int
    values: Tensor
    """On the host, valid once `end` has passed."""
    since: Any
    """When the iteration before ended, or this one began: throughput counts what the host does in between."""
    begin: Any
    middle: Any
    """When the rollout was over and the update began."""
    end: Any
    physics_ms: float
    """Of this rollout on a CPU; on a GPU of the last rollout that was measured."""


class Trainer:
    """Trains a policy on a task and keeps a run directory about it.

    On a GPU the host only issues work.  It reads one small tensor per iteration, one iteration late, so that the device never
    waits for the host.  Everything runs on a stream of its own, because the default stream cannot be captured.
    """

    def __init__(
        self,
        task: VecTask,
        cfg: TrainerCfg,
        run_dir: Union[str, Path],
        evaluate: Optional[Evaluate] = None,
        extra_config: Optional[Dict[str, Any]] = None,
        describe: Optional[Describe] = None,
        best_by: Tuple[str, ...] = ("success_rate",),
        eval_task: Optional[VecTask] = None,
    ) -> None:
        """evaluate: returns metrics of a policy.
        eval_task: what `evaluate` plays; checkpoints keep its `state_dict`, and evaluations report its `diagnostics`.
        extra_config: plain values about the task, for config.json and the checkpoints.
        describe: puts a row of metrics into a sentence for the terminal; empty if there is nothing to say.
        best_by: names of the metrics that decide which checkpoint is the best.  Where the first are equal, the next decides."""
        taken = set(task.metric_names) & {*COUNTERS, *CHARTS, *LOSSES} - {"success_rate"}
        if taken:
            raise ValueError(f"metric names {sorted(taken)} of the task are the engine's own")
        torch.manual_seed(cfg.seed)
        sizes: Dict[str, Any] = {
            "num_obs": task.num_obs,
            "num_critic_obs": task.num_critic_obs,
            "num_actions": task.num_actions,
        }
        self.device = torch.device(task.device)
        amp = cfg.amp and _has_bfloat16(self.device)
        self.cfg = cfg = replace(cfg, amp=amp, network=replace(cfg.network, **sizes))
        self.task = task
        mark_ranges(cfg.profile and torch.cuda.is_available())
        if cfg.profile and not torch.cuda.is_available():
            warnings.warn(
                "--profile marks ranges on NVIDIA GPUs only, and torch sees none: nothing is marked", stacklevel=2
            )
        if cfg.compile:
            task.compile()
        self.run_dir = Path(run_dir)
        self.evaluate = evaluate
        self.eval_task = eval_task
        self.eval_random = OwnRandomState(cfg.seed + 1, self.device)
        self.evaluation_state: Optional[Dict[str, Any]] = None
        self.describe = describe
        self.config = {"trainer": asdict(cfg), "task": extra_config or {}}

        self.policy = ActorCritic(cfg.network).to(self.device)
        self.ppo = PPO(self.policy, cfg.ppo, task.num_envs, compile_losses=cfg.compile, amp=cfg.amp)
        self.buffer = RolloutBuffer(cfg.ppo.num_steps, task.num_envs, **sizes, device=self.device)
        on_graphs = cfg.graphs and self.device.type == "cuda"
        self._collect = CapturedFunction(self._rollout, on_graphs and task.capturable, task.capture, "the rollout")
        self._learn = CapturedFunction(self._update, on_graphs, name="the update")

        self.iteration = 0
        self.env_steps = 0
        self.best_by = best_by
        self.best: Tuple[float, ...] = (-math.inf,)
        self._earlier_wall_s = 0.0
        self._began = 0.0
        self.between_iterations = True
        """Whether task and buffer are at the end of an iteration, from where a resume is exact."""
        self._resumed: Optional[Dict[str, Any]] = None
        self._running: Optional[_Issued] = None
        self._physics = Stopwatch(self.device)
        self._physics_ms = math.nan
        self._policy_ms = math.nan
        self._last_end: Any = None
        self.task_metrics: Dict[str, float] = {"success_rate": 0.0} if "success_rate" in task.metric_names else {}
        minibatches = max(1, round(cfg.ppo.num_steps * task.num_envs / cfg.ppo.minibatch_size))
        self._health = Health(cfg.ppo.num_epochs * minibatches)
        self.unlogged: Optional[Dict[str, float]] = None
        """The row of an iteration that waits for its evaluation."""
        self._saved = False

    @property
    def best_score(self) -> float:
        """The first of `best_by`, of the best checkpoint."""
        return self.best[0]

    @property
    def wall_s(self) -> float:
        """Seconds of training from the start of the process, plus those of the parts of the run before."""
        return self._earlier_wall_s + process_age()

    def run(self) -> Dict[str, float]:
        """Trains to the end, or until a signal asks to stop; returns counters, the best score and the signal, 0 for none.

        Raises DirectoryInUseError if another process trains in the run directory, and TrainingError if training is pointless.
        """
        with directory_lock(self.run_dir):
            return self._run()

    def _run(self) -> Dict[str, float]:
        self._save_config()
        self.best = score_in(self.run_dir / BEST, self.best_by)
        max_seconds = None if self.cfg.max_minutes is None else 60.0 * self.cfg.max_minutes
        log = MetricsLogger(
            self.run_dir, self.cfg.total_timesteps, max_seconds, self.iteration, self.env_steps, self.describe
        )
        message = "training failed"
        try:
            with side_stream(self.device), Signals() as signals:
                try:
                    with contextlib.suppress(KeyboardInterrupt):
                        self._loop(log, signals)
                        message = "done"
                    self._report_running(log)
                except BaseException as error:
                    message = rescue(self, error)
                    raise
                if signals.received is not None:
                    message = f"interrupted by {name_of(signals.received)}"
                elif message != "done":
                    message = "interrupted"
                self.save(self.run_dir / LAST)
            message += f": {self.env_steps} steps in {self.wall_s:.0f} s, checkpoint in {self.run_dir / LAST}"
        finally:
            log.close(message)
        return {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "wall_s": self.wall_s,
            "best_score": self.best_score,
            "interrupted": float(message.startswith("interrupted")),
            "signal": float(signals.received or 0),
        }

    def save(self, path: Union[str, Path]) -> None:
        """Writes everything that training needs to go on."""
        save_checkpoint(path, self.policy, training_state(self))

    def begin_with(self, policy: ActorCritic) -> None:
        """Makes `run` start with the weights and normalisers of a trained policy.  Raises CheckpointError if sizes differ."""
        for name in SIZES:
            here, there = getattr(self.cfg.network, name), getattr(policy.cfg, name)
            if here != there:
                raise CheckpointError(f"the policy to begin with has {name} {there}, here it is {here}")
        self.policy.load_state_dict(policy.state_dict())
        if self.cfg.ppo.desired_kl is not None:  # the first steps of a new Adam would undo what it has learnt
            self.ppo.learning_rate.fill_(self.cfg.ppo.min_learning_rate)

    def load(self, path: Union[str, Path]) -> None:
        """Makes `run` go on from a checkpoint, in the middle of its episodes if they fit.  Raises CheckpointError."""
        self._resumed = load_training_state(self, path)
        self._earlier_wall_s = self._resumed["wall_s"]

    def _loop(self, log: MetricsLogger, signals: Signals) -> None:
        self._start(log)
        self._began = process_age()
        finished = self._finished()
        if self.unlogged is not None:  # the run before was stopped in its evaluation
            self._conclude(log, signals, evaluate=self.evaluate is not None, save=False)
        while not finished and signals.received is None:
            issued = self._iterate(log)
            self._report_running(log)
            self._running = issued
            finished = self._finished()
            if math.isnan(self._policy_ms) and not self._collect.will_capture:
                self._time_parts()
            evaluate = self.evaluate is not None and (finished or self._passed(self.cfg.eval_interval))
            save = self._passed(self.cfg.checkpoint_interval) or not self._saved or signals.save_wanted
            if evaluate or save or finished:
                self.unlogged, self._running = self._report(issued), None
                self._conclude(log, signals, evaluate, save and not finished)

    def _conclude(self, log: MetricsLogger, signals: Signals, evaluate: bool, save: bool) -> None:
        """Evaluates, logs the row that waits for it, and saves.

        The best is saved before the last, so that nobody who goes on from the last finds a worse best than it knows.
        """
        assert self.unlogged is not None
        row, best = dict(self.unlogged), False
        if evaluate:
            signals.may_raise = self.device.type != "cuda"  # there an evaluation takes a second
            try:
                found, best = self._evaluate()
            finally:
                signals.may_raise = False
            row.update(found)
        row.update({f"diagnostics_{k}": v for k, v in self.task.diagnostics().items()})
        if evaluate and not self._collect.will_capture:
            self._time_parts()
        log.log(row)
        self.unlogged = None
        self._last_end = None  # the time of evaluations and checkpoints does not count as training
        for name in (BEST,) * best + (LAST,) * save:
            with excused(f"training goes on, and saves again after {self.cfg.checkpoint_interval} steps"):
                self.save(self.run_dir / name)
        self._saved = self._saved or save
        if signals.save_wanted:
            signals.save_wanted = False
            print(f"saved as asked: {self.run_dir / LAST} at {self.env_steps} steps", flush=True)

    def _passed(self, interval: int) -> bool:
        """Whether the last iteration reached or passed a multiple of so many steps.  A resume passes the same multiples."""
        before = self.env_steps - self.cfg.ppo.num_steps * self.task.num_envs
        return self.env_steps // interval > before // interval

    def _start(self, log: MetricsLogger) -> None:
        """Resets the task, or goes on with its episodes.  If the normalisers are new, a rollout gives them statistics and is then
        thrown away."""
        log.stage("resetting the task ...")
        self.buffer.restart(*self.task.reset())
        if self.policy.obs_normalizer.count == 0:
            log.stage("first rollout ...")
            self._collect()
            self.ppo.warm_up(self.buffer)
        elif self._resumed is not None:
            resume_episodes(self, self._resumed)
        self._resumed = None
        if self.task.metric_names:
            self.task.metric_sums.zero_()

    def _iterate(self, log: MetricsLogger) -> _Issued:
        """Issues one iteration: a rollout and an update."""
        for function in (self._collect, self._learn):
            if function.will_capture:
                log.stage(f"capturing {function.name} as a CUDA graph ...")
        begin = now(self.device)
        self.between_iterations = False
        with named_range("rollout"):
            self._collect()
        middle = now(self.device)
        self.ppo.set_progress(self._progress())
        with named_range("update"):
            stats = self._learn()
        with named_range("log"):
            values = [stats]
            if self.task.metric_names:
                values.append(self.task.metric_sums.flatten())
            host = self._to_host(torch.cat(values))
            if self.task.metric_names:
                self.task.metric_sums.zero_()
        end = now(self.device)
        since, self._last_end = self._last_end or begin, end
        self.iteration += 1
        self.env_steps += self.cfg.ppo.num_steps * self.task.num_envs
        self.between_iterations = True
        if self.device.type != "cuda":
            self._physics_ms = self._physics.milliseconds()
        return _Issued(self.iteration, self.env_steps, host, since, begin, middle, end, self._physics_ms)

    @torch.no_grad()
    def _rollout(self) -> None:
        """Fills the buffer with T steps of the task; captured as one graph."""
        self.buffer.begin()
        with time_physics(self._physics):
            for t in range(self.buffer.num_steps):
                with named_range("policy"), tf32():
                    action = self.policy.act(self.buffer.obs[t])
                self.buffer.record(t, action, self.task.step(action))

    def _update(self) -> Tensor:
        """The whole update; captured as one graph."""
        return self.ppo.update(self.buffer)

    def _report_running(self, log: MetricsLogger) -> None:
        """Logs the iteration before, if it is not logged yet."""
        if self._running is not None:
            issued, self._running = self._running, None
            log.log(self._report(issued))

    def _report(self, issued: _Issued) -> Dict[str, float]:
        """The row of metrics of an iteration.  Waits until the device is done with the iteration."""
        if isinstance(issued.end, torch.cuda.Event):
            issued.end.synchronize()
        values: List[float] = issued.values.tolist()
        stats = dict(zip(PPO.stat_names, values))
        sums = values[len(PPO.stat_names) :]
        counted = zip(self.task.metric_names, sums[0::2], sums[1::2])
        fresh = {name: total / count for name, total, count in counted if count > 0}
        self.task_metrics.update(fresh)

        steps = self.cfg.ppo.num_steps * self.task.num_envs
        environment_ms = milliseconds(issued.begin, issued.middle) - self._policy_ms
        row = {
            "iteration": issued.iteration,
            "env_steps": issued.env_steps,
            "wall_s": round(self.wall_s, 3),
            "steps_per_s": 1e3 * steps / max(milliseconds(issued.since, issued.end), 1e-6),
            "physics_ms": issued.physics_ms,
            "task_ms": environment_ms - issued.physics_ms,
            "environment_ms": environment_ms,
            "policy_ms": self._policy_ms,
            "update_ms": milliseconds(issued.middle, issued.end),
            **stats,
            **self.task_metrics,
        }
        self._health.check(row, fresh)
        return row

    def _evaluate(self) -> Tuple[Dict[str, float], bool]:
        """Measures the policy, with random numbers of its own; returns what to log, and whether it is the best so far."""
        assert self.evaluate is not None
        with torch.no_grad(), named_range("evaluate"), self.eval_random():
            result = self.evaluate(self.policy)
        row = {f"eval_{k}": float(v) for k, v in result.items()}
        of_task = None
        if self.eval_task is not None:
            of_task = self.eval_task.state_dict()
            row.update({f"eval_{k}": v for k, v in self.eval_task.diagnostics().items()})
        self.evaluation_state = {"rng": self.eval_random.state, "task": of_task}
        score = tuple(float(result[name]) for name in self.best_by)
        best = score >= self.best  # of two equal ones the later, which is trained longer
        if best:
            self.best = score
        return row, best

    def _time_parts(self) -> None:
        """Measures how long the simulation and the policy of a rollout take, once the device has done all its work."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        if math.isnan(self._policy_ms):
            self._policy_ms = self._time_policy()
        self._physics_ms = self._physics.milliseconds()

    @torch.no_grad()
    def _time_policy(self) -> float:
        """Milliseconds of the policy in a rollout, run in the same way as there but by itself."""

        def policy() -> None:
            with tf32():
                for t in range(self.buffer.num_steps):
                    self.policy.act(self.buffer.obs[t])

        with OwnRandomState(0, self.device)():  # a measurement must not change what training draws
            alone = CapturedFunction(policy, self._collect.enabled, name="the policy")
            for _ in range(2):
                alone()
            begin = now(self.device)
            alone()
            end = now(self.device)
        return milliseconds(begin, end)

    def _finished(self) -> bool:
        return self._progress() >= 1

    def _progress(self) -> float:
        """The share of the steps or of the time that is used up, the larger of both.  Time counts from the first iteration."""
        steps = self.env_steps / max(self.cfg.total_timesteps, 1)
        if self.cfg.max_minutes is None:
            return steps
        left = 60.0 * self.cfg.max_minutes - self._began
        return 1.0 if left <= 0 else max(steps, (process_age() - self._began) / left)

    def _to_host(self, values: Tensor) -> Tensor:
        """The only copy to the host in an iteration.  On a GPU this does not wait for it."""
        if self.device.type != "cuda":
            return values
        return torch.empty(values.shape, pin_memory=True).copy_(values, non_blocking=True)

    def _save_config(self) -> None:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**self.config, "versions": versions()}, indent=2, default=str)
        with excused("training goes on"):
            replace_file(self.run_dir / "config.json", [text])


def _has_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are fast there: on NVIDIA's GPUs since Ampere."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
