"""From a command line to checked arguments: the options of a dataclass, and what is wrong with their values."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Tuple, Type, TypeVar

import tyro

from tasks import ranges
from tasks.commands.errors import fail, sentence
from tasks.commands.help import listed, print_help
from tasks.simulators import registry

Args = TypeVar("Args")


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


def check_values(args: Any) -> None:
    """Raises ValueError if a number of args is outside its range in `tasks.ranges`, or a text is empty.

    args: a dataclass of options.
    """
    for option in listed(type(args), args):
        ranges.check(option.name, option.given)
        if option.given == "":
            raise ValueError(f"{option.name}: is empty; give a value, or leave the option out")


def check_writable(option: str, path: Optional[Path], directory: bool = False, suffixes: Tuple[str, ...] = ()) -> None:
    """Raises ValueError if a file (or directory) cannot be written there, as far as an empty file can tell."""
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
    try:
        with tempfile.TemporaryFile(dir=str(above if above.is_dir() else above.parent)):
            pass
    except OSError as error:
        raise ValueError(f"{option} {path}: cannot be written: {error.strerror}; give another place") from error
