"""From a command line to checked arguments: the options of a dataclass, and what is wrong with their values."""

from __future__ import annotations

import contextlib
import io
import math
import os
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Tuple, Type, TypeVar

import tyro

from tasks.commands.errors import fail, sentence
from tasks.commands.help import listed, print_help
from tasks.simulators import registry

Args = TypeVar("Args")

LARGEST = 2**63 - 1


def parse(
    args_type: Type[Args],
    default: Optional[Args] = None,
    common: Optional[Mapping[str, Sequence[str]]] = None,
    words: Optional[Sequence[str]] = None,
) -> Args:
    """The command line as args_type.  Ends the program for --help, and with one sentence for what is wrong.

    default: the values of options that are not given.  common: the options that --help shows, by title; else it shows all.
    words: to read instead of the command line.
    """
    default = args_type() if default is None else default
    words = sys.argv[1:] if words is None else words
    for word in words:
        if word in ("-h", "--help", "--help-all"):
            print_help(args_type, default, None if word == "--help-all" else common)
            raise SystemExit(0)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(args_type, args=list(words), default=default, config=(tyro.conf.AvoidSubcommands,))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        fail(sentence(said.getvalue(), [option.name for option in listed(args_type, default)]))


def given(words: Sequence[str], option: str) -> Optional[str]:
    """The value of an option on a command line that is not parsed yet: of several the last.  None if it is not there."""
    found = None
    for word, after in zip(words, [*words[1:], "--"]):
        name, equals, value = word.partition("=")
        if name.startswith("--") and name.replace("_", "-") == option:
            found = value if equals else None if after.startswith("--") else after
    return found


def check_simulator_options(words: Sequence[str], chosen: registry.SimulatorEntry) -> None:
    """Raises ValueError for an option of another simulator than the chosen one, which would be ignored."""
    for word in words:
        prefix = word.split("=")[0].replace("_", "-").lstrip("-").split(".")[0]
        if "." not in word or not word.startswith("--") or prefix == chosen.prefix:
            continue
        owners = [entry.name for entry in registry.SIMULATORS if entry.prefix == prefix]
        if owners:
            raise ValueError(
                f"{word.split('=')[0]}: is an option of --sim {' and '.join(owners)}, and this is {chosen.name}; "
                f"its options begin with --{chosen.prefix}."
            )


def check_numbers(args: Any, flat: Sequence[str] = (), positive: Sequence[str] = (), prefix: str = "--") -> None:
    """Raises ValueError unless all whole numbers are at least 1, and all other numbers finite and at least 0.

    args: a dataclass.  flat: names of dataclasses in it whose options have no prefix.  positive: names of numbers that must
    not be 0.  Defaults are right as they are, and seeds may be 0.
    """
    for field in fields(args):
        value, option = getattr(args, field.name), prefix + field.name.replace("_", "-")
        if is_dataclass(value):
            check_numbers(value, flat, positive, prefix if field.name in flat else f"{option}.")
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if value == field.default or isinstance(number, bool) or not isinstance(number, (int, float)):
                continue
            if not math.isfinite(number) or number > LARGEST:
                raise ValueError(f"{option} {number:g}: must be a finite number")
            if isinstance(number, int) and number < 1 and field.name not in ("seed", "seeds"):
                raise ValueError(f"{option} {number}: must be at least 1")
            if number < 0 or (number == 0 and field.name in positive):
                raise ValueError(
                    f"{option} {number:g}: must be {'greater than' if field.name in positive else 'at least'} 0"
                )


def check_writable(option: str, path: Optional[Path], directory: bool = False, suffixes: Tuple[str, ...] = ()) -> None:
    """Raises ValueError if a file (or directory) cannot be written there, as far as can be told without writing."""
    if path is None:
        return
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{option} {path}: the name must end in {' or '.join(suffixes)}")
    if path.exists() and path.is_dir() != directory:
        raise ValueError(f"{option} {path}: is a {'file' if directory else 'directory'}; give another name")
    above = path.absolute()
    while not above.exists() and above != above.parent:
        above = above.parent
    if above != path.absolute() and not above.is_dir():
        raise ValueError(f"{option} {path}: cannot be written, {above} is a file; give another name")
    if not os.access(str(above), os.W_OK):
        raise ValueError(f"{option} {path}: cannot be written, there is no permission for {above}; give another place")
