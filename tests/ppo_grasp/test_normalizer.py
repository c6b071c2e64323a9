"""The running normaliser against numpy on all data at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppo_grasp.normalizer import RunningNormalizer


def test_moments_equal_those_of_all_data_at_once() -> None:
    rng = np.random.default_rng(0)
    batches = [rng.normal(loc=k, scale=1 + k, size=(7 + 5 * k, 3, 4)).astype(np.float32) for k in range(5)]
    normalizer = RunningNormalizer(4)
    for batch in batches:
        normalizer.update(torch.from_numpy(batch))
    data = np.concatenate([batch.reshape(-1, 4) for batch in batches]).astype(np.float64)

    assert float(normalizer.count) == len(data)
    np.testing.assert_allclose(normalizer.moment_mean.numpy(), data.mean(0), rtol=1e-12)
    np.testing.assert_allclose(normalizer.moment_var.numpy(), data.var(0), rtol=1e-12)
    x = torch.from_numpy(batches[2])
    expected = (batches[2] - data.mean(0)) / data.std(0)
    np.testing.assert_allclose(normalizer(x).numpy(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(normalizer.denormalize(normalizer(x)), x)


def test_variance_survives_a_large_offset_and_many_batches() -> None:
    torch.manual_seed(0)
    noise = torch.randint(-8, 9, (400, 512, 1)).float() / 4.0
    normalizer = RunningNormalizer(1)
    for batch in noise + 1e5:  # quarters are exact in float32 up to 2**22
        normalizer.update(batch)
    assert float(normalizer.moment_var) == pytest.approx(float(noise.double().var(correction=0)), rel=1e-9)


def test_is_the_identity_before_any_data_and_clips_after() -> None:
    normalizer = RunningNormalizer(2, clip=10.0)
    x = torch.tensor([[3.0, -7.0]])
    torch.testing.assert_close(normalizer(x), x)
    normalizer.update(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    torch.testing.assert_close(
        normalizer(torch.tensor([[2.0, 0.0], [99.0, -99.0]])), torch.tensor([[2.0, 0.0], [10.0, -10.0]])
    )


def test_a_feature_that_never_varied_is_not_magnified_and_one_that_hardly_did_is_at_most_by_ten_thousand() -> None:
    normalizer = RunningNormalizer(3)
    normalizer.update(torch.tensor([[0.0, 0.7, 1e-7], [0.0, 0.7, -1e-7]]).repeat(50, 1))
    x = torch.tensor([[0.02, 0.72, 1e-4]])
    torch.testing.assert_close(normalizer(x), torch.tensor([[0.02, 0.02, 1.0]]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(normalizer.denormalize(normalizer(x)), x)


def test_a_batch_that_is_not_finite_is_left_out() -> None:
    normalizer = RunningNormalizer(2)
    normalizer.update(torch.randn(50, 2))
    before = {name: x.clone() for name, x in normalizer.state_dict().items()}
    for poison in (float("nan"), float("inf")):
        normalizer.update(torch.tensor([[0.0, 1.0], [poison, 2.0]]))
    for name, x in normalizer.state_dict().items():
        assert torch.equal(x, before[name]), name


def test_buffers_keep_their_address() -> None:
    normalizer = RunningNormalizer(3)
    before = {name: x.data_ptr() for name, x in normalizer.named_buffers()}
    normalizer.update(torch.randn(20, 3))
    assert {name: x.data_ptr() for name, x in normalizer.named_buffers()} == before
