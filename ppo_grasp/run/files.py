"""Files of a run that survive a crash, a full disk and a second process."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List

try:
    import fcntl
except ImportError:  # not on Windows: there is no lock then
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_held: Dict[str, int] = {}


class DirectoryInUseError(ValueError):
    """Another process writes to the run directory."""


@contextlib.contextmanager
def directory_lock(directory: Path) -> Iterator[None]:
    """Keeps other processes out of a run directory.  It may be nested within one process.

    The system drops the lock when the process ends, in whatever way.  Raises DirectoryInUseError at once if another process has
    it.  Where files cannot be locked, as on some network drives, there is no lock.
    """
    directory.mkdir(parents=True, exist_ok=True)
    name = str(directory.resolve())
    if fcntl is None or name in _held:
        yield
        return
    try:
        file = os.open(str(directory / LOCK), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:  # the disk is full, perhaps: who writes will say so
        yield
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(file, 32, 0).decode(errors="replace").strip()
            raise DirectoryInUseError(
                f"{directory}: process {owner or '?'} is training there; wait for it, or give another --run-dir"
            ) from None
        except OSError:
            pass
        with contextlib.suppress(OSError):
            os.truncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
        _held[name] = file
        for orphan in directory.glob(".*.tmp"):  # of a process that was killed while it wrote
            with contextlib.suppress(OSError):
                orphan.unlink()
        yield
    finally:
        _held.pop(name, None)
        os.close(file)


def new_directory(parent: Path, name: str) -> Path:
    """Makes parent/name, or parent/name-2 and so on if that is taken; two processes never get the same one."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 10000):
        path = parent / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise FileExistsError(f"{parent / name}: and thousands more are there")


def discard_if_empty(directory: Path) -> None:
    """Removes a run directory in which nothing was written."""
    with contextlib.suppress(OSError):
        if [path.name for path in directory.iterdir()] in ([], [LOCK]):
            (directory / LOCK).unlink(missing_ok=True)
            directory.rmdir()


@contextlib.contextmanager
def excused(what_follows: str) -> Iterator[None]:
    """Turns a file that cannot be written inside into one line."""
    try:
        yield
    except OSError as error:
        print(f"warning: {error.filename}: {error.strerror or error}; {what_follows}", flush=True)


def replace_file(path: Path, lines: List[str]) -> None:
    """Writes a text file whole or not at all.  Raises OSError with the file's name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_config(path: Path, config: Dict[str, Any]) -> None:
    """Writes the settings of a run.  If that fails, a line says so, and training goes on."""
    with excused("training goes on"):
        replace_file(path, [json.dumps(config, indent=2, default=str)])
