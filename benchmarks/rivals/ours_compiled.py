"""This engine with `--compile`: losses through torch.compile, the learner's networks in bfloat16."""

from __future__ import annotations

from pathlib import Path

from rivals import ours
from rivals.meter import Meter
from rivals.settings import Settings
from rivals.stepped import SteppedTask


def run(env: SteppedTask, s: Settings, meter: Meter, directory: Path) -> None:
    """Trains until the meter ends it.  The task is not compiled: the others' is not, either."""
    ours.run(env, s, meter, directory, amp=True, compile=True)
