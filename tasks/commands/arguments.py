"""What the three commands share: arguments from dataclasses, and errors as one line and status 2."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import sys
import warnings
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, NoReturn, Optional, Sequence, Tuple, Type, TypeVar

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from tasks.objects import OBJECT_SETS, ObjectSet, load_objects

Args = TypeVar("Args")

_TASKS = Path(__file__).resolve().parents[1]
CHECKPOINTS = next(filter(Path.is_dir, (_TASKS / "checkpoints", _TASKS.parent / "checkpoints")), _TASKS / "checkpoints")
"""Where the policies that ship are: inside the package if it was installed from a wheel, else at the top of the source tree."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
LARGEST = 2**63 - 1


def run(command: Callable[[Args], None], args_type: Type[Args], default: Optional[Args] = None) -> None:
    """Parses the command line into args_type and calls the command.  default: what options that are not given are.

    Errors of the user's (any ValueError, SimulatorError included, or a missing file) end as `error: ...` with status 2.
    """
    try:
        args = parse(args_type, default)
        with plain_warnings():
            command(args)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # whoever read the output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(1) from None
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except MemoryError:
        fail("there is not enough memory: give fewer --num-envs")
    except ValueError as error:
        fail(str(error) or type(error).__name__)
    except RuntimeError as error:
        if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
            fail("there is not enough memory: give fewer --num-envs")
        if type(error).__name__ != "SimulatorError":
            raise
        fail(str(error))


def parse(args_type: Type[Args], default: Optional[Args] = None) -> Args:
    """The command line as args_type; what tyro says of a wrong one, put into one sentence."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(args_type, default=default or args_type(), config=(tyro.conf.AvoidSubcommands,))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        fail(sentence(said.getvalue()))


def sentence(text: str) -> str:
    """What is wrong, and what would be right, out of tyro's boxed message."""
    text = re.sub(r"\x1b\[[0-9;]*m|[\u2500-\u257f]+|-{5,}", " ", text)
    text = re.sub(r" For full helptext, (run|see) .*", "", " ".join(text.split()))
    choice = re.search(r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \((.*?),?\)\.?", text)
    if choice:
        value, option, choices = choice.groups()
        return f"{option} {value}: choose from {choices.replace(chr(39), '')}"
    missing = re.search(r"Missing value for argument '(\S+)'\. Expected (\d+) value", text)
    if missing:
        count = int(missing.group(2))
        return f"{missing.group(1)}: needs {'a value' if count == 1 else f'{count} values'} after it"
    unknown = re.search(r"Unrecognized options: (.*?)(?: Perhaps you meant: (--\S+).*)?$", text)
    if unknown:
        words, near = unknown.group(1).replace(",", ""), unknown.group(2)
        return f"unknown option {words}: " + (f"did you mean {near}? " if near else "") + "--help lists the options"
    wrong = re.search(r"Error parsing (\S+): (.*?) Argument helptext: (.*)", text)
    if wrong:
        option, reason, usage = wrong.groups()
        given = re.search(r"\[(.*?)\]|: ('[^']*')$", reason)
        value = (given.group(1) or given.group(2)).replace("', '", " ").strip("'") if given else ""
        kind = re.search(re.escape(option) + r" (.*?)(?: [A-Z][a-z]| \(default|$)", usage)
        kinds = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path"}
        needed = kind.group(1).replace("{None}|", "") if kind else "another value"
        return f"{option} {value}".rstrip() + f": must be {kinds.get(needed, needed)}"
    return re.sub(r"^(Parsing error|Value error|Missing argument) ", "", text) or "wrong arguments; --help lists them"


def fail(message: str) -> NoReturn:
    """Ends the program as the user's mistake."""
    sys.stdout.flush()
    print("error: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(2)


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings as one line each of the output, without the place in the code that gave them."""
    before = warnings.showwarning
    warnings.showwarning = lambda message, *_args, **_named: print(f"warning: {' '.join(str(message).split())}")
    try:
        yield
    finally:
        warnings.showwarning = before


def check_numbers(args: Any, flat: Sequence[str] = (), positive: Sequence[str] = (), prefix: str = "--") -> None:
    """Raises ValueError unless all whole numbers in args are at least 1, all others finite and at least 0.

    args: a dataclass, of which `flat` are nested ones whose options have no prefix; defaults are right.  Fields named in
    `positive` must not be 0.  Seeds may be 0.
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
            if isinstance(number, int) and number < 1 and field.name != "seed":
                raise ValueError(f"{option} {number}: must be at least 1")
            if number < 0 or (number == 0 and field.name in positive):
                raise ValueError(
                    f"{option} {number:g}: must be {'greater than' if field.name in positive else 'at least'} 0"
                )


def check_writable(option: str, path: Optional[Path], directory: bool = False, suffixes: Tuple[str, ...] = ()) -> None:
    """Raises ValueError unless a file (or directory) can be written there, as far as can be told without writing."""
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


def checkpoint_path(given: Optional[Path], option: str = "--checkpoint") -> Path:
    """The checkpoint that was asked for, or the policy that ships.  Raises ValueError if it is not there."""
    if given is None:
        shipped = sorted(CHECKPOINTS.glob("*.pt"))
        if not shipped:
            raise ValueError(f"there is no policy in {CHECKPOINTS}: train one and give its file with --checkpoint")
        return shipped[-1]
    if given.is_dir():
        raise ValueError(f"{option} {given}: is a directory, give a .pt file such as {given / 'checkpoint_best.pt'}")
    if not given.is_file():
        raise ValueError(f"{option} {given}: no such file; training writes runs/NAME/checkpoint_best.pt")
    return given


def load_set(
    name: str, scale: float = 1.0, skip_bad: bool = False, option: str = "--objects", count: Optional[int] = None
) -> ObjectSet:
    """`load_objects`, with a progress bar while meshes load."""
    if name not in OBJECT_SETS and not Path(name).is_dir():
        raise ValueError(f"{option} {name}: choose from {', '.join(OBJECT_SETS)}, or give a directory of meshes")
    with progress_bar(f"loading {name}", "objects") as bar:
        task = bar.add_task("", total=None)
        return load_objects(
            name,
            scale=scale,
            skip_bad=skip_bad,
            count=count,
            progress=lambda done, total, last: bar.update(task, completed=done, total=total, description=last),
        )


def progress_bar(what: str, unit: str) -> Progress:
    """A bar that is gone when it is done; nothing at all where the output is no terminal."""
    console = Console()
    return Progress(
        SpinnerColumn(),
        TextColumn(what, style="bold"),
        BarColumn(40),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.description}", style="dim"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
