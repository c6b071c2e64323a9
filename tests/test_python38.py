"""The floor: all but the MuJoCo simulators must run on Python 3.8, the newest that Isaac Gym has a build for.

A static check; `make test-py38` runs the tests themselves on that Python.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator, List

import pytest

ROOT = Path(__file__).resolve().parents[1]
NEWER = {
    # attribute or name -> the Python that has it
    **{
        name: "3.9"
        for name in ("removeprefix", "removesuffix", "pairwise", "cache", "randbytes", "is_relative_to", "unparse")
    },
    **{
        name: "3.10"
        for name in ("hardlink_to", "bit_count", "get_annotations", "aiter", "anext", "TypeAlias", "ParamSpec")
    },
    **{name: "3.11" for name in ("tomllib", "StrEnum", "ExceptionGroup", "Self", "assert_never", "chdir", "add_note")},
    **{name: "3.12" for name in ("batched", "override", "walk_up")},
}
GENERIC = {"list", "dict", "tuple", "set", "frozenset", "type", "deque", "defaultdict", "OrderedDict", "Counter"}
NOT_NAMES = {"Self": ("typing",), "cache": ("functools",), "chdir": ("contextlib",), "override": ("typing",)}
"""Common words count only as attributes of, or imports from, these modules."""
KEYWORDS = {
    ("zip", "strict"): "3.10",
    ("dataclass", "slots"): "3.10",
    ("dataclass", "kw_only"): "3.10",
    ("field", "kw_only"): "3.10",
}


def sources() -> List[Path]:
    """Every file of the program that Isaac Gym's Python must read, and the tests that run there."""
    found = [
        *ROOT.glob("*.py"),
        *ROOT.glob("ppo_grasp/**/*.py"),
        *ROOT.glob("tasks/**/*.py"),
        *ROOT.glob("tests/**/*.py"),
    ]
    return sorted(path for path in found if path.parent.name not in ("mujoco", "mujoco_warp"))


def evaluated(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those in annotations, which `from __future__ import annotations` leaves alone."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                yield node
                yield from evaluated(node)


def problems(text: str) -> List[str]:
    """What in this source needs more than Python 3.8."""
    tree = ast.parse(text, feature_version=(3, 8))
    found = []
    future = any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in ast.walk(tree))
    for node in evaluated(tree) if future else ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in GENERIC:
            found.append(f"line {line}: {node.value.id}[...] is evaluated")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            sides = [node.left, node.right]
            if any(isinstance(s, ast.Constant) and s.value is None for s in sides) or all(
                isinstance(s, ast.Name) and s.id in ("int", "str", "float", "bool", "bytes", "list", "dict", "tuple")
                for s in sides
            ):
                found.append(f"line {line}: a union of types is evaluated")
            if any(isinstance(s, (ast.Dict, ast.DictComp)) for s in sides):
                found.append(f"line {line}: dicts joined with |")
        if isinstance(node, ast.Attribute) and node.attr in NEWER:
            owners = NOT_NAMES.get(node.attr)
            if owners is None or (isinstance(node.value, ast.Name) and node.value.id in owners):
                found.append(f"line {line}: .{node.attr} is of Python {NEWER[node.attr]}")
        if isinstance(node, ast.ImportFrom) and node.module in (
            "typing",
            "functools",
            "itertools",
            "enum",
            "contextlib",
        ):
            found += [f"line {line}: {a.name} is of Python {NEWER[a.name]}" for a in node.names if a.name in NEWER]
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            for keyword in node.keywords:
                if keyword.arg and (name, keyword.arg) in KEYWORDS:
                    found.append(f"line {line}: {name}({keyword.arg}=) is of Python {KEYWORDS[name, keyword.arg]}")
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_reads_on_python_38(path: Path) -> None:
    assert problems(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "def f(x: int | None): ...",
        "Names = list[str]",
        "Number = int | float",
        "x = {**a} | {'b': 1}",
        "'abc'.removeprefix('a')",
        "from functools import cache",
        "for a, b in zip(x, y, strict=True): ...",
    ],
)
def test_the_check_sees_what_is_newer(text: str) -> None:
    assert problems(text)


@pytest.mark.parametrize(
    "text",
    [
        "match x:\n    case 1: ...",
        "with (\n    open('a') as a,\n    open('b') as b,\n): ...",
        "def f[T](x: T): ...",
        "try: ...\nexcept* ValueError: ...",
    ],
)
def test_the_check_sees_newer_syntax(text: str) -> None:
    with pytest.raises(SyntaxError):
        problems(text)


def test_annotations_may_be_modern() -> None:
    assert problems("from __future__ import annotations\ndef f(x: int | None) -> list[str]: ...") == []
