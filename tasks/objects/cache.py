"""Keeps objects that took time to make in the user's cache directory: generated sets, and meshes cut into convex parts."""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np

from tasks.objects.model import ObjectModel

POSES = ("rest_quat", "rest_height", "rest_prob")


def file_for(key: bytes) -> Path:
    """The cache file of this key.  The key must describe the objects in full: the same key means the same objects for ever."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "ppo_grasp" / "objects" / f"{hashlib.sha256(key).hexdigest()}.npz"


def generator_version() -> bytes:
    """The part of a key that changes when generated objects may change.

    It is the source of every file in this folder and below, and the versions of the libraries that compute shapes.
    """
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py"))]
    versions = [version(name) for name in ("numpy", "scipy", "trimesh")]
    return b"\0".join([*sources, " ".join(versions).encode()])


def load(path: Path) -> Optional[List[ObjectModel]]:
    """The objects that `save` wrote to this file; None if there is no file or it cannot be read."""
    try:
        with np.load(path) as data:
            a = {name: data[name] for name in data.files}
        vertices = np.split(a["vertices"], np.cumsum(a["part_vertices"])[:-1])
        first_part, first_pose = _starts(a["parts"]), _starts(a["poses"])
        return [
            ObjectModel(
                name=str(a["name"][v]),
                kind=str(a["kind"][v]),
                parts=tuple(vertices[first_part[v] : first_part[v + 1]]),
                mass=float(a["mass"][v]),
                com=a["com"][v],
                inertia=a["inertia"][v],
                friction=None if np.isnan(a["friction"][v]) else float(a["friction"][v]),
                **{field: a[field][first_pose[v] : first_pose[v + 1]] for field in POSES},
            )
            for v in range(len(a["mass"]))
        ]
    except Exception:  # a file that is absent, cut short or of another format is made again
        return None


def note(path: Path) -> str:
    """What `save` was told about the objects of a file; empty if it was nothing, or if the file cannot be read."""
    try:
        with np.load(path) as data:
            return str(data["note"])
    except Exception:
        return ""


def save(path: Path, objects: Sequence[ObjectModel], note: str = "") -> None:
    """Writes a temporary file and renames it, so that nobody reads half a file.  A cache that cannot be written is no error.

    note: is kept beside the objects.
    """
    parts = [part for o in objects for part in o.parts]
    arrays: Dict[str, np.ndarray] = {
        "note": np.array(note),
        "name": np.array([o.name for o in objects]),
        "kind": np.array([o.kind for o in objects]),
        "parts": np.array([len(o.parts) for o in objects]),
        "part_vertices": np.array([len(part) for part in parts]),
        "vertices": np.concatenate(parts),
        "poses": np.array([len(o.rest_prob) for o in objects]),
        "friction": np.array([np.nan if o.friction is None else o.friction for o in objects]),
        **{field: np.stack([getattr(o, field) for o in objects]) for field in ("mass", "com", "inertia")},
        **{field: np.concatenate([getattr(o, field) for o in objects]) for field in POSES},
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=str(path.parent), suffix=".tmp", delete=False) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(file.name, str(path))
    except OSError:
        pass


def _starts(counts: np.ndarray) -> np.ndarray:
    """(V + 1,) index of the first item of each object in an array that holds the items of all objects in a row."""
    return np.concatenate([[0], np.cumsum(counts)])
