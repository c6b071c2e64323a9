"""rsl_rl: its OnPolicyRunner and TensorBoard logger.  All tensors stay on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import torch
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict

from ppo_grasp.adapters.rsl_rl import VecEnv
from ppo_grasp.adapters.stepped import SteppedTask
from rivals.meter import Meter
from rivals.settings import Settings


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
    runner = OnPolicyRunner(VecEnv(env), cfg, str(directory), str(env.device))
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
