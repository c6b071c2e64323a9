"""The error of all simulators.  It imports nothing, so that it can be raised before torch is loaded."""

from __future__ import annotations


class SimulatorError(RuntimeError):
    """A simulator cannot run.  The text is one line with the cause and the cure."""
