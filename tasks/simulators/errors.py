"""The error of all simulators.  It imports the standard library alone, so that it can be raised before torch is loaded."""

from __future__ import annotations

import re

LOST_CONTACTS = re.compile(r"overflow|miss interactions|internal error", re.IGNORECASE)
"""Words of PhysX's messages that say that a buffer was too small and contacts were lost."""


class SimulatorError(RuntimeError):
    """A simulator cannot run.  The text is one line with the cause and the cure."""
