"""Reads the triangles of mesh files, whatever bytes they hold."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from tasks.objects.model import ObjectError

SUFFIXES = (".obj", ".stl", ".ply")
MOST_TRIANGLES = 2_000_000
"""Of a file.  An object has at most a few thousand corners in the end, and more triangles than this would fill the memory."""
STL_HEADER, STL_TRIANGLE = 84, 50
"""Bytes of a binary .stl file: before the triangles, and of each."""


class RawMesh(NamedTuple):
    """The triangles of a file, before any check of their shape."""

    vertices: np.ndarray
    """(V, 3)"""
    faces: np.ndarray
    """(T, 3) numbers of vertices, 0 .. V - 1."""
    group: np.ndarray
    """(T,) the number of the `o` or `g` group that each triangle is in."""


def read_mesh(path: Path, content: bytes) -> RawMesh:
    """The triangles in the content of a file.  Polygons become fans of triangles.  Raises ObjectError if it cannot be read."""
    kind = path.suffix.lower()[1:]
    try:
        with np.errstate(all="ignore"):  # numbers that are too large become infinite, and are refused as such
            mesh = _read_obj(content.decode("utf-8-sig", errors="replace")) if kind == "obj" else _read(kind, content)
        _check_corners(mesh)
    except MemoryError as error:
        raise ObjectError(f"{path}: does not fit into the memory; simplify the mesh") from error
    except ImportError as error:  # trimesh guesses encodings with a package that need not be there
        raise ObjectError(f"{path}: not a readable .{kind} file (neither numbers nor text)") from error
    except Exception as error:  # parsers raise all kinds of errors
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ObjectError(f"{path}: not a readable .{kind} file ({reason[:120]})") from error
    if len(mesh.faces) > MOST_TRIANGLES:
        raise ObjectError(
            f"{path}: has {len(mesh.faces):,} triangles, at most {MOST_TRIANGLES:,} are read; simplify it"
        )
    return mesh


def _read(kind: str, content: bytes) -> RawMesh:
    import trimesh  # imported here because it is slow, and objects from the cache do not need it

    logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # it prints tracebacks of what it can do without
    if kind == "stl" and not _is_binary_stl(content):
        content = content.decode("utf-8", errors="replace").encode()
    mesh: Any = trimesh.load(trimesh.util.wrap_as_stream(content), file_type=kind, force="mesh", process=False)
    faces = np.array(mesh.faces, dtype=int).reshape(-1, 3)
    return RawMesh(np.array(mesh.vertices, dtype=float).reshape(-1, 3), faces, np.zeros(len(faces), int))


def _is_binary_stl(content: bytes) -> bool:
    count = int.from_bytes(content[STL_HEADER - 4 : STL_HEADER], "little")
    return len(content) == STL_HEADER + STL_TRIANGLE * count


def _check_corners(mesh: RawMesh) -> None:
    """Raises ValueError if a triangle uses a vertex that is not there.  numpy would count negative numbers from the end."""
    if len(mesh.faces) == 0:
        return
    low, high, count = int(mesh.faces.min()), int(mesh.faces.max()), len(mesh.vertices)
    if low < 0 or high >= count:
        raise ValueError(f"a face uses vertex {low if low < 0 else high + 1} of {count}")


def _read_obj(text: str) -> RawMesh:
    vertices: List[Tuple[float, float, float]] = []
    faces: List[Tuple[int, int, int]] = []
    owner: List[int] = []
    groups: Dict[Tuple[str, str], int] = {}
    part = ["", ""]
    for number, line in enumerate(text.replace("\\\n", " ").splitlines(), 1):
        words = line.split()
        if not words or words[0] not in ("v", "f", "o", "g"):
            continue
        try:
            if words[0] == "v":
                vertices.append((float(words[1]), float(words[2]), float(words[3])))
            elif words[0] == "f":
                corners = [_corner(word, len(vertices)) for word in words[1:]]
                if len(corners) < 3:
                    raise ValueError("too few corners")
                for b, c in zip(corners[1:-1], corners[2:]):
                    faces.append((corners[0], b, c))
                    owner.append(groups.setdefault((part[0], part[1]), len(groups)))
            else:
                part = [" ".join(words[1:]), ""] if words[0] == "o" else [part[0], " ".join(words[1:])]
        except (ValueError, IndexError) as error:
            raise ValueError(f"line {number}: {line.strip()[:60]}") from error
    if faces and max(map(max, faces)) >= len(vertices):
        raise ValueError(f"a face uses vertex {max(map(max, faces)) + 1} of {len(vertices)}")
    return RawMesh(np.array(vertices).reshape(-1, 3), np.array(faces, int).reshape(-1, 3), np.array(owner, int))


def _corner(word: str, count: int) -> int:
    """The vertex that `7/2/1` means, from 0.  Negative numbers count back from the last of `count` vertices; there is no 0."""
    corner = int(word.split("/")[0])
    corner = corner - 1 if corner > 0 else count + corner if corner < 0 else -1
    if corner < 0:
        raise ValueError("no such corner")
    return corner
