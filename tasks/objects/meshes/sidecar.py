"""The file NAME.json next to a mesh: what its user knows about the thing."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from tasks.objects.model import ObjectError
from tasks.ranges import RANGES, Range

EXAMPLE = '{"mass": 0.2, "friction": 0.8, "scale": 0.001}'
IN_RANGE = {
    "mass": Range.parse("[0.0001, 100]"),
    "friction": Range.parse("(0, 10]"),
    "scale": RANGES["--object-scale"][0],
}


@dataclass(frozen=True)
class Sidecar:
    """What the file may say."""

    mass: Optional[float] = None
    """kg"""
    friction: Optional[float] = None
    """The coefficient of sliding friction."""
    scale: Optional[float] = None
    """A factor for the coordinates to get metres, in place of the one for all files."""


def read_sidecar(path: Path, text: bytes) -> Sidecar:
    """What the text of the file says.  A key without a value (null) is left out.

    Raises ObjectError for anything else than known keys with numbers in their ranges.
    """
    if not text:
        return Sidecar()
    try:
        values = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ObjectError(f"{path}: is not readable JSON; it must be like {EXAMPLE}") from error
    if not isinstance(values, dict):
        raise ObjectError(f"{path}: must be like {EXAMPLE}")
    known = [field.name for field in fields(Sidecar)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ObjectError(f"{path}: {key[:40]!r} is no key of this file; {meant}")
    return Sidecar(**{key: _number(path, key, value) for key, value in values.items() if value is not None})


def _without_repeats(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is there twice")
    return values


def _number(path: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ObjectError(f"{path}: must be like {EXAMPLE}, and {key} is no number")
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        number = float("inf")
    wrong = IN_RANGE[key].wrong(number)
    if wrong:
        raise ObjectError(f"{path}: {key} {wrong}, not {number:g}")
    return number
