"""What trainings reached, and how sure that is over seeds."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from tasks.evaluation.measure import wilson
from tasks.evaluation.page.runs import Run

LEVELS = {"first_grasps": 0.10, "good": 0.85}
"""Shares held in a running evaluation, of which the first time is told."""
RATES = ("held", "still")

STUDENT = "mean and 95 % interval of Student's t over seeds"
WILSON = "95 % interval of Wilson over the episodes of one seed"


def reached(run: Run, eval_envs: int, evaluations: Sequence[Path]) -> Dict[str, Any]:
    """A training's figures.

    held, still: shares of episodes, by the last running evaluation of `eval_envs` episodes, or of each file of
    evaluate_policy.py, by the name of its objects.  steps_to, seconds_to: up to the first running evaluation that was not below
    a level, None if there was none.
    """
    measured = {"": (run.last("eval_success_rate"), run.last("eval_still_success_rate"), eval_envs)}
    if evaluations:
        measured = {}
        for file in evaluations:
            found = json.loads(file.read_text(encoding="utf-8"))
            rates = (found["success_rate"], found["still_success_rate"])
            measured[found["objects"]] = (*rates, found["num_episodes"])
    rows = [row for row in run.rows if row.get("eval_success_rate") is not None]
    first = {
        name: next((row for row in rows if row["eval_success_rate"] >= level - 1e-9), None)
        for name, level in LEVELS.items()
    }
    return {
        "measured": {
            objects: {"held": held, "still": still, "episodes": episodes}
            for objects, (held, still, episodes) in measured.items()
        },
        "steps_to": {name: row and row["env_steps"] for name, row in first.items()},
        "seconds_to": {name: row and row["wall_s"] for name, row in first.items()},
        "env_steps": run.last("env_steps"),
        "wall_s": run.last("wall_s"),
    }


def summary(trainings: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Over the seeds of a combination; trainings: of `reached`, those that did not fail, in the order of seeds."""
    result: Dict[str, Any] = {"measured": {}, "steps_to": {}, "seconds_to": {}}
    for objects in dict.fromkeys(name for t in trainings for name in t["measured"]):
        mine = [t["measured"][objects] for t in trainings if objects in t["measured"]]
        result["measured"][objects] = {
            rate: share([m[rate] for m in mine if m[rate] is not None], [m["episodes"] for m in mine]) for rate in RATES
        }
    for what in ("steps_to", "seconds_to"):
        for name in LEVELS:
            values = [t[what][name] for t in trainings]
            result[what][name] = {"values": values, **over_seeds([v for v in values if v is not None])}
    return result


def share(values: Sequence[float], episodes: Sequence[int]) -> Dict[str, Any]:
    """A share of episodes over seeds: by Student's t, or by Wilson if there is one seed."""
    found: Dict[str, Any] = {"values": list(values), **over_seeds(values)}
    if len(values) == 1:
        found["low"], found["high"] = wilson(round(values[0] * episodes[0]), episodes[0])
        found["interval"] = "wilson"
    for end, bound in (("low", max), ("high", min)):
        if found[end] is not None:
            found[end] = bound(found[end], 0.0 if end == "low" else 1.0)
    return found


def over_seeds(values: Sequence[float]) -> Dict[str, Any]:
    """Mean and 95 % interval of Student's t; there is no interval of one value, and no mean of none."""
    found: Dict[str, Any] = {"mean": None, "low": None, "high": None, "interval": None}
    if values:
        found["mean"] = statistics.fmean(values)
    if len(values) > 1:
        half = student_t(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
        found.update(low=found["mean"] - half, high=found["mean"] + half, interval="student_t")
    return found


def student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t with so many degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def last_row(path: Path, tail: int = 32768) -> Optional[Dict[str, Any]]:
    """The newest whole line of a metrics.jsonl that is being written; None if there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - tail))
            lines: List[bytes] = file.read().split(b"\n")[:-1]
        found = json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return None
    return found if isinstance(found, dict) else None
