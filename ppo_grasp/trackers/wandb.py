"""A run in Weights & Biases: settings, metrics under TensorBoard's names, videos, and the last evaluation as its summary.

Account, entity and mode come from wandb's own environment variables: WANDB_API_KEY, WANDB_ENTITY, WANDB_MODE=offline.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Set

from ppo_grasp.metrics import Row, tagged

PROJECT = "ppo-grasp"
STEP = "global_step"
"""What curves are drawn over: environment steps.  Other libraries call them so, too."""
VIDEO = "videos/policy"
ID_FILE = "wandb_id"
"""In the run directory; a resume reads it and goes on in the same run of Weights & Biases."""


def require() -> None:
    """Raises ValueError with how to get wandb, if it is not installed."""
    if find_spec("wandb") is None:
        raise ValueError("--wandb: wandb is not installed: pip install -c constraints.txt -e '.[wandb]'")


class WandbRun:
    """Hands rows and videos to Weights & Biases.

    Trouble with it is said once, and then it is left alone.  It never ends a training.
    """

    def __init__(
        self,
        run_dir: Path,
        config: Mapping[str, Any],
        project: Optional[str] = None,
        name: Optional[str] = None,
        videos: Optional[Path] = None,
    ) -> None:
        """project: by default $WANDB_PROJECT, or `PROJECT`.  name: by default $WANDB_NAME, or the name of run_dir.
        videos: a directory of STEPS.mp4, which may still be made."""
        self._videos = videos
        self._sent: Set[Path] = set()
        self._sent.update(self._new_videos())  # a resume finds those of before
        self._run: Any = None
        with self._excused():
            import wandb

            self._run = wandb.init(
                project=project or os.environ.get("WANDB_PROJECT") or PROJECT,
                name=name or os.environ.get("WANDB_NAME") or run_dir.resolve().name,
                id=_run_id(run_dir),
                resume="allow",
                dir=str(run_dir),
                config=json.loads(json.dumps(config, default=str)),
                settings=wandb.Settings(console="off", quiet=True),  # else it takes over the terminal
            )
            self._run.define_metric(STEP)
            self._run.define_metric("*", step_metric=STEP)

    def log(self, row: Row) -> None:
        """Hands over one iteration; and the videos that are done, if it has an evaluation."""
        with self._excused():
            if self._run is not None:
                self._run.log({**tagged(row), STEP: int(row["env_steps"])})
                if any(name.startswith("eval_") for name in row):
                    self._send_videos()

    def close(self, failed: bool = False) -> None:
        """Hands over the last videos, and waits until everything is written or sent.  failed: the training did not end well."""
        with self._excused():
            if self._run is not None:
                self._send_videos()
                self._run.finish(exit_code=int(failed))
        with contextlib.suppress(Exception):  # at the end of the process its service would print what it raises
            import wandb

            wandb.teardown()

    def _send_videos(self) -> None:
        import wandb

        for path, steps in sorted(self._new_videos().items(), key=lambda item: item[1]):
            self._sent.add(path)
            self._run.log({VIDEO: wandb.Video(str(path), format="mp4"), STEP: steps})

    def _new_videos(self) -> Dict[Path, int]:
        """Those that are done and were not sent yet, with their environment steps."""
        found = [] if self._videos is None else self._videos.glob("[0-9]*.mp4")
        return {path: int(path.stem) for path in found if path.stem.isdigit() and path not in self._sent}

    @contextlib.contextmanager
    def _excused(self) -> Iterator[None]:
        """Says what went wrong inside.  From then on nothing is handed over."""
        try:
            yield
        except Exception as error:  # whatever a library that talks to a network may raise
            self._run = None
            reason = " ".join(str(error).split()) or type(error).__name__
            print(f"warning: wandb stopped working: {reason}; training goes on without it", flush=True)


def _run_id(run_dir: Path) -> str:
    """The id of the run in Weights & Biases that belongs to a run directory; it is kept there."""
    path = run_dir / ID_FILE
    if path.exists():
        return path.read_text(encoding="utf-8").strip()
    made = uuid.uuid4().hex[:8]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made + "\n", encoding="utf-8")
    return made
