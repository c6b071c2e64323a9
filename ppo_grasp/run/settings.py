"""What a resumed run does differently from the run that it goes on with."""

from __future__ import annotations

from typing import Any, Dict, List

MANY = 12
"""No more differences than this are listed one by one."""


def differences(before: Any, now: Any, name: str = "") -> List[str]:
    """`name: now NEW, was OLD` for each plain value that differs in nested dicts.  Lists count as tuples.

    What `before` does not know is left out: the program that wrote it had no such setting.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        found = [differences(old, now.get(k), f"{name}.{k}" if name else str(k)) for k, old in before.items()]
        return [line for lines in found for line in lines]
    if _plain(before) == _plain(now) or before != before:
        return []
    return [f"{name}: now {_short(now)}, was {_short(before)}"]


def describe_differences(before: Dict[str, Any], now: Dict[str, Any]) -> str:
    """One line that lists what differs; empty if nothing does."""
    found = differences(before, now)
    if not found:
        return ""
    more = f"; and {len(found) - MANY} more" if len(found) > MANY else ""
    return "settings differ from the run's: " + "; ".join(found[:MANY]) + more


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
