"""How long work takes on the device: points in its time, and a stopwatch for one part of a function."""

from __future__ import annotations

import inspect
import math
import time
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Tuple

import torch

_GRAPHS_CAN_BE_TIMED = "external" in inspect.signature(torch.cuda.Event.__new__).parameters
"""Whether this torch can record an event as a part of a CUDA graph.  Such an event is recorded anew by each replay."""


def now(device: torch.device) -> Any:
    """This point in the device's time, for `milliseconds`: an event on a GPU, else seconds of the processor's clock."""
    if device.type != "cuda":
        return time.perf_counter()
    if torch.cuda.is_current_stream_capturing():
        event = torch.cuda.Event(enable_timing=True, external=True)
    else:
        event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def milliseconds(begin: Any, end: Any) -> float:
    """From one point to a later one.  On a GPU it waits until the later one has passed."""
    if isinstance(begin, float):
        return 1e3 * (end - begin)
    end.synchronize()
    return begin.elapsed_time(end)


def time_third_call(function: Callable[[], object], device: torch.device) -> float:
    """Milliseconds of the third call of a function: the first makes what is made lazily, the second may be a capture."""
    for _ in range(2):
        function()
    begin = now(device)
    function()
    return milliseconds(begin, now(device))


class Stopwatch:
    """Times one part of a function, without changing what the function does.

    The function does its work inside `with stopwatch.new():`, and the part inside `with stopwatch.lap():`, as often as it
    likes.  A function that was captured as a CUDA graph goes on being timed: each replay records the same laps again.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._laps: List[Tuple[Any, Any]] = []

    @contextmanager
    def new(self) -> Iterator[None]:
        """Forgets the laps of the call before."""
        self._laps = []
        yield

    @contextmanager
    def lap(self) -> Iterator[None]:
        """Times what is issued inside."""
        captured = self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        if captured and not _GRAPHS_CAN_BE_TIMED:
            yield
            return
        begin = now(self.device)
        yield
        self._laps.append((begin, now(self.device)))

    def milliseconds(self) -> float:
        """Of all laps of the function's last call; NaN if there were none.  On a GPU it waits until they are over.

        Ask only while no later call of the function is on its way: a replay that runs overwrites the points in time.
        """
        if not self._laps:
            return math.nan
        return sum(milliseconds(begin, end) for begin, end in self._laps)
