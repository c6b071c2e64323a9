"""Adapters: each library trains a few iterations on a task, and what they hand over is what the task said."""

from __future__ import annotations

import importlib
import math
import runpy
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import pytest
import torch
from double_integrator import DoubleIntegrator

from ppo_grasp.adapters.stepped import SteppedTask

LIMIT = 5
ADAPTERS = {
    "gymnasium": "gymnasium",
    "rsl_rl": "rsl_rl",
    "rl_games": "rl_games",
    "skrl": "skrl",
    "stable_baselines3": "stable_baselines3",
}
"""Module in ppo_grasp.adapters -> the package that it needs."""


def adapter(name: str) -> Any:
    if find_spec(ADAPTERS[name]) is None or find_spec("gymnasium") is None:
        pytest.skip(f"{ADAPTERS[name]} is not installed: pip install 'ppo-grasp[adapters]'")
    return importlib.import_module(f"ppo_grasp.adapters.{name}")


def task(num_envs: int = 8, limit: int = LIMIT) -> DoubleIntegrator:
    torch.manual_seed(0)
    return DoubleIntegrator(num_envs, limit)


def together(num_envs: int = 4, limit: int = LIMIT) -> DoubleIntegrator:
    """All episodes start at the same time, from states that depend on how many there were."""
    return DoubleIntegrator(num_envs, limit, rest_every_limit=True)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_missing_library_is_an_error_that_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, ADAPTERS[name], None)
    for module in [m for m in sys.modules if m.startswith((f"{ADAPTERS[name]}.", f"ppo_grasp.adapters.{name}"))]:
        monkeypatch.setitem(sys.modules, module, None) if not module.startswith("ppo") else monkeypatch.delitem(
            sys.modules, module
        )
    with pytest.raises(ImportError, match=r"is not installed: pip install .*ppo-grasp\[adapters\]"):
        importlib.import_module(f"ppo_grasp.adapters.{name}")


# What a step hands over.


def test_stepped_task_ends_with_the_actors_part_of_what_the_critic_saw() -> None:
    stepped, plain = SteppedTask(together()), together()
    first, _ = plain.reset()
    assert torch.equal(stepped.reset(), first)
    for _ in range(LIMIT):
        out, step = stepped.step(torch.full((4, 1), 0.3)), plain.step(torch.full((4, 1), 0.3))
    assert out.truncated.all() and not torch.equal(out.final_obs, out.obs)
    assert torch.equal(out.final_obs, step.final_critic_obs[:, :2])
    assert torch.equal(out.critic_obs, step.critic_obs)


def test_metrics_are_those_since_the_last_call() -> None:
    stepped = SteppedTask(together())
    stepped.reset()
    position = stepped.task.state[:, 0].abs().mean()
    stepped.step(torch.zeros(4, 1))
    assert stepped.metrics() == pytest.approx({"distance": float(position)})
    assert stepped.metrics() == {}


# Gymnasium.


@pytest.mark.parametrize("to", ["numpy", "torch"])
def test_gymnasium_sees_the_end_of_an_episode_and_the_next_one_in_the_same_step(to: str) -> None:
    from_gymnasium = adapter("gymnasium")
    from gymnasium.vector import AutoresetMode, VectorEnv

    envs, plain = from_gymnasium.VectorEnv(together(), to), together()
    assert isinstance(envs, VectorEnv) and envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert (envs.num_envs, envs.observation_space.shape, envs.action_space.shape) == (4, (4, 2), (4, 1))
    obs, info = envs.reset(seed=3)
    first, _ = plain.reset()
    assert info == {} and type(obs) is (np.ndarray if to == "numpy" else torch.Tensor)
    np.testing.assert_array_equal(obs, first)
    for t in range(LIMIT):
        action = envs.action_space.sample()
        obs, reward, terminated, truncated, info = envs.step(action)
        step = plain.step(torch.from_numpy(action))
        for got, wanted in zip((obs, reward, terminated, truncated), (step.obs, step.reward, *step[3:5])):
            np.testing.assert_array_equal(got, wanted)
        if to == "numpy":
            assert envs.observation_space.contains(obs) and ("final_obs" in info) == (t == LIMIT - 1)
    final = np.stack([np.asarray(row) for row in info["final_obs"]])
    np.testing.assert_array_equal(final, step.final_critic_obs[:, :2])
    assert np.asarray(info["_final_obs"]).all()


def test_gymnasiums_own_vector_wrappers_count_episodes() -> None:
    from_gymnasium = adapter("gymnasium")
    from gymnasium.wrappers.vector import RecordEpisodeStatistics

    envs = RecordEpisodeStatistics(from_gymnasium.VectorEnv(together()))
    envs.reset()
    rewards = np.zeros(4)
    for _ in range(LIMIT):
        _, reward, _, _, info = envs.step(np.full((4, 1), 0.5, dtype=np.float32))
        rewards += reward
    np.testing.assert_allclose(info["episode"]["r"], rewards, rtol=1e-5)
    assert (info["episode"]["l"] == LIMIT).all()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="MuJoCo's simulators need Python 3.11")
def test_gymnasiums_checker_passes_the_task_that_is_registered() -> None:
    adapter("gymnasium")
    import gymnasium
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = gymnasium.make("tasks.gymnasium_ids:ShadowGrasp-v0", objects="primitives", sim="mujoco", evaluation=True)
        check_env(env.unwrapped)
    envs = gymnasium.make_vec("tasks.gymnasium_ids:ShadowGrasp-v0", num_envs=3, objects="primitives", sim="mujoco")
    obs, _ = envs.reset(seed=1)
    again, _ = envs.reset(seed=1)
    assert obs.shape == (3, 211)
    np.testing.assert_array_equal(obs, again)


def test_gymnasium_refuses_what_a_task_cannot_do() -> None:
    from_gymnasium = adapter("gymnasium")
    with pytest.raises(ValueError, match="choose numpy or torch"):
        from_gymnasium.VectorEnv(task(), "jax")
    with pytest.raises(ValueError, match="reset_mask"):
        from_gymnasium.VectorEnv(task()).reset(options={"reset_mask": np.ones(8, dtype=bool)})
    with pytest.raises(ValueError, match="one world"):
        from_gymnasium.Env(task())


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_a_gymnasium_environment_as_a_task(mode: str) -> None:
    """Against the same pendulums stepped by hand; episodes have 200 steps."""
    from_gymnasium = adapter("gymnasium")
    import gymnasium

    envs = gymnasium.make_vec("Pendulum-v1", 2, vector_kwargs={"autoreset_mode": mode})
    pendulum = from_gymnasium.GymnasiumTask(envs, seed=7)
    singles = [gymnasium.make("Pendulum-v1") for _ in range(2)]
    starts = [env.reset(seed=7 + i)[0] for i, env in enumerate(singles)]
    obs, critic_obs = pendulum.reset()
    np.testing.assert_allclose(obs, np.stack(starts))
    assert torch.equal(obs, critic_obs) and (pendulum.num_obs, pendulum.num_actions) == (3, 1)
    returns = np.zeros(2)
    for t in range(200):
        action = math.sin(0.1 * t) * torch.ones(2, 1)
        step = pendulum.step(action)
        by_hand = [env.step(2.0 * action[i].numpy()) for i, env in enumerate(singles)]  # torques are within +-2
        np.testing.assert_allclose(step.reward, [float(b[1]) for b in by_hand], rtol=1e-4)
        np.testing.assert_allclose(step.final_critic_obs, np.stack([b[0] for b in by_hand]), rtol=1e-4, atol=1e-5)
        returns += np.array([float(b[1]) for b in by_hand])
        assert bool(step.truncated.all()) == (t == 199) and not step.terminated.any()
    assert not torch.allclose(step.obs, step.final_critic_obs)
    np.testing.assert_allclose(step.obs, np.stack([env.reset()[0] for env in singles]), rtol=1e-4)
    np.testing.assert_allclose(pendulum.metric_sums, [[returns.sum(), 2], [400, 2]], rtol=1e-4)


def test_gymnasium_environments_that_do_not_fit() -> None:
    from_gymnasium = adapter("gymnasium")
    import gymnasium

    with pytest.raises(ValueError, match="SameStep"):
        from_gymnasium.GymnasiumTask(gymnasium.make_vec("Pendulum-v1", 2, vectorization_mode="sync"))
    cart = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync", vector_kwargs={"autoreset_mode": "SameStep"})
    with pytest.raises(ValueError, match="actions must be a Box"):
        from_gymnasium.GymnasiumTask(cart)


def test_the_example_learns_pendulum(tmp_path: Path) -> None:
    """A short part of it: returns rise by several hundred.  docs/interfaces.md says what the whole of it reaches."""
    adapter("gymnasium")
    import json

    example = Path(__file__).resolve().parents[2] / "examples" / "train_gymnasium.py"
    threads = torch.get_num_threads()
    runpy.run_path(str(example))["main"](str(tmp_path), 48_000)
    torch.set_num_threads(threads)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    returns = [row["episodic_return"] for row in rows if "episodic_return" in row]
    assert np.mean(returns[-3:]) > np.mean(returns[:3]) + 300.0


# The other engines: a few iterations with the real library.


def moved(before: Dict[str, torch.Tensor], after: Dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(before[name], after[name]) for name in before)


def copied(module: torch.nn.Module) -> Dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def test_stable_baselines3_trains() -> None:
    envs = adapter("stable_baselines3").VecEnv(task())
    from stable_baselines3 import PPO

    model = PPO("MlpPolicy", envs, n_steps=16, batch_size=64, n_epochs=2, device="cpu")
    before = copied(model.policy)
    model.learn(3 * 16 * 8)
    assert moved(before, copied(model.policy)) and model.num_timesteps == 3 * 16 * 8


def test_stable_baselines3_finds_attributes_or_is_told_that_there_are_none() -> None:
    envs = adapter("stable_baselines3").VecEnv(task())
    assert envs.get_attr("num_envs", [0, 2]) == [8, 8] and envs.get_attr("render_mode") == [None] * 8
    with pytest.raises(AttributeError, match="spec"):
        envs.get_attr("spec")
    assert not envs.has_attr("spec")


def test_stable_baselines3_is_told_what_a_time_limit_cut_off() -> None:
    envs, plain = adapter("stable_baselines3").VecEnv(together()), together()
    envs.reset(), plain.reset()
    for t in range(LIMIT):
        _, _, dones, infos = envs.step(np.zeros((4, 1), dtype=np.float32))
        step = plain.step(torch.zeros(4, 1))
        assert dones.all() == (t == LIMIT - 1)
    assert all(info["TimeLimit.truncated"] for info in infos)
    np.testing.assert_array_equal([info["terminal_observation"] for info in infos], step.final_critic_obs[:, :2])


@pytest.mark.parametrize("critic", ["policy", "critic"])
def test_rsl_rl_trains(critic: str, tmp_path: Path) -> None:
    envs = adapter("rsl_rl").VecEnv(task())
    from rsl_rl.runners import OnPolicyRunner

    tower = {"class_name": "MLPModel", "hidden_dims": [16], "activation": "elu", "obs_normalization": True}
    noise = {"class_name": "GaussianDistribution", "init_std": 0.6}
    algorithm = {"class_name": "PPO", "num_learning_epochs": 2, "num_mini_batches": 2}
    cfg = {
        "num_steps_per_env": 8,
        "save_interval": 100,
        "obs_groups": {"actor": ["policy"], "critic": [critic]},
        "actor": {**tower, "distribution_cfg": noise},
        "critic": tower,
        "algorithm": algorithm,
    }
    runner = OnPolicyRunner(envs, cfg, str(tmp_path), "cpu")
    before = copied(runner.alg.get_policy())
    runner.learn(3)
    assert moved(before, copied(runner.alg.get_policy()))
    assert envs.get_observations()["critic"].shape == (8, 3)


@pytest.mark.parametrize("states", [False, True])
def test_skrl_trains(states: bool, tmp_path: Path) -> None:
    envs = adapter("skrl").VecEnv(task(), states)
    from skrl.agents.torch.ppo import PPO, PPO_CFG
    from skrl.memories.torch import RandomMemory
    from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
    from skrl.trainers.torch import SequentialTrainer

    spaces = {"observation_space": envs.observation_space, "state_space": envs.state_space}
    spaces["action_space"] = envs.action_space

    class Policy(GaussianMixin, Model):
        def __init__(self) -> None:
            Model.__init__(self, **spaces, device="cpu")
            GaussianMixin.__init__(self)
            self.net, self.log_std = torch.nn.Linear(2, 1), torch.nn.Parameter(torch.zeros(1))

        def compute(self, inputs: Dict[str, Any], role: str) -> Tuple[torch.Tensor, Dict[str, Any]]:
            return self.net(inputs["observations"]), {"log_std": self.log_std}

    class Value(DeterministicMixin, Model):
        def __init__(self) -> None:
            Model.__init__(self, **spaces, device="cpu")
            DeterministicMixin.__init__(self)
            self.net = torch.nn.Linear(3 if states else 2, 1)

        def compute(self, inputs: Dict[str, Any], role: str) -> Tuple[torch.Tensor, Dict[str, Any]]:
            return self.net(inputs["states" if states else "observations"]), {}

    cfg = PPO_CFG(rollouts=8, learning_epochs=2, mini_batches=2)
    cfg.experiment.directory, cfg.experiment.write_interval, cfg.experiment.checkpoint_interval = str(tmp_path), 0, 0
    policy = Policy()
    models = {"policy": policy, "value": Value()}
    before = copied(policy)
    agent = PPO(
        models=models, memory=RandomMemory(memory_size=8, num_envs=8, device="cpu"), device="cpu", cfg=cfg, **spaces
    )
    trainer = SequentialTrainer(
        env=envs, agents=agent, cfg={"timesteps": 24, "disable_progressbar": True, "close_environment_at_exit": False}
    )
    trainer.train()
    assert moved(before, copied(policy))


@pytest.mark.parametrize("central_value", [False, True])
def test_rl_games_trains(central_value: bool, tmp_path: Path) -> None:
    from_rl_games = adapter("rl_games")
    from rl_games.algos_torch.a2c_continuous import A2CAgent
    from rl_games.torch_runner import Runner

    envs = from_rl_games.VecEnv(task(), central_value)
    from_rl_games.register("double_integrator", envs)
    none = {"name": "default"}
    continuous = {"mu_activation": "None", "sigma_activation": "None", "mu_init": none, "fixed_sigma": True}
    continuous["sigma_init"] = {"name": "const_initializer", "val": 0.0}
    mlp = {"units": [16], "activation": "elu", "initializer": none}
    config: Dict[str, Any] = {
        **{"name": "test", "env_name": "double_integrator", "device": "cpu", "train_dir": str(tmp_path)},
        **{"num_actors": 8, "horizon_length": 8, "minibatch_size": 32, "mini_epochs": 2, "learning_rate": 1e-3},
        **{
            "lr_schedule": None,
            "schedule_type": "standard",
            "gamma": 0.99,
            "tau": 0.95,
            "e_clip": 0.2,
            "clip_value": False,
            "critic_coef": 1.0,
            "entropy_coef": 0.0,
        },
        **{"normalize_input": True, "normalize_value": True, "normalize_advantage": True, "truncate_grads": True},
        **{"grad_norm": 1.0, "reward_shaper": {"scale_value": 1.0}, "torch_compile": False, "max_epochs": 3},
        **{"value_bootstrap": True, "bounds_loss_coef": 0.0, "save_best_after": 100, "save_frequency": 0},
    }
    if central_value:
        network = {"name": "actor_critic", "central_value": True, "mlp": mlp}
        config["central_value_config"] = {
            **{"minibatch_size": 32, "mini_epochs": 2, "learning_rate": 1e-3, "clip_value": False},
            **{
                "lr_schedule": None,
                "schedule_type": "standard",
                "normalize_input": True,
                "truncate_grads": True,
                "grad_norm": 1.0,
                "network": network,
            },
        }
    agents = []

    class Agent(A2CAgent):  # type: ignore[misc, valid-type]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            agents.append((self, copied(self.model)))

    runner = Runner()
    runner.algo_factory.register_builder("a2c_continuous", lambda **kwargs: Agent(**kwargs))
    net = {"name": "actor_critic", "separate": True, "space": {"continuous": continuous}, "mlp": mlp}
    params = {"seed": 1, "algo": {"name": "a2c_continuous"}, "model": {"name": "continuous_a2c_logstd"}, "network": net}
    runner.load({"params": {**params, "config": config}})
    runner.run({"train": True, "play": False})
    (agent, before), *_ = agents
    assert moved(before, copied(agent.model)) and agent.epoch_num == 3
