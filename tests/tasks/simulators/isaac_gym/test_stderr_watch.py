"""PhysX's words on stderr reach the terminal, and those that say that contacts were lost stop the program."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, List

import conformance
import pytest
from isaac_support.backend import make
from isaac_support.stage import DOUBLE

from tasks.objects import ObjectSet
from tasks.simulators.errors import SimulatorError
from tasks.simulators.isaac_gym.stderr_watch import StderrWatch

ROOT = DOUBLE.parents[1]
OVERFLOW = (
    b"/buildAgent/PxgNphase.cpp (98) : Contact buffer overflow detected, please increase its size to at least 9\n"
)
MISSED = b"PxgDynamicsMemoryConfig::foundLostPairsCapacity ..., otherwise, the simulation will miss interactions\n"


def heard(watch: StderrWatch) -> List[str]:
    """What the watch finds within a second."""
    for _ in range(100):
        found = watch.lost()
        if found:
            return found
        time.sleep(0.01)
    return []


def test_lost_contacts_are_found_and_everything_is_passed_on(capfd: Any) -> None:
    watch = StderrWatch()
    try:
        os.write(2, b"+++ Using GPU PhysX\n")
        os.write(2, OVERFLOW)
        assert [line.encode() + b"\n" for line in heard(watch)] == [OVERFLOW]
        assert watch.lost() == [], "each line is told once"
        os.write(2, MISSED[:20])
        time.sleep(0.1)
        assert watch.lost() == [], "half a line is no line"
        os.write(2, MISSED[20:])
        assert len(heard(watch)) == 1
    finally:
        watch.close()
    os.write(2, b"after\n")
    assert capfd.readouterr().err.encode() == b"+++ Using GPU PhysX\n" + OVERFLOW + MISSED + b"after\n"


def test_the_simulator_stops_when_physx_lost_contacts(isaac: Any, tmp_path: Path, capfd: Any) -> None:
    sim = make(ObjectSet.of("one", [conformance.CUBE]), 2, tmp_path, watch_errors=True)
    try:
        assert sim.diagnostics() == {"nan_resets": 0.0}
        os.write(2, OVERFLOW)
        time.sleep(0.3)
        with pytest.raises(SimulatorError, match=r"lost contacts.*buffer overflow.*--isaac-gym.max-contact-pairs"):
            sim.diagnostics()
    finally:
        sim.close()
    os.write(2, OVERFLOW)
    assert capfd.readouterr().err.encode() == 2 * OVERFLOW


def test_the_last_words_of_a_crash_are_seen() -> None:
    code = (
        "import os; from tasks.simulators.isaac_gym.stderr_watch import StderrWatch; StderrWatch(); "
        "os.write(2, b'CUDA error\\n'); os.abort()"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True)
    assert done.returncode < 0 and b"CUDA error" in done.stderr
