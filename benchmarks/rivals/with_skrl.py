"""skrl: its SequentialTrainer and PPO agent.  All tensors stay on the device."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, Tuple

import torch
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
from skrl.resources.preprocessors.torch import RunningStandardScaler
from skrl.trainers.torch import SequentialTrainer
from torch import Tensor, nn

from ppo_grasp.adapters.skrl import VecEnv
from ppo_grasp.adapters.stepped import SteppedTask
from rivals.meter import Meter
from rivals.settings import Settings

LOG_EVERY = 10
"""Iterations between writes to TensorBoard.  It collects the values in every step anyway."""


def tower(inputs: int, hidden: Tuple[int, ...], outputs: int) -> nn.Sequential:
    """ELU layers."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip((inputs, *hidden[:-1]), hidden):
        layers += [nn.Linear(fan_in, fan_out), nn.ELU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], outputs))


class Policy(GaussianMixin, Model):
    """The actor."""

    def __init__(self, env: VecEnv, s: Settings) -> None:
        Model.__init__(
            self, observation_space=env.observation_space, action_space=env.action_space, device=env.stepped.device
        )
        GaussianMixin.__init__(self, clip_actions=False, clip_log_std=True)
        self.net = tower(env.stepped.num_obs, s.hidden, env.stepped.num_actions)
        self.log_std = nn.Parameter(torch.full((env.stepped.num_actions,), math.log(s.init_std)))

    def compute(self, inputs: Dict[str, Any], role: str) -> Tuple[Tensor, Dict[str, Any]]:
        """Mean, and the logarithm of the standard deviation."""
        return self.net(inputs["observations"]), {"log_std": self.log_std}


class Value(DeterministicMixin, Model):
    """The critic."""

    def __init__(self, env: VecEnv, s: Settings) -> None:
        Model.__init__(
            self, observation_space=env.observation_space, action_space=env.action_space, device=env.stepped.device
        )
        DeterministicMixin.__init__(self, clip_actions=False)
        self.net = tower(env.stepped.num_obs, s.hidden, 1)

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
    env, device = VecEnv(stepped, states=False), stepped.device
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
