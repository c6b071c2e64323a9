"""The changes that benchmarks/robustness.py makes to a policy's world."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from views import NUM_OBS, SLICES

from ppo_grasp import ActorCritic, ActorCriticCfg
from tasks.objects import load_objects

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
import robustness
import steadiness


def test_a_masked_slice_is_at_its_mean_and_nothing_else_changes() -> None:
    policy = ActorCritic(ActorCriticCfg(num_obs=NUM_OBS, num_critic_obs=NUM_OBS, num_actions=24))
    policy.obs_normalizer.update(3 + 2 * torch.randn(1000, NUM_OBS))
    obs = 3 + 2 * torch.randn(7, NUM_OBS)
    at_mean = obs.clone()
    at_mean[:, SLICES["goal_pose"]] = policy.obs_normalizer.mean[SLICES["goal_pose"]]
    blind = robustness.seen_through(policy, robustness.masked("goal_pose"))
    torch.testing.assert_close(blind(obs), policy.act_deterministic(at_mean))
    assert not torch.equal(blind(obs), policy.act_deterministic(obs))


def test_a_late_policy_acts_on_what_it_saw_before() -> None:
    late = robustness.Delayed(lambda obs: 10 * obs, 2)
    seen = [float(late(torch.tensor([float(t)]))) for t in range(6)]
    assert seen == [0, 0, 0, 10, 20, 30]
    late.waiting.clear()
    assert float(late(torch.tensor([7.0]))) == 70


def test_a_late_policy_fit_for_a_graph_does_the_same() -> None:
    late = steadiness.Late(lambda obs: 10 * obs, 2)
    for _ in range(2):
        late.restart()
        assert [float(late(torch.tensor([float(t)]))) for t in range(7, 13)] == [70, 70, 70, 80, 90, 100]


def test_heavier_objects_are_heavier_in_proportion() -> None:
    objects = load_objects("mixed", count=3)
    for old, new in zip(objects.objects, robustness.heavier(objects, 4.0).objects):
        assert new.mass == pytest.approx(4 * old.mass)
        np.testing.assert_allclose(new.inertia, 4 * old.inertia)
        assert new.name == old.name
