"""Runs commands beside each other, and ends them all if it is ended itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

PATIENCE_S = 60.0
"""How long a command may take to save what it has, once it is asked to end."""


@dataclass(eq=False)
class Job:
    """Commands that run one after the other; the first that fails ends the job."""

    name: str
    commands: Dict[str, List[str]]
    """What is being done -> the command for it, without the Python before it."""
    log: Path
    """Gets all that they say."""
    has_begun: Callable[[], bool] = lambda: True
    """Whether the start is over, in which it should be alone."""
    done: int = 0
    """The number of commands that have ended well."""
    seconds: float = 0.0
    status: Optional[int] = None
    """Of the last command, once the job has ended."""
    place: int = 0
    """Which of the places of the pool it has."""
    _process: Optional[subprocess.Popen[bytes]] = None
    _started: float = 0.0
    _log_start: int = 0  # what is before is of an earlier call

    @property
    def doing(self) -> str:
        """Which command runs, or ran last."""
        return list(self.commands)[min(self.done, len(self.commands) - 1)]

    def failure(self) -> str:
        """Why it failed: its last line that says `error:`, or else its last line.  Empty if it did not."""
        if not self.status:
            return ""
        text = self.log.read_bytes()[self._log_start :].decode(errors="replace")
        said = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("error:")]
        what = f"ended by {signal.Signals(-self.status).name}" if self.status < 0 else f"status {self.status}"
        return (errors or [f"{what}: {said[-1]}" if said else f"{what}, without a word"])[-1]

    def begin(self) -> None:
        """Notes when it begins, and where in the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0

    def run(self, environment: Dict[str, str], cores: Sequence[int]) -> None:
        """Starts the next command, in a session of its own.  cores: of the processor, to which it keeps; any if empty."""
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.commands[self.doing]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        if cores:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self._process.pid, cores)

    def poll(self) -> Optional[int]:
        """The status of the command that was started last, None while it runs."""
        assert self._process is not None
        self.seconds = time.monotonic() - self._started
        return self._process.poll()

    def signal(self, number: int) -> None:
        """To the command and to all that it has started."""
        if self.poll() is None and self._process is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, number)


class Pool:
    """Runs jobs, so many at a time.  Ctrl-C in a terminal does not reach them: whoever made the pool must end it."""

    def __init__(
        self,
        jobs: Sequence[Job],
        at_once: int,
        environment: Dict[str, str],
        begins: Callable[[Job], None] = lambda job: None,
        gpus: Sequence[str] = (),
        one_starts: bool = False,
        pin: bool = False,
    ) -> None:
        """begins: is called when a job is about to start.  gpus: which the jobs share, as CUDA_VISIBLE_DEVICES names them.
        one_starts: whether the next begins only when the one before `has_begun`, because starts disturb each other.
        pin: whether each keeps to its share of the processor's cores."""
        self.waiting: List[Job] = list(jobs)
        self.running: List[Job] = []
        self._at_once, self._one_starts, self._begins = at_once, one_starts, begins
        self._environments = [dict(environment) for _ in range(at_once)]
        self._cores: List[List[int]] = [[] for _ in range(at_once)]
        if len(gpus) > 1:
            for place, own in enumerate(self._environments):
                own["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
        if pin and at_once > 1 and hasattr(os, "sched_setaffinity"):
            mine = sorted(os.sched_getaffinity(0))
            each = max(1, len(mine) // at_once)
            self._cores = [mine[i * each % len(mine) :][:each] for i in range(at_once)]

    def poll(self) -> List[Job]:
        """Returns the jobs that have ended since the last call; if there are none, starts what may start."""
        ended = [job for job in self.running if self._has_ended(job)]
        self.running = [job for job in self.running if job not in ended]
        while not ended and self.waiting and len(self.running) < self._at_once:
            if self._one_starts and self.running and not self.running[-1].has_begun():
                break
            job = self.waiting.pop(0)
            job.place = min(set(range(self._at_once)) - {other.place for other in self.running})
            job.begin()
            self._begins(job)
            self._run(job)
            self.running.append(job)
        return ended

    def end(self, urgent: Callable[[], bool] = lambda: False) -> None:
        """Asks everything that runs to end, and waits for it; what does not end in time is killed.

        urgent: whether to wait no longer.
        """
        self.waiting = []
        for job in self.running:
            job.signal(signal.SIGTERM)
        until = time.monotonic() + PATIENCE_S
        while any(job.poll() is None for job in self.running):
            if urgent() or time.monotonic() > until:
                for job in self.running:
                    job.signal(signal.SIGKILL)
            time.sleep(0.05)
        self.running = []

    def _has_ended(self, job: Job) -> bool:
        status = job.poll()
        if status is None:
            return False
        if status == 0:
            job.done += 1
            if job.done < len(job.commands):
                self._run(job)
                return False
        job.status = status
        return True

    def _run(self, job: Job) -> None:
        job.run(self._environments[job.place], self._cores[job.place])


class Stop:
    """`with Stop() as stop:` notes the signals that ask to end, instead of ending at once."""

    def __init__(self) -> None:
        self.received: Optional[int] = None
        self.again = False
        """Whether a second one came, half a second later or more."""
        self._at = 0.0
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: Optional[FrameType]) -> None:
        if self.received is None:
            self.received, self._at = number, time.monotonic()
        elif time.monotonic() - self._at > 0.5:
            self.again = True


@contextlib.contextmanager
def shared_gpu(wanted: bool) -> Iterator[Dict[str, str]]:
    """The environment variables of processes that share a GPU.  Where MPS is installed, its server runs inside this context."""
    control = shutil.which("nvidia-cuda-mps-control") if wanted else None
    with tempfile.TemporaryDirectory() as folder:  # of its own, so that it does not meddle with another server
        own = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        quiet: Dict[str, Any] = {"env": own, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started = control is not None and subprocess.run([control, "-d"], **quiet).returncode == 0
        try:
            yield own if started else dict(os.environ)
        finally:
            if started:
                subprocess.run([str(control)], input="quit\n", text=True, **quiet)
