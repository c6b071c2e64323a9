"""The recipe's PPO against stable-baselines3 itself: the same task, weights, noise and minibatches must give the same policy."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import torch
from double_integrator import REACH, DoubleIntegrator
from torch import Tensor, nn

from ppo_grasp import ActorCritic, ActorCriticCfg, PPOCfg, Step, Trainer, TrainerCfg
from ppo_grasp.actor_critic import pad
from ppo_grasp.ppo import PPO
from ppo_grasp.rollout import bootstrap_time_limits, gae

pytest.importorskip("gymnasium")
sb3 = pytest.importorskip("stable_baselines3")
from stable_baselines3.common.buffers import RolloutBuffer as TheirBuffer  # noqa: E402
from stable_baselines3.common.distributions import DiagGaussianDistribution  # noqa: E402
from stable_baselines3.common.vec_env import VecNormalize  # noqa: E402

from ppo_grasp.adapters.stable_baselines3 import VecEnv  # noqa: E402

T, N, LIMIT, WIDTHS = 16, 8, 7, [16, 12]


class Track(DoubleIntegrator):
    """Episodes end by a time limit, each environment at another step, or where the mass leaves the track.  Nothing is drawn.

    wild: rewards and observations now and then are far from all others.
    """

    def __init__(self, wild: bool = False) -> None:
        super().__init__(N, LIMIT, rest_every_limit=True)
        self.wild, self.steps = wild, 0

    def reset(self) -> Tuple[Tensor, Tensor]:
        super().reset()
        self.age.copy_(torch.arange(N) % LIMIT)
        return self.state, self._critic_obs(self.state)

    def step(self, action: Tensor) -> Step:
        step = super().step(action)
        left = (step.final_critic_obs[:, 0].abs() > 0.9 * REACH) & ~step.truncated
        self.state.copy_(torch.where(left[:, None], 0.1 * self._starts(), self.state))
        self.age.mul_(~left)
        self.steps += 1
        if self.wild and self.steps % 5 == 0:
            self.state[self.steps % N] *= 1e4
            step.reward[self.steps % N] *= 1e4
        return step._replace(obs=self.state, critic_obs=self._critic_obs(self.state), terminated=left)


def network() -> ActorCriticCfg:
    return ActorCriticCfg(
        actor_hidden=tuple(WIDTHS), critic_hidden=tuple(WIDTHS), distribution="gaussian", init_std=1.0
    )


def recipe() -> PPOCfg:
    return dataclasses.replace(
        PPOCfg.recipe(), num_steps=T, minibatch_size=32, num_epochs=3, entropy_coef=0.01, learning_rate=3e-3
    )


def theirs(env: Any, cfg: PPOCfg) -> Any:
    return sb3.PPO(
        "MlpPolicy",
        env,
        learning_rate=cfg.learning_rate,
        n_steps=cfg.num_steps,
        batch_size=cfg.minibatch_size,
        n_epochs=cfg.num_epochs,
        gamma=cfg.gamma,
        gae_lambda=cfg.lam,
        clip_range=cfg.clip,
        ent_coef=cfg.entropy_coef,
        vf_coef=cfg.value_coef,
        max_grad_norm=cfg.max_grad_norm,
        policy_kwargs={"net_arch": {"pi": WIDTHS, "vf": WIDTHS}, "activation_fn": nn.ELU},
        device="cpu",
    )


def layers(policy: Any) -> Dict[str, List[Any]]:
    """The linear layers of their policy."""
    towers = {"actor": policy.mlp_extractor.policy_net, "critic": policy.mlp_extractor.value_net}
    heads = {"actor": policy.action_net, "critic": policy.value_net}
    return {name: [*(x for x in tower if isinstance(x, nn.Linear)), heads[name]] for name, tower in towers.items()}


def parameters(policy: ActorCritic) -> Dict[str, Tensor]:
    """Ours by name, without the columns that pad the input."""
    found = {"std": policy.std_logit.detach().clone()}
    for name in ("actor", "critic"):
        for i, layer in enumerate(x for x in getattr(policy, name) if isinstance(x, nn.Linear)):
            weight = layer.weight.detach().clone()
            found[f"{name} {i}"] = torch.cat([weight[:, :2] if i == 0 else weight, layer.bias.detach()[:, None]], 1)
    return found


def parameters_of_theirs(policy: Any) -> Dict[str, Tensor]:
    found = {"std": policy.log_std.detach().clone()}
    for name, own in layers(policy).items():
        for i, layer in enumerate(own):
            found[f"{name} {i}"] = torch.cat([layer.weight.detach(), layer.bias.detach()[:, None]], 1)
    return found


def test_three_iterations_make_the_same_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rollouts, normalisation, advantages, losses, clipping and Adam, all of both programs.  36 gradient steps."""
    torch.manual_seed(2)  # from which both take their first weights
    iterations, cfg = 3, recipe()
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(iterations * T, N, 1, generator=generator)
    keys = torch.rand(iterations * cfg.num_epochs, T * N, generator=generator)

    env: Any = VecNormalize(VecEnv(Track()), gamma=cfg.gamma)
    model = theirs(env, cfg)
    steps = TrainerCfg(total_timesteps=iterations * T * N, ppo=cfg, network=network(), privileged_critic=False)
    trainer = Trainer(Track(), steps, tmp_path)
    for name, own in layers(model.policy).items():
        ours = [x for x in getattr(trainer.policy, name) if isinstance(x, nn.Linear)]
        for i, (layer, other) in enumerate(zip(ours, own)):
            layer.weight.data[:, : 2 if i == 0 else None] = other.weight.data
            layer.bias.data.copy_(other.bias.data)
    start = parameters(trainer.policy)
    for name, x in parameters_of_theirs(model.policy).items():
        assert torch.equal(x, start[name]), f"{name} begins with other values"

    drawn = iter(noise)
    monkeypatch.setattr(
        DiagGaussianDistribution,
        "sample",
        lambda self: self.distribution.mean + self.distribution.stddev * next(drawn),
    )
    orders = iter(keys.argsort())

    def permutation(count: int) -> np.ndarray:
        order = next(orders).numpy()  # they number samples environment by environment, we step by step
        assert count == len(order)
        return (order % N) * T + order // N

    monkeypatch.setattr(np.random, "permutation", permutation)
    model.learn(iterations * T * N)

    ours_drawn, ours_keys = iter(noise), iter(keys)
    monkeypatch.setattr(trainer.ppo, "act", lambda obs: trainer.policy.act_from_normalized(pad(obs), next(ours_drawn)))
    monkeypatch.setattr(torch, "rand", lambda *_, **__: next(ours_keys))
    trainer.run()

    mine, other = parameters(trainer.policy), parameters_of_theirs(model.policy)
    for name, x in mine.items():
        torch.testing.assert_close(x, other[name], rtol=1e-3, atol=2e-5, msg=name)
        assert (x - start[name]).abs().max() > 5e-3, f"{name} has hardly moved, so the test would see nothing"
    for normalizer, statistics in (
        (trainer.policy.obs_normalizer, env.obs_rms),
        (trainer.policy.critic_obs_normalizer, env.obs_rms),
        (trainer.ppo.reward_normalizer, env.ret_rms),
    ):
        np.testing.assert_allclose(normalizer.moment_mean, np.atleast_1d(statistics.mean), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(normalizer.moment_var, np.atleast_1d(statistics.var), rtol=1e-3)
        assert float(normalizer.count) == pytest.approx(statistics.count, rel=1e-9)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == iterations and max(row["clip_fraction"] for row in rows) > 0.02


def test_every_step_is_normalised_as_by_vec_normalize() -> None:
    """Observations, what time limits cut off, and rewards; some of each are clipped at 10."""
    cfg = recipe()
    env: Any = VecNormalize(VecEnv(Track(wild=True)), gamma=cfg.gamma, clip_obs=10.0, clip_reward=10.0, epsilon=1e-8)
    policy = ActorCritic(dataclasses.replace(network(), num_obs=2, num_critic_obs=2, num_actions=1))
    ppo, task = PPO(policy, cfg, N), Track(wild=True)
    seen, clipped, rewards = env.reset(), {"obs": 0, "reward": 0}, 0.0
    obs, critic_obs = ppo.begin(*task.reset())
    for t in range(40):
        np.testing.assert_allclose(obs, seen, rtol=1e-4, atol=1e-5)
        assert torch.equal(obs, critic_obs)
        action = torch.sin(torch.arange(N) + 0.3 * t)[:, None]
        seen, reward, dones, infos = env.step(action.numpy())
        step = ppo.keep(task.step(action))
        obs, critic_obs = step.obs.clone(), step.critic_obs.clone()
        np.testing.assert_allclose(step.reward, reward, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(step.terminated | step.truncated, dones)
        for i in np.flatnonzero(dones):
            final = infos[i]["terminal_observation"]
            np.testing.assert_allclose(step.final_critic_obs[i], final, rtol=1e-4, atol=1e-5)
        rewards += float(env.get_original_reward().mean())
        clipped["obs"] += int((np.abs(seen) == 10).sum())
        clipped["reward"] += int((np.abs(reward) == 10).sum())
        assert float(policy.obs_normalizer.count) == pytest.approx(8 * (t + 2) + 1e-4)
    assert env.ret_rms.var == pytest.approx(float(ppo.reward_normalizer.moment_var), rel=1e-5)
    assert ppo.step_normalizer is not None and float(ppo.step_normalizer.reward_sum) == pytest.approx(rewards, rel=1e-5)
    assert min(clipped.values()) > 0


def test_advantages_are_their_buffers() -> None:
    from gymnasium.spaces import Box

    rng = np.random.default_rng(2)
    box = Box(-1, 1, (1,), dtype=np.float32)
    buffer = TheirBuffer(T, box, box, device="cpu", gae_lambda=0.95, gamma=0.99, n_envs=N)
    rewards, values, final = (rng.normal(size=(T, N)).astype(np.float32) for _ in range(3))
    truncated = rng.random((T, N)) < 0.1
    terminated = (rng.random((T, N)) < 0.1) & ~truncated
    dones, last = terminated | truncated, rng.normal(size=N).astype(np.float32)
    start = np.ones(N)
    for t in range(T):
        with_rest = rewards[t] + np.where(truncated[t], 0.99 * final[t], 0)  # as their collect_rollouts does
        zeros = np.zeros((N, 1), dtype=np.float32)
        buffer.add(zeros, zeros, with_rest, start, torch.from_numpy(values[t])[:, None], torch.zeros(N))
        start = dones[t]
    buffer.compute_returns_and_advantage(torch.from_numpy(last), dones[-1])
    ours = [torch.from_numpy(x) for x in (rewards, truncated, final, values, dones, last)]
    whole = bootstrap_time_limits(ours[0], ours[1], ours[2], 0.99)
    mine = gae(whole, ours[3], ours[4], ours[5], 0.99, 0.95)
    np.testing.assert_allclose(mine, buffer.advantages, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mine + torch.from_numpy(values), buffer.returns, rtol=1e-4, atol=1e-5)


def test_actions_and_entropy_are_those_of_their_distribution() -> None:
    """Without bounds: what is played deterministically is clipped, what is learned from is not."""
    policy = ActorCritic(dataclasses.replace(network(), num_obs=2, num_critic_obs=2, num_actions=3, init_std=0.5))
    assert policy.std.tolist() == pytest.approx([0.5] * 3)
    list(policy.actor.parameters())[-2].data.mul_(1e3)
    obs = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    mean = policy.mean_from_normalized(pad(obs))
    assert mean.abs().max() > 1.5
    torch.testing.assert_close(policy(obs), mean.clamp(-1, 1))
    torch.testing.assert_close(policy.act(obs, torch.ones(50, 3)), mean + 0.5)
    their = DiagGaussianDistribution(3).proba_distribution(mean, torch.full((3,), math.log(0.5)))
    assert torch.equal(their.mode(), mean)
    from ppo_grasp.actor_critic import gaussian_entropy, gaussian_log_prob

    actions = mean + torch.randn(50, 3)
    torch.testing.assert_close(gaussian_log_prob(actions, mean, policy.std), their.log_prob(actions))
    torch.testing.assert_close(gaussian_entropy(policy.std).expand(50), their.entropy())
