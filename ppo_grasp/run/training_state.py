"""What a checkpoint holds of a training, and how a training takes it up again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Tuple

from ppo_grasp.checkpoint import DUMP, LAST, CheckpointError, load_checkpoint, save_dump
from ppo_grasp.run.contents import check_like, check_rates
from ppo_grasp.run.health import TrainingError
from ppo_grasp.run.random_state import random_state, set_random_state
from ppo_grasp.run.settings import describe_differences

if TYPE_CHECKING:
    from ppo_grasp.trainer import Trainer

SIZES = ("num_obs", "num_critic_obs", "num_actions", "actor_hidden", "critic_hidden")
"""Fields of `ActorCriticCfg` that must be the same for weights to fit."""


def training_state(trainer: Trainer) -> Dict[str, Any]:
    """Everything that training needs to go on as if it had never stopped.

    The running episodes are left out before the first iteration, in the middle of one, and if the task cannot give them.
    """
    episodes = trainer.task.episodes_state() if trainer.between_iterations and trainer.iteration > 0 else None
    buffer = trainer.buffer
    return {
        "iteration": trainer.iteration,
        "env_steps": trainer.env_steps,
        "wall_s": trainer.wall_s,
        "best_score": trainer.best_score,
        "best": trainer.best,
        "best_by": trainer.best_by,
        "ppo": trainer.ppo.state_dict(),
        "task": trainer.task.state_dict(),
        "episodes": episodes,
        "seen": None
        if episodes is None
        else {"obs": buffer.obs[-1].clone(), "critic_obs": buffer.critic_obs[-1].clone()},
        "rng": random_state(trainer.device),
        "evaluation": trainer.evaluation_state,
        "task_metrics": trainer.task_metrics,
        "unlogged": trainer.unlogged,
        "config": trainer.config,
    }


def load_training_state(trainer: Trainer, path: Any) -> Dict[str, Any]:
    """Takes up everything but the episodes and the random state, which `resume_episodes` does; returns the state.

    Raises CheckpointError if the checkpoint does not fit.
    """
    payload = load_checkpoint(path)
    network = payload["network"]
    for name in SIZES:
        here, there = getattr(trainer.cfg.network, name), network.get(name)
        if here != there:
            raise CheckpointError(f"{path} was trained with {name} {there}, here it is {here}")
    state: Dict[str, Any] = payload["state"]
    try:
        check_like(payload["model"], trainer.policy.state_dict(), "model")
        check_like(state["ppo"], trainer.ppo.state_dict(), "ppo", any_shape=("discounted_return",))
        check_rates(state["ppo"])
        trainer.policy.load_state_dict(payload["model"])
        trainer.ppo.load_state_dict(state["ppo"])
        trainer.task.load_state_dict(state["task"])
        trainer.iteration = state["iteration"]
        trainer.env_steps = state["env_steps"]
        trainer.task_metrics = state["task_metrics"]
        trainer.unlogged = state["unlogged"]
        trainer.best = _score(state, trainer.best_by)  # until `run` has looked into its directory
        if state["evaluation"] is not None:
            trainer.evaluation_state = state["evaluation"]
            trainer.eval_random.state = state["evaluation"]["rng"]
            if trainer.eval_task is not None and state["evaluation"]["task"] is not None:
                trainer.eval_task.load_state_dict(state["evaluation"]["task"])
    except (KeyError, RuntimeError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit: {' '.join(str(error).split())[:200]}") from error
    different = describe_differences(state["config"], trainer.config)
    if different:
        print(different, flush=True)
    return state


def score_in(best: Path, best_by: Tuple[str, ...]) -> Tuple[float, ...]:
    """The score of the best checkpoint that is there; -inf if there is none that can be read, or by another measure.

    The file decides, and not what a last checkpoint remembers: that one may be older, or of another directory.
    """
    if not best.is_file():
        return (-math.inf,)
    try:
        state = load_checkpoint(best)["state"]
    except CheckpointError as error:
        print(f"{best} will be replaced by the next evaluation: {error}", flush=True)
        return (-math.inf,)
    return _score(state, best_by)


def _score(state: Dict[str, Any], best_by: Tuple[str, ...]) -> Tuple[float, ...]:
    """The score that a checkpoint knows; -inf if it was by another measure."""
    score = tuple(state.get("best", (state["best_score"],)))
    same = tuple(state.get("best_by", best_by)) == best_by and len(score) == len(best_by)
    return score if same else (-math.inf,)


def rescue(trainer: Trainer, error: BaseException) -> str:
    """Saves what can be saved of a training that ends with an error; says what that is.

    A network that is not finite never replaces a checkpoint: it goes to `DUMP`, which nothing resumes from.
    """
    last, dump = trainer.run_dir / LAST, trainer.run_dir / DUMP
    what = f"training stopped: {' '.join(str(error).split())[:300] or type(error).__name__}"
    kept = f"the last checkpoint is {last}" if last.is_file() else "there is no checkpoint before"
    try:
        if isinstance(error, TrainingError):
            state = {**training_state(trainer), "stopped": what}
            save_dump(dump, trainer.policy, state)
            return f"{what}; {kept}; all tensors are in {dump}"
        trainer.save(last)
        return f"{what}; saved {last} at {trainer.env_steps} steps"
    except Exception as second:  # a full disk, a device that has failed: the first error is the one to tell
        return f"{what}; {kept}; nothing more could be saved: {' '.join(str(second).split())[:200]}"


def resume_episodes(trainer: Trainer, state: Dict[str, Any]) -> None:
    """Goes on in the middle of the episodes, or says why they are new.  The task has been reset before.

    The random state is restored last, since all of this may draw from it.
    """
    reason = "the checkpoint holds none"
    if state["episodes"] is not None:
        try:
            trainer.task.load_episodes_state(state["episodes"])
            trainer.buffer.restart(state["seen"]["obs"], state["seen"]["critic_obs"])
            reason = ""
        except (ValueError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            trainer.buffer.restart(*trainer.task.reset())
    if reason and trainer.iteration > 0:
        print(f"new episodes begin: {reason}", flush=True)
    set_random_state(trainer.device, state["rng"])
