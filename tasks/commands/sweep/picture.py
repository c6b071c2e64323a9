"""A sweep as a picture: learning curves with bands over seeds, and success against what was varied."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from tasks.evaluation.page.runs import Group

CURVE = "eval_success_rate"


def draw(rows: Sequence[Dict[str, Any]], groups: Dict[str, Group], out: Path) -> None:
    """A PNG with a line of two panels for each option that was varied, or one line for a grid and for variants.

    rows: of the results.  groups: the runs of each row, by its name; rows without any are left out of the curves.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    parts = panels(rows)
    figure, axes = plt.subplots(len(parts), 2, figsize=(11, 3.4 * len(parts)), squeeze=False)
    for (title, members), (left, right) in zip(parts, axes):
        for index, row in enumerate(members):
            group = groups.get(row["name"])
            if group is None:
                continue
            x, mean, low, high = group.band(CURVE)
            label = row["varied"].get(title, row["name"])
            left.plot(x / 1e6, 100 * mean, f"C{index % 10}", label=label)
            left.fill_between(x / 1e6, 100 * low, 100 * high, color=f"C{index % 10}", alpha=0.18, lw=0)
        left.set(title=title, xlabel="environment steps, millions", ylabel="held, %", ylim=(0, 101))
        left.set_xlim(left=0)
        if left.get_legend_handles_labels()[0]:
            left.legend(frameon=False, fontsize=8)
        _against(right, title, members)
        for axis in (left, right):
            axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


def panels(rows: Sequence[Dict[str, Any]]) -> List[Tuple[str, List[Dict[str, Any]]]]:
    """Rows in which one and the same option alone differs from the base, by its name; all others together."""
    found: Dict[str, List[Dict[str, Any]]] = {}
    for row in rows:
        names = list(row["varied"])
        title = names[0] if len(names) == 1 else ", ".join(names) or "base"
        found.setdefault(title, []).append(row)
    return list(found.items())


def _against(axis: Any, title: str, rows: Sequence[Dict[str, Any]]) -> None:
    """Success over the values, where they are numbers, else over their names."""
    labels = [row["varied"].get(title, row["name"]) for row in rows]
    places = [_number(label) for label in labels]
    if any(map(math.isnan, places)) or len(set(places)) < len(places):
        places = [float(i) for i in range(len(rows))]
    elif min(places) > 0 and max(places) >= 5 * min(places):
        axis.set_xscale("log")
        axis.minorticks_off()
    crowded = sum(map(len, labels)) > 60
    axis.set_xticks(places, labels, fontsize=8, **({"rotation": 25, "ha": "right"} if crowded else {}))
    objects = list(dict.fromkeys(name for row in rows for name in row["measured"]))
    for index, name in enumerate(objects):
        for rate, look in (("held", "o-"), ("still", "s--")):
            found = [row["measured"].get(name, {}).get(rate) for row in rows]
            points = [(x, f) for x, f in sorted(zip(places, found), key=lambda p: p[0]) if f and f["mean"] is not None]
            if not points:
                continue
            x = [p[0] for p in points]
            y = [100 * p[1]["mean"] for p in points]
            below = [100 * (f["mean"] - f["low"]) if f["low"] is not None else 0.0 for _, f in points]
            above = [100 * (f["high"] - f["mean"]) if f["high"] is not None else 0.0 for _, f in points]
            label = f"{rate} on {name}" if name else rate
            axis.errorbar(x, y, [below, above], fmt=look, color=f"C{index}", capsize=3, ms=4, label=label)
    axis.set(xlabel=title, ylabel="at the end, %", ylim=(0, 101))
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, fontsize=8)


def _number(text: str) -> float:
    """NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
