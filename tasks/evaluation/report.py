"""An evaluation as a person reads it, and how fast a policy answers."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Callable, Dict, List, Tuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

MOST_ROWS = 20
"""Objects in the table."""
FAILURES = {
    "off_table": "knocked off the table",
    "never_touched": "never touched",
    "touched_not_lifted": "touched, not lifted",
    "lifted_and_lost": "lifted and lost",
    "lifted_not_held": "lifted, not held at the goal",
}


@torch.no_grad()
def inference_speed(
    policy: Callable[[Tensor], Tensor], num_obs: int, batch: int, device: torch.device, repeats: int = 300
) -> Tuple[float, float]:
    """(median ms from one observation to its action, observations per second in batches of `batch`)."""

    def measure(count: int, times: int) -> float:
        obs = torch.randn(count, num_obs, device=device)
        taken: List[float] = []
        for _ in range(times + 5):
            begin = time.perf_counter()
            policy(obs)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - begin)
        return median(taken[5:])

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return 1e3 * measure(1, repeats), batch / measure(batch, max(5, repeats // 20))


def print_report(result: Dict[str, Any], console: Console) -> None:
    """result: as in the JSON, with `inference_batch`, `inference_per_s`, `wall_s` and `steps_per_s`."""
    head = Table.grid(padding=(0, 3))
    head.add_row("[bold green]held", f"[bold green]{_rate(result['success_rate'], result['success_ci95'])}")
    head.add_row("[bold]still", _rate(result["still_success_rate"], result["still_ci95"]))
    head.add_row("[bold]ever at the goal", _rate(result["ever_success_rate"], result["ever_success_ci95"]))
    head.add_row("[bold]average lift", f"{round(100 * result['average_lift_height_m'], 1) + 0.0:.1f} cm")
    grip, most, to_weight = result["grip_force_n"], result["grip_force_p95_n"], result["grip_to_weight"]
    head.add_row(
        "[bold]the hand presses", f"{grip:.1f} N, {to_weight:.1f} times the weight; one in twenty {most:.0f} N or more"
    )
    tips, spread, torque = result["fingertip_force_n"], result["contact_force_std_n"], result["drive_torque_nm"]
    head.add_row("", f"fingertips {tips:.1f} N; standard deviation {spread:.2f} N; drives {torque:.2f} N m")
    speed, signs = 100 * result["object_speed_m_s"], 100 * result["sign_changes"]
    head.add_row("[bold]while held", f"object {speed:.2f} cm/s; base actions change sign in {signs:.0f} % of the steps")
    ms = result["inference_ms"]
    head.add_row("[bold]inference", f"{ms:.3f} ms for one observation, {1e3 / ms:,.0f} per s")
    head.add_row("", f"{result['inference_per_s']:,.0f} per s in batches of {result['inference_batch']}")
    head.add_row(
        "[bold]speed", f"{result['steps_per_s']:,.0f} environment steps per s, {result['wall_s']:.1f} s in all"
    )
    failed = {FAILURES.get(k, k): v for k, v in result["failures"].items() if v}
    head.add_row("[bold]failures", ", ".join(f"{name} {count}" for name, count in failed.items()) or "none")
    console.print(f"\n[bold]{result['num_episodes']} episodes on {result['sim']}, objects: {result['objects']}")
    console.print(head)

    worst = sorted(result["per_object"].items(), key=lambda kv: (kv[1]["success_rate"], kv[1]["ever_success_rate"]))
    table = Table(title="objects, worst first", title_justify="left", header_style="bold")
    table.add_column("object")
    for title in ("episodes", "held", "still", "ever"):
        table.add_column(title, justify="right")
    for name, row in worst[:MOST_ROWS]:
        table.add_row(
            name,
            f"{row['episodes']:.0f}",
            f"{100 * row['success_rate']:.0f} %",
            f"{100 * row['still_success_rate']:.0f} %",
            f"{100 * row['ever_success_rate']:.0f} %",
        )
    console.print(table)
    if len(worst) > MOST_ROWS:
        console.print(f"and {len(worst) - MOST_ROWS} objects more; --json FILE has all of them")


def _rate(rate: float, interval: Tuple[float, float]) -> str:
    return f"{100 * rate:.1f} %  (95 % interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f} %)"
