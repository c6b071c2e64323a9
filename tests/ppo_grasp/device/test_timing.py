"""The stopwatch times its laps and nothing else, also inside a CUDA graph."""

from __future__ import annotations

import math
import time

import pytest
import torch

from ppo_grasp.device.graphs import CapturedFunction, side_stream
from ppo_grasp.device.ranges import named_range, time_physics
from ppo_grasp.device.timing import Stopwatch, milliseconds, now

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_laps_of_the_last_call_are_summed() -> None:
    stopwatch = Stopwatch(CPU)
    assert math.isnan(stopwatch.milliseconds()), "nothing was timed"
    for laps in (3, 2):
        with stopwatch.new():
            for _ in range(laps):
                time.sleep(0.02)
                with stopwatch.lap():
                    time.sleep(0.01)
        assert 10 * laps <= stopwatch.milliseconds() < 10 * laps + 15
    with stopwatch.new():
        pass
    assert math.isnan(stopwatch.milliseconds()), "the last call had no laps"


def test_only_physics_within_the_block_is_timed() -> None:
    stopwatch = Stopwatch(CPU)
    with named_range("physics"):
        time.sleep(0.01)
    with time_physics(stopwatch), named_range("reward"):
        time.sleep(0.01)
    assert math.isnan(stopwatch.milliseconds())
    with time_physics(stopwatch), named_range("physics"):
        time.sleep(0.01)
    with named_range("physics"):
        time.sleep(0.02)
    assert 10 <= stopwatch.milliseconds() < 20


def test_points_in_time() -> None:
    begin = now(CPU)
    time.sleep(0.01)
    assert 10 <= milliseconds(begin, now(CPU)) < 30


@needs_cuda
def test_laps_in_a_graph_are_timed_in_each_replay() -> None:
    """Three quarters of the work are inside laps; the sum follows the whole, and the graph gives what it should."""
    x = torch.zeros(1 << 24, device=CUDA)
    stopwatch = Stopwatch(CUDA)

    def work() -> None:
        with time_physics(stopwatch):
            for _ in range(10):
                x.add_(1.0)
                with named_range("physics"):
                    for _ in range(3):
                        x.add_(1.0)

    with side_stream(CUDA):
        function = CapturedFunction(work)
        for call in range(1, 6):
            begin = now(CUDA)
            function()
            whole = milliseconds(begin, now(CUDA))
            laps = stopwatch.milliseconds()
            assert x.unique().tolist() == [40.0 * call]
            if call > 2:
                assert 0.6 * whole < laps < 0.85 * whole
    assert function._graph is not None
