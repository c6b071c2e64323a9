"""The training loop: collect, update, report, checkpoint."""

from __future__ import annotations

import contextlib
import math
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

import torch
from torch import Tensor

from ppo_grasp.actor_critic import ActorCritic
from ppo_grasp.checkpoint import BEST, LAST, save_checkpoint, versions
from ppo_grasp.device.graphs import CapturedFunction, side_stream
from ppo_grasp.device.precision import has_bfloat16, tf32
from ppo_grasp.device.ranges import mark_ranges, named_range, time_physics
from ppo_grasp.device.timing import now
from ppo_grasp.display import Describe
from ppo_grasp.distributed import ALONE, GRACE_S, RankError, Ranks, Silent
from ppo_grasp.metrics import CHARTS, COUNTERS, LOSSES, MetricsLogger, Tracker, process_age
from ppo_grasp.ppo import PPO
from ppo_grasp.rollout import RolloutBuffer
from ppo_grasp.run.config import TrainerCfg
from ppo_grasp.run.evaluation import Evaluate, RunningEvaluation
from ppo_grasp.run.files import directory_lock, excused, write_config
from ppo_grasp.run.health import Health
from ppo_grasp.run.rescue import rescue, save_without_the_others
from ppo_grasp.run.signals import SAME_REQUEST_S, Signals, name_of
from ppo_grasp.run.state import check_sizes, part_of_this_rank, restore, resume_episodes, score_in, training_state
from ppo_grasp.run.timing import Issued, PartTimes
from ppo_grasp.vec_task import VecTask

Logger = Union[MetricsLogger, Silent]


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
        ranks: Ranks = ALONE,
        eval_task: Optional[VecTask] = None,
    ) -> None:
        """evaluate: returns metrics of a policy.
        extra_config: plain values about the task, for config.json and the checkpoints.
        describe: puts a row of metrics into a sentence for the terminal; empty if there is nothing to say.
        best_by: names of the metrics that decide which checkpoint is the best.  Where the first are equal, the next decides.
        ranks: the processes that train together.  Each has a trainer, and calls its methods at the same time.
        eval_task: what `evaluate` plays.  Checkpoints keep its `state_dict`, and evaluations report its `diagnostics`."""
        taken = set(task.metric_names) & {*COUNTERS, *CHARTS, *LOSSES} - {"success_rate"}
        if taken:
            raise ValueError(f"metric names {sorted(taken)} of the task are the engine's own")
        torch.manual_seed(cfg.seed)
        sizes: Dict[str, Any] = {
            "num_obs": task.num_obs,
            "num_critic_obs": task.num_critic_obs if cfg.privileged_critic else task.num_obs,
            "num_actions": task.num_actions,
        }
        self.device = torch.device(task.device)
        amp = cfg.amp and has_bfloat16(self.device)
        self.cfg = cfg = replace(cfg, amp=amp, network=replace(cfg.network, **sizes))
        self.task = task
        mark_ranges(cfg.profile and torch.cuda.is_available())
        if cfg.profile and not torch.cuda.is_available():
            warnings.warn(
                "--profile marks ranges on NVIDIA GPUs only, and torch sees none: nothing is marked", stacklevel=2
            )
        if cfg.compile:
            task.compile()
        self.ranks, task.rank, task.num_ranks = ranks, ranks.rank, ranks.size
        self._samples = cfg.ppo.num_steps * task.num_envs * ranks.size
        ranks.connect(self.device)
        self.run_dir = Path(run_dir)
        self.evaluate = evaluate
        self.evaluation = RunningEvaluation(eval_task, cfg.seed + 1, self.device, ranks)
        self.describe = describe
        self.trackers: List[Tracker] = []  # where else each row of metrics goes
        self.config: Dict[str, Any] = {"trainer": asdict(cfg), "task": extra_config or {}}
        if ranks.size > 1:
            self.config["processes"] = ranks.size

        self.policy = ActorCritic(cfg.network).to(self.device)
        self.ppo = PPO(self.policy, cfg.ppo, task.num_envs, compile_losses=cfg.compile, amp=cfg.amp, ranks=ranks)
        if ranks.size > 1:
            torch.manual_seed(ranks.seed(cfg.seed))  # the networks are the same, all else is not
        self.buffer = RolloutBuffer(cfg.ppo.num_steps, task.num_envs, **sizes, device=self.device)
        on_graphs = cfg.graphs and self.device.type == "cuda"
        self._collect = CapturedFunction(self._rollout, on_graphs and task.capturable, task.capture, "the rollout")
        self._learn = CapturedFunction(lambda: self.ppo.update(self.buffer), on_graphs, name="the update")

        self.iteration = 0
        self.env_steps = 0
        self.best_by = best_by
        self.best: Tuple[float, ...] = (-math.inf,)
        self.earlier_wall_s = 0.0
        self._began = 0.0
        self.between_iterations = True
        """Whether task and buffer are at the end of an iteration, from where a resume is exact."""
        self.unlogged: Optional[Dict[str, float]] = None
        """The row of an iteration that waits for its evaluation."""
        self.task_metrics: Dict[str, float] = {"success_rate": 0.0} if "success_rate" in task.metric_names else {}
        self._resumed: Optional[Dict[str, Any]] = None
        self._running: Optional[Issued] = None
        self._times = PartTimes(self.policy, self.buffer, self.device)
        self._last_end: Any = None
        self._health = Health(cfg.ppo.num_epochs * cfg.ppo.num_minibatches(cfg.ppo.num_steps * task.num_envs))
        self._saved = False
        self._save_wanted = False
        self._stopped_by: Optional[int] = None

    @property
    def best_score(self) -> float:
        """The first of `best_by`, of the best checkpoint."""
        return self.best[0]

    @property
    def wall_s(self) -> float:
        """Seconds of training from the start of the process, plus those of the parts of the run before."""
        return self.earlier_wall_s + process_age()

    def run(self) -> Dict[str, float]:
        """Trains to the end, or until a signal asks to stop; returns counters, the best score and the signal, 0 for none.

        Raises DirectoryInUseError if another process trains in the run directory, and TrainingError if training is pointless.
        """
        with directory_lock(self.run_dir) if self.ranks.writes else contextlib.nullcontext():
            return self._run()

    def _run(self) -> Dict[str, float]:
        log = self._logger()
        self.best = tuple(self.ranks.gather(list(score_in(self.run_dir / BEST, self.best_by)))[0])
        message = "training failed"
        # When a process has died, torchrun ends the others.  They must still save and say why.
        same_request_s = SAME_REQUEST_S if self.ranks.size == 1 else GRACE_S
        signals = Signals(self.cfg.save_on, same_request_s, keep_after=(RankError,))
        try:
            with side_stream(self.device), signals:
                try:
                    message = "interrupted"
                    with contextlib.suppress(KeyboardInterrupt):
                        self._loop(log, signals)
                        message = "done" if self._stopped_by is None else "interrupted"
                    self._report_running(log)
                except RankError:
                    raise
                except BaseException as error:
                    message = rescue(self, error)
                    raise
                number = self._stopped_by or signals.received
                if number is not None and message != "done":
                    message = f"interrupted by {name_of(number)}"
                self.save(self.run_dir / LAST)
            message += f": {self.env_steps} steps in {self.wall_s:.0f} s, checkpoint in {self.run_dir / LAST}"
        except RankError as error:
            message = "training failed"
            raise RankError(f"{error}; {save_without_the_others(self)}") from error
        finally:
            if self.ranks.size > 1:
                self._learn.release()
            log.close(message)
        return {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "wall_s": self.wall_s,
            "best_score": self.best_score,
            "interrupted": float(message.startswith("interrupted")),
            "signal": float(number or 0),
        }

    def save(self, path: Union[str, Path]) -> None:
        """Writes everything that training needs to go on."""
        self._wait_for_device()
        parts = self.ranks.collect(part_of_this_rank(self))
        if self.ranks.writes:
            save_checkpoint(path, self.policy, training_state(self, parts))

    def begin_with(self, policy: ActorCritic) -> None:
        """Makes `run` start with the weights and normalisers of a trained policy.  Raises CheckpointError if sizes differ."""
        check_sizes(self.cfg.network, asdict(policy.cfg), "the policy to begin with")
        self.policy.load_state_dict(policy.state_dict())
        if self.cfg.ppo.desired_kl is not None:  # the first steps of a new Adam would undo what it has learnt
            self.ppo.learning_rate.fill_(self.cfg.ppo.min_learning_rate)

    def load(self, path: Union[str, Path]) -> None:
        """Makes `run` go on from a checkpoint, in the middle of its episodes if they fit.  Raises CheckpointError."""
        self._resumed = restore(self, path)
        self._saved = True

    def restart_episodes(self) -> None:
        """Makes the next rollout start from a reset of the task."""
        self.buffer.restart(*self.ppo.begin(*self.task.reset()))

    def _loop(self, log: Logger, signals: Signals) -> None:
        cfg = self.cfg
        self._start(log)
        self._began = process_age()
        self._ask(signals)
        if self.unlogged is not None:  # the run before was stopped in its evaluation
            self._evaluate_and_save(log, signals, evaluate=self.evaluate is not None, save=False)
        finished = self._finished()
        while not finished and self._stopped_by is None:
            issued = self._iterate(log)
            self._report_running(log)
            self._running = issued
            finished = self._finished()
            self._ask(signals)
            if math.isnan(self._times.policy_ms) and not self._collect.will_capture:
                self._times.measure(self._collect.enabled)
            evaluate = self.evaluate is not None and (finished or self._passed(cfg.eval_interval))
            save = not finished and (self._passed(cfg.checkpoint_interval) or not self._saved or self._save_wanted)
            save = save or self._keeps()
            if evaluate or save or finished:
                self.unlogged, self._running = self._report(issued), None
                # A training that was told to stop leaves its evaluation to the resume: there may be no time for it now.
                if not (evaluate and self._stopped_by):
                    self._evaluate_and_save(log, signals, evaluate, save)

    def _ask(self, signals: Signals) -> None:
        """Finds out what signals want of any rank."""
        self._stopped_by, save = self.ranks.agree(signals)
        self._save_wanted = self._save_wanted or save

    def _evaluate_and_save(self, log: Logger, signals: Signals, evaluate: bool, save: bool) -> None:
        """Evaluates, logs the row that waits for it, and saves.

        The best is saved before the last.  If the process ends in between, a resume from the last still finds the right best.
        """
        assert self.unlogged is not None
        row, best = dict(self.unlogged), False
        if evaluate:
            # On a GPU it takes a second, and ranks must not lose each other.
            signals.may_raise = self.device.type != "cuda" and self.ranks.size == 1
            try:
                found, best = self._evaluate()
            finally:
                signals.may_raise = False
            row.update(found)
        row.update({f"diagnostics_{k}": v for k, v in self.task.diagnostics().items()})
        if evaluate and not self._collect.will_capture:
            self._times.measure(self._collect.enabled)
        log.log(row)
        self.unlogged = None
        self._last_end = None  # the time of evaluations and checkpoints does not count as training
        wanted = {BEST: best, f"checkpoint_{self.env_steps}.pt": self._keeps(), LAST: save}
        for name in (name for name, is_wanted in wanted.items() if is_wanted):
            with excused(f"training goes on, and saves again after {self.cfg.checkpoint_interval} steps"):
                self.save(self.run_dir / name)
        self._saved = self._saved or save
        if self._save_wanted and save:
            self._save_wanted = False
            print(f"saved as asked: {self.run_dir / LAST} at {self.env_steps} steps", flush=True)

    def _passed(self, interval: int) -> bool:
        """Whether the last iteration reached or passed a multiple of so many steps.  A resume passes the same multiples."""
        return self.env_steps // interval > (self.env_steps - self._samples) // interval

    def _keeps(self) -> bool:
        """Whether the last iteration's checkpoint is one of those that are kept under a name of their own."""
        return self.cfg.keep_every is not None and self._passed(self.cfg.keep_every)

    def _start(self, log: Logger) -> None:
        """Resets the task or goes on with its episodes.  A first rollout gives new normalisers statistics and is thrown away."""
        log.stage("resetting the task ...")
        without_statistics = bool(self.policy.obs_normalizer.count == 0)
        if self._resumed is None or without_statistics:
            self.restart_episodes()
        else:
            resume_episodes(self, self._resumed)
        if without_statistics:
            log.stage("first rollout ...")
            self._collect()
            self.ppo.warm_up(self.buffer)
        self._resumed = None
        if self.task.metric_names:
            self.task.metric_sums.zero_()

    def _iterate(self, log: Logger) -> Issued:
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
        self.env_steps += self._samples
        self.between_iterations = True
        if self.device.type != "cuda":
            self._times.physics_ms = self._times.stopwatch.milliseconds()
        return Issued(self.iteration, self.env_steps, host, since, begin, middle, end, self._times.physics_ms)

    @torch.no_grad()
    def _rollout(self) -> None:
        """Fills the buffer with T steps; captured as one graph."""
        self.buffer.begin()
        with time_physics(self._times.stopwatch):
            for t in range(self.buffer.num_steps):
                with named_range("policy"), tf32():
                    action = self.ppo.act(self.buffer.obs[t])
                self.buffer.record(t, action, self.ppo.keep(self.task.step(action)))

    def _report_running(self, log: Logger) -> None:
        """Logs the iteration before, if it is not logged yet."""
        if self._running is not None:
            issued, self._running = self._running, None
            log.log(self._report(issued))

    def _report(self, issued: Issued) -> Dict[str, float]:
        """The metrics of an iteration.  Waits until the device is done with it."""
        self.ranks.wait_for(issued.end)
        values = self.ranks.total(issued.values.tolist())
        stats = {name: value / self.ranks.size for name, value in zip(PPO.stat_names, values)}
        sums = values[len(PPO.stat_names) :]
        counted = zip(self.task.metric_names, sums[0::2], sums[1::2])
        fresh = {name: total / count for name, total, count in counted if count > 0}
        self.task_metrics.update(fresh)
        row = {
            "iteration": issued.iteration,
            "env_steps": issued.env_steps,
            "wall_s": round(self.wall_s, 3),
            **self._times.row(issued, self._samples),
            **stats,
            **self.task_metrics,
        }
        self._health.check(row, fresh)
        return row

    def _evaluate(self) -> Tuple[Dict[str, float], bool]:
        """Measures the policy; returns what to log, and whether it is the best so far."""
        assert self.evaluate is not None
        self._wait_for_device()
        result = self.evaluation.measure(self.evaluate, self.policy)
        score = tuple(float(result[name]) for name in self.best_by)
        best = score >= self.best  # of two equal ones the later, which is trained longer
        if best:
            self.best = score
        return {f"eval_{k}": float(v) for k, v in result.items()}, best

    def _finished(self) -> bool:
        return self._progress() >= 1

    def _progress(self) -> float:
        """The share of the steps or of the time that is used up, the larger of both.  Time counts from the first iteration."""
        steps = self.env_steps / max(self.cfg.total_timesteps, 1)
        return steps if self.cfg.max_minutes is None else self.ranks.largest(max(steps, self._time_used()))

    def _time_used(self) -> float:
        assert self.cfg.max_minutes is not None
        left = 60.0 * self.cfg.max_minutes - self._began
        return 1.0 if left <= 0 else (process_age() - self._began) / left

    def _to_host(self, values: Tensor) -> Tensor:
        """The only copy to the host in an iteration.  On a GPU this does not wait for it."""
        if self.device.type != "cuda":
            return values
        return torch.empty(values.shape, pin_memory=True).copy_(values, non_blocking=True)

    def _wait_for_device(self) -> None:
        """Waits for the device, but not without an end if another rank has died."""
        if self.ranks.size > 1:
            self.ranks.wait_for(now(self.device))

    def _logger(self) -> Logger:
        """What writes this run's numbers; on one rank alone."""
        if not self.ranks.writes:
            return Silent()
        write_config(self.run_dir / "config.json", {**self.config, "versions": versions()})
        minutes = self.cfg.max_minutes
        limits = (self.cfg.total_timesteps, None if minutes is None else 60.0 * minutes)
        at = (self.iteration - (self.unlogged is not None), self.env_steps)
        return MetricsLogger(self.run_dir, *limits, *at, self.describe, self.trackers)
