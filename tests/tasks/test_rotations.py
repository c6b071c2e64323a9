"""Quaternions against scipy, which writes them (x, y, z, w)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from tasks import rotations

COUNT = 500


def to_scipy(q: Tensor) -> Rotation:
    return Rotation.from_quat(q.double().numpy()[..., [1, 2, 3, 0]])


def same_rotation(q: Tensor, right: Rotation) -> None:
    """Equal up to the sign of all four."""
    mine, theirs = q.double().numpy(), right.as_quat()[..., [3, 0, 1, 2]]
    np.testing.assert_allclose(np.abs((mine * theirs).sum(-1)), 1.0, atol=1e-12)


@pytest.fixture
def quaternions() -> Tensor:
    return torch.from_numpy(Rotation.random(2 * COUNT, random_state=0).as_quat()[:, [3, 0, 1, 2]])


def test_multiply(quaternions: Tensor) -> None:
    a, b = quaternions.split(COUNT)
    same_rotation(rotations.multiply(a, b), to_scipy(a) * to_scipy(b))


def test_multiply_inverse(quaternions: Tensor) -> None:
    a, b = quaternions.split(COUNT)
    right = rotations.multiply(rotations.conjugate(a), b)
    torch.testing.assert_close(rotations.multiply_inverse(a, b), right, atol=1e-14, rtol=0.0)


def test_multiply_knows_the_units() -> None:
    one, i, j, k = torch.eye(4, dtype=torch.float64)
    for a, b, c in ((i, j, k), (j, k, i), (k, i, j), (j, i, -k), (i, i, -one), (one, k, k)):
        assert torch.equal(rotations.multiply(a, b), c)


def test_conjugate(quaternions: Tensor) -> None:
    same_rotation(rotations.conjugate(quaternions), to_scipy(quaternions).inv())


def test_rotate(quaternions: Tensor) -> None:
    v = torch.randn(2 * COUNT, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turn = to_scipy(quaternions)
    np.testing.assert_allclose(rotations.rotate(quaternions, v).numpy(), turn.apply(v.numpy()), atol=1e-12)
    np.testing.assert_allclose(
        rotations.rotate_inverse(quaternions, v).numpy(), turn.apply(v.numpy(), inverse=True), atol=1e-12
    )


def test_about_z() -> None:
    angle = torch.linspace(-7, 7, 29, dtype=torch.float64)
    same_rotation(rotations.about_z(angle), Rotation.from_euler("z", angle[:, None].numpy()))
    assert rotations.about_z(torch.zeros(2, 3)).shape == (2, 3, 4)


def test_canonical(quaternions: Tensor) -> None:
    q = rotations.canonical(quaternions)
    assert (q[:, 0] >= 0).all()
    same_rotation(q, to_scipy(quaternions))
    torch.testing.assert_close(rotations.canonical(-quaternions), q)
    half_turn = torch.tensor([0.0, 1.0, 0.0, 0.0])
    assert torch.equal(rotations.canonical(half_turn), half_turn)


def test_leading_dimensions_broadcast(quaternions: Tensor) -> None:
    q = quaternions[:6].view(2, 3, 4)
    v = torch.randn(2, 1, 3, dtype=torch.float64)
    assert rotations.rotate(q[:, :1], v).shape == (2, 1, 3)
    wide = rotations.rotate(q, v)
    assert wide.shape == (2, 3, 3)
    torch.testing.assert_close(wide[1, 2], rotations.rotate(q[1, 2], v[1, 0]))
    for product in (rotations.multiply, rotations.multiply_inverse):
        torch.testing.assert_close(product(q[:, :1], q)[1, 2], product(q[1, 0], q[1, 2]))


def test_float32_keeps_length_and_type(quaternions: Tensor) -> None:
    a, b = quaternions.float().split(COUNT)
    product = rotations.multiply(a, b)
    assert product.dtype == torch.float32
    torch.testing.assert_close(product.norm(dim=-1), torch.ones(COUNT), atol=1e-6, rtol=0.0)
