"""Counts what PhysX says about buffers that are too small: it goes on then, and computes wrong motions."""

from __future__ import annotations

import logging

from tasks.simulators.errors import LOST_CONTACTS
from tasks.simulators.physx.library import Library

LOGGER = "ovphysx"


class LostContacts(logging.Handler):
    """Listens to PhysX's log, for all simulations of this process.  Warnings are passed on to stderr by PhysX itself."""

    def __init__(self, library: Library) -> None:
        super().__init__(logging.WARNING)
        self._lines = 0
        logger = logging.getLogger(LOGGER)
        logger.propagate = False
        logger.addHandler(self)
        library.ovphysx.enable_python_logging(LOGGER, min_severity=library.types.LogLevel.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Counts a line that says that contacts were lost."""
        self._lines += bool(LOST_CONTACTS.search(record.getMessage()))

    def count(self) -> int:
        """How many such lines there were since the last call."""
        lines, self._lines = self._lines, 0
        return lines

    def close(self) -> None:
        """Stops listening."""
        logging.getLogger(LOGGER).removeHandler(self)
        super().close()
