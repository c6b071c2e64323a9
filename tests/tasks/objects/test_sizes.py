"""Copies of objects in other sizes: what building the larger shape itself gives."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from tasks.objects import ObjectSet, in_three_sizes, load_objects
from tasks.objects.build import build
from tasks.objects.sizes import scaled


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_copy_is_what_building_it_gives(factor: float) -> None:
    """From the larger parts, with their own volume and moments; and it stands on the plane in each of its poses."""
    for own in load_objects("mixed", count=4).objects:
        copy = scaled(own, factor)
        mass = own.mass * volume(copy.parts) / volume(own.parts)
        built = build(own.name, own.kind, [factor * part for part in own.parts], mass=mass)
        assert copy.mass == pytest.approx(mass, rel=1e-6)
        np.testing.assert_allclose(copy.com, built.com, atol=1e-6)
        np.testing.assert_allclose(np.linalg.eigvalsh(copy.inertia), np.linalg.eigvalsh(built.inertia), rtol=1e-4)
        np.testing.assert_allclose(np.sort(copy.half_extents), np.sort(built.half_extents), rtol=1e-6)
        for quat, height in zip(copy.rest_quat, copy.rest_height):
            upright = Rotation.from_quat(np.roll(quat, -1)).apply(np.concatenate(copy.parts))
            assert upright[:, 2].min() == pytest.approx(-height, abs=1e-6)


def volume(parts: tuple[np.ndarray, ...]) -> float:
    assert len(parts) == 1
    return float(ConvexHull(parts[0]).volume)


def test_the_first_objects_have_all_sizes() -> None:
    objects = load_objects("mixed", count=7)
    sized = in_three_sizes(objects, 0.1)
    assert len(sized) == 21 and sized.kinds == objects.kinds and len({o.name for o in sized.objects}) == 21
    lengths = np.array([own.half_extents[0] for own in objects.objects])
    found = np.array([o.half_extents[0] for o in sized.objects]).reshape(3, 7) / lengths
    assert sorted(Counter(found[0].round(6)).items()) == [(0.9, 3), (1.0, 2), (1.1, 2)]
    np.testing.assert_allclose(np.sort(found, axis=0), np.array([0.9, 1.0, 1.1])[:, None] * np.ones(7))
    assert in_three_sizes(objects, 0.0) is objects
    assert len(in_three_sizes(ObjectSet.of("one", objects.objects[:1]), 0.2)) == 3
