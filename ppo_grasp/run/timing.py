"""How long the parts of an iteration take."""

from __future__ import annotations

import math
from typing import Any, Dict, NamedTuple

import torch
from torch import Tensor

from ppo_grasp.actor_critic import ActorCritic
from ppo_grasp.device.graphs import CapturedFunction
from ppo_grasp.device.precision import tf32
from ppo_grasp.device.timing import Stopwatch, milliseconds, time_third_call
from ppo_grasp.rollout import RolloutBuffer
from ppo_grasp.run.random_state import OwnRandomState


class Issued(NamedTuple):
    """An iteration that was issued to the device and may still be running there."""

    iteration: int
    env_steps: int
    values: Tensor
    """On the host, valid once `end` has passed."""
    since: Any
    """When the iteration before ended, or this one began: throughput counts what the host does in between."""
    begin: Any
    middle: Any
    """When the rollout was over and the update began."""
    end: Any
    physics_ms: float
    """Of this rollout on a CPU; on a GPU of the last rollout that was measured."""


class PartTimes:
    """Milliseconds of a rollout's simulation and policy, which are measured now and then."""

    def __init__(self, policy: ActorCritic, buffer: RolloutBuffer, device: torch.device) -> None:
        self._policy, self._buffer, self._device = policy, buffer, device
        self.stopwatch = Stopwatch(device)
        """Runs while the simulation does."""
        self.physics_ms = math.nan
        self.policy_ms = math.nan

    def measure(self, graphs: bool) -> None:
        """Measures both, once the device has done all its work.  graphs: whether the rollout is replayed as a CUDA graph."""
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        if math.isnan(self.policy_ms):
            self.policy_ms = self.time_policy(graphs)
        self.physics_ms = self.stopwatch.milliseconds()

    @torch.no_grad()
    def time_policy(self, graphs: bool) -> float:
        """Milliseconds of the policy in a rollout, run in the same way as there but by itself."""

        def policy() -> None:
            with tf32():
                for t in range(self._buffer.num_steps):
                    self._policy.act(self._buffer.obs[t])

        with OwnRandomState(0, self._device)():  # a measurement must not change what training draws
            return time_third_call(CapturedFunction(policy, graphs, name="the policy"), self._device)

    def row(self, issued: Issued, samples: int) -> Dict[str, float]:
        """The part of the row of metrics that is about time.  samples: environment steps of the iteration."""
        environment_ms = milliseconds(issued.begin, issued.middle) - self.policy_ms
        return {
            "steps_per_s": 1e3 * samples / max(milliseconds(issued.since, issued.end), 1e-6),
            "physics_ms": issued.physics_ms,
            "task_ms": environment_ms - issued.physics_ms,
            "environment_ms": environment_ms,
            "policy_ms": self.policy_ms,
            "update_ms": milliseconds(issued.middle, issued.end),
        }
