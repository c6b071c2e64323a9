"""A sweep on the terminal: what runs now, and the results."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from tasks.commands.sweep.jobs import Job

TRAINING = "training"
"""What a job does first."""
MOST_ROWS = 16
"""Trainings that are shown while they run."""


def running(jobs: Sequence[Job], row_of: Callable[[Job], Optional[Dict[str, Any]]], counts: str) -> RenderableType:
    """What runs now.  row_of: the newest row of metrics of a job.  counts: how many are done, running and waiting."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("running")
    for head in ("steps", "held", "touched", "steps/s"):
        table.add_column(head, justify="right")
    for job in jobs[:MOST_ROWS]:
        row = row_of(job)
        if row is None:
            table.add_row(escape(job.name), "starting", "", "", "")
            continue
        cells = [f"{row['env_steps'] / 1e6:.2f} M", percent(row.get("success_rate")), percent(row.get("touched_rate"))]
        speed = f"{row['steps_per_s'] / 1e3:.1f} k" if "steps_per_s" in row else ""
        table.add_row(escape(job.name), *cells, speed if job.doing == TRAINING else job.doing)
    return Group(table, counts)


def results(rows: Sequence[Dict[str, Any]], title: str) -> Table:
    """A row for each combination: shares in percent, steps in millions."""
    objects = list(dict.fromkeys(name for row in rows for name in row["measured"]))
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("")
    table.add_column("seeds", justify="right")
    heads = [f"{rate}{f' on {name}' if name else ''}, %" for name in objects for rate in ("held", "still")]
    for head in (*heads, "M steps to 10 %", "M steps to 85 %", "s to 85 %"):
        table.add_column(head, justify="right")
    for row in rows:
        cells = []
        for name in objects:
            measured = row["measured"].get(name, {})
            cells += [interval(measured.get(rate), 100.0, "{:.1f}") for rate in ("held", "still")]
        cells += [first_time(row["steps_to"].get(level), 1e-6, "{:.2f}") for level in ("first_grasps", "good")]
        cells.append(first_time(row["seconds_to"].get("good"), 1.0, "{:.0f}"))
        table.add_row(escape(row["name"]), str(len(row["seeds"]) - len(row["failed"])), *cells)
    return table


def interval(found: Optional[Dict[str, Any]], scale: float, form: str) -> str:
    """`mean (low to high)`."""
    if not found or found["mean"] is None:
        return "-"
    text = form.format(scale * found["mean"])
    if found["low"] is None:
        return text
    return f"{text} ({form.format(scale * found['low'])} to {form.format(scale * found['high'])})"


def first_time(found: Optional[Dict[str, Any]], scale: float, form: str) -> str:
    """As `interval`, if all seeds got there; else how many did, and the mean of those."""
    if not found or not found["values"]:
        return "-"
    there = [value for value in found["values"] if value is not None]
    if len(there) == len(found["values"]):
        return interval({**found, "low": max(found["low"], 0.0) if found["low"] is not None else None}, scale, form)
    if not there:
        return "never"
    return f"{form.format(scale * found['mean'])}, {len(there)} of {len(found['values'])} seeds"


def percent(share: Optional[float]) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def failures(rows: Sequence[Dict[str, Any]]) -> List[str]:
    """A line for each training that failed."""
    return [f"failed: {row['name']}, {text}" for row in rows for text in row["failed"]]
