"""Advantages and discounted sums against plain float64 loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppo_grasp.rollout import RolloutBuffer, bootstrap_time_limits, discounted_sums, gae
from ppo_grasp.vec_task import Step

T, N = 12, 40


def random_rollout(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    ends = rng.random((T, N))
    return {
        "rewards": rng.normal(size=(T, N)),
        "values": rng.normal(size=(T, N)),
        "final_values": rng.normal(size=(T, N)),
        "last_value": rng.normal(size=N),
        "terminated": ends < 0.1,
        "truncated": (ends > 0.85),
    }


@pytest.mark.parametrize(("gamma", "lam"), [(0.98, 0.95), (1.0, 1.0), (0.9, 0.0)])
def test_gae_equals_a_plain_loop_over_each_environment(gamma: float, lam: float) -> None:
    r = random_rollout(seed=1)
    expected = np.zeros((T, N))
    for n in range(N):
        advantage = 0.0
        for t in reversed(range(T)):
            if r["terminated"][t, n]:
                after, advantage = 0.0, 0.0
            elif r["truncated"][t, n]:
                after, advantage = r["final_values"][t, n], 0.0
            else:
                after = r["last_value"][n] if t == T - 1 else r["values"][t + 1, n]
            advantage = r["rewards"][t, n] + gamma * after - r["values"][t, n] + gamma * lam * advantage
            expected[t, n] = advantage

    x = {name: torch.from_numpy(value) for name, value in r.items()}
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        rewards = bootstrap_time_limits(x["rewards"].to(dtype), x["truncated"], x["final_values"].to(dtype), gamma)
        dones = x["terminated"] | x["truncated"]
        result = gae(rewards, x["values"].to(dtype), dones, x["last_value"].to(dtype), gamma, lam)
        np.testing.assert_allclose(result.numpy(), expected, rtol=tolerance, atol=tolerance)


def test_a_final_value_that_is_not_finite_counts_only_at_a_time_limit() -> None:
    final = torch.tensor([[float("nan"), 2.0]])
    rewards = bootstrap_time_limits(torch.ones(1, 2), torch.tensor([[False, True]]), final, 0.5)
    assert rewards.tolist() == [[1.0, 2.0]]


def test_discounted_sums_run_on_over_rollouts_and_stop_at_ends() -> None:
    rng = np.random.default_rng(2)
    rewards, dones = rng.normal(size=(2 * T, N)), rng.random((2 * T, N)) < 0.2
    expected, running = [], np.zeros(N)
    for t in range(2 * T):
        running = rewards[t] + 0.9 * running
        expected.append(running)
        running = np.where(dones[t], 0.0, running)
    r, d = torch.from_numpy(rewards), torch.from_numpy(dones)
    first = discounted_sums(r[:T], d[:T], torch.zeros(N, dtype=torch.float64), 0.9)
    second = discounted_sums(r[T:], d[T:], first[-1], 0.9)
    np.testing.assert_allclose(torch.cat([first[:-1], second[:-1]]).numpy(), np.stack(expected), rtol=1e-12)


def test_the_buffer_keeps_copies_and_the_next_rollout_starts_where_the_last_ended() -> None:
    buffer = RolloutBuffer(2, 3, 1, 2, 1, torch.device("cpu"))
    buffer.restart(torch.full((3, 1), 7.0), torch.full((3, 2), 8.0))
    shared = torch.zeros(3, 1)
    no = torch.zeros(3, dtype=torch.bool)
    buffer.begin()
    for t in range(2):
        shared.fill_(t)  # a task may reuse what it returned
        buffer.record(t, shared, Step(shared, shared.expand(3, 2), shared[:, 0], no, ~no, shared.expand(3, 2) - 1))
    assert buffer.obs[:, 0, 0].tolist() == [7.0, 0.0, 1.0]
    assert buffer.critic_obs[:, 0, 1].tolist() == [8.0, 0.0, 1.0]
    assert buffer.actions[:, 0, 0].tolist() == buffer.rewards[:, 0].tolist() == [0.0, 1.0]
    assert buffer.final_critic_obs[:, 0, 0].tolist() == [-1.0, 0.0]
    assert buffer.truncated.all() and not buffer.terminated.any()
    buffer.begin()
    assert buffer.obs[0, 0, 0] == 1.0 and buffer.critic_obs[0, 0, 0] == 1.0
