"""One policy in several simulators, side by side."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Tuple

from rich.console import Console
from rich.table import Table

from tasks.evaluation.report import FAILURES

ROWS: Tuple[Tuple[str, Callable[[Dict[str, Any]], str]], ...] = (
    ("held", lambda r: _rate(r["success_rate"], r["success_ci95"])),
    ("still", lambda r: _rate(r["still_success_rate"], r["still_ci95"])),
    ("ever at the goal", lambda r: _rate(r["ever_success_rate"], r["ever_success_ci95"])),
    ("average lift", lambda r: f"{100 * r['average_lift_height_m']:.1f} cm"),
    ("the hand presses", lambda r: f"{r['grip_force_n']:.1f} N"),
    ("object's speed", lambda r: f"{100 * r['object_speed_m_s']:.2f} cm/s"),
    ("object's turning", lambda r: f"{r['object_turn_rad_s']:.3f} rad/s"),
    ("changes of sign", lambda r: f"{100 * r['sign_changes']:.0f} % of the steps"),
    ("episodes", lambda r: f"{r['num_episodes']}"),
    ("speed", lambda r: f"{r['steps_per_s']:,.0f} steps/s"),
)
"""What a row is called, and what it shows of a simulator's figures."""
DISAGREEMENTS = 5
"""Objects on which simulators disagree most that are shown, at most."""


def print_side_by_side(results: Mapping[str, Dict[str, Any]], console: Console) -> None:
    """results: of each simulator, by name, as in the JSON of an evaluation."""
    first = next(iter(results.values()))
    table = Table(title=f"objects: {first['objects']}", title_justify="left", header_style="bold")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    for title, shown in ROWS:
        table.add_row(title, *(shown(result) for result in results.values()))
    for key, title in FAILURES.items():
        if any(result["failures"].get(key) for result in results.values()):
            table.add_row(title, *(str(result["failures"].get(key, 0)) for result in results.values()))
    console.print(table)
    worst = disagreements(results)
    if worst:
        console.print("objects on which the simulators differ most:")
        for name, rates in worst:
            shown_rates = ", ".join(f"{sim} {100 * rate:.0f} %" for sim, rate in rates.items())
            console.print(f"  {name}: {shown_rates}")


def disagreements(results: Mapping[str, Dict[str, Any]]) -> List[Tuple[str, Dict[str, float]]]:
    """The objects with the largest differences of success between simulators, and their rates by simulator."""
    rates: Dict[str, Dict[str, float]] = {}
    for sim, result in results.items():
        for name, row in result["per_object"].items():
            rates.setdefault(name, {})[sim] = row["success_rate"]
    shared = [(name, row) for name, row in rates.items() if len(row) > 1 and max(row.values()) > min(row.values())]
    return sorted(shared, key=lambda item: min(item[1].values()) - max(item[1].values()))[:DISAGREEMENTS]


def _rate(rate: float, interval: Tuple[float, float]) -> str:
    return f"{100 * rate:.1f} % ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
