"""Watches what PhysX prints on stderr: it says there, and nowhere else, that it lost contacts."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import List, Optional

from tasks.simulators.errors import LOST_CONTACTS


class StderrWatch:
    """Sends the process's stderr through `tee`, which passes everything on and keeps a copy that can be searched.

    Isaac Gym's libraries write to the file descriptor itself, so Python's `sys.stderr` never sees their words.  `tee` is a
    process of its own: nothing waits for this one, and the last words of a crash still reach the terminal.
    """

    def __init__(self) -> None:
        """Does nothing if there is no `tee`."""
        self._tee: Optional[subprocess.Popen] = None
        program = shutil.which("tee")
        if program is None:
            return
        sys.stderr.flush()
        self._copy = tempfile.NamedTemporaryFile(prefix="physx_stderr_")  # noqa: SIM115 it lives as long as the watch
        self._terminal = os.dup(2)
        self._tee = subprocess.Popen(
            [program, "-i", "-a", self._copy.name], stdin=subprocess.PIPE, stdout=self._terminal
        )
        assert self._tee.stdin is not None
        os.dup2(self._tee.stdin.fileno(), 2)
        self._read = 0
        atexit.register(self.close)

    def lost(self) -> List[str]:
        """The lines since the last call that say that contacts were lost."""
        if self._tee is None:
            return []
        with open(self._copy.name, "rb") as copy:
            copy.seek(self._read)
            text = copy.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [line for line in whole.decode(errors="replace").splitlines() if LOST_CONTACTS.search(line)]

    def close(self) -> None:
        """Gives stderr back, and waits a moment for `tee` to pass on everything."""
        if self._tee is None:
            return
        sys.stderr.flush()
        os.dup2(self._terminal, 2)
        assert self._tee.stdin is not None
        self._tee.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # a child of this process may hold stderr open
            self._tee.wait(timeout=2)
        os.close(self._terminal)
        self._copy.close()
        self._tee = None
        atexit.unregister(self.close)
