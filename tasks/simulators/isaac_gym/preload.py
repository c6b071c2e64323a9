"""Loads Isaac Gym before torch, as Isaac Gym demands.

This module imports only the standard library until it is asked to load Isaac Gym.  Isaac Gym refuses to load in a process
that has torch already, so a command that may need it begins with

    from tasks.simulators.isaac_gym.preload import preload_from_argv

    preload_from_argv()

above all other imports.  The call does nothing unless `--sim isaac_gym` is on the command line, or in the file that `--config`
names.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from types import ModuleType
from typing import List, Optional

from tasks.simulators.errors import SimulatorError

DOC = "docs/isaac_gym.md"


def preload() -> ModuleType:
    """Imports and returns `isaacgym.gymapi`.  Raises SimulatorError, with the reason in one line, if that fails."""
    loaded = sys.modules.get("isaacgym.gymapi")
    if loaded is not None:
        return loaded
    if "torch" in sys.modules:
        raise SimulatorError(
            "torch was imported before isaacgym, which Isaac Gym refuses: call "
            "tasks.simulators.isaac_gym.preload.preload() before anything that imports torch"
        )
    try:
        from isaacgym import gymapi
    except Exception as cause:
        raise SimulatorError(explain(cause)) from cause
    return gymapi


def load_gymtorch() -> ModuleType:
    """Imports and returns `isaacgym.gymtorch`, which compiles itself when it is first used.  Raises SimulatorError if that
    fails.
    """
    preload()
    try:
        from isaacgym import gymtorch
    except Exception as cause:
        raise SimulatorError(explain(cause)) from cause
    return gymtorch


def preload_from_argv(argv: Optional[List[str]] = None) -> None:
    """Preloads if the command line asks for Isaac Gym.  If that fails, ends the command with `error: ...` and status 2."""
    words = sys.argv[1:] if argv is None else argv
    sim = _value(words, "--sim") or _sim_of(_value(words, "--config"))
    if sim not in ("isaac_gym", "isaac-gym"):
        return
    try:
        preload()
    except SimulatorError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _value(words: List[str], option: str) -> Optional[str]:
    """What follows an option, after a space or `=`; None if it is not there."""
    found = [after for word, after in zip(words, words[1:]) if word == option]
    found += [word[len(option) + 1 :] for word in words if word.startswith(option + "=")]
    return found[-1] if found else None


def _sim_of(config: Optional[str]) -> Optional[str]:
    """The simulator of a run, by its config.json or its directory; None if that cannot be read, of which the command will say more."""
    try:
        path = Path(config or "")
        sim = json.loads((path / "config.json" if path.is_dir() else path).read_text(encoding="utf-8"))["task"]["sim"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(sim)


def explain(cause: BaseException) -> str:
    """What went wrong when Isaac Gym was imported, and what to do about it, in one line."""
    text = " ".join(str(cause).split())
    python = ".".join(map(str, sys.version_info[:2]))
    if "No gym module found" in text or (isinstance(cause, ModuleNotFoundError) and sys.version_info[:2] != (3, 8)):
        return (
            f"Isaac Gym has no build for Python {python}: make an environment with Python 3.8, the only version that both "
            f"Isaac Gym and this program run on ({DOC})"
        )
    if isinstance(cause, ModuleNotFoundError) and cause.name in ("isaacgym", "isaacgym.gymapi"):
        return (
            f"Isaac Gym is not installed for {sys.executable}: download Isaac Gym Preview 4 from NVIDIA and run "
            f"`pip install -e isaacgym/python` ({DOC})"
        )
    if "PyTorch was imported before isaacgym" in text:
        return (
            "torch was imported before isaacgym, which Isaac Gym refuses: this command imports them in the wrong order"
        )
    if "libpython" in text:
        return (
            f"Isaac Gym does not find its Python library ({text}): before starting Python, "
            'export LD_LIBRARY_PATH="$CONDA_PREFIX/lib:$LD_LIBRARY_PATH", or apt install libpython3.8'
        )
    if "GLIBCXX" in text:
        return f"Isaac Gym finds a C++ library that is too old ({text}): put that of conda first on LD_LIBRARY_PATH ({DOC})"
    if "ninja" in text.lower() or "C++ compiler" in text or "gymtorch" in text:
        return (
            f"gymtorch, which Isaac Gym compiles when it is first used, did not build ({text}): it needs ninja and a C++ "
            f"compiler on PATH, and an editable install (`pip install -e`) of isaacgym ({DOC})"
        )
    if platform.system() != "Linux":
        return f"Isaac Gym runs on Linux only, this is {platform.system()} ({text})"
    return f"Isaac Gym did not load: {type(cause).__name__}: {text} ({DOC})"
