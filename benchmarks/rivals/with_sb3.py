"""stable-baselines3: its VecEnv is of numpy arrays, so every step goes through the host, as it does for its users."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn

from ppo_grasp.adapters.stable_baselines3 import VecEnv
from ppo_grasp.adapters.stepped import SteppedTask
from rivals.meter import Meter
from rivals.settings import Settings


def timed(meter: Meter, model: PPO) -> None:
    """Puts the meter's marks from the model's advantages to the end of its gradient steps."""
    buffer, train = model.rollout_buffer, model.train
    advantages = buffer.compute_returns_and_advantage

    def timed_advantages(*args: Any, **kwargs: Any) -> None:
        meter.begin_update()
        advantages(*args, **kwargs)

    def timed_train() -> None:
        train()
        meter.end_update()

    buffer.compute_returns_and_advantage = timed_advantages  # type: ignore[method-assign]
    model.train = timed_train  # type: ignore[method-assign]


def run(env: SteppedTask, s: Settings, meter: Meter, directory: Path) -> None:
    """Trains until the meter ends it."""
    vec = VecNormalize(VecEnv(env), norm_reward=False, gamma=s.gamma)
    model = PPO(
        "MlpPolicy",
        vec,
        learning_rate=s.learning_rate,
        n_steps=s.num_steps,
        batch_size=s.minibatch_size,
        n_epochs=s.num_epochs,
        gamma=s.gamma,
        gae_lambda=s.lam,
        clip_range=s.clip,
        ent_coef=0.0,
        vf_coef=1.0,
        max_grad_norm=s.max_grad_norm,
        policy_kwargs={
            "net_arch": {"pi": list(s.hidden), "vf": list(s.hidden)},
            "activation_fn": nn.ELU,
            "log_std_init": math.log(s.init_std),
        },
        seed=s.seed,
        device=env.device,
        verbose=0,
    )
    timed(meter, model)

    def policy(obs: Tensor) -> Tensor:
        action, _ = model.predict(vec.normalize_obs(obs.cpu().numpy()), deterministic=True)
        return torch.from_numpy(action).to(env.device)

    meter.policy = policy
    model.learn(10**12)
