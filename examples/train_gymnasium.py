"""This engine on a Gymnasium environment: `python examples/train_gymnasium.py` solves Pendulum-v1 in less than a minute."""

from __future__ import annotations

import sys

import gymnasium
import torch

from ppo_grasp import ActorCriticCfg, PPOCfg, Trainer, TrainerCfg
from ppo_grasp.adapters.gymnasium import GymnasiumTask


def main(run_dir: str = "runs/pendulum", total_timesteps: int = 400_000) -> None:
    """Trains 16 pendulums.  An untrained one returns about -1200 an episode, a solved one better than -200."""
    torch.set_num_threads(1)  # networks this small gain nothing from more
    envs = gymnasium.make_vec("Pendulum-v1", 16, vector_kwargs={"autoreset_mode": "SameStep"})
    network = ActorCriticCfg(actor_hidden=(64, 64), critic_hidden=(64, 64))
    ppo = PPOCfg(num_steps=128, minibatch_size=256, num_epochs=10, gamma=0.95)
    cfg = TrainerCfg(total_timesteps=total_timesteps, network=network, ppo=ppo)
    Trainer(GymnasiumTask(envs, seed=0), cfg, run_dir).run()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/pendulum")
