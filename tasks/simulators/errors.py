"""The one error of all simulators; free of heavy imports, so that it can be raised before torch is loaded."""

from __future__ import annotations


class SimulatorError(RuntimeError):
    """A simulator that cannot run here; the text is one line that names the cause and the cure."""
