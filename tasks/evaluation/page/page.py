"""Writes the page: what the runs reached, their curves, what took the time, and in what they differ."""

from __future__ import annotations

import base64
import re
import time
from html import escape
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence, Tuple

import numpy as np

from ppo_grasp.metrics import LOSSES
from tasks.evaluation.page.charts import Line, chart, legend, levels, number, shares
from tasks.evaluation.page.runs import Group, Run, differing, groups
from tasks.evaluation.page.style import STYLE

STEPS = "environment steps, M"
LEVELS = {"success_rate": "held", "still_success_rate": "still", "ever_success_rate": "ever at the goal"}
STEADY = {
    "grip_force_n": ("grip", "N, all links"),
    "fingertip_force_n": ("fingertips", "N"),
    "grip_to_weight": ("grip to weight", ""),
    "object_speed_m_s": ("object's speed", "m/s"),
    "sign_changes": ("base actions that change sign", "share"),
    "saturated_share": ("saturated actions", "share"),
    "action_rate": ("change of actions", "per step"),
    "drive_torque_nm": ("fingers' torque", "N m"),
}
TIMES = {"physics_ms": "physics", "task_ms": "task", "policy_ms": "policy", "update_ms": "update"}
MOST_OBJECTS = 30
MOST_PICTURE_BYTES = 4_000_000


def page(runs: Sequence[Run], episodes: Sequence[Tuple[str, str]] = ()) -> str:
    """The whole page as HTML.  episodes: the title and the charts of an episode of each run, if they were played."""
    found = groups(runs)
    title = ", ".join(group.name for group in found)
    names = [group.name for group in found]
    sections = [
        ("Success", _grid(_success(found), names) + _line_key(found)),
        ("Success by kind of object", _grid(_of_prefix(found, "success_rate/", "", (0, 100)), names)),
        ("Grip and steadiness", _grid(_steadiness(found), names)),
        *((f"Evaluation, {run.name}, {e['file']}", _evaluation(e)) for run in runs for e in run.evaluations),
        *((f"Episode, {name}", charts) for name, charts in episodes),
        *((f"{run.name}, {picture.name}", _picture(picture)) for run in runs for picture in run.pictures),
        ("Reward", _grid(_reward(found), names)),
        ("Learning", _grid([_curve(found, key, key.replace("_", " ")) for key in LOSSES], names)),
        ("Time of an iteration", _times(runs)),
        ("Settings that differ", _differences(runs) if len(runs) > 1 else ""),
        ("Where and with what", _environments(runs)),
        ("All settings", _settings(runs)),
    ]
    body = "".join(f"<section><h2>{escape(name)}</h2>{content}</section>" for name, content in sections if content)
    made = time.strftime("%Y-%m-%d %H:%M")
    head = (
        f"<h1>{escape(title)}</h1><p class=soft>{len(runs)} {'run' if len(runs) == 1 else 'runs'}, report of {made}</p>"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{head}{_summary(found)}{body}</body></html>\n"
    )


def write_page(runs: Sequence[Run], path: Path, episodes: Sequence[Tuple[str, str]] = ()) -> None:
    """Writes the page to a file, and makes its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(runs, episodes), encoding="utf-8")


# Sections.


def _summary(found: Sequence[Group]) -> str:
    def percent(group: Group, key: str) -> str:
        values = group.last(f"eval_{key}") or group.last(key)
        return _spread([100 * value for value in values], " %")

    rows = [
        (
            group.name,
            _spread([value / 1e6 for value in group.last("env_steps")], " M"),
            _spread([value / 60 for value in group.last("wall_s")], " min"),
            _spread([run.median("steps_per_s") / 1e3 for run in group.runs], " k/s"),
            *(percent(group, key) for key in LEVELS),
            _spread(group.last("eval_grip_force_n") or group.last("grip_force_n"), " N"),
            _spread(group.last("eval_grip_to_weight") or group.last("grip_to_weight"), ""),
        )
        for group in found
    ]
    measured = any(group.last("eval_success_rate") for group in found)
    told = "of the last evaluation, deterministic, in training's physics" if measured else "of training, with its noise"
    head = ("", "steps", "time", "speed", *LEVELS.values(), "grip", "to weight")
    shown = [i for i in range(len(head)) if any(row[i] for row in rows)]
    rows, head = [tuple(row[i] for i in shown) for row in rows], tuple(head[i] for i in shown)
    ranges = "; lowest to highest of the seeds in brackets" if any(len(group.runs) > 1 for group in found) else ""
    return _table(head, rows) + f"<p class=soft>Success and grip {told}{ranges}.</p>"


def _spread(values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    text = f"{number(float(np.mean(values)))}{unit}"
    low, high = number(min(values)), number(max(values))
    return text if low == high else f"{text} ({low} to {high})"


def _success(found: Sequence[Group]) -> List[str]:
    charts = []
    for key, name in LEVELS.items():
        lines = [*_lines(found, key, 100.0, thin=True), *_lines(found, f"eval_{key}", 100.0, dots=True)]
        charts.append(chart(name, lines, STEPS, "%", (0, 100)))
    lines = _lines(found, "eval_success_rate", 100.0, "wall_s", dots=True)
    lines = lines or _lines(found, "success_rate", 100.0, "wall_s")
    return [*charts, chart("held", lines, "minutes", "%, over the clock", (0, 100))]


def _line_key(found: Sequence[Group]) -> str:
    if not any(group.last("eval_success_rate") for group in found):
        return ""
    return (
        "<p class=soft>Lines with dots are the evaluation, deterministic; thin lines are training, with its noise.</p>"
    )


def _steadiness(found: Sequence[Group]) -> List[str]:
    charts = []
    for key, (name, unit) in STEADY.items():
        lines = [*_lines(found, key, thin=True), *_lines(found, f"eval_{key}", dots=True)]
        if any(line.y.any() for line in lines):  # they are 0 as long as nothing is held
            charts.append(chart(name, lines, STEPS, unit))
    return charts


def _reward(found: Sequence[Group]) -> List[str]:
    terms = _of_prefix(found, "reward/", "weighted mean per step")
    return [_curve(found, "reward", "sum", "mean per step"), _curve(found, "episode_return", "of an episode"), *terms]


def _of_prefix(found: Sequence[Group], prefix: str, note: str, y_range: Any = None) -> List[str]:
    keys = dict.fromkeys(key for group in found for key in group.metrics() if key.startswith(prefix))
    factor = 100.0 if y_range else 1.0
    note = note or "% held in training"
    return [chart(k[len(prefix) :].replace("_", " "), _lines(found, k, factor), STEPS, note, y_range) for k in keys]


def _curve(found: Sequence[Group], key: str, name: str, note: str = "") -> str:
    return chart(name, _lines(found, key), STEPS, note)


def _lines(
    found: Sequence[Group],
    key: str,
    factor: float = 1.0,
    over: str = "env_steps",
    dots: bool = False,
    thin: bool = False,
) -> List[Line]:
    """A line for each group that has this metric, with a band from the lowest to the highest of its seeds."""
    lines = []
    for colour, group in enumerate(found):
        x, mean, low, high = group.band(key, over)
        x = x / (1e6 if over == "env_steps" else 60.0)
        several = len(group.runs) > 1
        bands = {"low": factor * low, "high": factor * high} if several else {}
        lines.append(Line(x, factor * mean, colour, dots=dots and len(x) < 60, thin=thin, name=group.name, **bands))
    return [line for line in lines if len(line.x)]


def _evaluation(found: Dict[str, Any]) -> str:
    interval = found.get("success_ci95", (0.0, 1.0))
    told = f"{found.get('num_episodes')} episodes of {found.get('objects')} on {found.get('sim')}: "
    told += f"held {100 * found['success_rate']:.1f} % ({100 * interval[0]:.1f} to {100 * interval[1]:.1f}), "
    told += (
        f"still {100 * found.get('still_success_rate', 0):.1f} %, ever {100 * found.get('ever_success_rate', 0):.1f} %."
    )
    failures = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in found.get("failures", {}).items() if v)
    objects: Dict[str, Dict[str, float]] = found["per_object"]
    kinds: Dict[str, List[Dict[str, float]]] = {}
    for name, row in objects.items():
        kinds.setdefault(re.sub(r"[_-]?\d+$", "", name), []).append(row)

    def rates(rows: Sequence[Dict[str, float]]) -> Tuple[List[float], int]:
        episodes = sum(row["episodes"] for row in rows)
        keys = ("success_rate", "still_success_rate")
        return [sum(row.get(key, 0.0) * row["episodes"] for row in rows) / episodes for key in keys], int(episodes)

    def bars(rows: Iterable[Tuple[str, Sequence[Dict[str, float]]]]) -> str:
        measured = sorted(((name, *rates(some)) for name, some in rows), key=lambda row: row[1])
        cells = [(n, v, f"{100 * v[0]:.0f} / {100 * v[1]:.0f} % of {e}") for n, v, e in measured]
        return levels(cells[:MOST_OBJECTS], ("held", "still")) + _more(len(cells) - MOST_OBJECTS)

    worst = bars((name, [row]) for name, row in objects.items())
    by_kind = bars(kinds.items()) if len(kinds) < len(objects) else ""
    each = f"<details{'' if by_kind else ' open'}><summary>Each object, worst first</summary>{worst}</details>"
    return f"<p>{escape(told)}</p>" + (f"<p>Failures: {escape(failures)}.</p>" if failures else "") + by_kind + each


def _more(count: int) -> str:
    return f"<p class=soft>and {count} more</p>" if count > 0 else ""


def _picture(path: Path) -> str:
    content = path.read_bytes()
    if len(content) > MOST_PICTURE_BYTES:
        return f"<p class=soft>{len(content) / 1e6:.0f} MB, too large for this page: {escape(str(path))}</p>"
    return f'<img alt="{escape(path.name)}" src="data:image/png;base64,{base64.b64encode(content).decode()}">'


def _times(runs: Sequence[Run]) -> str:
    rows = [(run.name, [run.median(key) for key in TIMES]) for run in runs]
    bars = shares(rows, tuple(TIMES.values()), "ms")
    return bars and bars + "<p class=soft>Medians over the second half of the run.</p>"


def _differences(runs: Sequence[Run]) -> str:
    names = differing(runs)
    if not names:
        return "<p>None.</p>"
    head = ("", *(run.name for run in runs))
    return _table(head, [(name, *(_value(run.settings.get(name)) for run in runs)) for name in names], numbers=False)


def _environments(runs: Sequence[Run]) -> str:
    keys = dict.fromkeys(key for run in runs for key in run.environment)
    versions = dict.fromkeys(k for run in runs for k in run.settings if k.startswith("versions."))
    rows = [(key, *(_value(run.environment.get(key)) for run in runs)) for key in keys]
    rows += [(k.partition(".")[2], *(_value(r.settings.get(k)) for r in runs)) for k in versions if k[9:] not in keys]
    return _table(("", *(run.name for run in runs)), rows, numbers=False) if rows else ""


def _settings(runs: Sequence[Run]) -> str:
    parts = []
    for run in runs:
        rows = [(name, _value(value)) for name, value in run.settings.items()]
        if rows:
            told = f"<summary>{escape(run.name)}, {len(rows)} settings</summary>"
            parts.append(f"<details>{told}{_table(('', ''), rows, numbers=False)}</details>")
    return "".join(parts)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _grid(charts: Sequence[str], names: Sequence[str]) -> str:
    """Charts side by side below the lines' names; empty if all of them are, so that the section is left out."""
    inside = "".join(charts)
    return (legend(names) if len(names) > 1 else "") + f'<div class="grid-of">{inside}</div>' if inside else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    kind = ' class="n"' if numbers else ""
    top = "".join(f"<th{kind if i else ''}>{escape(cell)}</th>" for i, cell in enumerate(head))
    lines = [
        "".join(
            f"<td{kind if i else ''}>{escape(cell)}</td>" if i or numbers else f"<td><code>{escape(cell)}</code></td>"
            for i, cell in enumerate(row)
        )
        for row in rows
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
