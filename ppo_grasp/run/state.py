"""What a checkpoint holds of a training besides its policy, and how a training goes on from it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Sequence, Tuple, Union

from ppo_grasp.actor_critic import ActorCriticCfg
from ppo_grasp.checkpoint import CheckpointError, load_checkpoint
from ppo_grasp.run.contents import check_like, check_rates
from ppo_grasp.run.random_state import random_state, resume_random_state
from ppo_grasp.run.settings import describe_differences

if TYPE_CHECKING:
    from ppo_grasp.trainer import Trainer

MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What is raised where something of a checkpoint has another type, size or shape than expected."""
SIZES = ("num_obs", "num_critic_obs", "num_actions", "actor_hidden", "critic_hidden")


def part_of_this_rank(trainer: Trainer) -> Dict[str, Any]:
    """What other ranks do not have: the task, its running episodes, and random states.

    The episodes are left out before the first iteration, in the middle of one, and if the task cannot give them.
    """
    exact = trainer.between_iterations and trainer.iteration > 0
    episodes = trainer.task.episodes_state() if exact else None
    buffer, seen = trainer.buffer, None
    if episodes is not None:  # copies, as a view would be saved with all that it is a view of
        seen = {"obs": buffer.obs[-1].clone(), "critic_obs": buffer.critic_obs[-1].clone()}
    return {
        "task": trainer.task.state_dict(),
        "episodes": episodes,
        "seen": seen,
        "discounted_return": trainer.ppo.discounted_return,
        "rng": random_state(trainer.device),
        "rng_of_evaluation": trainer.evaluation.random.state,
    }


def training_state(trainer: Trainer, parts: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Everything that training needs to go on as if it had never stopped.

    parts: `part_of_this_rank` of all ranks.  One that saves without the others has its own alone, and no episodes are kept.
    """
    first, alone = parts[0], trainer.ranks.size == 1
    own = ("task", "episodes", "seen", "discounted_return")
    return {
        "iteration": trainer.iteration,
        "env_steps": trainer.env_steps,
        "wall_s": trainer.wall_s,
        "best_score": trainer.best_score,
        "best": trainer.best,
        "best_by": trainer.best_by,
        "ppo": trainer.ppo.state_dict(),
        "task": first["task"],
        "episodes": first["episodes"] if alone else None,
        "seen": first["seen"] if alone else None,
        "rng": first["rng"],
        "rng_of_ranks": [part["rng"] for part in parts],
        "of_ranks": [{name: part[name] for name in own} for part in parts] if len(parts) > 1 else None,
        "evaluation": trainer.evaluation.state_dict([part["rng_of_evaluation"] for part in parts]),
        "task_metrics": trainer.task_metrics,
        "unlogged": trainer.unlogged,
        "config": trainer.config,
    }


def restore(trainer: Trainer, path: Union[str, Path]) -> Dict[str, Any]:
    """Takes up everything but the episodes and the random state, which `resume_episodes` does; returns the state.

    Says which settings differ from the checkpoint's.  Raises CheckpointError.
    """
    payload = load_checkpoint(path)
    check_sizes(trainer.cfg.network, payload["network"], str(path))
    try:
        state = _for_this_rank(trainer, payload["state"])
        check_like(payload["model"], trainer.policy.state_dict(), "model")
        check_like(state["ppo"], trainer.ppo.state_dict(), "ppo", any_shape=("discounted_return",))
        check_rates(state["ppo"])
        trainer.policy.load_state_dict(payload["model"])
        trainer.ppo.load_state_dict(state["ppo"])
        trainer.task.load_state_dict(state["task"])
        trainer.iteration = state["iteration"]
        trainer.env_steps = state["env_steps"]
        trainer.best = _score(state, trainer.best_by)  # until `run` has looked into its directory
        trainer.earlier_wall_s = state["wall_s"]
        trainer.task_metrics = state["task_metrics"]
        trainer.unlogged = state["unlogged"]
        if state["evaluation"] is not None:
            trainer.evaluation.load_state_dict(state["evaluation"])
    except MISFITS as error:
        raise CheckpointError(f"{path} does not fit: {' '.join(str(error).split())[:200]}") from error
    different = describe_differences(state["config"], trainer.config)
    if different:
        print(different, flush=True)
    return state


def resume_episodes(trainer: Trainer, state: Dict[str, Any]) -> None:
    """Resets the task and goes on in the middle of the episodes, or says why they are new.

    The random state is restored last, since all of this may draw from it.  Ranks go on together or begin anew together.
    """
    reason = state.get("no_episodes", "")
    if not reason:
        try:
            trainer.task.reset()
            trainer.task.load_episodes_state(state["episodes"])
            obs, critic_obs = trainer.buffer.obs[-1], trainer.buffer.critic_obs[-1]
            check_like(state["seen"], {"obs": obs, "critic_obs": critic_obs}, "seen")
            trainer.buffer.restart(state["seen"]["obs"], state["seen"]["critic_obs"])
        except MISFITS as error:
            reason = " ".join(str(error).split())[:200]
    reason = next(filter(None, trainer.ranks.gather(reason)), "")
    if reason:
        trainer.restart_episodes()
    if reason and trainer.iteration > 0:
        print(f"new episodes begin: {reason}", flush=True)
    seed = trainer.cfg.seed + trainer.iteration
    resume_random_state(trainer.ranks, state.get("rng_of_ranks", [state["rng"]]), seed, trainer.device)


def _for_this_rank(trainer: Trainer, state: Dict[str, Any]) -> Dict[str, Any]:
    """The state with this rank's part in the place of rank 0's.  `no_episodes` is why no episodes go on, empty if they do."""
    size, saved = trainer.ranks.size, state["config"].get("processes", 1)
    parts = state.get("of_ranks") or [{}]
    mine = dict(parts[trainer.ranks.rank]) if len(parts) == size else {}
    state = {**state, **mine}
    if mine:
        state["ppo"] = {**state["ppo"], "discounted_return": mine["discounted_return"]}
    if saved != size:
        reason = f"the checkpoint is of {saved} process{'es' * (saved > 1)}, here are {size}"
    elif len(parts) != size:
        reason = "one process saved the checkpoint without the others"
    else:
        reason = "" if state["episodes"] is not None else "the checkpoint holds none"
    return {**state, "no_episodes": reason}


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


def check_sizes(network: ActorCriticCfg, other: Mapping[str, Any], what: str) -> None:
    """Raises CheckpointError if the networks of `other` have other sizes, or another distribution of actions."""
    for name in SIZES:
        here, there = getattr(network, name), other.get(name)
        if here != there:
            raise CheckpointError(f"{what} has {name} {there}, here it is {here}")
    there = other.get("distribution", "tanh")  # there was no other
    if network.distribution != there:
        raise CheckpointError(f"{what} has distribution {there}, here it is {network.distribution}")
