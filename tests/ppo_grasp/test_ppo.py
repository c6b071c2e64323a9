"""The update against formulas written out in numpy, and its rules."""

from __future__ import annotations

import copy
import dataclasses
import math
from itertools import product
from typing import Any, Dict, List, Optional

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ppo_grasp.actor_critic import ActorCritic, ActorCriticCfg
from ppo_grasp.ppo import PPO, Batch, PPOCfg, adapt_learning_rate, clipping
from ppo_grasp.rollout import RolloutBuffer

T, N, OBS, CRITIC_OBS, ACTIONS = 8, 16, 6, 9, 2


def make_ppo(cfg: PPOCfg, seed: int = 0, **options: Any) -> PPO:
    torch.manual_seed(seed)
    policy = ActorCritic(ActorCriticCfg(OBS, CRITIC_OBS, ACTIONS, (32, 16), (32, 16)))
    return PPO(policy, cfg, N, **options)


def make_rollout(seed: int = 1) -> RolloutBuffer:
    torch.manual_seed(seed)
    rollout = RolloutBuffer(T, N, OBS, CRITIC_OBS, ACTIONS, torch.device("cpu"))
    for x in (rollout.obs, rollout.critic_obs, rollout.actions, rollout.rewards, rollout.final_critic_obs):
        x.normal_()
    ends = torch.rand(T, N)
    rollout.terminated.copy_(ends < 0.1)
    rollout.truncated.copy_(ends > 0.9)
    return rollout


def parameters(ppo: PPO) -> List[Tensor]:
    return [x.detach().clone() for x in ppo.policy.parameters()]


def stats_of(ppo: PPO, rollout: RolloutBuffer) -> Dict[str, float]:
    torch.manual_seed(7)
    return dict(zip(ppo.stat_names, ppo.update(rollout).tolist()))


def test_losses_equal_the_formulas_in_plain_numpy() -> None:
    ppo = make_ppo(PPOCfg(clip_value_loss=True, bound=0.001, bound_coef=300.0, smooth_coef=0.2))
    rng = np.random.default_rng(0)
    B = 64
    obs, critic_obs = rng.normal(size=(B, 8)), rng.normal(size=(B, 16))  # widths are padded to multiples of 8
    actions, old_mean = rng.normal(size=(B, ACTIONS)), 0.3 * rng.normal(size=(B, ACTIONS))
    old_std = np.array([0.5, 0.7])
    neighbours = 0.3 * rng.normal(size=(B, ACTIONS))
    advantages, returns, old_values = rng.normal(size=(3, B))

    def log_prob(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return np.sum(-0.5 * ((actions - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi), axis=1)

    def tensor(x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).float()

    old_log_prob = log_prob(old_mean, old_std)
    fields = (obs, critic_obs, actions, old_mean, old_log_prob, advantages, returns, old_values, neighbours)
    batch = Batch(*(tensor(x) for x in fields))
    loss, means, ratios = ppo._eager_actor_loss(batch, ppo.policy.std)
    stats = ppo._eager_actor_stats(batch, tensor(old_std), means, ppo.policy.std, ratios)
    value_loss = ppo._eager_critic_loss(batch)

    mean = ppo.policy.mean_from_normalized(batch.obs).detach().double().numpy()
    values = ppo.policy.value_from_normalized(batch.critic_obs).detach().double().numpy()
    std = ppo.policy.std.detach().double().numpy()
    ratio = np.exp(log_prob(mean, std) - old_log_prob)
    policy_loss = -np.mean(np.minimum(ratio * advantages, np.clip(ratio, 0.8, 1.2) * advantages))
    entropy = np.sum(0.5 * np.log(2 * np.pi * np.e * std**2))
    kl = np.sum(np.log(std / old_std) + (old_std**2 + (old_mean - mean) ** 2) / (2 * std**2) - 0.5, axis=1).mean()
    clipped = old_values + np.clip(values - old_values, -0.2, 0.2)
    clip_fraction = np.mean(np.abs(ratio - 1) > 0.2)

    assert 0.0 < clip_fraction < 1.0
    np.testing.assert_allclose(stats.numpy(), [entropy, kl, clip_fraction], rtol=2e-5)
    bound_loss = np.mean(np.sum(np.maximum(np.abs(np.arctanh(mean)) - 0.001, 0) ** 2, axis=1))
    smooth_loss = np.mean(np.sum((mean - neighbours) ** 2, axis=1))
    assert 300.0 * bound_loss > 1e-3
    np.testing.assert_allclose(loss.item(), policy_loss + 300.0 * bound_loss + 0.2 * smooth_loss, rtol=2e-5)
    expected = np.mean(np.maximum((values - returns) ** 2, (clipped - returns) ** 2))
    np.testing.assert_allclose(value_loss.item(), expected, rtol=2e-5)


def smoothness(means: Tensor, dones: Tensor) -> Tensor:
    """Step by step: the squared difference to the mean of the neighbours that are of the same episode, as they were."""
    fixed, losses = means.detach(), []
    for t, n in product(range(len(means)), range(means.shape[1])):
        near = [fixed[t - 1, n]] if t > 0 and not dones[t - 1, n] else []
        near += [fixed[t + 1, n]] if t + 1 < len(means) and not dones[t, n] else []
        target = sum(near) / len(near) if near else fixed[t, n]
        losses.append((means[t, n] - target).square().sum())
    return torch.stack(losses).mean()


def test_a_whole_update_equals_one_written_with_plain_torch() -> None:
    """One epoch, one minibatch: float64 autograd, torch's own clipping and unfused Adam must move parameters alike."""
    cfg = PPOCfg(
        num_epochs=1,
        minibatch_size=T * N,
        learning_rate=1e-2,
        gamma=0.9,
        lam=0.8,
        desired_kl=None,
        entropy_coef=0.1,
        value_coef=0.7,
        max_grad_norm=0.5,
        bound_coef=0.0,
        smooth_coef=0.3,
    )
    ppo, rollout = make_ppo(cfg), make_rollout()
    policy = copy.deepcopy(ppo.policy).double()
    before = parameters(ppo)
    ppo.update(rollout)

    obs, critic_obs, final = (x.double() for x in (rollout.obs, rollout.critic_obs, rollout.final_critic_obs))
    actions, rewards = rollout.actions.double(), rollout.rewards.double()
    with torch.no_grad():
        values, final_values = policy.value(critic_obs), policy.value(final)
        advantages, running = torch.zeros(T, N).double(), torch.zeros(N).double()
        for t in reversed(range(T)):
            after = torch.where(rollout.truncated[t], final_values[t], values[t + 1]) * ~rollout.terminated[t]
            ended = rollout.terminated[t] | rollout.truncated[t]
            running = rewards[t] + 0.9 * after - values[t] + 0.9 * 0.8 * torch.where(ended, 0.0, running)
            advantages[t] = running
        returns = advantages + values[:T]
        advantages = (advantages - advantages.mean()) / advantages.std()
    distribution = torch.distributions.Normal(policy(obs[:T]), policy.std)
    log_prob = distribution.log_prob(actions).sum(-1)
    ratio = (log_prob - log_prob.detach()).exp()
    bonus = 0.1 * distribution.entropy().sum(-1).mean()
    loss = -(ratio * advantages).mean() - bonus + 0.7 * (policy.value(critic_obs[:T]) - returns).square().mean()
    loss = loss + 0.3 * smoothness(distribution.mean, rollout.terminated | rollout.truncated)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
    optimizer.step()
    for expected, x in zip(policy.parameters(), parameters(ppo)):
        # Adam's first step is the sign of the gradient: where that is rounding noise, so is the sign.
        clear = expected.grad is not None and expected.grad.abs() > 1e-6
        torch.testing.assert_close(x[clear], expected.detach().float()[clear], atol=2e-5, rtol=1e-4)
    assert any(not torch.equal(a, b) for a, b in zip(before, parameters(ppo)))


def test_one_update_improves_what_it_is_told_to() -> None:
    """Advantages that reward the first action component move its mean up."""
    cfg = PPOCfg(num_epochs=3, minibatch_size=64, gamma=0.0, learning_rate=1e-3)
    ppo, rollout = make_ppo(cfg), make_rollout()
    rollout.rewards.copy_(rollout.actions[..., 0])
    before = ppo.policy(rollout.obs).detach()
    ppo.update(rollout)
    change = (ppo.policy(rollout.obs).detach() - before).mean((0, 1))
    assert change[0] > 0.005 and change[0] > 3 * change[1].abs()


@pytest.mark.parametrize("where", ["rewards", "obs"])
def test_a_step_with_a_gradient_that_is_not_finite_is_skipped_and_counted(where: str) -> None:
    cfg = PPOCfg(num_epochs=2, minibatch_size=64)
    ppo, rollout = make_ppo(cfg), make_rollout()
    good = stats_of(ppo, rollout)
    assert good["nonfinite_steps"] == 0
    before, moments = parameters(ppo), copy.deepcopy(ppo.optimizer.state_dict()["state"])
    getattr(rollout, where)[2, 3] = float("nan")
    lr = float(ppo.learning_rate)
    ppo.cfg.normalize_advantage = where == "rewards"
    bad = stats_of(ppo, rollout)
    if where == "rewards":  # normalisation spreads it over all samples
        assert bad["nonfinite_steps"] == 4
        assert all(torch.equal(a, b) for a, b in zip(before, parameters(ppo)))
        for i, state in moments.items():
            for name, x in state.items():
                assert torch.equal(ppo.optimizer.state_dict()["state"][i][name], x)
        rollout.rewards[2, 3] = 0.0
        assert stats_of(ppo, rollout)["nonfinite_steps"] == 0
        assert any(not torch.equal(a, b) for a, b in zip(before, parameters(ppo)))
    else:  # the sample is in one minibatch of each epoch
        assert bad["nonfinite_steps"] == 2
        assert all(torch.isfinite(x).all() for x in parameters(ppo))
        assert any(not torch.equal(a, b) for a, b in zip(before, parameters(ppo)))
    assert math.isfinite(float(ppo.learning_rate)) and float(ppo.learning_rate) >= lr / 1.5**2


def test_steps_stop_once_kl_has_passed_its_limit() -> None:
    cfg = PPOCfg(num_epochs=5, minibatch_size=32, learning_rate=0.1, desired_kl=None, max_kl=0.05)
    stopped = stats_of(make_ppo(cfg), make_rollout())
    assert 0 < stopped["kl_stopped_steps"] < 20 and stopped["nonfinite_steps"] == 0
    free = stats_of(make_ppo(dataclasses.replace(cfg, max_kl=None)), make_rollout())
    assert free["kl_stopped_steps"] == 0 and free["kl"] > stopped["kl"]


@pytest.mark.parametrize(
    ("kl", "factor"),
    [(0.0, 1.5), (0.004, 1.5), (0.006, 1.0), (0.019, 1.0), (0.021, 1 / 1.5), (math.inf, 1 / 1.5), (math.nan, 1.0)],
)
def test_learning_rate_rule(kl: float, factor: float) -> None:
    result = adapt_learning_rate(torch.tensor(3e-4), torch.tensor(kl), desired_kl=0.01)
    assert float(result) == pytest.approx(3e-4 * factor)


def test_learning_rate_stays_within_its_limits_and_in_the_optimiser() -> None:
    for desired, expected in ((1e9, 5e-4), (1e-9, 2e-4)):
        ppo = make_ppo(PPOCfg(desired_kl=desired, min_learning_rate=2e-4, max_learning_rate=5e-4, max_kl=None))
        tensor = ppo.optimizer.learning_rate
        stats = stats_of(ppo, make_rollout())
        assert ppo.optimizer.learning_rate is tensor is ppo.learning_rate
        assert stats["learning_rate"] == pytest.approx(expected) == float(tensor)
    ppo = make_ppo(PPOCfg(desired_kl=None, learning_rate=7e-4))
    assert stats_of(ppo, make_rollout())["learning_rate"] == pytest.approx(7e-4)


def test_the_ceiling_of_the_learning_rate_falls_late() -> None:
    cfg = PPOCfg(desired_kl=1e9, min_learning_rate=1e-5, max_learning_rate=1e-3, max_kl=None, anneal_from=0.5)
    ppo = make_ppo(cfg)
    for progress, ceiling in ((0.0, 1e-3), (0.5, 1e-3), (0.75, 1e-4), (1.0, 1e-5), (1.2, 1e-5)):
        ppo.learning_rate.fill_(5e-4)
        ppo.set_progress(progress)
        assert stats_of(ppo, make_rollout())["learning_rate"] == pytest.approx(ceiling, rel=1e-5)
    never = make_ppo(dataclasses.replace(cfg, anneal_from=1.0))
    never.set_progress(1.0)
    assert stats_of(never, make_rollout())["learning_rate"] == pytest.approx(1e-3)


@pytest.mark.parametrize(("minibatch_size", "steps"), [(10**6, 1), (128, 1), (60, 2), (50, 3), (1, 128)])
def test_any_minibatch_size_gives_equal_whole_minibatches(minibatch_size: int, steps: int) -> None:
    ppo = make_ppo(PPOCfg(num_epochs=1, minibatch_size=minibatch_size))
    sizes = []
    original = ppo._actor_loss
    ppo._actor_loss = lambda batch, std: (sizes.append(len(batch.obs)), original(batch, std))[1]  # type: ignore[func-returns-value]
    ppo.update(make_rollout())
    assert sizes == [T * N // steps] * steps


def test_each_epoch_visits_each_sample_once_in_another_order() -> None:
    ppo = make_ppo(PPOCfg(num_epochs=2, minibatch_size=32))
    seen = []
    original = ppo._actor_loss
    ppo._actor_loss = lambda batch, std: (seen.append(batch.actions), original(batch, std))[1]  # type: ignore[func-returns-value]
    rollout = make_rollout()
    ppo.update(rollout)
    first, second = torch.cat(seen[:4])[:, 0], torch.cat(seen[4:])[:, 0]
    assert not torch.equal(first, second)
    for epoch in (first, second):
        assert torch.equal(epoch.sort().values, rollout.actions[..., 0].flatten().sort().values)


def test_normalisers_see_the_rollout_only_after_the_gradient_steps() -> None:
    ppo, rollout = make_ppo(PPOCfg(num_epochs=1, minibatch_size=64)), make_rollout()
    counts = []
    original = ppo._actor_loss
    ppo._actor_loss = lambda b, s: (counts.append(float(ppo.policy.obs_normalizer.count)), original(b, s))[1]  # type: ignore[func-returns-value]
    ppo.update(rollout)
    ppo.update(rollout)
    assert counts == [0.0, 0.0, T * N, T * N]
    assert float(ppo.policy.value_normalizer.count) == 2 * T * N
    torch.testing.assert_close(ppo.policy.obs_normalizer.mean, rollout.obs[:-1].mean((0, 1)))


def test_warm_up_moves_statistics_and_no_parameter() -> None:
    ppo, rollout = make_ppo(PPOCfg(normalize_reward=True)), make_rollout()
    before = parameters(ppo)
    ppo.warm_up(rollout)
    assert all(torch.equal(a, b) for a, b in zip(before, parameters(ppo)))
    normalizers = (ppo.policy.obs_normalizer, ppo.policy.critic_obs_normalizer, ppo.policy.value_normalizer)
    for normalizer in (*normalizers, ppo.reward_normalizer):
        assert float(normalizer.count) == T * N


def test_normalised_rewards_do_not_care_about_the_scale_of_rewards() -> None:
    results = []
    for scale in (1.0, 1000.0):
        ppo, rollout = make_ppo(PPOCfg(normalize_reward=True, minibatch_size=64)), make_rollout()
        rollout.rewards.mul_(scale)
        ppo.warm_up(rollout)
        ppo.policy.value_normalizer = copy.deepcopy(make_ppo(PPOCfg()).policy.value_normalizer)
        torch.manual_seed(3)
        ppo.update(rollout)
        results.append(parameters(ppo))
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_clipping_equals_torch() -> None:
    torch.manual_seed(0)
    for length in (0.1, 30.0):
        x = torch.nn.Parameter(torch.randn(40))
        x.grad = length * torch.nn.functional.normalize(torch.randn(40), dim=0)
        mine = x.grad / clipping(torch.linalg.vector_norm(x.grad), 1.0)
        torch.nn.utils.clip_grad_norm_([x], 1.0)
        torch.testing.assert_close(mine, x.grad)
        assert float(mine.norm()) == pytest.approx(min(length, 1.0), rel=1e-5)


def _no_cpp_compiler(error: Optional[BaseException]) -> bool:
    """Whether it, or what caused it, is that this machine compiles no C++; what torch.compile itself objects to is not."""
    while error is not None:
        if type(error).__name__ in ("InvalidCxxCompiler", "CppCompileError"):
            return True
        error = error.__cause__ or error.__context__
    return False


def test_compiled_update_equals_eager() -> None:
    cfg = PPOCfg(num_epochs=2, minibatch_size=64)
    eager, compiled, rollout = make_ppo(cfg), make_ppo(cfg, compile_losses=True), make_rollout()
    try:
        result = stats_of(compiled, rollout)
    except Exception as error:
        if not _no_cpp_compiler(error):
            raise
        pytest.skip(f"no compiler works here: {str(error).splitlines()[0]}")
    expected = stats_of(eager, rollout)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    for a, b in zip(parameters(eager), parameters(compiled)):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3)


def test_amp_keeps_parameters_float32_and_stays_near_float32() -> None:
    cfg = PPOCfg(num_epochs=1, minibatch_size=64)
    plain, amp, rollout = make_ppo(cfg), make_ppo(cfg, amp=True), make_rollout()
    a, b = stats_of(plain, rollout), stats_of(amp, rollout)
    assert all(x.dtype == torch.float32 for x in amp.policy.parameters())
    assert a["value_loss"] != b["value_loss"]  # it did run in bfloat16
    assert b["value_loss"] == pytest.approx(a["value_loss"], rel=0.02)
    assert b["kl"] == pytest.approx(a["kl"], abs=2e-3)


def test_the_twin_in_bfloat16_follows_each_gradient_step_and_each_change_from_outside() -> None:
    cfg = PPOCfg(num_epochs=2, minibatch_size=64, learning_rate=1e-2)
    ppo, rollout = make_ppo(cfg, amp=True), make_rollout()
    kl = stats_of(make_ppo(cfg), rollout)["kl"]
    assert stats_of(ppo, rollout)["kl"] == pytest.approx(kl, rel=0.05), "later steps see what the first ones changed"
    twin = ppo._learner

    def assert_equal() -> None:
        for tower, copied in ((ppo.policy.actor, twin.actor), (ppo.policy.critic, twin.critic)):
            for x, y in zip(tower.parameters(), copied.parameters()):
                assert torch.equal(x.bfloat16(), y)

    assert_equal()
    with torch.no_grad():
        for x in ppo.policy.parameters():
            x.normal_()
    ppo.warm_up(rollout)
    assert_equal()


class NoHostReads(TorchDispatchMode):
    """Raises on operations that on a GPU make the host wait, or have shapes that depend on values."""

    forbidden = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "is_nonzero")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in self.forbidden, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("cfg", [PPOCfg(), PPOCfg.recipe(), PPOCfg(kl_rule="minibatch", clip_value_loss=True)])
def test_an_update_reads_nothing_back(cfg: PPOCfg) -> None:
    ppo, rollout = make_ppo(cfg), make_rollout()
    with NoHostReads():
        ppo.warm_up(rollout)
        ppo.update(rollout)
    with pytest.raises(AssertionError, match="waits"), NoHostReads():
        rollout.rewards.max().item()


def test_recipe_is_the_published_one() -> None:
    cfg = PPOCfg.recipe()
    published = (3e-4, 16, 2048, 5, 0.99, 0.95, 0.2, 0.0, 1.0, 1.0, True, 10.0)
    ours = (cfg.learning_rate, cfg.num_steps, cfg.minibatch_size, cfg.num_epochs, cfg.gamma, cfg.lam, cfg.clip)
    assert (
        *ours,
        cfg.entropy_coef,
        cfg.value_coef,
        cfg.max_grad_norm,
        cfg.normalize_reward,
        cfg.reward_clip,
    ) == published
