"""Where a run's numbers go: metrics.jsonl, TensorBoard, and the terminal through `ppo_grasp.display`.

Names are stable.  A line of metrics.jsonl has, for each iteration:

- `iteration`, `env_steps`, `wall_s`: counters, and seconds since the process started; a resumed run goes on counting;
- `steps_per_s`: environment steps per second;
- `physics_ms`, `task_ms`, `policy_ms`, `update_ms`: the time of the iteration: the simulation itself; the rest of the task, such
  as rewards, resets and observations; the policy's actions; the update.  `environment_ms` is `physics_ms` + `task_ms`; of a task
  that does not show its simulation, only that sum is known;
- `reward`: mean per step; `success_rate`: of the training episodes, whose actions are noisy; 0 until one has ended;
- the losses: `policy_loss`, `value_loss`, `entropy`, `kl`, `clip_fraction`, `grad_norm`, `explained_variance`, `learning_rate`,
  `action_std`, and the numbers of skipped gradient steps `nonfinite_steps` and `kl_stopped_steps`;
- each metric of the task under its own name; it keeps its value while no episode contributes to it;
- after an evaluation `eval_*`, after a checkpoint `diagnostics_*`.

A value that is not finite is null.  On a GPU `physics_ms` and `policy_ms` are measured now and then, the others each time.
TensorBoard has the same values under `charts/`, `losses/`, `task/`, `eval/` and `diagnostics/`.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Dict, List, Optional

from ppo_grasp.display import Describe, Display

TIMES = ("physics_ms", "task_ms", "environment_ms", "policy_ms", "update_ms")
COUNTERS = ("iteration", "env_steps", "wall_s")
CHARTS = ("steps_per_s", *TIMES, "reward", "success_rate")
LOSSES = (
    *("policy_loss", "value_loss", "entropy", "kl", "clip_fraction", "grad_norm", "explained_variance"),
    *("learning_rate", "action_std", "nonfinite_steps", "kl_stopped_steps"),
)
FILE = "metrics.jsonl"

Row = Dict[str, float]


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


class MetricsLogger:
    """Appends rows to a run's files, and shows them in the terminal."""

    def __init__(
        self,
        run_dir: Path,
        total_steps: int,
        max_seconds: Optional[float],
        iteration: int,
        env_steps: int,
        describe: Optional[Describe] = None,
    ) -> None:
        """iteration, env_steps: where the run goes on; what the files hold from after that point is dropped.
        describe: puts a row into words for the terminal, see `Display`."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only a training run needs it

        run_dir.mkdir(parents=True, exist_ok=True)
        kept = _rows_until(run_dir / FILE, iteration)
        self._file = open(run_dir / FILE, "w", encoding="utf-8")  # noqa: SIM115 - open for as long as the run
        self._file.writelines(kept)
        self._tensorboard = SummaryWriter(str(run_dir), purge_step=env_steps + 1 if env_steps else None)
        self._display = Display(total_steps, max_seconds, process_age, describe)

    def stage(self, message: str) -> None:
        """Says what is happening while there are no numbers yet."""
        self._display.stage(message)

    def log(self, row: Row) -> None:
        """Writes one iteration; `row` has at least the counters."""
        finite = {k: v if math.isfinite(v) else None for k, v in row.items()}
        self._file.write(json.dumps(finite) + "\n")
        self._file.flush()
        step = int(row["env_steps"])
        for name, value in row.items():
            if name != "env_steps":
                self._tensorboard.add_scalar(tensorboard_tag(name), value, step)
        self._display.show(row, {k: v for k, v in row.items() if tensorboard_tag(k).startswith("task/")})

    def close(self, message: str = "") -> None:
        """Closes the files and leaves `message` on the terminal."""
        self._file.close()
        self._tensorboard.close()
        self._display.close(message)


def _rows_until(path: Path, iteration: int) -> List[str]:
    """Lines of an earlier part of the run up to `iteration`, without a last line that was cut off."""
    if iteration == 0 or not path.exists():
        return []
    with open(path, encoding="utf-8") as file:
        return [line for line in file if line.endswith("}\n") and json.loads(line)["iteration"] <= iteration]
