"""A user's meshes: good ones, bad ones, and the cache."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, List, Sequence

import numpy as np
import pytest
import trimesh

from tasks.objects import MAX_PARTS, ObjectError, load_objects
from tasks.objects.__main__ import main
from tasks.objects.meshes import cut, read
from tasks.objects.model import DENSITY


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ppo_grasp" / "objects"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "meshes").mkdir()
    return tmp_path / "meshes"


def ell() -> trimesh.Trimesh:
    """A closed L of 12 x 9 x 3 cm, one mesh of 3 cm thick arms."""
    outline = np.array([(0, 0), (4, 0), (4, 1), (1, 1), (1, 3), (0, 3)]) * 0.03
    n = len(outline)
    vertices = np.concatenate([np.c_[outline, np.full(n, z)] for z in (0, 0.03)])
    cap = [(0, 1, 2), (0, 2, 3), (0, 3, 4), (0, 4, 5)]
    faces = [(c, b, a) for a, b, c in cap] + [(a + n, b + n, c + n) for a, b, c in cap]
    for i in range(n):
        j = (i + 1) % n
        faces += [(i, j, j + n), (i, j + n, i + n)]
    return trimesh.Trimesh(vertices, faces)


def test_every_format_in_any_case(folder: Path) -> None:
    turn = trimesh.transformations.euler_matrix(0.4, 0.5, 0.6)
    for name in ("a.obj", "b.STL", "c.ply"):
        box = trimesh.creation.box((0.04, 0.1, 0.06))
        box.apply_transform(turn)
        box.export(str(folder / name), file_type=name[-3:].lower())
    (folder / "notes.txt").write_text("not a mesh")
    seen = []
    found = load_objects(folder, progress=lambda done, total, name: seen.append((done, total)))
    assert [o.name for o in found.objects] == ["a", "b", "c"] and found.kinds == ("mesh",)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for o in found.objects:
        np.testing.assert_allclose(2 * o.half_extents, [0.1, 0.06, 0.04], atol=1e-4)
        assert o.mass == pytest.approx(0.04 * 0.1 * 0.06 * DENSITY, rel=1e-3)
        assert len(o.parts) == 1 and len(o.parts[0]) == 8 and len(o.rest_prob) == 6


def test_own_axes_are_kept_if_nearly_the_best(folder: Path) -> None:
    shape = trimesh.creation.cylinder(0.03, 0.12, sections=40)
    shape.export(str(folder / "can.stl"))
    (can,) = load_objects(folder).objects
    np.testing.assert_allclose(2 * can.half_extents, [0.12, 0.06, 0.06], atol=1e-4)
    assert len(can.parts[0]) == 48


def test_concave_mesh_is_cut(folder: Path) -> None:
    ell().export(str(folder / "ell.obj"))
    (found,) = load_objects(folder).objects
    assert 2 <= len(found.parts) <= MAX_PARTS
    solid = sum(trimesh.convex.convex_hull(p).volume for p in found.parts)
    assert solid == pytest.approx(ell().volume, rel=0.1)
    assert solid < 0.8 * ell().convex_hull.volume


def test_open_mesh_is_cut_too(folder: Path) -> None:
    mesh = ell()
    mesh.update_faces(np.arange(len(mesh.faces)) > 1)
    assert not mesh.is_watertight
    mesh.export(str(folder / "open.stl"))
    (found,) = load_objects(folder).objects
    assert 2 <= len(found.parts) <= MAX_PARTS
    np.testing.assert_allclose(2 * found.half_extents, [0.12, 0.09, 0.03], atol=0.01)


def test_open_but_convex_mesh_is_one_hull(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "decompose", lambda *_: pytest.fail("cut what is convex"))
    mesh = trimesh.creation.box((0.05, 0.06, 0.1))
    mesh.update_faces(np.arange(12) > 0)
    mesh.export(str(folder / "lid.ply"))
    assert len(load_objects(folder).objects[0].parts) == 1


def write_groups(path: Path, boxes: Sequence[Any], word: str = "o") -> None:
    text, base = [], 1
    for k, box in enumerate(boxes):
        text.append(f"{word} part{k}")
        text += ["v {:.9g} {:.9g} {:.9g}".format(*v) for v in box.vertices]
        text += ["f " + " ".join(f"{i + base}//1" for i in f) for f in box.faces]
        base += len(box.vertices)
    path.write_text("\n".join(text) + "\n")


@pytest.mark.parametrize("word", ["o", "g"])
def test_groups_are_the_parts(folder: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setattr(cut, "decompose", lambda *_: pytest.fail("cut what was cut"))
    boxes = [trimesh.creation.box((0.02, 0.02, 0.06)), trimesh.creation.box((0.1, 0.02, 0.02))]
    boxes[1].apply_translation((0, 0, 0.04))
    write_groups(folder / "tee.obj", boxes, word)
    (found,) = load_objects(folder).objects
    assert sorted(np.round(np.ptp(p, axis=0).max(), 6) for p in found.parts) == [0.06, 0.1]
    assert found.mass == pytest.approx((0.02 * 0.02 * 0.06 + 0.1 * 0.02 * 0.02) * DENSITY, rel=1e-3)


def test_too_many_groups_are_merged_and_flat_ones_thickened(folder: Path) -> None:
    boxes = [trimesh.creation.box((0.01, 0.02, 0.02)) for _ in range(10)]
    for k, box in enumerate(boxes):
        box.apply_translation((0.01 * k, 0, 0))
    sheet = trimesh.Trimesh([(0, 0, 0.03), (0.1, 0, 0.03), (0, 0.05, 0.03)], [(0, 1, 2)])
    write_groups(folder / "many.obj", [*boxes, sheet])
    (found,) = load_objects(folder).objects
    assert len(found.parts) == MAX_PARTS
    assert 2 * found.half_extents.min() >= 0.039
    assert [len(load_objects(folder, most_parts=n).objects[0].parts) for n in (3, 30)] == [3, 11]


def test_groups_by_material_are_not_the_parts(folder: Path) -> None:
    """Two posts of one material on a board of another: the posts' common hull would fill what is between them."""
    posts = [trimesh.creation.box((0.02, 0.04, 0.08)) for _ in range(2)]
    for side, post in zip((-1, 1), posts):
        post.apply_translation((0.05 * side, 0, 0.05))
    board = trimesh.creation.box((0.12, 0.04, 0.02))
    write_groups(folder / "channel.obj", [trimesh.util.concatenate(posts), board])
    (found,) = load_objects(folder).objects
    solid = sum(trimesh.convex.convex_hull(p).volume for p in found.parts)
    assert 3 <= len(found.parts) <= MAX_PARTS
    assert solid < 3.2e-4, "2.24e-4 as drawn, 5.4e-4 if the posts became one"


def test_a_loop_in_a_group_of_its_own_is_not_filled(folder: Path) -> None:
    loop = trimesh.creation.torus(0.04, 0.006, major_sections=32, minor_sections=12)
    loop.apply_transform(trimesh.transformations.euler_matrix(np.pi / 2, 0, 0))
    loop.apply_translation((0, 0, 0.06))
    write_groups(folder / "padlock.obj", [trimesh.creation.box((0.1, 0.03, 0.06)), loop])
    (found,) = load_objects(folder).objects
    solid = sum(trimesh.convex.convex_hull(p).volume for p in found.parts)
    assert len(found.parts) > 2 and solid < 2.5e-4, "the filled loop alone has 0.6e-4 more"


def test_small_groups_may_have_any_shape(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "decompose", lambda *_: pytest.fail("cut what was cut"))
    boxes = [trimesh.creation.box((0.02, 0.02, 0.06)), trimesh.creation.box((0.1, 0.02, 0.02))]
    boxes[1].apply_translation((0, 0, 0.04))
    screw = ell().apply_scale(0.08)
    screw.apply_translation((0, 0, 0.05))
    write_groups(folder / "tee.obj", [*boxes, screw])
    assert len(load_objects(folder).objects[0].parts) == 3


def test_what_lies_inside_does_not_matter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "decompose", lambda *_: pytest.fail("cut what is convex"))
    inside = trimesh.creation.icosphere(subdivisions=1, radius=0.02)
    trimesh.util.concatenate([trimesh.creation.box((0.08, 0.1, 0.2)), inside]).export(str(folder / "box.stl"))
    (found,) = load_objects(folder).objects
    assert len(found.parts) == 1 and len(found.parts[0]) == 8


def test_a_noisy_scan_of_a_small_thing_is_one_hull(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "decompose", lambda *_: pytest.fail("cut what is convex"))
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.02)
    noise = 0.0005 * np.random.default_rng(0).standard_normal(len(ball.vertices)).clip(-2, 2)
    ball.vertices += noise[:, None] * ball.vertex_normals
    ball.export(str(folder / "ball.ply"))
    assert len(load_objects(folder).objects[0].parts) == 1


def test_polygons_and_negative_numbers(folder: Path) -> None:
    corners = ["v " + " ".join(str(0.03 * x) for x in v) for v in np.ndindex(2, 2, 2)]
    quads = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5"]
    lines = [*corners, *("f " + q for q in quads), "f -7 -3 -1 -5"]
    (folder / "cube.obj").write_text("\n".join(lines))
    (found,) = load_objects(folder).objects
    np.testing.assert_allclose(found.half_extents, 0.015, atol=1e-9)


@pytest.mark.parametrize(
    ("factor", "said"), [(1000, "millimetres.*--object-scale 0.001"), (100, "centimetres.*--object-scale 0.01")]
)
def test_wrong_units_are_guessed_and_can_be_mended(folder: Path, factor: float, said: str) -> None:
    trimesh.creation.box(np.array((0.05, 0.06, 0.15)) * factor).export(str(folder / "box.stl"))
    with pytest.raises(ObjectError, match="box.stl: its longest side is .*" + said):
        load_objects(folder)
    (found,) = load_objects(folder, scale=1 / factor).objects
    assert 2 * found.half_extents[0] == pytest.approx(0.15, rel=1e-5)
    (folder / "box.json").write_text(json.dumps({"scale": 0.5 / factor}))
    assert load_objects(folder).objects[0].half_extents[0] == pytest.approx(0.0375, rel=1e-5)


def test_sidecar_sets_mass_and_friction(folder: Path) -> None:
    trimesh.creation.box((0.05, 0.06, 0.07)).export(str(folder / "box.stl"))
    plain = load_objects(folder).objects[0]
    (folder / "box.json").write_text('{"mass": 1.7, "friction": 0.6}')
    (heavy,) = load_objects(folder).objects
    assert heavy.mass == 1.7 and heavy.friction == 0.6 and plain.friction is None
    np.testing.assert_allclose(heavy.inertia, plain.inertia * 1.7 / plain.mass)
    (folder / "box.json").write_text('{"mass": "much"}')
    with pytest.raises(ObjectError, match=r"box\.json: must be like"):
        load_objects(folder)
    (folder / "box.json").write_text('{"mass": -1}')
    with pytest.raises(ObjectError, match=r"mass must be at least 0\.0001, not -1"):
        load_objects(folder)


FLAT = "v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nv 0.1 0.1 0\nf 1 2 3\nf 2 4 3\n"
PLY_POINTS = (
    "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n0 0 0\n"
)
BAD = {
    "empty.obj": ("", "has no faces"),
    "empty.stl": ("", "not a readable|has no faces"),
    "points.ply": (PLY_POINTS, "has no faces|not a readable"),
    "garbage.stl": ("\x00\x01 nonsense", "not a readable|has no faces"),
    "garbage.ply": ("nonsense", "not a readable"),
    "broken.obj": ("v 0 0\nf 1 2 3\n", "not a readable .obj file .line 1: v 0 0"),
    "corner.obj": ("v 0 0 0\nv 0 1 0\nv 1 0 0\nf 1 2 9\n", "uses vertex 9 of 3"),
    "flat.obj": (FLAT, "is flat"),
    "nan.obj": (FLAT.replace("v 0.1 0.1 0", "v nan 0 0"), "not finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_and_can_be_skipped(folder: Path, name: str) -> None:
    text, said = BAD[name]
    (folder / name).write_text(text)
    with pytest.raises(ObjectError, match=f"{name}: .*({said})") as error:
        load_objects(folder)
    assert "\n" not in str(error.value)
    with pytest.raises(ObjectError, match="none of the 1 meshes"), pytest.warns(
        UserWarning, match=f"skipped: .*{name}"
    ):
        load_objects(folder, skip_bad=True)
    trimesh.creation.box((0.05, 0.05, 0.05)).export(str(folder / "good.ply"))
    with pytest.warns(UserWarning, match=f"skipped: .*{name}"):
        assert [o.name for o in load_objects(folder, skip_bad=True).objects] == ["good"]


def test_no_meshes_no_directory_no_scale(folder: Path) -> None:
    with pytest.raises(ObjectError, match=r"no \.obj, .stl or .ply file"):
        load_objects(folder)
    (folder / "a.obj").write_text("")
    with pytest.raises(ObjectError, match="give the directory"):
        load_objects(folder / "a.obj")
    for wrong in ({"scale": 0.0}, {"density": 0.0}, {"density": np.nan}):
        with pytest.raises(ObjectError, match="must be greater than 0"):
            load_objects(folder, **wrong)  # type: ignore[arg-type]
    for parts in (0, 65):
        with pytest.raises(ObjectError, match=f"1 to 64 convex parts, not {parts}"):
            load_objects(folder, most_parts=parts)


def test_second_load_comes_from_the_cache(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ell().export(str(folder / "ell.stl"))
    calls: List[read.RawMesh] = []
    decompose = cut.decompose

    def counted(mesh: read.RawMesh, most_parts: int, children: cut.Children) -> List[np.ndarray]:
        calls.append(mesh)
        return decompose(mesh, most_parts, children)

    monkeypatch.setattr(cut, "decompose", counted)
    first = load_objects(folder).objects[0]
    second = load_objects(folder).objects[0]
    assert len(calls) == 1 and len(list(cache.iterdir())) == 1
    assert len(first.parts) == len(second.parts) and first.mass == second.mass
    assert all(np.array_equal(p, q) for p, q in zip(first.parts, second.parts))
    np.testing.assert_array_equal(first.rest_quat, second.rest_quat)
    (entry,) = cache.iterdir()
    entry.write_bytes(b"cut short")
    third = load_objects(folder).objects[0]
    assert len(calls) == 2 and all(np.array_equal(p, q) for p, q in zip(first.parts, third.parts))
    load_objects(folder, scale=0.9)
    assert len(calls) == 3, "another scale is another object"
    heavy = load_objects(folder, density=800.0).objects[0]
    assert len(calls) == 4 and heavy.mass == pytest.approx(2 * first.mass)
    assert len(load_objects(folder, most_parts=1).objects[0].parts) == 1
    assert len(calls) == 5, "and so is another number of parts"
    for again in ({}, {"density": 800.0}, {"most_parts": 1}):
        load_objects(folder, **again)  # type: ignore[arg-type]
    assert len(calls) == 5


def test_failed_decomposition_falls_back_to_the_hull(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ell().export(str(folder / "ell.stl"))
    monkeypatch.setattr(cut, "COACD", {**cut.COACD, "no_such_option": 1})
    with pytest.warns(UserWarning, match="ell.stl: convex decomposition failed"):
        (found,) = load_objects(folder).objects
    assert len(found.parts) == 1 and not cache.exists(), "a failure must be tried again"


def test_table_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "sheet.png"
    assert main(["mixed", "--count", "4", "--picture", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[1].startswith("sphere_0000") and picture.stat().st_size > 5000
    run = subprocess.run([sys.executable, "-m", "tasks.objects", "nothing"], capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr.startswith("error: ") and run.stderr.count("\n") == 1
