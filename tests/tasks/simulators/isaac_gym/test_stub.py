"""The double's functions, fields and enumerations against those of the public stub of Isaac Gym Preview 4.

`tests/isaac_double/stub_facts.json` holds the names and types that the double uses, so that the stub need not be installed.
Where ISAACGYM_STUBS names the stub's gymapi.pyi (wheel `isaacgym-stubs` 1.1rc4), the facts are checked against it.
"""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path
from typing import Any, Dict

import pytest
from isaac_support.stage import DOUBLE

FACTS: Dict[str, Any] = json.loads((DOUBLE / "stub_facts.json").read_text())


def test_isaac_double_functions_take_what_the_real_ones_take(isaac: Any) -> None:
    from isaacgym import _rules, gymapi

    for name, kinds in _rules.SIGNATURES.items():
        assert name in FACTS["functions"], f"the real Gym has no {name}"
        arguments = FACTS["functions"][name]
        assert [kind for _, kind in arguments] == list(kinds), name
        code = getattr(gymapi.Gym, name).__wrapped__.__code__
        mine = code.co_varnames[1 : code.co_argcount]
        for (real, _), own in zip(arguments, mine):
            assert real.startswith("arg") or real == own, f"{name}: {real} is called {own}"
    assert len(_rules.SIGNATURES) > 60


def test_isaac_double_records_have_only_real_fields(isaac: Any) -> None:
    from isaacgym import _types

    for record in _types.RECORDS:
        extra = set(record.FIELDS) - set(FACTS["fields"][record.__name__])
        assert not extra, f"{record.__name__} has no {extra}"


def test_isaac_double_enumerations_have_only_real_members(isaac: Any) -> None:
    from isaacgym import gymapi

    for name, members in FACTS["enums"].items():
        assert set(getattr(gymapi, name).__members__) == set(members)
        assert all(hasattr(gymapi, member) for member in members)


def test_isaac_backend_calls_only_real_functions(isaac: Any) -> None:
    """Every `gym.name(` and `api.name` in the backend's files is one that the facts know."""
    from isaacgym import _rules, gymapi

    folder = DOUBLE.parents[1] / "tasks" / "simulators" / "isaac_gym"
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    called = set(re.findall(r"\bgym\.([a-z_]+)\(", text))
    assert called and called <= set(_rules.SIGNATURES), called - set(_rules.SIGNATURES)
    used = set(re.findall(r"\bapi\.([A-Za-z_0-9]+)", text))
    assert used and all(hasattr(gymapi, name) for name in used)


@pytest.mark.skipif("ISAACGYM_STUBS" not in os.environ, reason="ISAACGYM_STUBS names no gymapi.pyi")
def test_isaac_stub_facts_are_those_of_the_stub() -> None:
    text = Path(os.environ["ISAACGYM_STUBS"]).read_text().replace("def lambda", "def lambda_")
    classes = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    functions = {node.name: node for node in classes["Gym"].body if isinstance(node, ast.FunctionDef)}
    for name, arguments in FACTS["functions"].items():
        line = (ast.get_docstring(functions[name]) or "").split("\n")[0]
        words = re.split(r",(?![^\[]*\])", line[line.index("(") + 1 : line.rindex(") ->")])[1:]
        found = [[part.strip() for part in word.split("=")[0].split(":", 1)] for word in words]
        found = [[n, "ndarray" if kind.startswith("numpy") else kind] for n, kind in found]
        assert found == arguments, name
    for group in ("fields", "enums"):
        for name, names in FACTS[group].items():
            there = {node.target.id for node in classes[name].body if isinstance(node, ast.AnnAssign)}
            assert set(names) <= there, name
