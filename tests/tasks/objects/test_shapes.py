"""Hulls, mass, rest poses, families and sets, against trimesh and MuJoCo."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
import trimesh

from tasks.objects import MAX_HULL_VERTICES, MAX_PARTS, OBJECT_SETS, ObjectError, ObjectModel, distance, load_objects
from tasks.objects.build import MASS_RANGE, build, merged_parts
from tasks.objects.geometry import convex_hull, hull_faces, mass_properties, reduce_hull
from tasks.objects.picture import rotation
from tasks.objects.poses import MAX_POSES, face_probabilities
from tasks.objects.sets import HOLDOUT_KINDS, TRAINING_KINDS
from tasks.objects.shapes.generate import FAMILIES, LONGEST, generate, generate_one
from tasks.objects.shapes.simple import ball_points, box_points

SETS = {name: load_objects(name) for name in OBJECT_SETS}


def cloud(seed: int, count: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)) * (0.05, 0.03, 0.02)


def body_spec(thing: ObjectModel, *, explicit: bool) -> mujoco.MjSpec:
    """The object over a plane; `explicit`: its own mass and inertia, else MuJoCo's from the hulls at the same mass."""
    pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
    spec = mujoco.MjSpec()
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1, 1, 0.1])
    body = spec.worldbody.add_body(name="object")
    body.add_freejoint()
    if explicit:
        body.mass, body.ipos, body.explicitinertial = thing.mass, thing.com, True
        i = thing.inertia
        body.fullinertia = [i[0, 0], i[1, 1], i[2, 2], i[0, 1], i[0, 2], i[1, 2]]
    for k, part in enumerate(thing.parts):
        mesh = spec.add_mesh(name=f"part{k}")
        mesh.uservert = part.ravel().tolist()
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"part{k}", density=1000)
    return spec


@pytest.mark.parametrize("seed", range(5))
def test_hull_mass_agrees_with_trimesh(seed: int) -> None:
    points = cloud(seed) + np.array([0.1, -0.2, 0.3])
    volume, centroid, second = mass_properties(convex_hull(points))
    mesh = trimesh.convex.convex_hull(points)
    central = second - volume * np.outer(centroid, centroid)
    np.testing.assert_allclose(volume, mesh.volume, rtol=1e-9)
    np.testing.assert_allclose(centroid, mesh.center_mass, rtol=1e-9)
    np.testing.assert_allclose(np.trace(central) * np.eye(3) - central, mesh.moment_inertia, rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize("kind", ["hull", "cylinder", "mug", "drill", "bowl"])
def test_object_mass_agrees_with_mujoco(kind: str) -> None:
    thing = generate_one(kind, 3, 0, off_centre=0.0)
    model = body_spec(thing, explicit=False).compile()
    scale = thing.mass / model.body_mass[1]
    np.testing.assert_allclose(model.body_ipos[1], thing.com, atol=1e-6)
    axes = rotation(model.body_iquat[1])
    inertia = axes @ np.diag(model.body_inertia[1]) @ axes.T * scale
    np.testing.assert_allclose(inertia, thing.inertia, rtol=1e-3, atol=1e-4 * np.trace(thing.inertia))


def test_off_centre_mass_is_two_lumps() -> None:
    """A uniform box of 70 % of the mass and a point of 30 %, put together by hand."""
    thing = build("b", "box", [box_points((0.05, 0.04, 0.03))], mass=1.0, com_shift=np.array([0.1, 0.0, -0.1]))
    shift = np.array([0.01, 0, -0.006])
    np.testing.assert_allclose(thing.com, shift, atol=1e-12)
    sides = np.array([0.1, 0.08, 0.06]) ** 2
    uniform = 0.7 * (np.diag(sides.sum() - sides) / 12 + shift @ shift * np.eye(3) - np.outer(shift, shift))
    arm = shift / 0.3 - shift
    np.testing.assert_allclose(
        thing.inertia, uniform + 0.3 * (arm @ arm * np.eye(3) - np.outer(arm, arm)), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("seed", range(8))
def test_rest_probabilities_agree_with_trimesh(seed: int) -> None:
    hull = convex_hull(cloud(seed))
    com = mass_properties(hull)[1] + (0.004, 0, 0.002)
    ours = face_probabilities(hull, com)[0]
    frames, theirs = trimesh.poses.compute_stable_poses(trimesh.convex.convex_hull(hull.vertices), center_mass=com)
    faces = (hull_faces(hull).normals @ -frames[:, 2, :3].T).argmax(axis=0)
    expected = np.zeros(len(ours))
    np.add.at(expected, faces, theirs)
    np.testing.assert_allclose(ours, expected / expected.sum(), atol=1e-4)


@pytest.mark.parametrize("name", ["procedural", "holdout"])
def test_rest_poses_stay_in_mujoco(name: str) -> None:
    for thing in SETS[name].objects[::10][:50]:
        model = body_spec(thing, explicit=True).compile()
        data = mujoco.MjData(model)
        for quat, height in zip(thing.rest_quat, thing.rest_height):
            mujoco.mj_resetData(model, data)
            data.qpos[:3], data.qpos[3:] = (0, 0, height), quat
            mujoco.mj_step(model, data, 300)
            up = rotation(data.qpos[3:].copy())[2] @ rotation(quat)[2]
            assert up > np.cos(np.radians(3)), f"{thing.name} fell over"
            assert abs(data.qpos[2] - height) < 1.5e-3


@pytest.mark.parametrize("name", OBJECT_SETS)
def test_every_object_keeps_the_contract(name: str) -> None:
    found = SETS[name]
    assert len({o.name for o in found.objects}) == len(found)
    for o in found.objects:
        points = np.concatenate(o.parts)
        low, high = points.min(axis=0), points.max(axis=0)
        np.testing.assert_allclose(low, -high, atol=1e-9)
        assert high[0] >= high[1] - 1e-9 and high[1] >= high[2] - 1e-9
        assert len(o.parts) <= MAX_PARTS and max(map(len, o.parts)) <= MAX_HULL_VERTICES
        assert MASS_RANGE[0] <= o.mass <= MASS_RANGE[1]
        assert 2 * high[0] <= LONGEST + 1e-9 and 2 * high[2] >= FAMILIES[o.kind].thinnest - 1e-9
        assert 2 * high[1] <= (FAMILIES[o.kind].width[1] if o.kind in ("carton", "tote") else 0.15)  # in everyday alone
        moments = np.linalg.eigvalsh(o.inertia)
        assert moments[0] > 0 and moments[0] + moments[1] >= moments[2] * (1 - 1e-9), "no rigid body has this inertia"
        hull = hull_faces(convex_hull(points))
        assert (hull.normals @ o.com < hull.offsets).all()
        assert 1 <= len(o.rest_prob) <= MAX_POSES and o.rest_prob.sum() == pytest.approx(1)
        assert len(o.rest_quat) == len(o.rest_height) == len(o.rest_prob)
        for quat, height in zip(o.rest_quat, o.rest_height):
            assert np.linalg.norm(quat) == pytest.approx(1)
            heights = points @ rotation(quat)[2] + height
            assert abs(heights.min()) < 1e-9 and (heights < 1e-4).sum() >= 3
        assert o.kind in found.kinds and o.kind in FAMILIES


def test_sets_hold_what_they_promise() -> None:
    assert SETS["primitives"].kinds == ("sphere", "cube", "cylinder") and len(SETS["primitives"]) == 60
    assert SETS["mixed"].kinds == ("sphere", "cube", "cylinder", "hull")
    assert (np.bincount(SETS["mixed"].kind_index) == 50).all()
    assert SETS["mixed"].max_parts == SETS["convex"].max_parts == 1
    training, holdout = {o.kind for o in SETS["procedural"].objects}, {o.kind for o in SETS["holdout"].objects}
    assert training == set(TRAINING_KINDS) and len(HOLDOUT_KINDS) >= 3
    assert set(HOLDOUT_KINDS) <= holdout and not training & set(HOLDOUT_KINDS)
    sizes = {tuple(np.round(o.half_extents, 9)) for o in SETS["procedural"].objects}
    assert not any(tuple(np.round(o.half_extents, 9)) in sizes for o in SETS["holdout"].objects)


def test_procedural_is_mostly_what_a_hand_can_hold() -> None:
    objects = SETS["procedural"].objects
    sides = 2 * np.array([o.half_extents for o in objects])
    mass = np.array([o.mass for o in objects])
    assert np.mean(sides[:, 1] <= 0.0901) > 0.83 and 0.02 < np.mean(sides[:, 1] > 0.1) < 0.1
    assert 0.005 < np.mean(sides[:, 1] > 0.11) < 0.05
    assert np.mean(sides[:, 0] > 0.15) > 0.15 and np.mean(sides[:, 0] < 0.08) > 0.15
    assert np.mean(mass > 0.03) > 0.6 and np.mean(mass > 0.5) < 0.05
    assert np.mean([len(o.parts) == 1 for o in objects]) > 0.5


def test_objects_hang_on_seed_and_index_alone() -> None:
    few, many, other = (generate(TRAINING_KINDS, n, s) for n, s in ((6, 9), (9, 9), (6, 10)))
    for a, b in zip(few, many):
        assert a.name == b.name and a.mass == b.mass
        assert all(np.array_equal(p, q) for p, q in zip(a.parts, b.parts))
        np.testing.assert_array_equal(a.rest_quat, b.rest_quat)
    assert [o.mass for o in few] != [o.mass for o in other]
    again = load_objects("procedural", count=3)
    assert [o.mass for o in again.objects] == [o.mass for o in SETS["procedural"].objects[:3]]
    assert [o.mass for o in load_objects("procedural", count=3, seed=1).objects] != [o.mass for o in again.objects]


def test_distance_is_exact_over_faces_and_a_bound_elsewhere() -> None:
    chosen = [o for k in ("cube", "hull", "mug", "angle") for o in SETS["procedural"].objects if o.kind == k][::13][:12]
    whole = SETS["procedural"]
    ids = [whole.objects.index(o) for o in chosen]
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (len(ids), 300, 3))
    found = distance(whole.tensors().faces[ids], torch.as_tensor(points, dtype=torch.float32)).numpy()
    exact_seen = 0
    for o, place, value in zip(chosen, points, found):
        true, inside, flat = np.full(300, np.inf), np.zeros(300, bool), np.zeros(300, bool)
        for part in o.parts:
            mesh = trimesh.convex.convex_hull(part)
            near, gap, triangle = trimesh.proximity.closest_point_naive(mesh, place)
            within = (place @ mesh.face_normals.T - (mesh.face_normals * mesh.triangles[:, 0]).sum(axis=1)).max(
                axis=1
            ) < 0
            over = np.abs(np.einsum("ij,ij->i", place - near, mesh.face_normals[triangle])) > gap - 1e-9
            closer = np.where(within, -gap, gap) < true
            flat = np.where(closer, over, flat)
            true = np.where(closer, np.where(within, -gap, gap), true)
            inside |= within
        assert ((value < 0) == inside).all()
        assert (value <= true + 1e-6).all()
        if len(o.parts) == 1:
            exact_seen += int((flat | inside).sum())
            np.testing.assert_allclose(value[flat | inside], true[flat | inside], atol=1e-6)
    assert exact_seen > 50


def test_tensors_are_the_objects() -> None:
    found = load_objects("holdout", count=60)
    t = found.tensors()
    for v, o in enumerate(found.objects):
        s = len(o.rest_prob)
        assert t.rest_prob[v, :s].sum() == pytest.approx(1, abs=1e-5) and (t.rest_prob[v, s:] == 0).all()
        points = np.concatenate(o.parts)
        tops = [(points @ rotation(q)[2]).max() + h for q, h in zip(o.rest_quat, o.rest_height)]
        np.testing.assert_allclose(t.rest_top[v, :s], tops, atol=1e-6)
        assert found.kinds[int(t.kind[v])] == o.kind
    assert t.friction.isnan().all() and t.rest_quat.norm(dim=2).allclose(torch.ones(()))
    # A vertex of a part is on the surface, or inside another part.
    for v, o in enumerate(found.objects):
        corners = torch.as_tensor(np.concatenate(o.parts), dtype=torch.float32)[None]
        gaps = distance(t.faces[v : v + 1], corners)
        assert (gaps < 1e-5).all() and (len(o.parts) > 1 or (gaps > -1e-5).all())
    assert found.tensors().faces.data_ptr() == t.faces.data_ptr(), "they are computed once"


def test_reduced_hull_keeps_the_shape() -> None:
    points = np.random.default_rng(0).normal(size=(2000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    reduced, error = reduce_hull(convex_hull(points), 48)
    faces = hull_faces(reduced)
    assert len(reduced.vertices) == 48
    assert error == pytest.approx((points @ faces.normals.T - faces.offsets).max())
    assert error < 0.12
    box = np.concatenate([box_points((1, 2, 3)), 0.9 * points[:500] * (1, 2, 3) / np.sqrt(3)])
    assert reduce_hull(convex_hull(box), 8)[1] == 0.0


def test_coplanar_triangles_are_one_face() -> None:
    assert len(hull_faces(convex_hull(box_points((1, 2, 3)))).offsets) == 6
    assert len(hull_faces(convex_hull(ball_points())).offsets) == 80


def test_merging_joins_what_belongs_together() -> None:
    halves = [box_points((0.01, 0.02, 0.02), (x, 0, 0)) for x in (-0.01, 0.01)]
    far = box_points((0.01, 0.01, 0.01), (0.2, 0, 0))
    merged = merged_parts([halves[0], far, halves[1]], limit=2)
    assert sorted(np.round(np.ptp(p, axis=0)[0], 9) for p in merged) == [0.02, 0.04]


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(ObjectError, match=r"primitives.*procedural.*directory"):
        load_objects("spheres")
    with pytest.raises(ObjectError, match="no shape family 'blob'"):
        generate(["blob"], 1, 0)
