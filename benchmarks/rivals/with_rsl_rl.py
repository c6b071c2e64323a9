"""rsl_rl: its OnPolicyRunner and TensorBoard logger.  All tensors stay on the device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, Tuple

import torch
from torch import Tensor

from rivals.meter import Meter
from rivals.settings import Settings
from rivals.stepped import SteppedTask

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # its logger would fail where there is no git

from rsl_rl.env import VecEnv
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict


class Env(VecEnv):
    """The task in rsl_rl's terms."""

    def __init__(self, env: SteppedTask) -> None:
        self.env = env
        self.num_envs, self.num_actions, self.device = env.num_envs, env.num_actions, env.device
        self.max_episode_length = 100
        self.episode_length_buf = torch.zeros(env.num_envs, dtype=torch.long, device=env.device)
        self.cfg: Dict[str, Any] = {}
        self._obs = self._group(env.reset())

    def get_observations(self) -> TensorDict:
        """The observations of the last step."""
        return self._obs

    def step(self, actions: Tensor) -> Tuple[TensorDict, Tensor, Tensor, Dict[str, Any]]:
        """One control step."""
        out = self.env.step(actions)
        self._obs = self._group(out.obs)
        return self._obs, out.reward, out.terminated | out.truncated, {"time_outs": out.truncated}

    def _group(self, obs: Tensor) -> TensorDict:
        return TensorDict({"policy": obs}, batch_size=[self.num_envs])


def run(env: SteppedTask, s: Settings, meter: Meter, directory: Path) -> None:
    """Trains until the meter ends it."""
    torch.manual_seed(s.seed)
    tower = {"class_name": "MLPModel", "hidden_dims": list(s.hidden), "activation": "elu", "obs_normalization": True}
    cfg = {
        "num_steps_per_env": s.num_steps,
        "save_interval": 10**9,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "actor": {**tower, "distribution_cfg": {"class_name": "GaussianDistribution", "init_std": s.init_std}},
        "critic": tower,
        "algorithm": {
            "class_name": "PPO",
            "num_learning_epochs": s.num_epochs,
            "num_mini_batches": s.num_minibatches,
            "clip_param": s.clip,
            "gamma": s.gamma,
            "lam": s.lam,
            "value_loss_coef": 1.0,
            "entropy_coef": 0.0,
            "learning_rate": s.learning_rate,
            "max_grad_norm": s.max_grad_norm,
            "use_clipped_value_loss": False,
            "schedule": "fixed",
        },
    }
    runner = OnPolicyRunner(Env(env), cfg, str(directory), str(env.device))
    algorithm = runner.alg
    compute_returns, update = algorithm.compute_returns, algorithm.update

    def timed_returns(obs: Any) -> None:
        meter.begin_update()
        compute_returns(obs)

    def timed_update() -> Dict[str, float]:
        losses = update()
        meter.end_update()
        return losses

    algorithm.compute_returns, algorithm.update = timed_returns, timed_update
    meter.policy = lambda obs: algorithm.get_policy()(TensorDict({"policy": obs}, batch_size=[len(obs)]))
    runner.learn(10**9)
