"""A training of a millisecond per iteration, for tests of what goes on around a training."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import torch
from double_integrator import DoubleIntegrator

from ppo_grasp import ActorCriticCfg, PPOCfg, Trainer, TrainerCfg
from ppo_grasp.vec_task import Step


def trainer(run_dir: Path, steps: int = 1000, eval_interval: int = 10**9, checkpoint_interval: int = 10**9) -> Trainer:
    """On a double integrator, 64 steps to an iteration."""
    torch.set_num_threads(1)
    cfg = TrainerCfg(
        total_timesteps=64 * steps,
        eval_interval=eval_interval,
        checkpoint_interval=checkpoint_interval,
        ppo=PPOCfg(num_steps=8, minibatch_size=32),
        network=ActorCriticCfg(actor_hidden=(8,), critic_hidden=(8,)),
    )
    return Trainer(DoubleIntegrator(8, 5), cfg, run_dir)


def after(trainer: Trainer, calls: int, do: Callable[[], None]) -> None:
    """Does something in the middle of the task's step number `calls`."""
    step, done = trainer.task.step, [0]

    def counted(action: torch.Tensor) -> Step:
        done[0] += 1
        if done[0] == calls:
            do()
        return step(action)

    trainer.task.step = counted  # type: ignore[method-assign]
