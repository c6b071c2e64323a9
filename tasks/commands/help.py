"""`--help` and `--help-all`: the options of a command, grouped, each with what it does, its default and its range."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Iterator, List, Literal, Mapping, Optional, Sequence, Tuple, Union

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typing_extensions import get_args, get_origin, get_type_hints

from tasks import ranges


@dataclass(frozen=True)
class Option:
    """An option as a user sees it."""

    name: str
    """With its dashes and its prefix: --ppo.gamma."""
    value: str
    """What to write after it: NUMBER."""
    default: str
    help: str
    range: str
    """Of a number; empty if it is none."""
    given: Any
    """The value."""
    group: str
    """The title of the options around it; empty for those of the command itself."""


def print_help(args_type: type, default: Any, common: Optional[Mapping[str, Sequence[str]]] = None) -> None:
    """Prints the options that are named in common, by title, or else all options in their groups."""
    console = Console(highlight=False)
    options = listed(args_type, default)
    groups: Dict[str, List[Option]] = {}
    if common is None:
        for option in options:
            groups.setdefault(option.group, []).append(option)
    else:
        by_name = {option.name: option for option in options}
        groups = {title: [by_name[name] for name in names] for title, names in common.items()}
    console.print(Text(inspect.cleandoc(args_type.__doc__ or "").split("\n\n")[0], style="bold"))
    for title, members in groups.items():
        console.print()
        if title:
            console.print(Text(title, style="bold underline"))
        console.print(_table(members, console.width))
    if common is not None:
        console.print(f"\n--help-all shows all {len(options)} options.")


def _table(options: Sequence[Option], width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", max_width=max(24, width * 2 // 5))
    table.add_column()
    for option in options:
        left = Text(_with_no(option), style="bold")
        left.append(f" {option.value}" if option.value else "", style="cyan")
        right = Text(option.help)
        beside = "; ".join(filter(None, (option.default, option.range)))
        right.append(f"  [{beside}]" if beside else "", style="dim")
        table.add_row(left, right)
    return table


def _with_no(option: Option) -> str:
    """The option's name; of one that has no value also how it is switched off: --ppo.[no-]clip-value-loss."""
    if option.value:
        return option.name
    head, dot, end = option.name.lstrip("-").rpartition(".")
    return f"--{head}{dot}[no-]{end}"


def listed(args_type: type, default: Any, prefix: str = "--", group: str = "") -> List[Option]:
    """All options of a dataclass.  Nested dataclasses have a prefix, unless they are annotated with an empty name."""
    result: List[Option] = []
    nested: List[Option] = []
    hints, texts = get_type_hints(args_type, include_extras=True), docstrings(args_type)
    for field in fields(args_type):
        kind, marks = _unwrapped(hints[field.name])
        value = getattr(default, field.name)
        if any(mark is tyro.conf.Suppress or mark is tyro.conf.Fixed for mark in marks):
            continue
        if isinstance(kind, type) and is_dataclass(kind):
            if any(getattr(mark, "name", None) == "" for mark in marks):
                flat = listed(kind, value, prefix, group)
                result += [option for option in flat if option.group == group]
                nested += [option for option in flat if option.group != group]
            else:
                inner = prefix + field.name.replace("_", "-") + "."
                title = texts.get(field.name) or inspect.cleandoc(kind.__doc__ or "")
                nested += listed(kind, value, inner, title.split("\n")[0])
            continue
        name = prefix + field.name.replace("_", "-")
        text = " ".join(texts.get(field.name, "").split())
        result.append(Option(name, _written(kind), _shown(value), text, ranges.shown(name), value, group))
    return result + nested


@lru_cache(maxsize=None)
def docstrings(args_type: type) -> Dict[str, str]:
    """The text below each field, of the dataclass and of those that it inherits from."""
    return {name: text for cls in reversed(args_type.__mro__) for name, text in _texts(cls)}


def _texts(cls: type) -> Iterator[Tuple[str, str]]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # builtins, and classes that were made by a function
        return
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    for node, after in zip(body.body, body.body[1:]):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            yield node.target.id, after.value.value


def _unwrapped(hint: Any) -> Tuple[Any, Tuple[Any, ...]]:
    """A type without its annotations, and the annotations."""
    marks = tuple(getattr(hint, "__metadata__", ()))
    while hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    return hint, marks


def _written(kind: Any) -> str:
    """What stands for a value in help: a type's name in words, or its choices."""
    names = {int: "INT", float: "NUMBER", str: "NAME", Path: "PATH", bool: ""}
    if kind in names:
        return names[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "|".join(str(choice) for choice in inner)
    if origin is Union:
        return "|".join(_written(part) for part in inner if part is not type(None))
    if origin is tuple and inner[1:] != (Ellipsis,):
        return " ".join(_written(part) for part in inner)
    if origin is dict:
        return " ".join(_written(part) for part in inner) + " ..."
    return f"{_written(inner[0])} ..." if inner else "VALUE"


def _shown(value: Any) -> str:
    """A default as a user would write it."""
    if value is None or value == () or value == {}:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    return str(value)
