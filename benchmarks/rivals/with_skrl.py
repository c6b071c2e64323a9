"""skrl: its SequentialTrainer and PPO agent.  All tensors stay on the device."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, Tuple

import gymnasium
import numpy as np
import torch
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import Wrapper
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
from skrl.resources.preprocessors.torch import RunningStandardScaler
from skrl.trainers.torch import SequentialTrainer
from torch import Tensor, nn

from rivals.meter import Meter
from rivals.settings import Settings
from rivals.stepped import SteppedTask

LOG_EVERY = 10
"""Iterations between writes to TensorBoard.  It collects the values in every step anyway."""


class Env(Wrapper):
    """The task in skrl's terms."""

    def __init__(self, env: SteppedTask) -> None:
        super().__init__(env)
        self.env = env
        self._observations = gymnasium.spaces.Box(-np.inf, np.inf, (env.num_obs,), np.float32)
        self._actions = gymnasium.spaces.Box(-1.0, 1.0, (env.num_actions,), np.float32)

    @property
    def observation_space(self) -> gymnasium.Space:
        """Of one environment."""
        return self._observations

    @property
    def action_space(self) -> gymnasium.Space:
        """Of one environment."""
        return self._actions

    @property
    def state_space(self) -> None:
        """The critic sees the observation."""
        return None

    def reset(self) -> Tuple[Tensor, Dict[str, Any]]:
        """Starts every environment anew."""
        return self.env.reset(), {}

    def step(self, actions: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor, Dict[str, Any]]:
        """One control step."""
        out = self.env.step(actions)
        return out.obs, out.reward[:, None], out.terminated[:, None], out.truncated[:, None], {}

    def state(self) -> None:
        """The critic sees the observation."""
        return None

    def render(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to see."""

    def close(self) -> None:
        """Nothing to close."""


def tower(inputs: int, hidden: Tuple[int, ...], outputs: int) -> nn.Sequential:
    """ELU layers."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip((inputs, *hidden[:-1]), hidden):
        layers += [nn.Linear(fan_in, fan_out), nn.ELU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], outputs))


class Policy(GaussianMixin, Model):
    """The actor."""

    def __init__(self, env: Env, s: Settings) -> None:
        Model.__init__(
            self, observation_space=env.observation_space, action_space=env.action_space, device=env.env.device
        )
        GaussianMixin.__init__(self, clip_actions=False, clip_log_std=True)
        self.net = tower(env.env.num_obs, s.hidden, env.env.num_actions)
        self.log_std = nn.Parameter(torch.full((env.env.num_actions,), math.log(s.init_std)))

    def compute(self, inputs: Dict[str, Any], role: str) -> Tuple[Tensor, Dict[str, Any]]:
        """Mean, and the logarithm of the standard deviation."""
        return self.net(inputs["observations"]), {"log_std": self.log_std}


class Value(DeterministicMixin, Model):
    """The critic."""

    def __init__(self, env: Env, s: Settings) -> None:
        Model.__init__(
            self, observation_space=env.observation_space, action_space=env.action_space, device=env.env.device
        )
        DeterministicMixin.__init__(self, clip_actions=False)
        self.net = tower(env.env.num_obs, s.hidden, 1)

    def compute(self, inputs: Dict[str, Any], role: str) -> Tuple[Tensor, Dict[str, Any]]:
        """The normalised value."""
        return self.net(inputs["observations"]), {}


def timed(meter: Meter) -> type:
    """The agent with the meter's marks around its update."""

    class TimedPPO(PPO):
        def update(self, *, timestep: int, timesteps: int) -> None:
            meter.begin_update()
            super().update(timestep=timestep, timesteps=timesteps)
            meter.end_update()

    return TimedPPO


def run(stepped: SteppedTask, s: Settings, meter: Meter, directory: Path) -> None:
    """Trains until the meter ends it."""
    torch.manual_seed(s.seed)
    env, device = Env(stepped), stepped.device
    cfg = PPO_CFG(
        rollouts=s.num_steps,
        learning_epochs=s.num_epochs,
        mini_batches=s.num_minibatches,
        discount_factor=s.gamma,
        gae_lambda=s.lam,
        learning_rate=s.learning_rate,
        observation_preprocessor=RunningStandardScaler,
        observation_preprocessor_kwargs={"size": env.observation_space, "device": device},
        value_preprocessor=RunningStandardScaler,
        value_preprocessor_kwargs={"size": 1, "device": device},
        grad_norm_clip=s.max_grad_norm,
        ratio_clip=s.clip,
        value_clip=0.0,
        entropy_loss_scale=0.0,
        value_loss_scale=1.0,
        time_limit_bootstrap=True,
    )
    cfg.experiment.directory = str(directory)
    cfg.experiment.write_interval = LOG_EVERY * s.num_steps
    cfg.experiment.checkpoint_interval = 0
    policy = Policy(env, s)
    agent = timed(meter)(
        models={"policy": policy, "value": Value(env, s)},
        memory=RandomMemory(memory_size=s.num_steps, num_envs=s.num_envs, device=device),
        observation_space=env.observation_space,
        state_space=None,
        action_space=env.action_space,
        device=device,
        cfg=cfg,
    )
    meter.policy = lambda obs: policy.net(agent._observation_preprocessor(obs))
    trainer = SequentialTrainer(
        env=env, agents=agent, cfg={"timesteps": 10**9, "headless": True, "disable_progressbar": True}
    )
    trainer.train()
