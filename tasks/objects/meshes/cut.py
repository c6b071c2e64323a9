"""Cuts meshes into convex parts: by their groups, or with CoACD in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from tasks.objects.build import merged_parts
from tasks.objects.geometry import convex_hull, mass_properties
from tasks.objects.meshes.convex import DENT, covers, judge, tolerance_of
from tasks.objects.meshes.read import RawMesh
from tasks.objects.model import MAX_HULL_VERTICES, MAX_PARTS

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
SCRIPT = Path(__file__).with_name("decompose.py")


class Cut(NamedTuple):
    """The convex parts of a mesh."""

    parts: List[np.ndarray]
    """Each (n, 3)."""
    keep: bool
    """Whether cutting again would end in the same way.  It might not if something failed."""
    note: str
    """What the user should know about the result; mostly empty."""


class Children:
    """The processes that cut meshes.  They end with this one, however it ends."""

    def __init__(self) -> None:
        self._running: Set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, command: Sequence[str], seconds: float) -> Tuple[int, str]:
        """(exit status, what it wrote to stderr).  Raises TimeoutExpired after so many seconds, and RuntimeError if stopped.

        The child's stdin is a pipe that only this process can write to: it ends when this process does.
        """
        theirs, ours = os.pipe()
        try:
            with self._begin(command, theirs) as child:
                try:
                    said = child.communicate(timeout=seconds)[1]
                    return child.returncode, said
                finally:
                    child.kill()
                    with self._lock:
                        self._running.discard(child)
        finally:
            os.close(theirs)
            os.close(ours)

    def _begin(self, command: Sequence[str], stdin: int) -> subprocess.Popen[str]:
        with self._lock:
            if self._stopped:
                raise RuntimeError("stopped")
            child = subprocess.Popen(
                list(command),
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            self._running.add(child)
            return child

    def stop(self) -> None:
        """Ends all of them, and lets none begin."""
        with self._lock:
            self._stopped = True
            for child in self._running:
                child.kill()


def convex_parts(
    mesh: RawMesh, most_parts: int = MAX_PARTS, children: Optional[Children] = None, dent: float = DENT
) -> Cut:
    """At most most_parts convex parts of a mesh in metres.  Dents that are not deeper than `dent` (m) are filled.

    Groups that are nearly convex are the parts.  A mesh that is nearly convex as a whole becomes its hull.  CoACD cuts any other;
    if that fails, it becomes its hull, and the note says so.  Raises ValueError if the mesh is flat.
    """
    points = mesh.vertices[np.unique(mesh.faces)]
    tolerance = tolerance_of(points, dent)
    groups = _convex_groups(mesh, tolerance)
    if groups:
        return Cut(merged_parts([_with_volume(p) for p in groups], most_parts), True, "")
    verdict = judge(mesh, points, tolerance)
    if verdict.convex:
        return Cut([points], True, verdict.note)
    try:
        found = decompose(mesh, most_parts, children or Children())
        return Cut(merged_parts([_with_volume(p) for p in found], most_parts), True, "")
    except subprocess.TimeoutExpired:
        return Cut(
            [points],
            True,
            f"could not be cut into convex parts within {COACD_SECONDS} s, taking the convex hull, which fills its gaps: "
            "close and simplify the mesh, or give its convex parts as `o` groups",
        )
    except (RuntimeError, OSError, ValueError) as error:
        return Cut([points], False, f"convex decomposition failed, taking the convex hull ({error})")


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
        if float(np.ptp(points, axis=0).max()) > small and not covers(mesh, faces, hull, tolerance):
            return []
    return found if flat <= FLAT_SHARE * total else []


def decompose(mesh: RawMesh, most_parts: int, children: Children) -> List[np.ndarray]:
    """The convex parts (n, 3) that CoACD cuts the mesh into.  Raises RuntimeError if it fails, TimeoutExpired if it takes too long."""
    import trimesh

    joined = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "mesh.npz"), os.path.join(folder, "parts.npz")
        np.savez(source, vertices=np.asarray(joined.vertices), faces=np.asarray(joined.faces))
        options = json.dumps({**COACD, "max_convex_hull": most_parts})
        status, said = children.run([sys.executable, str(SCRIPT), source, target, options], COACD_SECONDS)
        if status != 0 or not os.path.exists(target):
            raise RuntimeError((said.strip().splitlines() or [f"exit status {status}"])[-1])
        with np.load(target) as parts:
            found = [parts[k] for k in parts.files]
    if not found:
        raise RuntimeError("no parts found")
    return found
