"""The newest policy of a training that runs: looked for now and then, and read beside whatever else is done."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Callable, Deque, Optional, Tuple

from tasks.evaluation.trained import TrainedPolicy, load_trained
from tasks.evaluation.trained_for import identity

EVERY_S = 2.0
Stamp = Tuple[str, float, int]
"""Path, time and size of a checkpoint."""


def newest_checkpoint(run_dir: Path) -> Optional[Path]:
    """The checkpoint that was written last, in a run or in a folder of runs; None if there is none yet."""
    found = {
        path: stamp[1] for path in run_dir.rglob("checkpoint_*.pt") for stamp in [_stamp(path)] if stamp is not None
    }
    return max(found, key=lambda path: found[path]) if found else None


class Follower:
    """Watches a run directory, in a thread of its own, and hands out each new policy once."""

    def __init__(self, run_dir: Path, playing: TrainedPolicy, following: bool = True) -> None:
        """playing: what is played now, from this directory or not.  Policies for another hand are not handed out."""
        self.run_dir, self.following = run_dir, following
        self.trouble = ""
        """Why the newest file cannot be played; empty if it can."""
        self._hand, self._sizes = playing.settings.hand, _sizes(playing)
        self._seen = _stamp(playing.path)
        self._ready: Deque[TrainedPolicy] = deque(maxlen=1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def follow(self, following: bool) -> None:
        """Goes on looking, or leaves it."""
        self.following = following

    def take(self) -> Optional[TrainedPolicy]:
        """A policy that was not taken yet, or None.  It does not wait."""
        with contextlib.suppress(IndexError):
            return self._ready.popleft()
        return None

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """Looks once; the thread does so every two seconds."""
        path = newest_checkpoint(self.run_dir)
        stamp = None if path is None else _stamp(path)
        if path is None or stamp is None or stamp == self._seen:
            return
        self._seen = stamp
        try:
            trained = load_trained(path, self._hand)
            if _sizes(trained) != self._sizes:
                raise ValueError(f"{path} is a policy for another hand or other observations")
        except (ValueError, OSError) as error:
            self.trouble = str(error)
        else:
            self.trouble = ""
            self._ready.append(trained)

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_S):
            if self.following:
                self.look()


def wait_for_checkpoint(run_dir: Path, say: Callable[[str], Any] = print) -> Path:
    """The newest checkpoint, as soon as there is one.  Raises ValueError if there is no such directory."""
    if not run_dir.is_dir():
        raise ValueError(f"--follow {run_dir}: no such directory; train.py makes it, see --run-dir")
    path, said = newest_checkpoint(run_dir), False
    while path is None:
        if not said:
            say(f"waiting for the first checkpoint in {run_dir}")
            said = True
        time.sleep(EVERY_S)
        path = newest_checkpoint(run_dir)
    return path


def _sizes(trained: TrainedPolicy) -> Any:
    return identity(trained.hand), trained.policy.cfg.num_obs, trained.settings.grasp.history


def _stamp(path: Path) -> Optional[Stamp]:
    try:
        found = path.stat()
    except OSError:  # it was just replaced
        return None
    return str(path), found.st_mtime, found.st_size
