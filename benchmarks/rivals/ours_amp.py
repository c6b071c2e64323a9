"""This engine as `train.py` runs it where the GPU has bfloat16: the learner's networks in it."""

from __future__ import annotations

from pathlib import Path

from rivals import ours
from rivals.meter import Meter
from rivals.settings import Settings
from rivals.stepped import SteppedTask


def run(env: SteppedTask, s: Settings, meter: Meter, directory: Path) -> None:
    """Trains until the meter ends it."""
    ours.run(env, s, meter, directory, amp=True)
