"""Named ranges of what is being done: they are marked for Nsight Systems (NVTX), and one of them can be timed.

The engine's ranges: rollout (with policy inside), update (with gae, minibatches, normalizers inside), log, evaluate.  A task
adds its own inside rollout; it should call its simulation `physics`, because the engine times that one for its report.
A replayed CUDA graph is one launch, so Nsight Systems shows what is inside rollout and update with `--no-graphs` only.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import Any, ContextManager, Iterator, Optional

import torch

from ppo_grasp.device.timing import Stopwatch

PHYSICS = "physics"
"""The range that `time_physics` times."""

_marking = False
_stopwatch: Optional[Stopwatch] = None


def mark_ranges(wanted: bool) -> None:
    """Whether `named_range` marks from now on, in the whole process; it needs a CUDA build of torch."""
    global _marking
    _marking = wanted


def named_range(name: str) -> ContextManager[Any]:
    """Marks what is issued inside, if ranges are wanted, and times it, if it is the range that is timed."""
    if _stopwatch is not None and name == PHYSICS:
        return _timed(name, _stopwatch)
    return torch.cuda.nvtx.range(name) if _marking else nullcontext()


@contextmanager
def _timed(name: str, stopwatch: Stopwatch) -> Iterator[None]:
    with torch.cuda.nvtx.range(name) if _marking else nullcontext(), stopwatch.lap():
        yield


@contextmanager
def time_physics(stopwatch: Stopwatch) -> Iterator[None]:
    """Makes the ranges named `physics` inside the block the stopwatch's laps."""
    global _stopwatch
    before, _stopwatch = _stopwatch, stopwatch
    try:
        with stopwatch.new():
            yield
    finally:
        _stopwatch = before
