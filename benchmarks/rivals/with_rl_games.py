"""rl_games: its Runner with a registered vector environment.  All tensors stay on the device."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Optional

import torch
from rl_games.algos_torch.a2c_continuous import A2CAgent
from rl_games.torch_runner import Runner
from torch import Tensor

from ppo_grasp.adapters.rl_games import VecEnv, register
from ppo_grasp.adapters.stepped import SteppedTask
from rivals.meter import Meter
from rivals.settings import Settings

NAME = "ppo_grasp"


def timed(meter: Meter) -> type:
    """The agent with the meter's marks from its advantages to the end of its epoch."""

    class TimedAgent(A2CAgent):
        def discount_values(self, *args: Any) -> Tensor:
            meter.begin_update()
            return super().discount_values(*args)

        def train_epoch(self) -> Any:
            meter.policy = self.deterministic
            result = super().train_epoch()
            meter.end_update()
            return result

        def deterministic(self, obs: Tensor) -> Tensor:
            # The compiled model would be compiled anew for this batch.
            model: Any = getattr(self.model, "_orig_mod", self.model)
            model.eval()
            return model({"is_train": False, "prev_actions": None, "obs": obs, "rnn_states": None})["mus"]

    return TimedAgent


def compiler_trouble(device: torch.device) -> Optional[str]:
    """Why torch.compile does not work here, if it does not."""
    try:
        torch.compile(lambda x: x.sin() + 1.0)(torch.zeros(8, device=device))
        return None
    except Exception as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]


def run(env: SteppedTask, s: Settings, meter: Meter, directory: Path) -> None:
    """Trains until the meter ends it."""
    compiles = s.rl_games_compile
    trouble = compiler_trouble(env.device) if compiles else "switched off"
    if trouble is not None:
        compiles = False
        meter.notes.append(f"without its default torch.compile: {trouble}")
    register(NAME, VecEnv(env))
    space = {
        "mu_activation": "None",
        "sigma_activation": "None",
        "mu_init": {"name": "default"},
        "sigma_init": {"name": "const_initializer", "val": math.log(s.init_std)},
        "fixed_sigma": True,
    }
    mlp = {
        "units": list(s.hidden),
        "activation": "elu",
        "d2rl": False,
        "initializer": {"name": "default"},
        "regularizer": {"name": "None"},
    }
    config = {
        "name": NAME,
        "env_name": NAME,
        "device": str(env.device),
        "train_dir": str(directory),
        "num_actors": s.num_envs,
        "horizon_length": s.num_steps,
        "minibatch_size": s.minibatch_size,
        "mini_epochs": s.num_epochs,
        "learning_rate": s.learning_rate,
        "lr_schedule": None,
        "schedule_type": "standard",
        "gamma": s.gamma,
        "tau": s.lam,
        "e_clip": s.clip,
        "clip_value": False,
        "critic_coef": 2.0,  # it halves this
        "entropy_coef": 0.0,
        "bounds_loss_coef": 0.0,
        "truncate_grads": True,
        "grad_norm": s.max_grad_norm,
        "normalize_input": True,
        "normalize_value": True,
        "normalize_advantage": True,
        "value_bootstrap": True,
        "mixed_precision": False,
        "torch_compile": compiles,
        "reward_shaper": {"scale_value": 1.0},
        "save_best_after": 10**9,
        "save_frequency": 0,
        "max_epochs": -1,
    }
    params = {
        "seed": s.seed + 1,  # it takes 0 as no seed
        "algo": {"name": "a2c_continuous"},
        "model": {"name": "continuous_a2c_logstd"},
        "network": {"name": "actor_critic", "separate": True, "space": {"continuous": space}, "mlp": mlp},
        "config": config,
    }
    runner = Runner()
    agent = timed(meter)
    runner.algo_factory.register_builder("a2c_continuous", lambda **kwargs: agent(**kwargs))
    runner.load({"params": params})
    runner.run({"train": True, "play": False})
