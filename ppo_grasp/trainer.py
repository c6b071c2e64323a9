"""The training loop: collect, update, report, checkpoint."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

import torch
from torch import Tensor

from ppo_grasp.actor_critic import ActorCritic
from ppo_grasp.checkpoint import BEST, LAST, save_checkpoint, versions
from ppo_grasp.device.graphs import CapturedFunction, side_stream
from ppo_grasp.device.precision import tf32
from ppo_grasp.device.ranges import mark_ranges, named_range, time_physics
from ppo_grasp.device.timing import Stopwatch, milliseconds, now, time_third_call
from ppo_grasp.display import Describe
from ppo_grasp.distributed import (
    ALONE,
    RankError,
    Ranks,
    Silent,
    all_random_states,
    mean_of,
    random_state,
    resume_random_state,
)
from ppo_grasp.metrics import CHARTS, COUNTERS, LOSSES, MetricsLogger, process_age
from ppo_grasp.ppo import PPO
from ppo_grasp.rollout import RolloutBuffer
from ppo_grasp.run.config import TrainerCfg
from ppo_grasp.run.state import check_sizes, restore, training_state
from ppo_grasp.vec_task import VecTask

Evaluate = Callable[[ActorCritic], Dict[str, float]]
Logger = Union[MetricsLogger, Silent]


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
        ranks: Ranks = ALONE,
    ) -> None:
        """evaluate: returns metrics of a policy.
        extra_config: plain values about the task, for config.json and the checkpoints.
        describe: puts a row of metrics into a sentence for the terminal; empty if there is nothing to say.
        best_by: names of the metrics that decide which checkpoint is the best.  Where the first are equal, the next decides.
        ranks: the processes that train together.  Each has a trainer, and calls its methods at the same time."""
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
        self.ranks, task.rank, task.num_ranks = ranks, ranks.rank, ranks.size
        self._samples = cfg.ppo.num_steps * task.num_envs * ranks.size
        ranks.connect(self.device)
        self.run_dir = Path(run_dir)
        self.evaluate = evaluate
        self.describe = describe
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
        self._learn = CapturedFunction(self._update, on_graphs, name="the update")

        self.iteration = 0
        self.env_steps = 0
        self.best_by = best_by
        self.best: Tuple[float, ...] = (-math.inf,)
        self.earlier_wall_s = 0.0
        self._began = 0.0
        self.resumed_rng: Optional[List[Dict[str, Any]]] = None
        self._running: Optional[_Issued] = None
        self._physics = Stopwatch(self.device)
        self._physics_ms = math.nan
        self._policy_ms = math.nan
        self._last_end: Any = None
        self.task_metrics: Dict[str, float] = {"success_rate": 0.0} if "success_rate" in task.metric_names else {}
        self._extra_row: Dict[str, float] = {}

    @property
    def best_score(self) -> float:
        """The first of `best_by`, of the best checkpoint."""
        return self.best[0]

    @property
    def wall_s(self) -> float:
        """Seconds of training from the start of the process, plus those of the parts of the run before."""
        return self.earlier_wall_s + process_age()

    def run(self) -> Dict[str, float]:
        """Trains to the end, or to Ctrl-C; returns counters and the best score."""
        log = self._logger()
        message = "training failed"
        try:
            with side_stream(self.device), self.ranks.listening():
                try:
                    self._loop(log)
                    message = "done"
                except KeyboardInterrupt:
                    message = "interrupted"
                self._report_running(log)
                self.save(self.run_dir / LAST)
            message += f": {self.env_steps} steps in {self.wall_s:.0f} s, checkpoint in {self.run_dir / LAST}"
        except RankError as error:
            raise RankError(f"{error}; {self._save_without_the_others()}") from error
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
        }

    def save(self, path: Union[str, Path]) -> None:
        """Writes everything that training needs to go on."""
        self._wait_for_device()
        states = all_random_states(self.ranks, random_state(self.device))
        if self.ranks.writes:
            self._write(path, states)

    def _write(self, path: Union[str, Path], random_states: List[Dict[str, Any]]) -> None:
        save_checkpoint(path, self.policy, training_state(self, random_states))

    def begin_with(self, policy: ActorCritic) -> None:
        """Makes `run` start with the weights and normalisers of a trained policy.  Raises CheckpointError if sizes differ."""
        check_sizes(self.cfg.network, asdict(policy.cfg), "the policy to begin with")
        self.policy.load_state_dict(policy.state_dict())
        if self.cfg.ppo.desired_kl is not None:  # the first steps of a new Adam would undo what it has learnt
            self.ppo.learning_rate.fill_(self.cfg.ppo.min_learning_rate)

    def load(self, path: Union[str, Path]) -> None:
        """Makes `run` go on from a checkpoint, with new episodes in all environments.  Raises CheckpointError."""
        restore(self, path)

    def _loop(self, log: Logger) -> None:
        cfg = self.cfg
        self._start(log)
        self._began = process_age()
        next_eval = self.env_steps + cfg.eval_interval
        next_checkpoint = self.env_steps + cfg.checkpoint_interval
        finished = self._finished()
        while not finished:
            issued = self._iterate(log)
            self._report_running(log)
            self._running = issued
            finished = self._finished()
            if self.env_steps >= next_checkpoint and not finished:
                next_checkpoint = self.env_steps + cfg.checkpoint_interval
                self.save(self.run_dir / LAST)
                self._extra_row.update({f"diagnostics_{k}": v for k, v in self.task.diagnostics().items()})
            if self.evaluate is not None and (self.env_steps >= next_eval or finished):
                next_eval = self.env_steps + cfg.eval_interval
                self._evaluate()
                if not self._collect.will_capture:
                    self._time_parts()
                self._report_running(log)
                self._last_end = None  # the time of an evaluation does not count as training
            if math.isnan(self._policy_ms) and not self._collect.will_capture:
                self._time_parts()

    def _start(self, log: Logger) -> None:
        """Resets the task.  If the normalisers are new, a rollout gives them statistics and is then thrown away."""
        log.stage("resetting the task ...")
        obs, critic_obs = self.task.reset()
        self.buffer.restart(obs, critic_obs)
        if self.policy.obs_normalizer.count == 0:
            log.stage("first rollout ...")
            self._collect()
            self.ppo.warm_up(self.buffer)
        elif self.resumed_rng is not None:
            states, self.resumed_rng = self.resumed_rng, None
            resume_random_state(self.ranks, states, self.cfg.seed + self.iteration, self.device)
        if self.task.metric_names:
            self.task.metric_sums.zero_()

    def _iterate(self, log: Logger) -> _Issued:
        """Issues one iteration: a rollout and an update."""
        for function in (self._collect, self._learn):
            if function.will_capture:
                log.stage(f"capturing {function.name} as a CUDA graph ...")
        begin = now(self.device)
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

    def _report_running(self, log: Logger) -> None:
        """Logs the iteration before, if it is not logged yet."""
        if self._running is not None:
            issued, self._running = self._running, None
            log.log(self._report(issued))

    def _report(self, issued: _Issued) -> Dict[str, float]:
        """The row of metrics of an iteration.  Waits until the device is done with the iteration."""
        self.ranks.wait_for(issued.end)
        values = self.ranks.total(issued.values.tolist())
        stats = {name: value / self.ranks.size for name, value in zip(PPO.stat_names, values)}
        sums = values[len(PPO.stat_names) :]
        for name, total, count in zip(self.task.metric_names, sums[0::2], sums[1::2]):
            if count > 0:
                self.task_metrics[name] = total / count

        environment_ms = milliseconds(issued.begin, issued.middle) - self._policy_ms
        row = {
            "iteration": issued.iteration,
            "env_steps": issued.env_steps,
            "wall_s": round(self.wall_s, 3),
            "steps_per_s": 1e3 * self._samples / max(milliseconds(issued.since, issued.end), 1e-6),
            "physics_ms": issued.physics_ms,
            "task_ms": environment_ms - issued.physics_ms,
            "environment_ms": environment_ms,
            "policy_ms": self._policy_ms,
            "update_ms": milliseconds(issued.middle, issued.end),
            **stats,
            **self.task_metrics,
            **self._extra_row,
        }
        self._extra_row = {}
        return row

    def _evaluate(self) -> None:
        assert self.evaluate is not None
        with torch.no_grad(), named_range("evaluate"):
            self._wait_for_device()
            result = mean_of(self.ranks, self.evaluate(self.policy))
        self._extra_row.update({f"eval_{k}": float(v) for k, v in result.items()})
        score = tuple(float(result[name]) for name in self.best_by)
        if score >= self.best:  # of two equal ones the later, which is trained longer
            self.best = score
            self.save(self.run_dir / BEST)

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

        with torch.random.fork_rng(devices=[]):  # a measurement must not change what training draws
            return time_third_call(CapturedFunction(policy, self._collect.enabled, name="the policy"), self.device)

    def _finished(self) -> bool:
        if self.ranks.stopping():
            raise KeyboardInterrupt
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
        """Before something that would wait without an end if another rank has died."""
        if self.ranks.size > 1:
            self.ranks.wait_for(now(self.device))

    def _save_without_the_others(self) -> str:
        """Writes the last checkpoint if no other rank has begun to, and says where it is.

        The device may be stuck in a reduction, so it copies on another stream.  The parameters are those of the last gradient
        step: every step is whole, as all ranks take it or none.
        """
        path = self.run_dir / LAST
        if self.ranks.claim("checkpoint"):
            with side_stream(self.device, wait=False):
                self._write(path, [random_state(self.device)])
        return f"{self.env_steps} steps are in {path}"

    def _logger(self) -> Logger:
        """What writes this run's numbers; on one rank alone."""
        if not self.ranks.writes:
            return Silent()
        self._save_config()
        cfg = self.cfg
        max_seconds = None if cfg.max_minutes is None else 60.0 * cfg.max_minutes
        return MetricsLogger(
            self.run_dir, cfg.total_timesteps, max_seconds, self.iteration, self.env_steps, self.describe
        )

    def _save_config(self) -> None:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        with open(self.run_dir / "config.json", "w", encoding="utf-8") as file:
            json.dump({**self.config, "versions": versions()}, file, indent=2, default=str)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are fast there: on NVIDIA's GPUs since Ampere."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
