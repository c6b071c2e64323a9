"""Signals: the first asks training to save and stop, a later one stops it at once, and one more asks it to save and go on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Dict, Optional, Tuple, Type

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")
SAME_REQUEST_S = 0.5
"""A second signal within this time belongs to the first: a shell and a scheduler may both send one."""


class Interrupted(KeyboardInterrupt):
    """Raised inside an evaluation, which is then thrown away."""


class Signals:
    """`with Signals() as signals:` notes signals for as long as the block runs, and then restores what was there before.

    Signals can only be noted in a process's main thread; in another thread the block changes nothing.
    """

    def __init__(
        self,
        save_on: str = "SIGUSR1",
        same_request_s: float = SAME_REQUEST_S,
        keep_after: Tuple[Type[BaseException], ...] = (),
    ) -> None:
        """save_on: name of the signal that asks to save and go on.  same_request_s: a second signal within this time belongs
        to the first.  keep_after: errors after which signals stay noted: the process will end, and must still
        save and say why."""
        self._save_on, self._same_request_s, self._keep_after = save_on, same_request_s, keep_after
        self.received: Optional[int] = None
        """The signal that asked to stop, if one did."""
        self.received_at: Optional[float] = None
        """When, by the monotonic clock."""
        self.may_raise = False
        """Whether to raise `Interrupted` at once; set while work runs that may be thrown away."""
        self._save_wanted = False
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for name in (*STOPPING, self._save_on):
                number = getattr(signal, name, None)  # Windows has not all of them
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks it
                    self._before[number] = signal.signal(number, self._save if name == self._save_on else self._stop)
        return self

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        if isinstance(error, self._keep_after):
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def take_save(self) -> bool:
        """Whether a save was asked for since this was last called."""
        wanted, self._save_wanted = self._save_wanted, False
        return wanted

    def _save(self, _number: int, _frame: Optional[FrameType]) -> None:
        self._save_wanted = True

    def _stop(self, number: int, _frame: Optional[FrameType]) -> None:
        if self.received is None:
            self.received, self.received_at = number, time.monotonic()
            if self.may_raise:
                raise Interrupted
        elif self.received_at is not None and time.monotonic() - self.received_at > self._same_request_s:
            # Files are written under another name first, so what lies in the run directory is whole at any moment.
            os.write(sys.stderr.fileno(), b"stopped at once: the last checkpoint is the one from before\n")
            os._exit(128 + number)


def name_of(number: int) -> str:
    """`Ctrl-C` or the signal's name."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
