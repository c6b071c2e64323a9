"""Where a run's numbers go: metrics.jsonl, TensorBoard and the terminal.

Names are stable.  A line of metrics.jsonl has, for each iteration:

- `iteration`, `env_steps`, `wall_s`: counters, and seconds since the start of the process, earlier parts of a resumed run included;
- `steps_per_s`, and `physics_ms`, `policy_ms`, `update_ms`: throughput, and where the time of the iteration went;
- `reward`: mean per step; `success_rate`: of the training episodes, 0 until one has ended;
- the losses: `policy_loss`, `value_loss`, `entropy`, `kl`, `clip_fraction`, `grad_norm`, `explained_variance`, `learning_rate`,
  `action_std`, and the numbers of skipped gradient steps `nonfinite_steps` and `kl_stopped_steps`;
- every metric of the task under its own name; one that no episode has contributed to since the last line keeps its value;
- after an evaluation `eval_*`, after a checkpoint `diagnostics_*`.

A value that is not finite is null.  TensorBoard has the same under `charts/`, `losses/`, `task/`, `eval/` and `diagnostics/`.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

COUNTERS = ("iteration", "env_steps", "wall_s")
CHARTS = ("steps_per_s", "physics_ms", "policy_ms", "update_ms", "reward", "success_rate")
LOSSES = (
    *("policy_loss", "value_loss", "entropy", "kl", "clip_fraction", "grad_norm", "explained_variance"),
    *("learning_rate", "action_std", "nonfinite_steps", "kl_stopped_steps"),
)
FILE = "metrics.jsonl"
_PLAIN_INTERVAL_S = 10.0

Row = Dict[str, float]


def process_age() -> float:
    """Seconds since this process started; since this module was imported where /proc does not tell."""
    try:
        with open("/proc/self/stat") as stat, open("/proc/uptime") as uptime:
            started = float(stat.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
            return float(uptime.read().split()[0]) - started
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic() - _IMPORTED


_IMPORTED = time.monotonic()


def tensorboard_tag(name: str) -> str:
    """`kl` -> `losses/kl`, `eval_success_rate` -> `eval/success_rate`, a task's own metric -> `task/...`."""
    for prefix in ("eval", "diagnostics"):
        if name.startswith(prefix + "_"):
            return f"{prefix}/{name[len(prefix) + 1 :]}"
    group = "charts" if name in CHARTS + COUNTERS else "losses" if name in LOSSES else "task"
    return f"{group}/{name}"


class MetricsLogger:
    """Appends rows to a run's files and shows them: a live panel in a terminal, else one line every ten seconds."""

    def __init__(
        self, run_dir: Path, total_steps: int, max_seconds: Optional[float], iteration: int, env_steps: int
    ) -> None:
        """iteration, env_steps: where the run goes on; what the files hold from after that point is dropped."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only a training run needs it

        run_dir.mkdir(parents=True, exist_ok=True)
        kept = _rows_until(run_dir / FILE, iteration)
        self._file = open(run_dir / FILE, "w", encoding="utf-8")  # noqa: SIM115 - open for as long as the run
        self._file.writelines(kept)
        self._tensorboard = SummaryWriter(str(run_dir), purge_step=env_steps + 1 if env_steps else None)
        self._display = _Display(total_steps, max_seconds, env_steps)

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
        self._display.show(row)

    def close(self, message: str = "") -> None:
        """Flushes everything and leaves the terminal with `message`."""
        self._file.close()
        self._tensorboard.close()
        self._display.close(message)


def _rows_until(path: Path, iteration: int) -> List[str]:
    """Lines of an earlier part of the run, without those after `iteration` and without a last one that was cut off."""
    if iteration == 0 or not path.exists():
        return []
    with open(path, encoding="utf-8") as file:
        return [line for line in file if line.endswith("}\n") and json.loads(line)["iteration"] <= iteration]


class _Display:
    """The terminal."""

    def __init__(self, total_steps: int, max_seconds: Optional[float], start_steps: int) -> None:
        self._console = Console()
        self._total_steps = total_steps
        self._max_seconds = max_seconds
        self._start_steps = start_steps
        self._first: Optional[float] = None
        self._rate = 0.0
        self._last_print = -math.inf
        self._last_eval: Row = {}
        self._health: Row = {}
        self._live: Optional[Live] = None
        if self._console.is_terminal:
            self._live = Live(Text("starting ..."), console=self._console, refresh_per_second=4)
            self._live.start()

    def stage(self, message: str) -> None:
        if self._live is None:
            print(message, flush=True)
        else:
            self._live.update(Text(message, style="bold cyan"))

    def show(self, row: Row) -> None:
        self._last_eval.update({k: v for k, v in row.items() if k.startswith("eval_")})
        self._health.update({k: v for k, v in row.items() if k.startswith("diagnostics_")})
        rate = row.get("steps_per_s", 0.0)
        self._rate = rate if self._rate == 0.0 else 0.9 * self._rate + 0.1 * rate
        if self._live is not None:
            self._live.update(self._panel(row))
        elif time.monotonic() - self._last_print > _PLAIN_INTERVAL_S or "eval_success_rate" in row:
            self._last_print = time.monotonic()
            print(self._line(row), flush=True)

    def close(self, message: str) -> None:
        if self._live is not None:
            self._live.stop()
        if message:
            print(message, flush=True)

    def _progress(self, row: Row) -> tuple[float, float]:
        """Fraction done, and seconds left, by whichever limit comes first."""
        done = row["env_steps"] / self._total_steps
        left = (self._total_steps - row["env_steps"]) / self._rate if self._rate > 0 else math.inf
        if self._max_seconds is not None:
            elapsed = process_age()
            done = max(done, elapsed / self._max_seconds)
            left = min(left, self._max_seconds - elapsed)
        return min(done, 1.0), max(left, 0.0)

    def _success(self, row: Row) -> str:
        text = _percent(row.get("success_rate"))
        evaluated = self._last_eval.get("eval_success_rate")
        return text if evaluated is None else f"{text} (evaluated {_percent(evaluated)})"

    def _troubles(self) -> str:
        """What the task last counted between two checkpoints that should be none; empty if there was none."""
        return ", ".join(f"{k[len('diagnostics_') :]} {v:.0f}" for k, v in self._health.items() if v)

    def _line(self, row: Row) -> str:
        _, left = self._progress(row)
        troubles = self._troubles()
        return (
            f"{row['env_steps'] / 1e6:.2f} M of {self._total_steps / 1e6:g} M steps | {self._rate / 1e3:.1f} k/s, {_split(row)} | "
            f"success {self._success(row)} | reward {row.get('reward', math.nan):.3g} | kl {row.get('kl', math.nan):.4f} | "
            f"lr {row.get('learning_rate', math.nan):.1e} | left {_duration(left)}"
            + (f" | {troubles}" if troubles else "")
        )

    def _panel(self, row: Row) -> Group:
        done, left = self._progress(row)
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=1.0, completed=done, width=40),
            f"{100 * done:.1f} %",
            f"{row['env_steps'] / 1e6:.2f} M of {self._total_steps / 1e6:g} M steps",
            f"{_duration(row['wall_s'])} gone, {_duration(left)} left",
        )
        body = Table.grid(padding=(0, 2))
        body.add_row("[bold]steps/s", f"{self._rate / 1e3:.1f} k", _split(row))
        body.add_row("[bold green]success", f"[bold green]{self._success(row)}", "of episodes")
        body.add_row("[bold]reward", f"{row.get('reward', math.nan):.4g}", "per step")
        body.add_row(
            "[bold]KL", f"{row.get('kl', math.nan):.4f}", f"learning rate {row.get('learning_rate', math.nan):.2e}"
        )
        body.add_row(
            "[bold]losses",
            f"policy {row.get('policy_loss', math.nan):.4f}",
            f"value {row.get('value_loss', math.nan):.4f}",
        )
        skipped = row.get("nonfinite_steps", 0.0)
        if skipped:
            body.add_row("[bold red]skipped", f"{skipped:.0f}", "gradient steps were not finite")
        if self._troubles():
            body.add_row("[bold yellow]diagnostics", f"[yellow]{self._troubles()}", "since the checkpoint before")
        own = [(k, v) for k, v in row.items() if tensorboard_tag(k).startswith("task/")]
        task = Table.grid(padding=(0, 2))
        for i in range(0, len(own), 3):
            cells: List[Any] = []
            for name, value in own[i : i + 3]:
                cells += [f"[dim]{name}", f"{value:.4g}"]
            task.add_row(*cells)
        return Group(head, body, task)


def _split(row: Row) -> str:
    parts = {name: row.get(f"{name}_ms", math.nan) for name in ("physics", "policy", "update")}
    total = sum(parts.values())
    if not math.isfinite(total) or total <= 0:
        return "split not measured yet"
    return ", ".join(f"{name} {100 * ms / total:.0f} %" for name, ms in parts.items())


def _percent(share: Optional[float]) -> str:
    return "-" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
