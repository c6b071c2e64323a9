"""The twin in bfloat16 against torch.autocast."""

from __future__ import annotations

import torch

from ppo_grasp.actor_critic import ActorCritic, ActorCriticCfg
from ppo_grasp.precision import Bfloat16Twin


def test_its_numbers_and_gradients_are_those_of_autocast() -> None:
    torch.manual_seed(0)
    policy = ActorCritic(ActorCriticCfg(8, 16, 3, (32, 16), (24, 16)))
    twin = Bfloat16Twin(policy)
    with torch.no_grad():
        for x in policy.parameters():
            x.normal_().mul_(0.3)
    twin.follow()
    obs, critic_obs, weights = torch.randn(50, 8), torch.randn(50, 16), torch.randn(50, 3)
    with torch.autocast("cpu", torch.bfloat16):
        means, values = policy.mean_from_normalized(obs), policy.value_from_normalized(critic_obs)
    loss = (weights * means / policy.std).sum() + values.square().mean()
    *expected, std_grad = torch.autograd.grad(
        loss, [*policy.actor.parameters(), *policy.critic.parameters(), policy.std_logit]
    )

    net = twin.policy
    means_, values_ = net.mean_from_normalized(obs.bfloat16()), net.value_from_normalized(critic_obs.bfloat16())
    loss = (weights * means_ / policy.std).sum() + values_.square().mean()
    *grads, std_grad_ = torch.autograd.grad(loss, [*net.actor.parameters(), *net.critic.parameters(), policy.std_logit])
    for a, b in [(means_, means), (values_, values), (std_grad_, std_grad), *zip(twin.in_float32(grads), expected)]:
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_it_shares_all_but_the_towers_and_leaves_the_original_as_it_was() -> None:
    policy = ActorCritic(ActorCriticCfg(8, 16, 3, (32, 16), (24, 16)))
    twin = Bfloat16Twin(policy).policy
    assert twin.std_logit is policy.std_logit and twin.value_normalizer is policy.value_normalizer
    assert twin.obs_normalizer is policy.obs_normalizer and twin.critic_obs_normalizer is policy.critic_obs_normalizer
    assert twin.input_dtype == torch.bfloat16 and policy.input_dtype == torch.float32
    assert all(x.dtype == torch.float32 for x in policy.parameters())
