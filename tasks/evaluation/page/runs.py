"""Reads run directories for a report: settings, metrics, what they were trained on, and evaluations that lie beside them."""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ppo_grasp.metrics import FILE as METRICS

ENVIRONMENT = "environment.json"
"""The machine that a run was trained on."""
SEED = "trainer.seed"

Curve = Tuple[np.ndarray, np.ndarray]
"""x and y (n,), x rising."""


@dataclass
class Run:
    """A run directory as it is now."""

    path: Path
    rows: List[Dict[str, Any]]
    """Lines of metrics.jsonl, at least one."""
    settings: Dict[str, Any]
    """Of config.json, by dotted names, such as `trainer.ppo.gamma`."""
    environment: Dict[str, Any] = field(default_factory=dict)
    evaluations: List[Dict[str, Any]] = field(default_factory=list)
    """What `evaluate_policy.py --json` wrote into the directory, with `file` for the name."""
    pictures: List[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.absolute().name

    def last(self, key: str) -> Any:
        """The newest value of a metric; None if there is none."""
        values = [row[key] for row in self.rows if row.get(key) is not None]
        return values[-1] if values else None

    def median(self, key: str) -> float:
        """Over the second half of the iterations, when everything is compiled; 0 if it was never measured."""
        values = [row[key] for row in self.rows[len(self.rows) // 2 :] if row.get(key) is not None]
        return float(np.median(values)) if values else 0.0

    def curve(self, key: str, over: str = "env_steps", points: int = 250) -> Curve:
        """A metric over another, with at most so many points, each the mean of neighbours."""
        pairs = [(row[over], row[key]) for row in self.rows if row.get(key) is not None and row.get(over) is not None]
        x, y = np.array(pairs, dtype=float).reshape(-1, 2).T
        if len(x) <= points:
            return x, y
        parts = np.array_split(np.arange(len(x)), points)
        return np.array([x[i].mean() for i in parts]), np.array([y[i].mean() for i in parts])


@dataclass
class Group:
    """Runs that differ in their seed alone, or one run."""

    runs: List[Run]
    name: str

    def metrics(self) -> List[str]:
        """Names of metrics, in the order in which they appear."""
        return list(dict.fromkeys(key for run in self.runs for row in run.rows for key in row))

    def last(self, key: str) -> List[float]:
        """The newest value of each run that has one."""
        return [float(value) for value in (run.last(key) for run in self.runs) if value is not None]

    def band(self, key: str, over: str = "env_steps") -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """x, mean, lowest and highest (n,) of a metric over the runs, where all of them have it.  Empty if none has it."""
        curves = [curve for curve in (run.curve(key, over) for run in self.runs) if len(curve[0])]
        if not curves:
            return (np.zeros(0),) * 4
        x = max((curve[0] for curve in curves), key=len)
        x = x[(x >= max(c[0][0] for c in curves)) & (x <= min(c[0][-1] for c in curves))]
        values = np.stack([np.interp(x, *curve) for curve in curves])
        return x, values.mean(0), values.min(0), values.max(0)


def load_run(path: Path) -> Run:
    """Reads a run directory.  Raises ValueError if it is none, or holds no metrics yet."""
    if not path.is_dir():
        raise ValueError(f"{path}: is no directory; give runs such as runs/NAME")
    if not (path / METRICS).is_file():
        raise ValueError(f"{path}: holds no {METRICS}, so it is no run")
    rows = [row for row in map(_parsed, (path / METRICS).read_text(encoding="utf-8").splitlines()) if row]
    if not rows:
        raise ValueError(f"{path}: its {METRICS} is empty, the run has not got that far")
    evaluations = []
    for file in sorted(path.glob("*.json")):
        content = _parsed(file.read_text(encoding="utf-8"))
        if "per_object" in content:
            evaluations.append({**content, "file": file.name})
    return Run(
        path=path,
        rows=rows,
        settings=flat(_read(path / "config.json")),
        environment=_read(path / ENVIRONMENT),
        evaluations=evaluations,
        pictures=sorted(path.glob("*.png")),
    )


def _read(path: Path) -> Dict[str, Any]:
    return _parsed(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _parsed(text: str) -> Dict[str, Any]:
    """A JSON object; empty for anything else, such as a line that was cut off."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def flat(values: Dict[str, Any], name: str = "") -> Dict[str, Any]:
    """Nested tables as one, by dotted names."""
    result: Dict[str, Any] = {}
    for key, value in values.items():
        dotted = f"{name}.{key}" if name else key
        result.update(flat(value, dotted) if isinstance(value, dict) else {dotted: value})
    return result


def differing(runs: Sequence[Run]) -> List[str]:
    """The names of settings that are not the same in all runs, in order."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [name for name in names if len({repr(run.settings.get(name)) for run in runs}) > 1]


def groups(runs: Sequence[Run]) -> List[Group]:
    """Puts runs together that differ in their seed alone, in the order of the first of each."""
    found: Dict[str, List[Run]] = {}
    for run in runs:
        rest = {
            name: value for name, value in run.settings.items() if name != SEED and not name.startswith("versions.")
        }
        same = repr(sorted(rest.items())) if rest else str(run.path)
        found.setdefault(same, []).append(run)
    return [Group(members, _group_name(members)) for members in found.values()]


def _group_name(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return runs[0].name
    letters = zip(*(run.name for run in runs))
    common = "".join(same[0] for same in takewhile(lambda each: len(set(each)) == 1, letters))
    common = re.sub(r"[-_ .]*(seed)?[-_ .\d]*$", "", common)
    return f"{common or runs[0].name} ({len(runs)} seeds)"


def environment() -> Dict[str, Any]:
    """What this process trains on."""
    import mujoco
    import torch

    found: Dict[str, Any] = {
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "mujoco": mujoco.__version__,
    }
    if torch.cuda.is_available():
        found["gpu"], found["cuda"] = torch.cuda.get_device_name(), torch.version.cuda
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
