"""What a checkpoint holds of a training besides its policy, and how a training goes on from it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Union

from ppo_grasp.actor_critic import ActorCriticCfg
from ppo_grasp.checkpoint import CheckpointError, load_checkpoint
from ppo_grasp.run.contents import check_like, check_rates

if TYPE_CHECKING:
    from ppo_grasp.trainer import Trainer

SIZES = ("num_obs", "num_critic_obs", "num_actions", "actor_hidden", "critic_hidden")


def training_state(trainer: Trainer, random_states: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Everything that training needs to go on.  random_states: of all ranks."""
    return {
        "iteration": trainer.iteration,
        "env_steps": trainer.env_steps,
        "wall_s": trainer.wall_s,
        "best_score": trainer.best_score,
        "best": trainer.best,
        "ppo": trainer.ppo.state_dict(),
        "task": trainer.task.state_dict(),
        "rng": random_states[0],
        "rng_of_ranks": random_states,
        "task_metrics": trainer.task_metrics,
        "config": trainer.config,
    }


def restore(trainer: Trainer, path: Union[str, Path]) -> None:
    """Makes a trainer go on from a checkpoint, with new episodes in all environments.  Raises CheckpointError."""
    payload = load_checkpoint(path)
    check_sizes(trainer.cfg.network, payload["network"], str(path))
    state = payload["state"]
    try:
        check_like(payload["model"], trainer.policy.state_dict(), "model")
        check_like(state["ppo"], trainer.ppo.state_dict(), "ppo", any_shape=("discounted_return",))
        check_rates(state["ppo"])
        trainer.policy.load_state_dict(payload["model"])
        trainer.ppo.load_state_dict(state["ppo"])
        trainer.task.load_state_dict(state["task"])
        trainer.iteration = state["iteration"]
        trainer.env_steps = state["env_steps"]
        known = len(trainer.best_by) == 1 or "best" in state  # else the score is by another measure
        trainer.best = tuple(state.get("best", (state["best_score"],))) if known else (-math.inf,)
        trainer.earlier_wall_s = state["wall_s"]
        trainer.resumed_rng = state.get("rng_of_ranks", [state["rng"]])
        trainer.task_metrics = state["task_metrics"]
    except (KeyError, RuntimeError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit: {' '.join(str(error).split())[:200]}") from error


def check_sizes(network: ActorCriticCfg, other: Mapping[str, Any], what: str) -> None:
    """Raises CheckpointError if the networks of `other` have other sizes."""
    for name in SIZES:
        here, there = getattr(network, name), other.get(name)
        if here != there:
            raise CheckpointError(f"{what} has {name} {there}, here it is {here}")
