"""A run's numbers in the terminal: a live panel, or a line every ten seconds where the output is no terminal."""

from __future__ import annotations

import math
import re
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Row = Dict[str, float]
Describe = Callable[[Row], str]
"""Puts a row into a sentence for whoever watches; empty if there is nothing to say."""

_PLAIN_INTERVAL_S, _NOTE_INTERVAL_S = 10.0, 60.0
"""Between two lines where the output is no terminal, and between two times that one of them ends with the same sentence."""
_OF = {
    "training": "of episodes in training, whose actions are noisy",
    "evaluation": "of the last evaluation's, without noise",
}
_PARTS = ("physics", "task", "environment", "policy", "update")


class Display:
    """Shows rows, each with what was last evaluated and counted."""

    def __init__(
        self,
        total_steps: int,
        max_seconds: Optional[float],
        age: Callable[[], float],
        describe: Optional[Describe] = None,
        before: Optional[Row] = None,
    ) -> None:
        """max_seconds: when the run ends, in seconds of `age`.  before: the row of the last evaluation before a resume."""
        self._console = Console()
        self._total_steps, self._max_seconds, self._age = total_steps, max_seconds, age
        self._describe = describe or (lambda row: "")
        self._rate = 0.0
        self._last_print = self._last_note = -math.inf
        self._note = ""
        self._last_eval: Row = {k: v for k, v in (before or {}).items() if k.startswith("eval_")}
        self._health: Row = {}
        self._live: Optional[Live] = None
        if (
            self._console.is_terminal and not self._console.is_dumb_terminal
        ):  # on a dumb one a panel is seen at the end only
            self._live = Live(Text("starting ..."), console=self._console, refresh_per_second=4)
            self._live.start()

    def stage(self, message: str) -> None:
        """Says what is happening while there are no numbers yet."""
        if self._live is None:
            print(message, flush=True)
        else:
            self._live.update(Text(message, style="bold cyan"))

    def show(self, row: Row, own: Row) -> None:
        """own: the part of the row that the task measured."""
        self._last_eval.update({k: v for k, v in row.items() if k.startswith("eval_")})
        self._health.update({k: v for k, v in row.items() if k.startswith("diagnostics_")})
        rate = row.get("steps_per_s", 0.0)
        self._rate = rate if self._rate == 0.0 else 0.9 * self._rate + 0.1 * rate
        if self._live is not None:
            self._live.update(self._panel(row, own))
        elif time.monotonic() - self._last_print > _PLAIN_INTERVAL_S or "eval_success_rate" in row:
            self._last_print = time.monotonic()
            print(self._line(row), flush=True)

    def close(self, message: str) -> None:
        """Ends the display and leaves `message`."""
        if self._live is not None:
            self._live.stop()
        if message:
            print(message, flush=True)

    def _progress(self, row: Row) -> Tuple[float, float]:
        """The share that is done, and the seconds left, by the limit that comes first."""
        done = row["env_steps"] / self._total_steps
        left = (self._total_steps - row["env_steps"]) / self._rate if self._rate > 0 else math.inf
        if self._max_seconds is not None:
            age = self._age()
            done = max(done, age / self._max_seconds)
            left = min(left, self._max_seconds - age)
        return min(done, 1.0), max(left, 0.0)

    def _success(self, row: Row) -> List[str]:
        """The success of training episodes, and that of the last evaluation, each with its name, as far as they are known."""
        texts = [f"{_percent(row['success_rate'])} in training"] if "success_rate" in row else []
        if "eval_success_rate" in self._last_eval:
            texts.append(f"{_percent(self._last_eval['eval_success_rate'])} in evaluation")
        return texts

    def _troubles(self) -> str:
        """Counts of the last diagnostics that should be 0 and are not; empty if all are."""
        return ", ".join(f"{k[len('diagnostics_') :]} {v:.0f}" for k, v in self._health.items() if v)

    def _line(self, row: Row) -> str:
        _, left = self._progress(row)
        parts = [
            _steps(row["env_steps"], self._total_steps),
            f"{self._rate / 1e3:.1f} k/s, {_split(row)}",
            f"success {', '.join(self._success(row))}" if self._success(row) else "",
            f"reward {row.get('reward', math.nan):.3g}",
            f"kl {row.get('kl', math.nan):.4f}",
            f"lr {row.get('learning_rate', math.nan):.1e}",
            f"left {_duration(left)}",
            self._troubles(),
            self._new_note(row),
        ]
        return " | ".join(part for part in parts if part)

    def _new_note(self, row: Row) -> str:
        """What there is to say about a row; empty if that was said within the last minute, be it of other numbers."""
        note, now = self._describe(row), time.monotonic()
        words = re.sub(r"[\d.]+", "", note)
        if words == self._note and now - self._last_note < _NOTE_INTERVAL_S:
            return ""
        self._note, self._last_note = words, now
        return note

    def _panel(self, row: Row, own: Row) -> Group:
        done, left = self._progress(row)
        width = self._console.width
        head = [
            f"{100 * done:.1f} %",
            _steps(row["env_steps"], self._total_steps),
            f"{_duration(row['wall_s'])} gone, {_duration(left)} left",
        ]
        bar = Table.grid(padding=(0, 2))
        blocks: List[RenderableType] = [bar]
        if width >= 42 + sum(len(part) + 2 for part in head):
            bar.add_row(ProgressBar(total=1.0, completed=done, width=40), *head)
        else:
            bar.add_row(ProgressBar(total=1.0, completed=done, width=min(40, width - 2)))
            blocks.append(Text(", ".join(head)))

        body = Table.grid(padding=(0, 2))
        body.add_column(no_wrap=True)
        body.add_column()
        body.add_row("[bold]steps/s", f"{self._rate / 1e3:.1f} k; {_split(row)}")
        for text in self._success(row):
            share, _, where = text.partition(" in ")
            body.add_row("[bold green]success", f"[bold green]{share}[/] {_OF[where]}")
        sentence = self._describe(row)
        if sentence:  # beside success, because it says why that is what it is
            body.add_row("[bold cyan]note", Text(sentence, style="cyan"))
        body.add_row("[bold]reward", f"{row.get('reward', math.nan):.4g} per step")
        rate = f"learning rate {row.get('learning_rate', math.nan):.2e}"
        body.add_row("[bold]KL", f"{row.get('kl', math.nan):.4f}, {rate}")
        losses = f"policy {row.get('policy_loss', math.nan):.4f}, value {row.get('value_loss', math.nan):.4f}"
        body.add_row("[bold]losses", losses)
        if row.get("nonfinite_steps", 0.0):
            body.add_row("[bold red]skipped", f"{row['nonfinite_steps']:.0f} gradient steps that were not finite")
        if self._troubles():
            body.add_row("[bold yellow]diagnostics", f"[yellow]{self._troubles()}[/] since the checkpoint before")
        blocks.append(body)
        return Group(*blocks, _columns(own, width))


def _columns(values: Row, width: int) -> Table:
    """Names and values side by side, in as many columns as fit without cutting a name."""
    cells = [(name, f"{value:.4g}") for name, value in values.items()]
    longest = max((len(name) + len(value) for name, value in cells), default=0) + 4
    count = max(1, min(3, width // longest)) if cells else 1
    table = Table.grid(padding=(0, 2))
    for _ in range(2 * count):
        table.add_column(no_wrap=True, overflow="fold")
    for i in range(0, len(cells), count):
        row: List[Any] = []
        for name, value in cells[i : i + count]:
            row += [f"[dim]{name}", value]
        table.add_row(*row)
    return table


def _steps(done: float, total: float) -> str:
    """`0.25 M of 50 M steps`; of a short run `1,280 of 20,000 steps`."""
    return f"{done:,.0f} of {total:,} steps" if total < 1e6 else f"{done / 1e6:.2f} M of {total / 1e6:g} M steps"


def _split(row: Row) -> str:
    """How the iteration's time is shared; the environment as a whole where the simulation was not timed."""
    parts = {name: row.get(f"{name}_ms", math.nan) for name in _PARTS}
    if math.isfinite(parts["physics"]):
        del parts["environment"]
    else:
        del parts["physics"], parts["task"]
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
