"""What is kept of a hand between two runs: completed models, grips that were found, and the convex parts of meshes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Optional

import numpy as np


def cache() -> Path:
    """Where it goes."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ppo_grasp" / "hands"


def put(target: Path, text: str) -> None:
    """Writes a file at once and whole, if it is not there yet."""
    if not target.exists():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)


def parts(key: str) -> Optional[List[np.ndarray]]:
    """The convex parts (n, 3) of a mesh that were kept under this key; None if there are none."""
    try:
        with np.load(cache() / "parts" / f"{key}.npz", allow_pickle=False) as file:
            return [np.asarray(file[name], dtype=float) for name in file.files] or None
    except (OSError, ValueError, KeyError):
        return None


def keep_parts(key: str, found: List[np.ndarray]) -> None:
    """Keeps them, if the disk allows it: they can be cut anew."""
    folder = cache() / "parts"
    partial = folder / f"{key}.{os.getpid()}.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(str(partial), *found)
        partial.replace(folder / f"{key}.npz")
    except OSError:
        pass
