"""The loss of the policy against the paper's formula, and its gradient against automatic differentiation, in float64."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np
import pytest
import torch
from torch import Tensor

from ppo_grasp.device.surrogate import bound_loss, clipped_surrogate, means_of_neighbours

B, A = 200, 5


@pytest.fixture
def inputs() -> List[Tensor]:
    """Means and stds, with gradients; actions, old log-probabilities and advantages; ratios far in and out of the clip range."""
    torch.manual_seed(0)
    mean, std = 0.3 * torch.randn(B, A).double(), 0.3 + torch.rand(A).double()
    actions = mean + std * torch.randn(B, A)
    old = torch.distributions.Normal(mean + 0.1 * torch.randn(B, A), std).log_prob(actions).sum(-1)
    advantages = torch.randn(B).double()
    advantages[::17] = 0.0
    return [mean.requires_grad_(), std.requires_grad_(), actions, old, advantages]


def by_the_paper(
    mean: Tensor, std: Tensor, actions: Tensor, old_log_prob: Tensor, advantages: Tensor
) -> Tuple[Tensor, Tensor]:
    """Schulman et al. 2017, eq. 7."""
    ratio = (torch.distributions.Normal(mean, std).log_prob(actions).sum(-1) - old_log_prob).exp()
    return -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean(), ratio


def test_loss_ratios_and_gradients_are_the_papers(inputs: List[Tensor]) -> None:
    expected, expected_ratio = by_the_paper(*inputs)
    loss, ratio = clipped_surrogate(*inputs, clip=0.2)  # type: ignore[misc,arg-type]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ratio, expected_ratio)
    outside = (ratio - 1.0).abs() > 0.2
    assert 0.2 < float(outside.double().mean()) < 0.8
    for a, b in zip(torch.autograd.grad(3.0 * loss, inputs[:2]), torch.autograd.grad(3.0 * expected, inputs[:2])):
        torch.testing.assert_close(a, b)


def test_a_sample_has_no_gradient_where_its_ratio_left_the_range_in_the_direction_of_its_advantage(
    inputs: List[Tensor],
) -> None:
    loss, ratio = clipped_surrogate(*inputs, clip=0.2)  # type: ignore[misc,arg-type]
    (gradient,) = torch.autograd.grad(loss, inputs[:1])
    advantages = inputs[4]
    gone = ((advantages > 0) & (ratio > 1.2)) | ((advantages < 0) & (ratio < 0.8)) | (advantages == 0)
    assert torch.equal((gradient == 0.0).all(-1), gone)
    assert 0 < int(gone.sum()) < B


def test_ratios_have_no_gradient(inputs: List[Tensor]) -> None:
    assert not clipped_surrogate(*inputs, clip=0.2)[1].requires_grad  # type: ignore[misc,arg-type]


def test_neighbours_do_not_reach_across_episodes() -> None:
    means = torch.arange(5.0)[:, None, None].expand(5, 3, 1).square()  # 0, 1, 4, 9, 16
    dones = torch.tensor([[0, 0, 0, 0, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 1]]).T > 0
    right = [[1, 2, 5, 10, 9], [1, 0, 9, 10, 9], [0, 1, 4, 9, 16]]
    assert means_of_neighbours(means, dones).squeeze(-1).T.tolist() == right
    broken = means.clone()
    broken[2, 0] = torch.nan
    found = means_of_neighbours(broken, dones).squeeze(-1).T
    assert found[0, [0, 1, 3, 4]].tolist() == [1, 0, 16, 9] and torch.isnan(found[0, 2])
    assert found[1:].tolist() == right[1:]


def test_the_smoothness_losses_gradient_is_half_of_that_of_all_pairs() -> None:
    """Where every step has two neighbours: but for the ends."""
    torch.manual_seed(0)
    means = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    (pairs,) = torch.autograd.grad((means[1:] - means[:-1]).square().sum(), means)
    dones = torch.zeros(6, 2, dtype=torch.bool)
    (mine,) = torch.autograd.grad((means - means_of_neighbours(means.detach(), dones)).square().sum(), means)
    torch.testing.assert_close(mine[1:-1], pairs[1:-1] / 2)


def test_bound_loss_pulls_back_only_what_is_beyond() -> None:
    torch.manual_seed(0)
    unbounded = (3 * torch.randn(50, 4)).double().requires_grad_()
    (gradient,) = torch.autograd.grad(bound_loss(unbounded, 1.5), unbounded)
    right = 2 * np.sign(unbounded.detach().numpy()) * np.maximum(np.abs(unbounded.detach().numpy()) - 1.5, 0) / 50
    np.testing.assert_allclose(gradient.numpy(), right, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x: bound_loss(x, 1.5), unbounded)
