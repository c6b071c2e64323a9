"""Turns a user's mesh files into objects: reads them, checks them, cuts them into convex parts and keeps the result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from scipy.spatial import cKDTree

from tasks.objects import cache
from tasks.objects.build import build, merged_parts
from tasks.objects.geometry import Hull, convex_hull, hull_faces, mass_properties
from tasks.objects.model import DENSITY, MAX_HULL_VERTICES, MAX_PARTS, ObjectError, ObjectModel

Progress = Callable[[int, int, str], None]
"""Called with the number of objects done, the number of all objects and the name of the last one."""

SUFFIXES = (".obj", ".stl", ".ply")
SIZE_RANGE = (0.01, 0.40)
"""m.  The longest side of an object must be in this range; a hand can do nothing with others."""
CONVEX_VOLUME = 0.95
"""A closed mesh counts as convex if it fills at least this share of its hull's volume."""
CONVEX_DEPTH = 0.02
"""Any mesh counts as convex if its surface is nowhere deeper below its hull than this share of its longest side.  It also does if
no place of the hull is further than that from the mesh: then the rest of the mesh lies inside and does not matter."""
DENT = 0.0025
"""m.  Dents that are not deeper than this never count: no fingertip feels them, and scans of small things have such noise."""
MOST_GROUPS = 48
"""If a file has more groups than this, they are the layers of a drawing and not convex parts."""
SMALL_GROUP = 0.15
"""Groups shorter than this share of the longest side are screws and letters.  They may have any shape."""
FLAT_SHARE = 0.3
"""If more than this share of the surface is in flat groups, the file consists of sheets and not of convex parts."""
COACD: Dict[str, Any] = {
    "threshold": 0.08, "max_convex_hull": MAX_PARTS, "preprocess_resolution": 30, "resolution": 500, "mcts_nodes": 8,
    "mcts_iterations": 20, "mcts_max_depth": 2, "max_ch_vertex": MAX_HULL_VERTICES, "decimate": True, "seed": 0,
}  # fmt: skip
COACD_SECONDS = 300
"""s.  A mesh that takes longer to cut becomes its convex hull."""
CACHE_VERSION = 3
"""A part of the keys of the cache.  Raise it when a change of the code makes another object of the same file."""


@dataclass(frozen=True)
class Sidecar:
    """What the file NAME.json next to a mesh may say."""

    mass: Optional[float] = None
    """kg"""
    friction: Optional[float] = None
    """The coefficient of sliding friction."""
    scale: Optional[float] = None
    """A factor for the coordinates to get metres, in place of the one for all files."""


class RawMesh(NamedTuple):
    """The triangles of a file, before any check."""

    vertices: np.ndarray
    """(V, 3)"""
    faces: np.ndarray
    """(T, 3)"""
    group: np.ndarray
    """(T,) the number of the `o` or `g` group that each triangle is in."""


def load_directory(
    directory: Path,
    *,
    scale: float = 1.0,
    density: float = DENSITY,
    most_parts: int = MAX_PARTS,
    skip_bad: bool = False,
    progress: Optional[Progress] = None,
    workers: Optional[int] = None,
) -> List[ObjectModel]:
    """Loads each mesh of a directory as an object, ordered by name.

    scale, density, most_parts, skip_bad, progress: see `load_objects`.  workers: how many meshes are worked on at once; by default one for each
    processor.  Raises ObjectError for the first bad file, or with skip_bad if no file is left.
    """
    files = sorted(
        (p for p in directory.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()), key=lambda p: p.name
    )
    if not files:
        raise ObjectError(f"there is no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file in {directory}")
    stems = [p.stem for p in files]
    names = [p.stem if stems.count(p.stem) == 1 else p.name for p in files]
    results: Dict[int, ObjectModel] = {}
    errors: Dict[int, ObjectError] = {}
    pool = ThreadPoolExecutor(workers or max(1, min(len(files), os.cpu_count() or 1)))
    try:
        jobs = {
            pool.submit(load_mesh, path, scale=scale, density=density, most_parts=most_parts, name=name): i
            for i, (path, name) in enumerate(zip(files, names))
        }
        for done, job in enumerate(as_completed(jobs), 1):
            i = jobs[job]
            try:
                results[i] = job.result()
            except ObjectError as error:
                errors[i] = error
                if not skip_bad:
                    break
            if progress is not None:
                progress(done, len(files), names[i])
    finally:
        for job in jobs:
            job.cancel()
        pool.shutdown()
    if errors and not skip_bad:
        raise errors[min(errors)]
    for i in sorted(errors):
        warnings.warn(f"skipped: {errors[i]}", stacklevel=2)
    if not results:
        raise ObjectError(
            f"none of the {len(files)} meshes in {directory} can be used; the first: {errors[min(errors)]}"
        )
    return [results[i] for i in sorted(results)]


def load_mesh(
    path: Path,
    *,
    scale: float = 1.0,
    density: float = DENSITY,
    most_parts: int = MAX_PARTS,
    name: Optional[str] = None,
) -> ObjectModel:
    """Loads a mesh file as an object; from the cache if the same file was loaded before.

    If the file has several `o` or `g` groups that are nearly convex, they are the convex parts.  A mesh that is nearly convex as
    a whole becomes its hull.  Any other mesh is cut by CoACD; if that fails, it becomes its hull with a warning.
    The mass is that of NAME.json, or the density times the volume of the parts.
    Raises ObjectError.
    """
    try:
        content = path.read_bytes()
        beside = path.with_suffix(".json")
        notes = beside.read_bytes() if beside.is_file() else b""
    except OSError as error:
        raise ObjectError(f"{path}: cannot be read: {error.strerror}") from error
    sidecar = _sidecar(beside, notes)
    factor = scale if sidecar.scale is None else sidecar.scale
    cut = {**COACD, "max_convex_hull": most_parts}
    settings = json.dumps([CACHE_VERSION, path.suffix.lower(), factor, sidecar.mass, density, cut], sort_keys=True)
    entry = cache.file_for(settings.encode() + b"\0" + content)
    name = path.stem if name is None else name
    cached = cache.load(entry)
    if cached:
        return replace(cached[0], name=name, friction=sidecar.friction)
    parts, settled = convex_parts(_checked(path, read_mesh(path, content), factor), path, most_parts)
    whole = mass_properties(convex_hull(np.concatenate(parts)))[0]
    volume = min(whole, sum(mass_properties(convex_hull(p))[0] for p in parts))
    model = build(
        name, "mesh", parts, density=density, mass=sidecar.mass, volume=volume, own_axes=False, friction=sidecar.friction
    )  # fmt: skip
    if settled:
        cache.save(entry, [model])
    return model


def _sidecar(path: Path, text: bytes) -> Sidecar:
    if not text:
        return Sidecar()
    try:
        values = json.loads(text)
        known = {k: float(values[k]) for k in ("mass", "friction", "scale") if values.get(k) is not None}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ObjectError(f'{path}: must be like {{"mass": 0.2, "friction": 0.8, "scale": 0.001}}') from error
    for key, value in known.items():
        if not (np.isfinite(value) and value > 0):
            raise ObjectError(f"{path}: {key} must be greater than 0, not {value:g}")
    return Sidecar(**known)


# --- files -------------------------------------------------------------------------------------------------------------


def read_mesh(path: Path, content: bytes) -> RawMesh:
    """The triangles in the content of a file.  Polygons become fans of triangles.  Raises ObjectError if it cannot be read."""
    kind = path.suffix.lower()[1:]
    try:
        if kind == "obj":
            return _read_obj(content.decode("utf-8", errors="replace"))
        import trimesh  # imported here and below because it is slow, and objects from the cache do not need it

        mesh: Any = trimesh.load(trimesh.util.wrap_as_stream(content), file_type=kind, force="mesh", process=False)
        faces = np.array(mesh.faces, dtype=int).reshape(-1, 3)
        return RawMesh(np.array(mesh.vertices, dtype=float).reshape(-1, 3), faces, np.zeros(len(faces), int))
    except Exception as error:  # parsers raise all kinds of errors
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ObjectError(f"{path}: not a readable .{kind} file ({reason[:120]})") from error


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
                corners = [int(w.split("/")[0]) for w in words[1:]]
                corners = [c - 1 if c > 0 else len(vertices) + c for c in corners]
                if len(corners) < 3 or min(corners) < 0:
                    raise ValueError("no such corner")
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


def _checked(path: Path, mesh: RawMesh, scale: float) -> RawMesh:
    """The mesh in metres.  Raises ObjectError if it is empty, flat, not finite, or too small or large for a hand."""
    if len(mesh.faces) == 0:
        raise ObjectError(f"{path}: has no faces; an object needs a triangle mesh")
    vertices = mesh.vertices * scale
    used = vertices[np.unique(mesh.faces)]
    if not np.isfinite(used).all():
        raise ObjectError(f"{path}: has vertices that are not finite numbers; export it again")
    size = float(np.ptp(used, axis=0).max())
    if not SIZE_RANGE[0] <= size <= SIZE_RANGE[1]:
        raise ObjectError(f"{path}: its longest side is {size:.4g} m, not {_size_hint(size, scale)}")
    try:
        thin = mass_properties(convex_hull(used))[0] < 1e-4 * size**3
    except ValueError:
        thin = True
    if thin:
        raise ObjectError(f"{path}: is flat; an object needs a volume")
    return RawMesh(vertices, mesh.faces, mesh.group)


def _size_hint(size: float, scale: float) -> str:
    """The range that a size must be in, and the --object-scale that would probably help."""
    wanted = f"{SIZE_RANGE[0]} to {SIZE_RANGE[1]} m: "
    units = {"millimetres": 0.001, "centimetres": 0.01, "inches": 0.0254, "kilometres": 1000.0}
    likely = {u: f for u, f in units.items() if 0.025 <= size * f <= SIZE_RANGE[1]}
    if 0.9 <= size <= 1.1 or not likely:
        return wanted + f"give --object-scale {0.12 / size * scale:.3g} to make it 12 cm long, or the scale that fits"
    unit = min(likely, key=lambda u: abs(np.log(size * likely[u] / 0.12)))
    return wanted + f"it looks like {unit}, so give --object-scale {likely[unit] * scale:.4g}"


# --- convex parts ------------------------------------------------------------------------------------------------------


def convex_parts(
    mesh: RawMesh, path: Path, most_parts: int = MAX_PARTS, dent: float = DENT
) -> Tuple[List[np.ndarray], bool]:
    """(at most most_parts arrays of vertices (n, 3), whether to keep the result).  It is not kept if cutting failed.

    dent: m, dents that are not deeper than this are filled.
    """
    points = mesh.vertices[np.unique(mesh.faces)]
    tolerance = max(CONVEX_DEPTH * float(np.ptp(points, axis=0).max()), dent)
    groups = _convex_groups(mesh, tolerance)
    if groups:
        return merged_parts([_with_volume(p) for p in groups], most_parts), True
    if _nearly_convex(mesh, points, tolerance):
        return [points], True
    try:
        return merged_parts([_with_volume(p) for p in _decompose(mesh, most_parts)], most_parts), True
    except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        warnings.warn(f"{path}: convex decomposition failed, taking the convex hull ({error})", stacklevel=2)
        return [points], False


def _with_volume(points: np.ndarray) -> np.ndarray:
    """The points (n, 3); if they have no volume, the corners of a slab around them that is 1 mm thick."""
    try:
        if mass_properties(convex_hull(points))[0] > 1e-10:
            return points
    except ValueError:
        pass
    normals = np.linalg.svd(points - points.mean(axis=0), full_matrices=True)[2]
    size = np.linalg.norm((points - points.mean(axis=0)) @ normals.T, axis=0)
    for normal in normals[size <= 1e-3 * size.max() + 1e-4]:
        points = np.concatenate([points - 5e-4 * normal, points + 5e-4 * normal])
    return points


def _convex_groups(mesh: RawMesh, tolerance: float) -> List[np.ndarray]:
    """The points of each group, if the groups are convex parts.  No groups if they are materials, layers or sheets of a drawing."""
    numbers = np.unique(mesh.group)
    if not 1 < len(numbers) <= MOST_GROUPS:
        return []
    import trimesh

    found, flat, total = [], 0.0, 0.0
    small = SMALL_GROUP * float(np.ptp(mesh.vertices[np.unique(mesh.faces)], axis=0).max())
    for number in numbers:
        faces = mesh.faces[mesh.group == number]
        points = mesh.vertices[np.unique(faces)]
        area = float(trimesh.triangles.area(mesh.vertices[faces]).sum())
        found.append(points)
        total += area
        try:
            hull = convex_hull(points)
        except ValueError:
            flat += area
            continue
        if float(np.ptp(points, axis=0).max()) > small and not _covers(mesh.vertices, faces, hull, tolerance):
            return []
    return found if flat <= FLAT_SHARE * total else []


def _covers(vertices: np.ndarray, faces: np.ndarray, hull: Hull, tolerance: float) -> bool:
    """Whether every place of the hull's surface is within about the tolerance of the faces."""
    import trimesh

    def dots(v: np.ndarray, f: np.ndarray) -> np.ndarray:
        used, inverse = np.unique(f, return_inverse=True)
        dense, pieces = trimesh.remesh.subdivide_to_size(
            v[used], inverse.reshape(f.shape), 1.5 * tolerance, max_iter=20
        )
        return np.concatenate([dense, dense[pieces].mean(axis=1)])

    # With compact nodes scipy ends the process where denormal numbers count as 0, as they do after torch 2.4 has compiled.
    places = cKDTree(dots(vertices, faces), compact_nodes=False)
    gaps = places.query(dots(hull.vertices, hull.triangles))[0]
    return bool(gaps.max() < 1.5 * tolerance)


def _nearly_convex(mesh: RawMesh, points: np.ndarray, tolerance: float) -> bool:
    """Whether the mesh is about its convex hull, see CONVEX_VOLUME and CONVEX_DEPTH."""
    hull = convex_hull(points)
    faces = hull_faces(hull)
    import trimesh

    closed = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    if closed.is_volume and closed.volume > CONVEX_VOLUME * mass_properties(hull)[0]:
        return True
    places = np.concatenate([points, mesh.vertices[mesh.faces].mean(axis=1)])
    depth = max(
        float((faces.offsets - chunk @ faces.normals.T).min(axis=1).max())
        for chunk in np.array_split(places, 1 + len(places) * len(faces.offsets) // 10_000_000)
    )
    return depth < tolerance or _covers(mesh.vertices, mesh.faces, hull, tolerance)


def _decompose(mesh: RawMesh, most_parts: int = MAX_PARTS) -> List[np.ndarray]:
    """The convex parts (n, 3) that CoACD cuts the mesh into.  Raises RuntimeError if it fails."""
    import trimesh

    joined = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "mesh.npz"), os.path.join(folder, "parts.npz")
        np.savez(source, vertices=np.asarray(joined.vertices), faces=np.asarray(joined.faces))
        script = str(Path(__file__).with_name("decompose.py"))
        run = subprocess.run(
            [sys.executable, script, source, target, json.dumps({**COACD, "max_convex_hull": most_parts})],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=COACD_SECONDS,
        )
        if run.returncode != 0 or not os.path.exists(target):
            raise RuntimeError((run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1])
        with np.load(target) as parts:
            found = [parts[k] for k in parts.files]
    if not found:
        raise RuntimeError("no parts found")
    return found
