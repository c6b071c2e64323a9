"""The skin of a hand: closed meshes that lie on what its links collide as, for hands of all kinds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import mujoco
import numpy as np
import pytest
import trimesh
from three_fingers import THREE_FINGERS

from tasks.hands import HandSpec, get_hand
from tasks.viewing import look
from tasks.viewing.skin import SkinPart, hand_skin
from tasks.viewing.skin.solids import Solid, box, drum, ellipsoid, geom_solid, union
from tasks.viewing.skin.surface import mesh

HANDS = [get_hand(name) for name in ("shadow", "allegro", "leap")] + [THREE_FINGERS]


def as_mesh(part: SkinPart) -> trimesh.Trimesh:
    return trimesh.Trimesh(part.points, part.faces, process=False)


def is_closed(faces: np.ndarray) -> bool:
    """Whether each edge of a triangle is met by one that goes the other way."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return Counter(map(tuple, edges.tolist())) == Counter(map(tuple, edges[:, ::-1].tolist()))


@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.name)
def test_every_link_has_a_closed_skin(hand: HandSpec) -> None:
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    collides = [g for g in range(model.ngeom) if model.geom_contype[g] or model.geom_conaffinity[g]]
    skin = hand_skin(hand)
    assert {part.body for part in skin} == {model.body(int(model.geom_bodyid[g])).name for g in collides}
    assert {part.body for part in skin if part.kind == "tip"} == set(hand.fingertip_bodies)
    for part in skin:
        found = as_mesh(part)
        assert is_closed(part.faces) and found.volume > 0, part.body
        corners = part.normals[part.faces].mean(axis=1)
        assert (np.einsum("ij,ij->i", corners, found.face_normals) > 0).mean() > 0.97, "normals point outwards"
    assert sum(len(part.faces) for part in skin) < 80_000


def test_skin_lies_on_capsules() -> None:
    """Away from joints, and but for pad and seam, each point is the capsule's radius from its axis: a formula in float64."""
    hand = get_hand("shadow")
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    capsule = model.geom("mf_proximal")
    radius, half = capsule.size[:2]
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, capsule.quat)
    (shell,) = [part for part in hand_skin(hand) if part.body == "mf_proximal" and part.kind == "link"]
    own = (shell.points - capsule.pos) @ turn.reshape(3, 3)
    middle = np.abs(own[:, 2]) < 0.5 * half
    assert middle.sum() > 100
    np.testing.assert_allclose(np.hypot(own[middle, 0], own[middle, 1]), radius, atol=1e-5)
    assert np.abs(own[:, 2]).max() < half + radius + 1e-5, "it looks out nowhere"


def test_distances_of_solids() -> None:
    """Against trimesh: which points are inside, and how far those are that lie on no edge."""
    random = np.random.default_rng(0)
    points = random.uniform(-0.04, 0.04, (3000, 3))
    half = np.array([0.03, 0.02, 0.01])
    mesh_of_box = trimesh.creation.box(2 * half)
    _, gaps, _ = trimesh.proximity.closest_point_naive(mesh_of_box, points)
    found = box(points, half, 0.0)
    np.testing.assert_allclose(np.abs(found), gaps, atol=1e-9)
    np.testing.assert_array_equal(found < 0, (np.abs(points) < half).all(axis=1))
    rounded = box(points, half, 0.004)
    flat = (np.abs(points[:, :2]) < half[:2] - 0.004).all(axis=1) & (np.abs(points[:, 2]) > half[2])
    np.testing.assert_allclose(rounded[flat], found[flat], atol=1e-12)
    assert (rounded >= found - 1e-12).all()
    inner = drum(points, 0.02, 0.01, 0.0)
    np.testing.assert_array_equal(
        inner < 0, (np.hypot(points[:, 0], points[:, 1]) < 0.02) & (np.abs(points[:, 2]) < 0.01)
    )
    np.testing.assert_array_equal(ellipsoid(points, half) < 0, ((points / half) ** 2).sum(-1) < 1)


def test_a_mesh_geom_has_a_skin(tmp_path: Path) -> None:
    """Rounded, but with the size of its hull and where the geom is."""
    trimesh.creation.box((0.04, 0.03, 0.02)).export(tmp_path / "brick.stl")
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><asset><mesh name="b" file="{tmp_path}/brick.stl"/></asset><worldbody><body>'
        '<geom type="mesh" mesh="b" pos="0.1 0 0"/></body></worldbody></mujoco>'
    )
    points, _, _ = mesh(geom_solid(model, 0), 0.002)
    np.testing.assert_allclose(points.max(axis=0) - points.min(axis=0), [0.04, 0.03, 0.02], atol=1.5e-3)
    np.testing.assert_allclose(points.mean(axis=0), [0.1, 0, 0], atol=5e-4)


def test_a_surface_is_where_the_solid_ends() -> None:
    """A ball: the area and the volume of the formulas, and exact normals."""
    ball = Solid(lambda p: np.linalg.norm(p, axis=-1) - 0.02, np.full(3, -0.02), np.full(3, 0.02), 0.02)
    points, normals, faces = mesh(ball, 0.002)
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 0.02, atol=1e-7)
    np.testing.assert_allclose(normals, points / 0.02, atol=1e-4)
    found = trimesh.Trimesh(points, faces, process=False)
    assert found.area == pytest.approx(4 * np.pi * 0.02**2, rel=0.01)
    assert found.volume == pytest.approx(4 / 3 * np.pi * 0.02**3, rel=0.01)
    pair = union([ball, Solid(lambda p: ball.distance(p - 0.015), ball.low + 0.015, ball.high + 0.015, 0.02)], 0.01)
    assert trimesh.Trimesh(*mesh(pair, 0.002)[::2], process=False).euler_number == 2, "one piece without holes"


def test_the_goal_is_three_rings() -> None:
    points, normals, faces = look.rings()
    found = trimesh.Trimesh(points, faces, process=False)
    assert found.is_watertight and found.volume > 0
    rings = found.split(only_watertight=True)
    assert len(rings) == 3 and all(ring.euler_number == 0 for ring in rings)
    distance = np.linalg.norm(points, axis=-1)
    assert np.abs(distance - look.GOAL_RADIUS).max() <= look.GOAL_WIRE + 1e-9
    assert (np.einsum("ij,ij->i", normals[faces].mean(axis=1), found.face_normals) > 0).all()


@pytest.mark.parametrize("count", [1, 2, 4, 7, 16])
def test_places_keep_their_distance(count: int) -> None:
    places = look.places(count)
    assert places.shape == (count, 2)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + 10 * np.eye(count)
    assert gaps.min() > 0.3
    assert np.abs(places).max() < look.SPACING * count**0.5
    towards = np.array([np.cos(np.radians(look.AZIMUTH)), np.sin(np.radians(look.AZIMUTH))])
    assert count < 3 or places[0] @ towards > places[-1] @ towards, "the first row is the furthest"
