"""How a command ends when something is wrong: one line `error: ...` that says what to do, and status 2."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
import warnings
from typing import Callable, Dict, Iterator, NoReturn, Sequence

from ppo_grasp import distributed
from tasks.simulators import memory

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
ABBREVIATIONS = {"lr": "learning-rate", "epochs": "num-epochs", "steps": "total-timesteps", "envs": "num-envs"}
"""What other programs call an option, and the end of its name here."""


def run(command: Callable[[], None]) -> None:
    """Runs a command.  Mistakes of the user end with `error: ...` and status 2.

    A mistake is any ValueError, a SimulatorError, a file that cannot be read or written, and too little memory.
    """
    try:
        with plain_warnings():
            command()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(1) from None
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except ValueError as error:
        fail(str(error) or type(error).__name__)
    except distributed.RankError as error:
        _say(str(error))
        sys.stderr.flush()
        os._exit(1)  # leaving in the usual way would wait for the process that is gone
    except Exception as error:
        if memory.ran_out(error):  # before it was known how many hands there are to be
            fail("there is not enough memory: end other programs, or give fewer objects or hands")
        if type(error).__name__ == "TrainingError":  # said already, with what was saved; no mistake of the user's
            raise SystemExit(1) from None
        if type(error).__name__ != "SimulatorError":
            raise
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Ends the program with one line on stderr and status 2.  Of several processes one prints the line."""
    _say(message)
    raise SystemExit(2)


def _say(message: str) -> None:
    sys.stdout.flush()
    if distributed.speaks():
        print("error: " + " ".join(message.split()), file=sys.stderr, flush=True)


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Prints each warning as one line, without the place in the code that gave it."""
    before = warnings.showwarning
    warnings.showwarning = lambda message, *_args, **_named: print(f"warning: {' '.join(str(message).split())}")
    try:
        yield
    finally:
        warnings.showwarning = before


def sentence(text: str, options: Sequence[str] = ()) -> str:
    """What is wrong and what would be right, from tyro's message.  options: those there are, to suggest one."""
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
        words = unknown.group(1).replace(",", "").strip() or "''"  # as for an empty word
        near = suggestion(words.split()[0], options)
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


def suggestion(word: str, options: Sequence[str]) -> str:
    """The option that somebody meant who wrote this word; empty if none is like it.

    An option counts by its whole name and by the part after its last dot, so that --learning-rate finds --ppo.learning-rate.
    """
    wanted = word.split("=")[0].lstrip("-").replace("_", "-")
    wanted = ABBREVIATIONS.get(wanted, wanted)
    by_end: Dict[str, str] = {}
    for option in options:
        by_end.setdefault(option.lstrip("-").split(".")[-1], option)
        by_end[option.lstrip("-")] = option
    found = difflib.get_close_matches(wanted, by_end, n=1, cutoff=0.75)
    return by_end[found[0]] if found else ""
