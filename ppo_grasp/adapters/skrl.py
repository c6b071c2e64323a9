"""A task as skrl's trainers want it: tensors on the device, the critic's view as the state."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

from torch import Tensor

from ppo_grasp.adapters import missing
from ppo_grasp.adapters.stepped import Task, stepped

try:
    from skrl.envs.wrappers.torch import Wrapper
except ImportError as error:
    raise missing("skrl 2", "'skrl>=2'") from error

from ppo_grasp.adapters.gymnasium import spaces


class VecEnv(Wrapper):
    """A task for skrl's trainers.  `state()` is the critic's view, for agents that take a `state_space`."""

    def __init__(self, task: Task, states: bool = True) -> None:
        """states: whether there is a state.  Without, the critic sees what the actor sees."""
        super().__init__(task)
        self.stepped, self._states = stepped(task), states
        self._observation_space, self._state_space, self._action_space = spaces(task)

    @property
    def observation_space(self) -> Any:
        """Of one environment."""
        return self._observation_space

    @property
    def state_space(self) -> Any:
        """Of one environment, or None."""
        return self._state_space if self._states else None

    @property
    def action_space(self) -> Any:
        """Of one environment."""
        return self._action_space

    def reset(self) -> Tuple[Tensor, Dict[str, Any]]:
        """Starts every environment anew."""
        return self.stepped.reset(), {}

    def step(self, actions: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor, Dict[str, Any]]:
        """One control step."""
        out = self.stepped.step(actions)
        return out.obs, out.reward[:, None], out.terminated[:, None], out.truncated[:, None], {}

    def state(self) -> Optional[Tensor]:
        """(N, num_critic_obs) what the critic sees now, or None."""
        return self.stepped.critic_obs.clone() if self._states else None

    def metrics(self) -> Dict[str, float]:
        """See `SteppedTask.metrics`."""
        return self.stepped.metrics()

    def render(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: `play.py` shows hands."""

    def close(self) -> None:
        """Does nothing: there is nothing to close."""
