"""What every function of the double's Gym has in common: types of arguments (T2), a record of calls, failures on demand (T28)."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

import numpy as np

from isaacgym import _types
from isaacgym._control import control

SIGNATURES: Dict[str, Tuple[str, ...]] = {}
"""Function -> types of its arguments after self.  A test compares them with the public stub."""


_FACTS = json.loads(Path(__file__).resolve().parents[1].joinpath("stub_facts.json").read_text())
UNNAMED = {name for name, args in _FACTS["functions"].items() if any(arg.startswith("arg") for arg, _ in args)}
"""Functions whose arguments have no names that a caller could use."""


def function(*kinds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Marks a function of Gym whose arguments are of these types."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        SIGNATURES[method.__name__] = kinds
        names = method.__code__.co_varnames[1 : method.__code__.co_argcount]
        assert len(names) == len(kinds), method.__name__

        @functools.wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if kwargs and method.__name__ in UNNAMED:
                raise TypeError(f"T2: {method.__name__}() takes no keywords, and got {sorted(kwargs)}")
            for kind, name, value in [
                *zip(kinds, names, args),
                *((kinds[names.index(k)], k, v) for k, v in kwargs.items()),
            ]:
                _check(method.__name__, name, kind, value)
            control.calls.append(method.__name__)
            if method.__name__ in control.fail_once:
                return control.fail_once.pop(method.__name__)
            return method(self, *args, **kwargs)

        return call

    return decorate


def _check(method: str, name: str, kind: str, value: Any) -> None:
    if value is None and kind in ("AssetOptions", "ForceSensorProperties", "Tensor", "str"):
        return
    if kind.startswith("List["):
        inner = getattr(_types, kind[5:-1])
        good = isinstance(value, list) and all(isinstance(item, inner) for item in value)
    elif kind == "int":
        good = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    elif kind == "float":
        good = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    elif kind in ("bool", "str"):
        good = isinstance(value, {"bool": bool, "str": str}[kind])
    elif kind == "ndarray":
        good = isinstance(value, np.ndarray)
    else:
        good = isinstance(value, getattr(_types, kind))
    if not good:
        raise TypeError(
            f"T2: {method}(): incompatible function arguments: {name} must be {kind}, not {type(value).__name__}"
        )
