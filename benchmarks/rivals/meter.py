"""Times an engine from inside its own loop.  The adapter says where the update begins and ends; the meter does the rest."""

from __future__ import annotations

import re
import statistics
import time
from typing import Any, Callable, Dict, Iterable, List, NoReturn, Optional

import torch
from torch import Tensor

from rivals.settings import Plan, Settings

LAUNCH = re.compile(r"^cu(da)?Launch(Cooperative)?Kernel")
GRAPH_LAUNCH = re.compile(r"^cu(da)?GraphLaunch")
SYNCHRONISE = re.compile(r"^cu(da)?(Stream|Device|Event|Ctx)Synchronize|^cuda?Memcpy(?!.*Async)")
TO_HOST = re.compile(r"^Memcpy DtoH")


class Finished(BaseException):
    """Leaves the engine's loop when everything is measured.  It is not an Exception, because an engine might catch that."""


class Meter:
    """Goes through the phases of a plan, one iteration of the engine after the other.

    An iteration ends where its update does.  First the throughput is timed, without any synchronisation.  Then the learner is
    timed, with a synchronisation before and after it.  Then the profiler counts what the host asks of the GPU in an iteration.
    """

    def __init__(self, device: torch.device, plan: Plan, settings: Settings) -> None:
        self.device, self.plan, self.settings = device, plan, settings
        self.policy: Optional[Callable[[Tensor], Tensor]] = None
        """The deterministic policy, (N, num_obs) -> (N, num_actions), set by the adapter."""
        self.evaluate: Callable[[Callable[[Tensor], Tensor]], Dict[str, Any]] = lambda policy: {}
        self.row: Dict[str, Any] = {}
        self.notes: List[str] = []
        self.iterations = 0
        self._phase: Callable[[], None] = self._warm_up
        self._marks: List[Any] = []
        self._learner_ms: List[float] = []
        self._deadline = 0.0
        self._began = 0.0
        self._timing_learner = False
        self._profile: Any = None
        self._baseline: Dict[str, int] = {}

    def begin_update(self) -> None:
        """To be called when the rollout is complete.  All that follows is the learner, the advantages included."""
        if self._timing_learner:
            self._synchronize()
            self._began = time.perf_counter()

    def end_update(self) -> None:
        """To be called after the last gradient step.  Raises Finished when everything is measured."""
        self.iterations += 1
        self._phase()

    # The phases.  Each is called at the end of an iteration, and starts the next one when it is done.

    def _warm_up(self) -> None:
        if self.iterations < self.plan.warm_up:
            return
        self._synchronize()
        if self.plan.equal_seconds > 0:
            self._start(self._train, self.plan.equal_seconds)
        else:
            self._start_throughput()

    def _train(self) -> None:
        if time.perf_counter() < self._deadline:
            return
        self._synchronize()
        assert self.policy is not None
        self.row["trained_env_steps"] = self.iterations * self.settings.batch_size
        with torch.no_grad():
            self.row.update(self.evaluate(self.policy))
        self._start_throughput()

    def _start_throughput(self) -> None:
        self._start(self._throughput, self.plan.phase_seconds)
        self._marks = [self._now()]

    def _throughput(self) -> None:
        self._marks.append(self._now())
        if not self._enough(len(self._marks) - 1):
            return
        self._synchronize()
        spans = [_milliseconds(a, b) for a, b in zip(self._marks[:-1], self._marks[1:])]
        self.row["iteration_ms"] = statistics.median(spans)
        self.row["steps_per_s"] = 1e3 * self.settings.batch_size / self.row["iteration_ms"]
        self.row["steps_per_s_mean"] = 1e3 * self.settings.batch_size * len(spans) / sum(spans)
        self.row["iterations_timed"] = len(spans)
        self._timing_learner = True
        self._start(self._learner, self.plan.phase_seconds)

    def _learner(self) -> None:
        self._synchronize()
        self._learner_ms.append(1e3 * (time.perf_counter() - self._began))
        if not self._enough(len(self._learner_ms)):
            return
        self._timing_learner = False
        self.row["learner_ms"] = statistics.median(self._learner_ms)
        self._memory()
        self._start(self._count, 0.0)
        if self.device.type != "cuda":
            self._end()
        try:
            with self._profiler() as nothing:
                pass
            self._baseline = tally(_names(nothing))  # the profiler itself synchronises
            self._profile = self._profiler()
            self._profile.__enter__()
        except Exception as error:
            self._give_up_counting(error)

    def _count(self) -> None:
        try:
            self._profile.__exit__(None, None, None)
            counted = tally(_names(self._profile))
        except Exception as error:
            self._give_up_counting(error)
        self.row.update({key: max(0, n - self._baseline[key]) for key, n in counted.items()})
        self._end()

    def _give_up_counting(self, error: Exception) -> NoReturn:
        self.notes.append(f"the profiler failed: {error}")
        self._end()

    def _end(self) -> NoReturn:
        self._synchronize()
        raise Finished

    # What the phases use.

    def _start(self, phase: Callable[[], None], seconds: float) -> None:
        self._phase = phase
        self._deadline = time.perf_counter() + seconds

    def _enough(self, count: int) -> bool:
        return count >= self.plan.iterations or (count >= 3 and time.perf_counter() > self._deadline)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _now(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _memory(self) -> None:
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            self.row["torch_peak_mb"] = torch.cuda.max_memory_allocated(self.device) / 2**20
            self.row["device_used_mb"] = (total - free) / 2**20

    def _profiler(self) -> Any:
        kinds = torch.profiler.ProfilerActivity
        return torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA])


def tally(names: Iterable[str]) -> Dict[str, int]:
    """Counts CUDA calls by their names in the profile."""
    kinds = {
        "launches": LAUNCH,
        "graph_launches": GRAPH_LAUNCH,
        "synchronisations": SYNCHRONISE,
        "copies_to_host": TO_HOST,
    }
    counts = dict.fromkeys(kinds, 0)
    for name in names:
        for kind, pattern in kinds.items():
            counts[kind] += pattern.match(name) is not None
    return counts


def _names(profiler: Any) -> List[str]:
    try:  # the raw list, because building torch's tree of a hundred thousand events takes minutes
        return [event.name() for event in profiler.profiler.kineto_results.events()]
    except AttributeError:
        return [event.name for event in profiler.events()]


def _milliseconds(begin: Any, end: Any) -> float:
    if isinstance(begin, float):
        return 1e3 * (end - begin)
    return begin.elapsed_time(end)
