"""Simulators side by side."""

from __future__ import annotations

import io
from typing import Any, Dict

from rich.console import Console

from tasks.evaluation.comparison import DISAGREEMENTS, disagreements, print_side_by_side


def figures(held: float, lost: int, objects: Dict[str, float]) -> Dict[str, Any]:
    rates = {f"{name}_rate": held for name in ("success", "still_success", "ever_success")}
    intervals = {f"{name}_ci95": [held - 0.1, held + 0.05] for name in ("success", "still", "ever_success")}
    numbers = ("average_lift_height_m", "grip_force_n", "object_speed_m_s", "object_turn_rad_s", "sign_changes")
    return {
        **rates,
        **intervals,
        **{name: 0.02 for name in numbers},
        "num_episodes": 50,
        "steps_per_s": 1234.0,
        "objects": "holdout",
        "failures": {"lifted_and_lost": lost, "off_table": 0},
        "per_object": {name: {"success_rate": rate, "episodes": 2} for name, rate in objects.items()},
    }


RESULTS = {
    "mujoco": figures(0.9, 2, {"mug": 1.0, "pan": 0.5, "cube": 1.0, "new": 0.0}),
    "physx": figures(0.8, 0, {"mug": 0.0, "pan": 0.0, "cube": 1.0}),
}


def test_objects_that_are_held_least_alike_come_first() -> None:
    """Only those that more than one simulator met, and that they disagree on."""
    assert disagreements(RESULTS) == [
        ("mug", {"mujoco": 1.0, "physx": 0.0}),
        ("pan", {"mujoco": 0.5, "physx": 0.0}),
    ]
    many = {"a": figures(1, 0, {str(i): 1.0 for i in range(9)}), "b": figures(1, 0, {str(i): 0.0 for i in range(9)})}
    assert len(disagreements(many)) == DISAGREEMENTS


def test_the_table_has_a_column_for_each_simulator() -> None:
    out = io.StringIO()
    print_side_by_side(RESULTS, Console(file=out, width=100))
    text = out.getvalue()
    held = next(line for line in text.splitlines() if "held" in line)
    assert held.index("90.0 % (80.0 to 95.0)") < held.index("80.0 % (70.0 to 85.0)")
    assert "lifted and lost" in text and "knocked off" not in text
    assert "mug: mujoco 100 %, physx 0 %" in text
