"""The Gaussian against torch.distributions, and the promises of the networks."""

from __future__ import annotations

import math
from typing import List

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

from ppo_grasp.actor_critic import (
    ActorCritic,
    ActorCriticCfg,
    Linear,
    gaussian_entropy,
    gaussian_kl,
    gaussian_log_prob,
)


def small_cfg(**changes: object) -> ActorCriticCfg:
    settings = {"num_obs": 11, "num_critic_obs": 5, "num_actions": 3, "actor_hidden": (32, 16), "critic_hidden": (24,)}
    return ActorCriticCfg(**{**settings, **changes})  # type: ignore[arg-type]


def test_gaussian_equals_torch_distributions() -> None:
    torch.manual_seed(0)
    old_mean, new_mean, action = torch.randn(3, 64, 24).unbind()
    old_std, new_std = torch.rand(2, 24).add(0.05).unbind()
    old, new = (Independent(Normal(m, s.expand_as(m)), 1) for m, s in ((old_mean, old_std), (new_mean, new_std)))
    torch.testing.assert_close(gaussian_log_prob(action, new_mean, new_std), new.log_prob(action))
    torch.testing.assert_close(gaussian_kl(old_mean, old_std, new_mean, new_std), kl_divergence(old, new))
    torch.testing.assert_close(gaussian_entropy(new_std), new.entropy()[0])


@pytest.mark.parametrize("std", [0.02, 0.1, 1.0])
def test_kl_of_a_gaussian_to_itself_is_zero_and_small_ones_are_right_in_float32(std: float) -> None:
    mean, stds = torch.randn(8, 24), torch.full((24,), std)
    assert gaussian_kl(mean, stds, mean, stds).abs().max() < 1e-6
    shifted = gaussian_kl(torch.zeros(1, 24), stds, torch.full((1, 24), 0.01 * std), stds)
    assert float(shifted) == pytest.approx(24 * 0.5 * 1e-4, rel=1e-4)


def test_std_starts_where_asked_and_cannot_leave_its_range() -> None:
    policy = ActorCritic(small_cfg(init_std=0.6, min_std=0.1, max_std=1.0))
    torch.testing.assert_close(policy.std, torch.full((3,), 0.6))
    for logit in (-1e6, -5.0, 5.0, 1e6):
        policy.std_logit.data.fill_(logit)
        assert torch.all(policy.std >= 0.1 - 1e-6) and torch.all(policy.std <= 1.0 + 1e-6)
    with pytest.raises(ValueError, match="init_std"):
        ActorCritic(small_cfg(init_std=0.05))


def test_actions_have_the_stated_mean_and_std() -> None:
    torch.manual_seed(0)
    policy = ActorCritic(small_cfg())
    obs = torch.randn(1, 11).expand(100_000, 11)
    with torch.no_grad():
        actions, mean = policy.act(obs), policy.act_deterministic(obs[:1])
    torch.testing.assert_close(actions.mean(0), mean[0], atol=0.01, rtol=0)
    torch.testing.assert_close(actions.std(0), policy.std.detach(), atol=0.01, rtol=0)
    noise = torch.randn(4, 3)
    torch.testing.assert_close(policy.act(obs[:4], noise), mean + policy.std * noise)


def test_mean_is_bounded_and_starts_near_zero() -> None:
    policy = ActorCritic(small_cfg())
    obs = torch.randn(256, 11)
    assert policy(obs).abs().max() < 0.1
    output = policy.actor[-1]
    assert isinstance(output, nn.Linear)
    output.weight.data.mul_(1e6)
    assert policy(obs).abs().max() <= 1.0


def test_hidden_weights_are_orthogonal_with_gain_sqrt_2() -> None:
    policy = ActorCritic(small_cfg(actor_hidden=(32, 16)))
    first, second = (
        layer.weight.detach() for layer in policy.actor if isinstance(layer, nn.Linear) and layer.out_features > 3
    )
    torch.testing.assert_close(first[:, :11].T @ first[:, :11], 2.0 * torch.eye(11), atol=1e-5, rtol=0)
    torch.testing.assert_close(second @ second.T, 2.0 * torch.eye(16), atol=1e-5, rtol=0)


def test_networks_equal_their_formula_written_out() -> None:
    torch.manual_seed(0)
    policy = ActorCritic(small_cfg(actor_hidden=(32,), critic_hidden=(24,)))
    obs, critic_obs = 3.0 * torch.randn(64, 11) + 1.0, torch.randn(64, 5) - 4.0
    policy.obs_normalizer.update(obs)
    policy.critic_obs_normalizer.update(critic_obs)

    def through(tower: nn.Sequential, raw: torch.Tensor) -> torch.Tensor:
        x = ((raw - raw.mean(0)) / raw.std(0, correction=0)).clamp(-10, 10)
        hidden, output = tower[0], tower[2]
        assert isinstance(hidden, nn.Linear) and isinstance(output, nn.Linear)
        x = x @ hidden.weight[:, : x.shape[1]].T + hidden.bias
        x = torch.where(x > 0, x, torch.expm1(x))
        return x @ output.weight.T + output.bias

    torch.testing.assert_close(policy(obs), torch.tanh(through(policy.actor, obs)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(policy.value(critic_obs), through(policy.critic, critic_obs)[:, 0], atol=1e-5, rtol=1e-4)


def test_value_scale_goes_there_and_back() -> None:
    policy = ActorCritic(small_cfg())
    policy.value_normalizer.update(50.0 + 20.0 * torch.randn(1000, 1))
    assert float(policy.normalize_value(torch.tensor([50.0]))) == pytest.approx(0.0, abs=0.2)
    values = torch.randn(6, 4)
    torch.testing.assert_close(policy.normalize_value(policy.denormalize_value(values)), values, atol=1e-5, rtol=1e-5)


def test_padding_of_inputs_stays_without_effect() -> None:
    """Padded columns see zeros, so their weights get no gradient and keep their zero."""
    policy = ActorCritic(small_cfg())
    policy(torch.randn(9, 11)).sum().backward()
    layer = policy.actor[0]
    assert isinstance(layer, nn.Linear) and layer.in_features == 16 and layer.weight.grad is not None
    assert not layer.weight[:, 11:].any() and not layer.weight.grad[:, 11:].any()
    assert math.isfinite(float(layer.weight.grad.norm())) and layer.weight.grad[:, :11].any()


def test_linear_layers_have_the_gradients_of_torchs_own() -> None:
    torch.manual_seed(0)
    layer = Linear(5, 3).double()
    x, weights = torch.randn(40, 5).double().requires_grad_(), torch.randn(40, 3).double()
    inputs = [x, layer.weight, layer.bias]
    expected = torch.autograd.grad((weights * nn.functional.linear(*inputs)).sum(), inputs)
    for a, b in zip(torch.autograd.grad((weights * layer(x)).sum(), inputs), expected):
        torch.testing.assert_close(a, b)
    # A first layer gives no gradient to its input.
    of_parameters = torch.autograd.grad((weights * layer(x.detach())).sum(), inputs[1:])
    for a, b in zip(of_parameters, expected[1:]):
        torch.testing.assert_close(a, b)


def test_the_twin_in_bfloat16_has_the_numbers_and_gradients_of_autocast() -> None:
    torch.manual_seed(0)
    policy = ActorCritic(ActorCriticCfg(8, 16, 3, (32, 16), (24, 16)))
    with torch.no_grad():
        for x in policy.parameters():
            x.normal_().mul_(0.3)
    twin = policy.bfloat16_twin()
    obs, critic_obs, weights = torch.randn(50, 8), torch.randn(50, 16), torch.randn(50, 3)

    def found(net: ActorCritic, dtype: torch.dtype) -> List[Tensor]:
        means, values = net.mean_from_normalized(obs.to(dtype)), net.value_from_normalized(critic_obs.to(dtype))
        loss = (weights * means / net.std).sum() + values.square().mean()
        return [means, values, *torch.autograd.grad(loss, list(net.parameters()))]

    with torch.autocast("cpu", torch.bfloat16):
        expected = found(policy, torch.float32)
    for a, b in zip(found(twin, torch.bfloat16), expected):
        torch.testing.assert_close(a.float(), b, rtol=0, atol=0)


def test_the_twin_shares_all_but_the_towers_and_leaves_the_original_as_it_was() -> None:
    policy = ActorCritic(ActorCriticCfg(8, 16, 3, (32, 16), (24, 16)))
    twin = policy.bfloat16_twin()
    assert twin.std_logit is policy.std_logit and twin.value_normalizer is policy.value_normalizer
    assert twin.obs_normalizer is policy.obs_normalizer and twin.critic_obs_normalizer is policy.critic_obs_normalizer
    assert twin.input_dtype == torch.bfloat16 and policy.input_dtype == torch.float32
    assert all(x.dtype == torch.float32 for x in policy.parameters())
