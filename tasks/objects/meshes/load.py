"""Turns a user's mesh files into objects: reads them, checks them, cuts them into convex parts and keeps the result."""

from __future__ import annotations

import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Callable, Dict, List, Optional

import numpy as np

from tasks.objects import cache
from tasks.objects.build import build
from tasks.objects.geometry import convex_hull, mass_properties
from tasks.objects.meshes.cut import COACD, Children, convex_parts
from tasks.objects.meshes.read import SUFFIXES, RawMesh, read_mesh
from tasks.objects.meshes.sidecar import read_sidecar
from tasks.objects.model import DENSITY, MAX_PARTS, ObjectError, ObjectModel

Progress = Callable[[int, int, str], None]
"""Called with the number of objects done, the number of all objects and the name of the last one."""

SIZE_RANGE = (0.01, 0.40)
"""m.  The longest side of an object must be in this range; a hand can do nothing with others."""
FOREIGN = "._"
"""How the names of files begin that macOS puts beside each file on a foreign disk.  They have its suffix, and no mesh."""
CACHE_VERSION = 4
"""A part of the keys of the cache.  Raise it when a change of the code makes another object of the same file."""


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
    files = _meshes_in(directory)
    stems = [p.stem for p in files]
    names = [p.stem if stems.count(p.stem) == 1 else p.name for p in files]
    results: Dict[int, ObjectModel] = {}
    errors: Dict[int, ObjectError] = {}
    children = Children()
    pool = ThreadPoolExecutor(workers or max(1, min(len(files), os.cpu_count() or 1)))
    try:
        options = {"scale": scale, "density": density, "most_parts": most_parts, "children": children}
        jobs = {
            pool.submit(load_mesh, path, name=name, **options): i  # type: ignore[arg-type]
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
    finally:  # after an error or Ctrl-C nobody waits for the meshes that are being cut
        for job in jobs:
            job.cancel()
        children.stop()
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


def _meshes_in(directory: Path) -> List[Path]:
    """The mesh files of a directory, ordered by name.  Warns of those that are none.  Raises ObjectError if there are none."""
    try:
        found = [p for p in directory.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
    except OSError as error:
        raise ObjectError(f"{directory}: cannot be read: {error.strerror}") from error
    foreign = sorted(p.name for p in found if p.name.startswith(FOREIGN))
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        warnings.warn(
            f"skipped: {directory / foreign[0]}{more}: notes of macOS about a file, and no mesh", stacklevel=3
        )
    files = sorted((p for p in found if not p.name.startswith(FOREIGN)), key=lambda p: p.name)
    if not files:
        raise ObjectError(f"there is no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file in {directory}")
    return files


def load_mesh(
    path: Path,
    *,
    scale: float = 1.0,
    density: float = DENSITY,
    most_parts: int = MAX_PARTS,
    name: Optional[str] = None,
    children: Optional[Children] = None,
) -> ObjectModel:
    """Loads a mesh file as an object; from the cache if the same file was loaded before.

    If the file has several `o` or `g` groups that are nearly convex, they are the convex parts.  A mesh that is nearly convex as
    a whole becomes its hull.  Any other mesh is cut by CoACD; if that fails, it becomes its hull with a warning.
    The mass is that of NAME.json, or the density times the volume of the parts.
    children: where the processes that cut are kept.  Raises ObjectError, whatever is wrong with the file.
    """
    try:
        return _load_mesh(path, scale, density, most_parts, path.stem if name is None else name, children)
    except ObjectError:
        raise
    except MemoryError as error:
        raise ObjectError(f"{path}: does not fit into the memory; simplify the mesh") from error
    except Exception as error:
        reason = f"{type(error).__name__} {' '.join(str(error).split())[:120]}".strip()
        raise ObjectError(f"{path}: cannot be used ({reason}); export or simplify the mesh") from error


def _load_mesh(
    path: Path, scale: float, density: float, most_parts: int, name: str, children: Optional[Children]
) -> ObjectModel:
    try:
        content = path.read_bytes()
        beside = path.with_suffix(".json")
        notes = beside.read_bytes() if beside.is_file() else b""
    except OSError as error:
        raise ObjectError(f"{path}: cannot be read: {error.strerror}") from error
    sidecar = read_sidecar(beside, notes)
    factor = scale if sidecar.scale is None else sidecar.scale
    cut = {**COACD, "max_convex_hull": most_parts}
    settings = json.dumps([CACHE_VERSION, path.suffix.lower(), factor, sidecar.mass, density, cut], sort_keys=True)
    entry = cache.file_for(settings.encode() + b"\0" + content)
    cached = cache.load(entry)
    if cached:
        _say(path, cache.note(entry))
        return replace(cached[0], name=name, friction=sidecar.friction)
    option = "--object-scale" if sidecar.scale is None else f'{beside.name} "scale":'
    parts, keep, note = convex_parts(_checked(path, read_mesh(path, content), factor, option), most_parts, children)
    _say(path, note)
    volume = mass_properties(convex_hull(np.concatenate(parts)))[0]
    if len(parts) > 1:
        volume = min(volume, sum(mass_properties(convex_hull(p))[0] for p in parts))
    model = build(
        name, "mesh", parts, density=density, mass=sidecar.mass, volume=volume, own_axes=False, friction=sidecar.friction
    )  # fmt: skip
    if keep:
        cache.save(entry, [model], note)
    return model


def _say(path: Path, note: str) -> None:
    if note:
        warnings.warn(f"{path}: {note}", stacklevel=3)


def _checked(path: Path, mesh: RawMesh, scale: float, option: str) -> RawMesh:
    """The mesh in metres.  Raises ObjectError if it is empty, flat, not finite, or too small or large for a hand.

    option: where the scale was given.
    """
    if len(mesh.faces) == 0:
        raise ObjectError(f"{path}: has no faces; an object needs a triangle mesh")
    with np.errstate(all="ignore"):
        vertices = mesh.vertices * scale
        used = vertices[np.unique(mesh.faces)]
        size = float(np.ptp(used, axis=0).max())
    if not (np.isfinite(used).all() and np.isfinite(size)):
        raise ObjectError(f"{path}: has vertices that are not finite numbers; export it again")
    if size == 0:
        raise ObjectError(f"{path}: all its corners are at one place; export it again")
    if not SIZE_RANGE[0] <= size <= SIZE_RANGE[1]:
        raise ObjectError(f"{path}: its longest side is {size:.4g} m, not {_size_hint(size, scale, option)}")
    try:
        thin = mass_properties(convex_hull(used))[0] < 1e-4 * size**3
    except ValueError:
        thin = True
    if thin:
        raise ObjectError(f"{path}: is flat; an object needs a volume")
    return RawMesh(vertices, mesh.faces, mesh.group)


def _size_hint(size: float, scale: float, option: str) -> str:
    """The range that a size must be in, and the scale that would probably help."""
    wanted = f"{SIZE_RANGE[0]} to {SIZE_RANGE[1]} m: "
    units = {"millimetres": 0.001, "centimetres": 0.01, "inches": 0.0254, "kilometres": 1000.0}
    likely = {u: f for u, f in units.items() if 0.025 <= size * f <= SIZE_RANGE[1]}
    if 0.9 <= size <= 1.1 or not likely:
        return wanted + f"give {option} {0.12 / size * scale:.3g} to make it 12 cm long, or the scale that fits"
    unit = min(likely, key=lambda u: abs(np.log(size * likely[u] / 0.12)))
    return wanted + f"it looks like {unit}, so give {option} {likely[unit] * scale:.4g}"
