"""Loads ovphysx, NVIDIA's PhysX without Omniverse, and says what is missing if that fails."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from types import ModuleType

from tasks.simulators.errors import SimulatorError

VERSION = "0.7.0"
"""The only version that was tested; its interface still changes from one to the next."""
INSTALL = "pip install -c constraints.txt -e '.[physx]'"


@dataclass(frozen=True)
class Library:
    """The modules of ovphysx that are used."""

    ovphysx: ModuleType
    ovstage: ModuleType
    types: ModuleType


def load() -> Library:
    """Imports ovphysx.  Raises SimulatorError, with the reason in one line, if that fails."""
    try:
        import ovphysx
        import ovstage
        from ovphysx import types
    except Exception as cause:
        raise SimulatorError(explain(cause)) from cause
    version = str(getattr(ovphysx, "__version__", "unknown"))
    if not version.startswith(VERSION):
        raise SimulatorError(f"ovphysx {version} is installed, and only {VERSION} was tested: {INSTALL}")
    return Library(ovphysx, ovstage, types)


def explain(cause: BaseException) -> str:
    """What went wrong when ovphysx was imported, and what to do about it, in one line."""
    text = " ".join(str(cause).split())
    if sys.version_info < (3, 11):
        return f"PhysX (ovphysx) needs Python 3.11 or newer, and this is {platform.python_version()}"
    if isinstance(cause, ModuleNotFoundError):
        return (
            f"PhysX is not installed for {sys.executable} (no {cause.name}): {INSTALL}; it comes under NVIDIA's Omniverse "
            "licence and needs glibc 2.35 or newer"
        )
    if "GLIBC" in text:
        libc = " ".join(platform.libc_ver())
        return f"PhysX (ovphysx) needs glibc 2.35 or newer, as Ubuntu 22.04 and Debian 12 have; this is {libc} ({text})"
    if ".so" in text:
        return f"PhysX (ovphysx) does not find a library of the system: apt install libx11-6 libgl1 libgomp1 ({text})"
    return f"PhysX (ovphysx) did not load: {type(cause).__name__}: {text}"
