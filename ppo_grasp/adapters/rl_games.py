"""A task as rl_games' Runner wants it: tensors on the device."""

from __future__ import annotations

from typing import Any, Dict, Tuple, Union

from torch import Tensor

from ppo_grasp.adapters import missing
from ppo_grasp.adapters.stepped import Task, stepped

try:
    from rl_games.common import env_configurations, vecenv
    from rl_games.common.ivecenv import IVecEnv
except ImportError as error:
    raise missing("rl_games", "rl-games") from error

from ppo_grasp.adapters.gymnasium import spaces

Seen = Union[Tensor, Dict[str, Tensor]]


class VecEnv(IVecEnv):
    """A task in rl_games' terms."""

    def __init__(self, task: Task, central_value: bool = False) -> None:
        """central_value: whether observations come with `states`, the critic's view, for a `central_value_config`."""
        self.stepped, self._central_value = stepped(task), central_value

    def reset(self) -> Seen:
        """Starts every environment anew."""
        return self._seen(self.stepped.reset())

    def step(self, actions: Tensor) -> Tuple[Seen, Tensor, Tensor, Dict[str, Tensor]]:
        """One control step."""
        out = self.stepped.step(actions)
        return self._seen(out.obs), out.reward, out.terminated | out.truncated, {"time_outs": out.truncated}

    def get_env_info(self) -> Dict[str, Any]:
        """Spaces."""
        actor, critic, action = spaces(self.stepped)
        info = {"observation_space": actor, "action_space": action}
        return {**info, "state_space": critic} if self._central_value else info

    def metrics(self) -> Dict[str, float]:
        """See `SteppedTask.metrics`."""
        return self.stepped.metrics()

    def _seen(self, obs: Tensor) -> Seen:
        return {"obs": obs, "states": self.stepped.critic_obs.clone()} if self._central_value else obs


def register(name: str, env: VecEnv) -> None:
    """Makes `env_name: NAME` in a configuration of rl_games mean this environment."""
    vecenv.register(name, lambda config_name, num_actors, **kwargs: env)
    env_configurations.register(name, {"vecenv_type": name, "env_creator": lambda **kwargs: None})
