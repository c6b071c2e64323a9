"""Whether a training is still worth going on with: finite numbers, and worlds that do not all fail."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional

import torch
from torch import Tensor

LASTING = 20
"""Iterations in a row after which a trouble lasts.  A few bad observations heal in three."""
MOST = 0.5
"""Share of episodes that end in a diverged world from which on training is pointless."""


class TrainingError(RuntimeError):
    """Training has gone wrong for good.  The message is one line that says how."""


class Health:
    """Looks at each iteration's row.  It costs the device nothing: it sees only what is on the host anyway."""

    def __init__(self, gradient_steps: int) -> None:
        """gradient_steps: of an update."""
        self._gradient_steps = gradient_steps
        self._lasted: Dict[str, int] = {}

    def check(self, row: Dict[str, float], fresh: Dict[str, float]) -> None:
        """row: of an iteration; fresh: what the task measured in it.  Raises TrainingError."""
        where = f"iteration {row['iteration']:.0f}, {row['env_steps']:.0f} steps"
        if not row["finite_weights"]:
            raise TrainingError(f"a weight is not finite ({where})")
        skipped = row["nonfinite_steps"]
        failed = fresh.get("failed_worlds", 0.0)
        troubles = {
            "all gradient steps were skipped, because gradients were not finite,": skipped >= self._gradient_steps,
            "the reward was not finite": not math.isfinite(row["reward"]),
            f"more than {100 * MOST:.0f} % of episodes ended because their world diverged": failed > MOST,
        }
        for trouble, now in troubles.items():
            self._lasted[trouble] = self._lasted.get(trouble, 0) + 1 if now else 0
            if self._lasted[trouble] >= LASTING:
                raise TrainingError(f"{trouble} in {LASTING} iterations in a row ({where})")


def non_finite(value: Any, name: str = "") -> List[str]:
    """Names of the tensors in nested dicts and lists that hold a NaN or an infinity."""
    if isinstance(value, Tensor):
        return [] if not value.is_floating_point() or bool(torch.isfinite(value).all()) else [name]
    if isinstance(value, dict):
        inner = [non_finite(v, f"{name}.{k}" if name else str(k)) for k, v in value.items()]
        return [one for many in inner for one in many]
    if isinstance(value, (list, tuple)):
        return [one for i, v in enumerate(value) for one in non_finite(v, f"{name}[{i}]")]
    return []


def first_non_finite(value: Any) -> Optional[str]:
    """The first name of `non_finite`, with how many there are more; None if all is finite."""
    found = non_finite(value)
    return None if not found else found[0] + (f" and {len(found) - 1} more" if len(found) > 1 else "")
