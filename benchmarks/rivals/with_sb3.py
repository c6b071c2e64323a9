"""stable-baselines3: its VecEnv is of numpy arrays, so every step goes through the host, as it does for its users.

Infos are written for the environments that ended, only: the fast way, which Isaac Lab's wrapper takes as well.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor, nn

from rivals.meter import Meter
from rivals.settings import Settings
from rivals.stepped import SteppedTask


class Env(VecEnv):
    """The task in stable-baselines3's terms."""

    def __init__(self, env: SteppedTask) -> None:
        self.env = env
        observations = gymnasium.spaces.Box(-np.inf, np.inf, (env.num_obs,), np.float32)
        super().__init__(env.num_envs, observations, gymnasium.spaces.Box(-1.0, 1.0, (env.num_actions,), np.float32))
        self._action = torch.zeros(0)

    def reset(self) -> np.ndarray:
        """Starts every environment anew."""
        return self.env.reset().cpu().numpy()

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the action."""
        self._action = torch.from_numpy(actions).to(self.env.device)

    def step_wait(self) -> Tuple[np.ndarray, np.ndarray, np.ndarray, List[dict]]:
        """One control step."""
        out = self.env.step(self._action)
        obs, reward = out.obs.cpu().numpy(), out.reward.cpu().numpy()
        terminated, truncated = out.terminated.cpu().numpy(), out.truncated.cpu().numpy()
        dones = terminated | truncated
        infos: List[dict] = [{} for _ in range(self.num_envs)]
        ended = np.flatnonzero(dones)
        if len(ended):
            final = out.final_obs[torch.from_numpy(ended).to(self.env.device)].cpu().numpy()
            for row, index in enumerate(ended):
                infos[index] = {"terminal_observation": final[row], "TimeLimit.truncated": bool(truncated[index])}
        return obs, reward, dones, infos

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> List[Any]:
        """Every environment is the same object."""
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not asked for."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> List[Any]:
        """Not asked for."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> List[bool]:
        """By nothing."""
        return [False] * self.num_envs

    def seed(self, seed: Optional[int] = None) -> Sequence[Optional[int]]:
        """torch is seeded already."""
        return [seed] * self.num_envs


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

    buffer.compute_returns_and_advantage, model.train = timed_advantages, timed_train


def run(env: SteppedTask, s: Settings, meter: Meter, directory: Path) -> None:
    """Trains until the meter ends it."""
    vec = VecNormalize(Env(env), norm_reward=False, gamma=s.gamma)
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
