"""The evaluation beside a training: it has random numbers of its own, so that measuring changes nothing of the training."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, Optional

import torch

from ppo_grasp.actor_critic import ActorCritic
from ppo_grasp.device.ranges import named_range
from ppo_grasp.distributed import Ranks, mean_of, sum_of
from ppo_grasp.run.random_state import OwnRandomState, RandomState
from ppo_grasp.vec_task import VecTask

Evaluate = Callable[[ActorCritic], Dict[str, float]]


class RunningEvaluation:
    """Measures a policy, and keeps what the next evaluation goes on from."""

    def __init__(self, task: Optional[VecTask], seed: int, device: torch.device, ranks: Ranks) -> None:
        """task: what the evaluation plays, if it is known.  Its `state_dict` is kept, and its `diagnostics` are reported."""
        self.task, self.ranks = task, ranks
        self.random = OwnRandomState(ranks.seed(seed), device)
        self._task_state = None if task is None else copy.deepcopy(task.state_dict())

    @torch.no_grad()
    def measure(self, evaluate: Evaluate, policy: ActorCritic) -> Dict[str, float]:
        """What `evaluate` returns, the mean over ranks; then the task's counters of trouble, the sum over ranks.

        If it raises, the next evaluation begins where this one began.
        """
        with named_range("evaluate"), self.random():
            result = mean_of(self.ranks, evaluate(policy))
        if self.task is not None:
            result = {**result, **sum_of(self.ranks, self.task.diagnostics())}
            self._task_state = copy.deepcopy(self.task.state_dict())
        return result

    def state_dict(self, random_states: List[RandomState]) -> Dict[str, Any]:
        """What the next evaluation goes on from.  random_states: of all ranks."""
        return {"rng_of_ranks": random_states, "task": self._task_state}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restores `state_dict`.  With another number of processes, or other objects, new random numbers begin."""
        if len(state["rng_of_ranks"]) == self.ranks.size:
            self.random.load(state["rng_of_ranks"][self.ranks.rank])
        if self.task is not None and state["task"] is not None:
            self.task.load_state_dict(state["task"])
            self._task_state = copy.deepcopy(self.task.state_dict())
