"""Draws success over steps and over wall clock, from the `metrics.jsonl` files of training runs.

python benchmarks/plots/plot_curves.py runs/a/metrics.jsonl runs/b/metrics.jsonl --out curves.png
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import tyro
from typing_extensions import Annotated


@dataclass
class Args:
    """Draw learning curves."""

    files: Annotated[Tuple[Path, ...], tyro.conf.Positional]
    """Files of metrics, or run directories."""
    out: Path = Path("curves.png")
    """The picture to write."""
    labels: Optional[Tuple[str, ...]] = None
    """A label for each file; by default its name, or that of its run directory."""


def label_of(path: Path) -> str:
    """The file's own name, or the run directory's for a file that is called as all are."""
    return path.absolute().parent.name if path.stem == "metrics" else path.stem


def main(args: Args) -> None:
    """Draws two panels.  Lines with dots are the deterministic evaluation, thin lines the exploring policy in training."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
    for index, given in enumerate(args.files):
        path = given / "metrics.jsonl" if given.is_dir() else given
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        label = args.labels[index] if args.labels else label_of(path)
        measured = [row for row in rows if "eval_success_rate" in row]
        for panel, key, scale in zip(panels, ("env_steps", "wall_s"), (1e6, 1.0)):
            x = [row[key] / scale for row in measured]
            panel.plot(x, [100 * r["eval_success_rate"] for r in measured], f"C{index}-o", ms=3, label=label)
            x = [row[key] / scale for row in rows]
            panel.plot(x, [100 * r["success_rate"] for r in rows], f"C{index}-", lw=0.6, alpha=0.6)
    panels[0].set_xlabel("environment steps, millions")
    panels[1].set_xlabel("wall clock from process start, s")
    panels[0].set_ylabel("held, %")
    for panel in panels:
        panel.grid(alpha=0.3)
        panel.set_ylim(0, 101)
        panel.set_xlim(left=0)
    panels[0].legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(args.out, dpi=110)


if __name__ == "__main__":
    main(tyro.cli(Args))
