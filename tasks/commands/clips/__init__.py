"""Videos of a training: short clips of its policy, made beside it by another process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from ppo_grasp import ActorCritic, save_policy

FOLDER = "videos"
"""In the run directory."""
LAST_WAITS_S = 300.0
"""How long the end of a training waits for its last clip."""
Measure = Callable[[ActorCritic], Dict[str, float]]


class Clips:
    """Films the policy at evaluations, the first one after each `every` environment steps.

    The training only writes the policy to a file and starts a process, `python -m tasks.commands.clips`, which plays on MuJoCo C
    and draws, with the lowest priority and without CUDA.  There is one at a time: a clip that would begin before the last one
    is done is left out.  A clip that cannot be made is said once, and no other is tried.
    """

    def __init__(self, run_dir: Path, every: Optional[int], config: Dict[str, Any]) -> None:
        """every: environment steps; None: there are no clips.  config: of the task, as checkpoints keep it."""
        self.folder, self.every, self.config = run_dir / FOLDER, every, config
        self._last = 0
        self._process: Optional[subprocess.Popen] = None
        self._policy: Optional[Path] = None

    def beside(self, measure: Measure, env_steps: Callable[[], int]) -> Measure:
        """`measure`, which then also starts a clip if it is time for one.  env_steps: those of the training so far."""
        if self.every is None:
            return measure

        def measure_and_film(policy: ActorCritic) -> Dict[str, float]:
            self.film(policy, env_steps())
            return measure(policy)

        return measure_and_film

    def film(self, policy: ActorCritic, env_steps: int) -> None:
        """Starts a clip, if it is time for one and none is being made."""
        self._look()
        if self.every is None or env_steps // self.every <= self._last // self.every or self._process is not None:
            return
        self._last = env_steps
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._policy = self.folder / f".policy_{env_steps}.pt"
            save_policy(self._policy, policy, {"config": {"task": self.config}, "env_steps": env_steps})
            self._process = subprocess.Popen(
                command(self._policy, self.folder / f"{env_steps}.mp4"),
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the training, which ends this
            )
        except OSError as error:
            self._give_up(error.strerror or str(error))

    def close(self, wait: bool) -> None:
        """Ends: waits for a clip that is being made, or stops it."""
        if self._process is not None and wait:
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                self._process.wait(LAST_WAITS_S)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        self._look()
        self._forget()

    def _look(self) -> None:
        """Finds out whether a clip is done."""
        if self._process is None or self._process.poll() is None:
            return
        said = (self._process.communicate()[1] or "").strip().splitlines()
        status, self._process = self._process.returncode, None
        self._forget()
        if status != 0:
            reason = said[-1] if said else f"its process ended with status {status}"
            self._give_up(reason[len("error: ") :] if reason.startswith("error: ") else reason)

    def _forget(self) -> None:
        if self._policy is not None:
            with contextlib.suppress(OSError):
                self._policy.unlink()
        self._policy = None

    def _give_up(self, reason: str) -> None:
        self.every = None
        print(f"note: no videos: {' '.join(reason.split())}", flush=True)


def command(policy: Path, video: Path) -> List[str]:
    """What makes a clip of this policy."""
    return [sys.executable, "-m", "tasks.commands.clips", str(policy), str(video)]


def environment() -> Dict[str, str]:
    """Without CUDA, with one thread for torch, and where Python finds this program."""
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
