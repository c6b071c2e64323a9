"""Any bytes with the name of a mesh are an object that can be simulated, or one line says what is wrong with them."""

from __future__ import annotations

import struct
import tempfile
import warnings
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple

import numpy as np
import pytest
import trimesh
from fuzzing import EXAMPLES, budget, damaged, one_line
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from tasks.objects import MAX_PARTS, ObjectError, ObjectModel
from tasks.objects.meshes import cut
from tasks.objects.meshes.load import load_mesh
from tasks.objects.model import MAX_HULL_VERTICES

SECONDS_TO_CUT = 10
Point = Tuple[float, float, float]


@pytest.fixture(scope="module", autouse=True)
def limits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of its own.  CoACD takes seconds, so it only runs where FUZZ_EXAMPLES is set, and then not for minutes."""

    def refuse(*_: object) -> List[np.ndarray]:
        raise RuntimeError("left out here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(cut, "COACD_SECONDS", SECONDS_TO_CUT)
        if not EXAMPLES:
            patch.setattr(cut, "decompose", refuse)
        yield


def check(kind: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        path = Path(folder) / f"thing.{kind}"
        path.write_bytes(content)
        try:
            found = load_mesh(path)
        except ObjectError as error:
            assert one_line(str(error)) and str(error).startswith(str(path))
            assert "cannot be used (" not in str(error), "an error that nobody foresaw"
            return
        finally:
            texts = [str(w.message) for w in said]
            assert all(one_line(text) and text.startswith(str(path)) for text in texts), texts
    can_be_simulated(found)


def can_be_simulated(thing: ObjectModel) -> None:
    """Checked with scipy's hulls, not with ours."""
    assert 1 <= len(thing.parts) <= MAX_PARTS
    for part in thing.parts:
        assert np.isfinite(part).all() and 4 <= len(part) <= MAX_HULL_VERTICES
        assert ConvexHull(part).volume > 0
    size = np.ptp(np.concatenate(thing.parts), axis=0)
    assert 0.005 < size.max() < 0.8 and np.all(np.diff(size) <= 1e-9), (
        "the longest side is 1 to 40 cm, and sides are in order"
    )
    assert 0.01 <= thing.mass <= 1.0
    moments = np.linalg.eigvalsh(thing.inertia)
    assert np.isfinite(moments).all() and moments[0] > 0 and moments[0] + moments[1] >= moments[2] * (1 - 1e-6)
    assert np.all(np.abs(thing.com) <= size / 2 + 1e-9)
    assert len(thing.rest_prob) >= 1 and abs(thing.rest_prob.sum() - 1) < 1e-6
    points = np.concatenate(thing.parts)
    for quat, height in zip(thing.rest_quat, thing.rest_height):
        turned = Rotation.from_quat(quat[[1, 2, 3, 0]]).apply(points)
        assert abs(turned[:, 2].min() + height) < 1e-6, "it touches the table, neither above it nor below"


# --- files by their structure ------------------------------------------------------------------------------------------

NEAR = st.floats(-0.1, 0.1) | st.sampled_from((0.0, 0.05, -0.05, 1e-9))
ANY = NEAR | st.floats() | st.sampled_from((1e30, -1e308))


def points(of: st.SearchStrategy[float]) -> st.SearchStrategy[List[Point]]:
    return st.lists(st.tuples(of, of, of), max_size=12)


@st.composite
def shapes(draw: st.DrawFn) -> Tuple[List[Point], List[List[int]]]:
    """Corners and polygons of what may be a shape: a known one that is pressed and torn, or none at all."""
    if draw(st.booleans()):
        known = draw(st.sampled_from(("box", "ball", "ring", "can")))
        mesh = {
            "box": lambda: trimesh.creation.box((0.05, 0.06, 0.07)),
            "ball": lambda: trimesh.creation.icosphere(subdivisions=1, radius=0.04),
            "ring": lambda: trimesh.creation.torus(0.05, 0.01, major_sections=8, minor_sections=4),
            "can": lambda: trimesh.creation.cylinder(0.03, 0.1, sections=6),
        }[known]()
        factors = draw(st.tuples(*[st.sampled_from((1.0, 1.0, 0.1, 1e-3, 1e-12, 0.0, -1.0, 5.0, 1e3))] * 3))
        vertices, faces = (mesh.vertices * factors).tolist(), mesh.faces.tolist()
        for _ in range(draw(st.integers(0, 3))):
            vertices[draw(st.integers(0, len(vertices) - 1))] = list(draw(st.tuples(ANY, ANY, ANY)))
        for _ in range(draw(st.integers(0, 3))):
            faces.pop(draw(st.integers(0, len(faces) - 1)))
        return [(x, y, z) for x, y, z in vertices], faces
    vertices = draw(points(NEAR) | points(ANY))
    corner = st.integers(0, max(0, len(vertices) - 1)) | st.integers(-3, len(vertices) + 2)
    return vertices, draw(st.lists(st.lists(corner, min_size=0, max_size=5), max_size=16))


def obj(vertices: Sequence[Point], faces: Sequence[Sequence[int]]) -> bytes:
    rows = [f"v {x!r} {y!r} {z!r}" for x, y, z in vertices]
    rows += [" ".join(["f", *(str(i + 1) for i in face)]) for face in faces]
    return "\n".join(rows).encode()


def stl(vertices: Sequence[Point], faces: Sequence[Sequence[int]]) -> bytes:
    """Binary; of the faces those that have three corners which are there."""
    as_single = np.nan_to_num(np.array(vertices).reshape(-1, 3), nan=np.nan, posinf=np.inf, neginf=-np.inf)
    with np.errstate(over="ignore"):
        single = as_single.astype("<f4")
    kept = [face for face in faces if len(face) == 3 and all(0 <= i < len(vertices) for i in face)]
    rows = [struct.pack("<3f", 0, 0, 1) + single[list(face)].tobytes() + b"\0\0" for face in kept]
    return b"fuzzed".ljust(80) + struct.pack("<I", len(kept)) + b"".join(rows)


def ply(vertices: Sequence[Point], faces: Sequence[Sequence[int]], binary: bool) -> bytes:
    head = ["ply", f"format {'binary_little_endian' if binary else 'ascii'} 1.0", f"element vertex {len(vertices)}"]
    head += [f"property double {axis}" for axis in "xyz"]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    if binary:
        body = b"".join(struct.pack("<3d", *v) for v in vertices)
        body += b"".join(struct.pack(f"<B{len(face)}i", len(face), *face) for face in faces)
    else:
        rows = [" ".join(map(repr, v)) for v in vertices]
        body = "\n".join([*rows, *(" ".join(map(str, [len(face), *face])) for face in faces), ""]).encode()
    return "\n".join(head).encode() + body


@budget(50)
@given(shapes(), st.sampled_from(("obj", "stl", "ply", "binary ply")))
def test_any_shape(shape: Tuple[List[Point], List[List[int]]], kind: str) -> None:
    vertices, faces = shape
    content = {
        "obj": lambda: obj(vertices, faces),
        "stl": lambda: stl(vertices, faces),
        "ply": lambda: ply(vertices, faces, binary=False),
        "binary ply": lambda: ply(vertices, faces, binary=True),
    }[kind]()
    check(kind[-3:], content)


# --- files by their bytes ----------------------------------------------------------------------------------------------

BOX = trimesh.creation.box((0.05, 0.06, 0.07))
BOXES = BOX.vertices.tolist(), BOX.faces.tolist()
TEXT_STL = b"solid a\n" + b"".join(
    b"facet normal 0 0 1\nouter loop\n%s\nendloop\nendfacet\n" % b"\n".join(b"vertex %g %g %g" % tuple(v) for v in BOX.vertices[f])
    for f in BOX.faces
) + b"endsolid a\n"  # fmt: skip
WHOLE = {
    "obj": b"o one\n" + obj(*BOXES),
    "stl": stl(*BOXES),
    "text stl": TEXT_STL,
    "ply": ply(*BOXES, binary=False),
    "binary ply": ply(*BOXES, binary=True),
}


@budget(80)
@given(st.data(), st.sampled_from(sorted(WHOLE)))
def test_damaged_bytes(data: st.DataObject, name: str) -> None:
    check(name[-3:], data.draw(damaged(name, WHOLE) | st.binary(max_size=200)))


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_files_are_boxes(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{name[-3:]}"
    path.write_bytes(WHOLE[name])
    found = load_mesh(path)
    can_be_simulated(found)
    np.testing.assert_allclose(2 * found.half_extents, [0.07, 0.06, 0.05], atol=1e-6)
