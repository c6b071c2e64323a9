"""What the three commands share: arguments from dataclasses, and errors as one line and status 2."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from typing import Callable, NoReturn, Type, TypeVar

import tyro

Args = TypeVar("Args")


def run(command: Callable[[Args], None], args_type: Type[Args]) -> None:
    """Parses the command line into args_type and calls the command.

    Errors of the user's (any ValueError, SimulatorError included, or a missing file) end as `error: ...` with status 2.
    """
    args = parse(args_type)
    try:
        command(args)
    except (ValueError, OSError) as error:
        fail(str(error) or type(error).__name__)
    except RuntimeError as error:
        if type(error).__name__ != "SimulatorError":
            raise
        fail(str(error))


def parse(args_type: Type[Args]) -> Args:
    """The command line as args_type; what tyro says of a wrong one, put into one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(args_type, config=(tyro.conf.AvoidSubcommands,))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        text = re.sub(r"[\u2500-\u257f]+", " ", re.sub(r"\x1b\[[0-9;]*m", "", said.getvalue()))
        text = " ".join(text.split())
        fail(re.sub(r"^Parsing error ", "", text) or "wrong arguments; --help lists them")


def fail(message: str) -> NoReturn:
    """Ends the program as the user's mistake."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(2)
