"""A user's own meshes as objects: read, checked, cut into convex parts, cached."""

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
from tasks.objects.model import MAX_HULL_VERTICES, MAX_PARTS, ObjectError, ObjectModel

Progress = Callable[[int, int, str], None]
"""Called with objects done, objects in all and the name of the last one."""

SUFFIXES = (".obj", ".stl", ".ply")
SIZE_RANGE = (0.01, 0.40)
"""m, the longest side of what can be an object for a hand."""
DENSITY = 400.0
"""kg/m^3 of the parts' volume: a full box or bottle has 300 to 1000, an empty one 50 to 200."""
CONVEX_VOLUME = 0.95
"""A closed mesh that fills this share of its hull is taken as convex."""
CONVEX_DEPTH = 0.02
"""So is any mesh whose surface lies less deep than this share of the longest side in its hull, or leaves no place of the hull
further from itself: what lies inside does not matter then."""
DENT = 0.0025
"""m, and less deep than this, as a scan's noise is on small things and as no fingertip feels."""
MOST_GROUPS = 48
"""A file of more groups than this is a drawing's layers rather than convex parts."""
SMALL_GROUP = 0.15
"""Groups shorter than this share of the longest side are screws and letters: whether they are convex does not matter."""
FLAT_SHARE = 0.3
"""More of the surface in flat groups, and a file is made of sheets rather than of convex parts."""
COACD = {
    "threshold": 0.08, "max_convex_hull": MAX_PARTS, "preprocess_resolution": 30, "resolution": 500, "mcts_nodes": 8,
    "mcts_iterations": 20, "mcts_max_depth": 2, "max_ch_vertex": MAX_HULL_VERTICES, "decimate": True, "seed": 0,
}  # fmt: skip
COACD_SECONDS = 300
"""A mesh that takes longer becomes its hull."""
CACHE_VERSION = 3
"""Part of the cache's keys; to be raised when the same file would give another object."""


@dataclass(frozen=True)
class Sidecar:
    """What NAME.json beside a mesh may say."""

    mass: Optional[float] = None
    """kg"""
    friction: Optional[float] = None
    scale: Optional[float] = None
    """Times the coordinates, to get metres; instead of the scale given for all."""


class RawMesh(NamedTuple):
    """Triangles as they stand in a file."""

    vertices: np.ndarray
    """(V, 3)"""
    faces: np.ndarray
    """(T, 3)"""
    group: np.ndarray
    """(T,) number of the `o` or `g` group."""


def load_directory(
    directory: Path,
    *,
    scale: float = 1.0,
    skip_bad: bool = False,
    progress: Optional[Progress] = None,
    workers: Optional[int] = None,
) -> List[ObjectModel]:
    """An object for each mesh in a directory, ordered by name.

    workers: meshes worked on at once, else as many as there are processors.  Raises ObjectError, naming the first bad file,
    or with skip_bad warns of each; an error also if none is left.
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
            pool.submit(load_mesh, path, scale=scale, name=name): i for i, (path, name) in enumerate(zip(files, names))
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


def load_mesh(path: Path, *, scale: float = 1.0, name: Optional[str] = None) -> ObjectModel:
    """One mesh file as an object, from the cache if the same file was loaded before.

    Several `o` or `g` groups that are nearly convex are the convex parts; what is nearly convex as a whole becomes its
    hull; the rest is cut by CoACD, or becomes its hull with a warning if that fails.  The mass comes from the sidecar, else
    from DENSITY and the parts' volume.  Raises ObjectError.
    """
    try:
        content = path.read_bytes()
        beside = path.with_suffix(".json")
        notes = beside.read_bytes() if beside.is_file() else b""
    except OSError as error:
        raise ObjectError(f"{path}: cannot be read: {error.strerror}") from error
    sidecar = _sidecar(beside, notes)
    factor = scale if sidecar.scale is None else sidecar.scale
    settings = json.dumps([CACHE_VERSION, path.suffix.lower(), factor, sidecar.mass, DENSITY, COACD], sort_keys=True)
    entry = cache.entry(settings.encode() + b"\0" + content)
    name = path.stem if name is None else name
    cached = cache.load(entry)
    if cached:
        return replace(cached[0], name=name, friction=sidecar.friction)
    parts, settled = convex_parts(_checked(path, read_mesh(path, content), factor), path)
    whole = mass_properties(convex_hull(np.concatenate(parts)))[0]
    volume = min(whole, sum(mass_properties(convex_hull(p))[0] for p in parts))
    model = build(
        name, "mesh", parts, density=DENSITY, mass=sidecar.mass, volume=volume, own_axes=False, friction=sidecar.friction
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
    """The triangles of a file's content; polygons are cut into fans.  Raises ObjectError if it is not of its kind."""
    kind = path.suffix.lower()[1:]
    try:
        if kind == "obj":
            return _read_obj(content.decode("utf-8", errors="replace"))
        import trimesh  # here and below, since objects from the cache do without and it takes a while

        mesh: Any = trimesh.load(trimesh.util.wrap_as_stream(content), file_type=kind, force="mesh", process=False)
        faces = np.array(mesh.faces, dtype=int).reshape(-1, 3)
        return RawMesh(np.array(mesh.vertices, dtype=float).reshape(-1, 3), faces, np.zeros(len(faces), int))
    except Exception as error:  # whatever a parser stumbles over
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
    """The mesh in metres.  Raises ObjectError if it is empty, flat, not finite or of a size no hand can hold."""
    if len(mesh.faces) == 0:
        raise ObjectError(f"{path}: has no faces; an object needs a triangle mesh")
    vertices = mesh.vertices * scale
    used = vertices[np.unique(mesh.faces)]
    if not np.isfinite(used).all():
        raise ObjectError(f"{path}: has vertices that are not finite numbers; export it again")
    size = float(np.ptp(used, axis=0).max())
    if not SIZE_RANGE[0] <= size <= SIZE_RANGE[1]:
        raise ObjectError(f"{path}: its longest side is {size:.4g} m, not {_guess(size, scale)}")
    try:
        thin = mass_properties(convex_hull(used))[0] < 1e-4 * size**3
    except ValueError:
        thin = True
    if thin:
        raise ObjectError(f"{path}: is flat; an object needs a volume")
    return RawMesh(vertices, mesh.faces, mesh.group)


def _guess(size: float, scale: float) -> str:
    """The end of the sentence that a size is not in SIZE_RANGE, with a scale that helps."""
    wanted = f"{SIZE_RANGE[0]} to {SIZE_RANGE[1]} m: "
    units = {"millimetres": 0.001, "centimetres": 0.01, "inches": 0.0254, "kilometres": 1000.0}
    likely = {u: f for u, f in units.items() if 0.025 <= size * f <= SIZE_RANGE[1]}
    if 0.9 <= size <= 1.1 or not likely:
        return wanted + f"give --object-scale {0.12 / size * scale:.3g} to make it 12 cm long, or the scale that fits"
    unit = min(likely, key=lambda u: abs(np.log(size * likely[u] / 0.12)))
    return wanted + f"it looks like {unit}, so give --object-scale {likely[unit] * scale:.4g}"


# --- convex parts ------------------------------------------------------------------------------------------------------


def convex_parts(mesh: RawMesh, path: Path) -> Tuple[List[np.ndarray], bool]:
    """(at most MAX_PARTS vertex arrays (n, 3), whether the same mesh will give the same again)."""
    points = mesh.vertices[np.unique(mesh.faces)]
    tolerance = max(CONVEX_DEPTH * float(np.ptp(points, axis=0).max()), DENT)
    groups = _convex_groups(mesh, tolerance)
    if groups:
        return merged_parts([_solid(p) for p in groups]), True
    if _nearly_convex(mesh, points, tolerance):
        return [points], True
    try:
        return merged_parts([_solid(p) for p in _decompose(mesh)]), True
    except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        warnings.warn(f"{path}: convex decomposition failed, taking the convex hull ({error})", stacklevel=2)
        return [points], False


def _solid(points: np.ndarray) -> np.ndarray:
    """The points, or if they have no volume, those of a slab of 1 mm round them."""
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
    """The points of each group if the groups are convex parts; none if they are a drawing's materials, layers or sheets."""
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
    """Whether no place of the hull's surface is further than about the tolerance from the faces."""
    import trimesh

    def dots(v: np.ndarray, f: np.ndarray) -> np.ndarray:
        used, inverse = np.unique(f, return_inverse=True)
        dense, pieces = trimesh.remesh.subdivide_to_size(
            v[used], inverse.reshape(f.shape), 1.5 * tolerance, max_iter=20
        )
        return np.concatenate([dense, dense[pieces].mean(axis=1)])

    gaps = cKDTree(dots(vertices, faces)).query(dots(hull.vertices, hull.triangles))[0]
    return bool(gaps.max() < 1.5 * tolerance)


def _nearly_convex(mesh: RawMesh, points: np.ndarray, tolerance: float) -> bool:
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


def _decompose(mesh: RawMesh) -> List[np.ndarray]:
    """CoACD's parts.  Raises RuntimeError if it fails."""
    import trimesh

    joined = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "mesh.npz"), os.path.join(folder, "parts.npz")
        np.savez(source, vertices=np.asarray(joined.vertices), faces=np.asarray(joined.faces))
        script = str(Path(__file__).with_name("decompose.py"))
        run = subprocess.run(
            [sys.executable, script, source, target, json.dumps(COACD)],
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
