"""This engine: runs `Trainer.run` as train.py does, without evaluation and checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppo_grasp import ActorCriticCfg, PPOCfg, Trainer, TrainerCfg
from ppo_grasp.adapters.stepped import SteppedTask
from rivals.meter import Meter
from rivals.settings import Settings

NEVER = 10**15


class _Timed:
    """The recorded update of the trainer, with the marks of the meter around it."""

    def __init__(self, learn: Any, meter: Meter) -> None:
        self._learn, self._meter = learn, meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._learn, name)

    def __call__(self) -> Any:
        self._meter.begin_update()
        stats = self._learn()
        self._meter.end_update()
        return stats


def run(env: SteppedTask, s: Settings, meter: Meter, directory: Path, amp: bool = False, compile: bool = False) -> None:
    """Trains until the meter ends it.

    amp, compile: as in `TrainerCfg`.  Without amp the precision is that of the other engines.  compile compiles the losses only:
    the task is not compiled, because it is not for the other engines.
    """
    ppo = PPOCfg(
        num_steps=s.num_steps,
        num_epochs=s.num_epochs,
        minibatch_size=s.minibatch_size,
        learning_rate=s.learning_rate,
        desired_kl=None,
        max_kl=None,
        gamma=s.gamma,
        lam=s.lam,
        clip=s.clip,
        max_grad_norm=s.max_grad_norm,
    )
    network = ActorCriticCfg(actor_hidden=s.hidden, critic_hidden=s.hidden, init_std=s.init_std)
    cfg = TrainerCfg(
        total_timesteps=NEVER,
        eval_interval=NEVER,
        checkpoint_interval=NEVER,
        seed=s.seed,
        compile=compile,
        amp=amp,
        ppo=ppo,
        network=network,
    )
    trainer = Trainer(env.task, cfg, directory)
    trainer._learn = _Timed(trainer._learn, meter)  # type: ignore[assignment]
    meter.policy = trainer.policy.act_deterministic
    try:
        trainer.run()
    finally:
        for function in (trainer._collect, trainer._learn):
            if env.device.type == "cuda" and not function.enabled:
                meter.notes.append(f"{function.name} was not recorded as a CUDA graph")
