"""Where a run's numbers go: metrics.jsonl, TensorBoard, and the terminal through `ppo_grasp.display`.

Names are stable.  A line of metrics.jsonl has, for each iteration:

- `iteration`, `env_steps`, `wall_s`: counters, and seconds since the process started; a resumed run goes on counting;
- `steps_per_s`: environment steps per second;
- `physics_ms`, `task_ms`, `policy_ms`, `update_ms`: the time of the iteration: the simulation itself; the rest of the task, such
  as rewards, resets and observations; the policy's actions; the update.  `environment_ms` is `physics_ms` + `task_ms`; of a task
  that does not show its simulation, only that sum is known;
- `reward`: mean per step; `success_rate`: of the training episodes, whose actions are noisy; 0 until one has been counted;
- the losses: `policy_loss`, `value_loss`, `entropy`, `kl`, `clip_fraction`, `grad_norm`, `explained_variance`, `learning_rate`,
  `action_std`, and the numbers of skipped gradient steps `nonfinite_steps` and `kl_stopped_steps`;
  `finite_weights` is 1 as long as all weights are finite;
- each metric of the task under its own name; it keeps its value while no episode contributes to it;
- after an evaluation `eval_*`, after a checkpoint `diagnostics_*`.

A value that is not finite is null.  On a GPU `physics_ms` and `policy_ms` are measured now and then, the others each time.
TensorBoard has the same values under `charts/`, `losses/`, `task/`, `eval/` and `diagnostics/`, and some of them a second
time under the names that CleanRL uses, see `CLEANRL`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterator, List, Optional, Sequence, Set

from ppo_grasp.display import Describe, Display
from ppo_grasp.run.files import replace_file

TIMES = ("physics_ms", "task_ms", "environment_ms", "policy_ms", "update_ms")
COUNTERS = ("iteration", "env_steps", "wall_s")
CHARTS = ("steps_per_s", *TIMES, "reward", "success_rate")
LOSSES = (
    *("policy_loss", "value_loss", "entropy", "kl", "clip_fraction", "grad_norm", "explained_variance"),
    *("learning_rate", "action_std", "nonfinite_steps", "kl_stopped_steps", "finite_weights"),
)
CLEANRL = {
    "episode_return": "charts/episodic_return",
    "episodic_return": "charts/episodic_return",
    "episode_steps": "charts/episodic_length",
    "episodic_length": "charts/episodic_length",
    "steps_per_s": "charts/SPS",
    "learning_rate": "charts/learning_rate",
    "kl": "losses/approx_kl",
    "clip_fraction": "losses/clipfrac",
}
"""Our name -> CleanRL's tag, so that a run can be laid beside runs of other programs.  Its `losses/policy_loss`, `value_loss`,
`entropy` and `explained_variance` are ours, too.  Returns and lengths are means over the episodes that ended in an iteration."""
FILE = "metrics.jsonl"

Row = Dict[str, float]
Tracker = Callable[[Row], None]
"""Takes a row to another place, such as Weights & Biases.  It must return soon, and deal with its own trouble."""


def process_age() -> float:
    """Seconds since this process started, or where /proc does not tell, since this module was imported."""
    try:
        with open("/proc/self/stat") as stat, open("/proc/uptime") as uptime:
            started = float(stat.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
            return float(uptime.read().split()[0]) - started
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic() - _IMPORTED


_IMPORTED = time.monotonic()


def tensorboard_tag(name: str) -> str:
    """`kl` -> `losses/kl`, `eval_success_rate` -> `eval/success_rate`, a metric of the task -> `task/...`."""
    for prefix in ("eval", "diagnostics"):
        if name.startswith(prefix + "_"):
            return f"{prefix}/{name[len(prefix) + 1 :]}"
    group = "charts" if name in CHARTS + COUNTERS else "losses" if name in LOSSES else "task"
    return f"{group}/{name}"


def tagged(row: Row) -> Row:
    """The values of a row under all their tags, without `env_steps`, which is what they are drawn over."""
    found = {tensorboard_tag(name): value for name, value in row.items() if name != "env_steps"}
    found.update({CLEANRL[name]: value for name, value in row.items() if name in CLEANRL})
    return found


class MetricsLogger:
    """Appends rows to a run's files, and shows them in the terminal.

    Trouble with a file is said once.  It never ends a training: the numbers are worth less than the network.
    """

    def __init__(
        self,
        run_dir: Path,
        total_steps: int,
        max_seconds: Optional[float],
        iteration: int,
        env_steps: int,
        describe: Optional[Describe] = None,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        """iteration, env_steps: where the run goes on; what the files hold from after that point is dropped.
        describe: puts a row into words for the terminal, see `Display`.  trackers: get each row, too."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only a training run needs it

        self._path, self._trackers = run_dir / FILE, trackers
        self._file: Optional[IO[str]] = None
        self._said: Set[str] = set()
        self._tensorboard: Any = None
        run_dir.mkdir(parents=True, exist_ok=True)
        kept: List[str] = []
        with self._excused(FILE):
            kept = _rows_until(self._path, iteration)
            replace_file(self._path, kept)
            self._file = self._open()
        with self._excused("TensorBoard's file"):
            self._tensorboard = SummaryWriter(str(run_dir), purge_step=env_steps + 1 if env_steps else None)
        evaluated: Row = next((json.loads(line) for line in reversed(kept) if '"eval_' in line), {})
        self._display = Display(total_steps, max_seconds, process_age, describe, evaluated)

    def stage(self, message: str) -> None:
        """Says what is happening while there are no numbers yet."""
        self._display.stage(message)

    def log(self, row: Row) -> None:
        """Writes one iteration; `row` has at least the counters."""
        with self._excused(FILE):
            self._append(row)
        step = int(row["env_steps"])
        if self._tensorboard is not None:
            with self._excused("TensorBoard's file"):
                for tag, value in tagged(row).items():
                    self._tensorboard.add_scalar(tag, value, step)
        for track in self._trackers:
            track(row)
        self._display.show(row, {k: v for k, v in row.items() if tensorboard_tag(k).startswith("task/")})

    def close(self, message: str = "") -> None:
        """Closes the files and leaves `message` on the terminal."""
        with self._excused(FILE):
            if self._file is not None:
                self._file.close()
        with self._excused("TensorBoard's file"):
            if self._tensorboard is not None:
                self._tensorboard.close()
        self._display.close(message)

    def _open(self) -> IO[str]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return open(self._path, "a", encoding="utf-8")

    def _append(self, row: Row) -> None:
        """Writes a line; into a new file if somebody deleted the old one."""
        if self._file is None or os.fstat(self._file.fileno()).st_nlink == 0:
            self._file = self._open()
        finite = {k: v if math.isfinite(v) else None for k, v in row.items()}
        try:
            self._file.write(json.dumps(finite) + "\n")
            self._file.flush()
        except OSError:
            file, self._file = self._file, None  # what is left in its buffer would be written again with the next line
            with contextlib.suppress(OSError):
                file.close()
            raise

    @contextlib.contextmanager
    def _excused(self, what: str) -> Iterator[None]:
        """Says once what went wrong inside, and goes on."""
        try:
            yield
        except Exception as error:  # TensorBoard's thread hands on whatever it met
            if what not in self._said:
                self._said.add(what)
                reason = getattr(error, "strerror", None) or " ".join(str(error).split())
                print(
                    f"warning: {what} in {self._path.parent} cannot be written: {reason}; training goes on", flush=True
                )


def _rows_until(path: Path, iteration: int) -> List[str]:
    """Lines of an earlier part of the run up to `iteration`, without those that are damaged or were cut off."""
    if iteration == 0 or not path.exists():
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        return [line for line in file if line.endswith("}\n") and _iteration(line) <= iteration]


def _iteration(line: str) -> float:
    """Of a row; infinity if the line is none."""
    try:
        return float(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError):
        return math.inf
