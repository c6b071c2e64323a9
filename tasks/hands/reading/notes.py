"""hand.toml beside a hand's description: what cannot be read off it."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import numpy as np

from tasks.hands.errors import HandError

Vector = Tuple[float, float, float]
KEYS = {
    "": ("palm", "fingertips", "coupled", "open", "pregrasp", "closed"),
    "palm": ("body", "origin", "normal", "fingers", "centre", "grip_yaw"),
    "fingertip": ("body", "origin", "radius"),
}


@dataclass
class Fingertip:
    """Where a finger touches."""

    body: str
    origin: Vector
    """m, middle of the rounded end in the body's frame."""
    radius: float
    """m"""


@dataclass
class Notes:
    """All that a TOML may say; what is None or empty is proposed."""

    palm: Optional[str] = None
    origin: Optional[Vector] = None
    """m, middle of the palm's inner face in the palm body's frame."""
    normal: Optional[Vector] = None
    """Out of the inner face, to what is grasped."""
    fingers: Optional[Vector] = None
    """Where the fingers point."""
    centre: Optional[Vector] = None
    """`HandSpec.palm_centre`, in the palm's frame."""
    grip_yaw: Optional[float] = None
    fingertips: Dict[str, Fingertip] = field(default_factory=dict)
    coupled: Dict[str, Tuple[str, float]] = field(default_factory=dict)
    """Joint -> the joint that it follows, and the ratio."""
    open: Optional[Dict[str, float]] = None
    pregrasp: Optional[Dict[str, float]] = None
    closed: Optional[Dict[str, float]] = None
    """`HandSpec.closed_pose`."""


def read_notes(path: Path) -> Notes:
    """What a TOML says.  Raises HandError."""
    try:
        values = _parser().loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise HandError(f"{path.name} cannot be read: {' '.join(str(error).split())[:160]}") from error
    _known(values, "", path.name)
    palm = _table(values, "palm", path.name)
    _known(palm, "palm", f"{path.name}, [palm]")
    notes = Notes(palm=palm.get("body"))
    for key in ("origin", "normal", "fingers", "centre"):
        if key in palm:
            setattr(notes, key, _vector(palm[key], f"{path.name}, palm.{key}"))
    if "grip_yaw" in palm:
        notes.grip_yaw = _number(palm["grip_yaw"], f"{path.name}, palm.grip_yaw")
    for name, tip in _table(values, "fingertips", path.name).items():
        what = f"{path.name}, fingertips.{name}"
        if not isinstance(tip, dict) or not all(key in tip for key in KEYS["fingertip"]):
            raise HandError(f"{what} needs body, origin and radius")
        _known(tip, "fingertip", what)
        origin, radius = _vector(tip["origin"], f"{what}.origin"), _number(tip["radius"], f"{what}.radius")
        notes.fingertips[name] = Fingertip(str(tip["body"]), origin, radius)
    for name, source in _table(values, "coupled", path.name).items():
        pair = source if isinstance(source, list) else [source, 1.0]
        if len(pair) != 2 or not isinstance(pair[0], str):
            raise HandError(f'{path.name}, coupled.{name} must be "joint" or ["joint", ratio]')
        notes.coupled[name] = (pair[0], _number(pair[1], f"{path.name}, coupled.{name}"))
    for key in ("open", "pregrasp", "closed"):
        if key in values:
            pose = _table(values, key, path.name)
            setattr(notes, key, {j: _number(v, f"{path.name}, {key}.{j}") for j, v in pose.items()})
    return notes


def _parser() -> Any:
    for name in ("tomllib", "tomli"):
        if importlib.util.find_spec(name) is not None:
            return importlib.import_module(name)
    raise HandError("reading a TOML needs Python 3.11, or the package tomli: pip install tomli")


def _table(values: Dict[str, Any], key: str, where: str) -> Dict[str, Any]:
    table = values.get(key, {})
    if not isinstance(table, dict):
        raise HandError(f"{where}: {key} must be a table, [{key}]")
    return table


def _known(table: Dict[str, Any], kind: str, where: str) -> None:
    unknown = [key for key in table if key not in KEYS[kind]]
    if unknown:
        raise HandError(f"{where}: {unknown[0]!r} is not known; there are: {', '.join(KEYS[kind])}")


def _vector(value: Any, where: str) -> Vector:
    if not isinstance(value, list) or len(value) != 3:
        raise HandError(f"{where} must be three numbers")
    return tuple(_number(v, where) for v in value)  # type: ignore[return-value]


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise HandError(f"{where} must be a number, not {value!r}")
    return float(value)


def to_toml(notes: Notes) -> str:
    """The text of a hand.toml."""

    def vector(values: Vector) -> str:
        return "[" + ", ".join(f"{v:.4g}" for v in np.round(values, 4) + 0.0) + "]"

    lines = ["[palm]", f"body = {_quoted(notes.palm or '')}"]
    told = {
        "origin": "m, middle of the palm's inner face, in the body's frame",
        "normal": "out of the inner face, to what is grasped",
        "fingers": "where the fingers point",
        "centre": "m, in the palm's frame (x to the fingers, z out of the back), where the surface of a grasped object is",
    }
    for key, text in told.items():
        if getattr(notes, key) is not None:
            lines.append(f"{key} = {vector(getattr(notes, key))}  # {text}")
    if notes.grip_yaw is not None:
        lines.append(
            f"grip_yaw = {notes.grip_yaw:.3f}  # rad, from the thumb's tip to the fingers' before a grasp, about z"
        )
    for name, tip in notes.fingertips.items():
        lines += ["", f"[fingertips.{_quoted(name)}]", f"body = {_quoted(tip.body)}", f"origin = {vector(tip.origin)}"]
        lines.append(f"radius = {tip.radius:.4g}")
    if notes.coupled:
        lines += ["", "[coupled]  # joint = the joint that it follows, and by how much"]
        lines += [
            f"{_quoted(name)} = [{_quoted(source)}, {ratio:g}]" for name, (source, ratio) in notes.coupled.items()
        ]
    for key in ("open", "pregrasp", "closed"):
        pose = getattr(notes, key)
        if pose is not None:
            lines += ["", f"[{key}]  # rad or m; joints not named are at 0"]
            lines += [f"{_quoted(name)} = {value:.3f}" for name, value in pose.items()]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
