"""A task as stable-baselines3 wants it.  Its arrays are numpy's, so every step goes through the host.

Infos are written for the environments that ended only, which is the fast way.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch

from ppo_grasp.adapters import missing
from ppo_grasp.adapters.stepped import Task, stepped

try:
    from stable_baselines3.common.vec_env import VecEnv as StableBaselinesVecEnv
except ImportError as error:
    raise missing("stable-baselines3", "stable-baselines3") from error

from ppo_grasp.adapters.gymnasium import spaces


class VecEnv(StableBaselinesVecEnv):
    """A task for stable-baselines3's algorithms."""

    def __init__(self, task: Task) -> None:
        self.stepped, self.render_mode = stepped(task), None
        observation_space, _, action_space = spaces(task)
        super().__init__(task.num_envs, observation_space, action_space)
        self._action = torch.zeros(0)

    def reset(self) -> np.ndarray:
        """Starts every environment anew."""
        return self.stepped.reset().cpu().numpy()

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the action."""
        self._action = torch.from_numpy(actions).to(self.stepped.device)

    def step_wait(self) -> Tuple[np.ndarray, np.ndarray, np.ndarray, List[Dict[str, Any]]]:
        """One control step."""
        out = self.stepped.step(self._action)
        obs, reward = out.obs.cpu().numpy(), out.reward.cpu().numpy()
        terminated, truncated = out.terminated.cpu().numpy(), out.truncated.cpu().numpy()
        dones = terminated | truncated
        infos: List[Dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = np.flatnonzero(dones)
        if len(ended):
            final = out.final_obs[torch.from_numpy(ended).to(self.stepped.device)].cpu().numpy()
            for row, index in enumerate(ended):
                infos[index] = {"terminal_observation": final[row], "TimeLimit.truncated": bool(truncated[index])}
        return obs, reward, dones, infos

    def metrics(self) -> Dict[str, float]:
        """See `SteppedTask.metrics`."""
        return self.stepped.metrics()

    def close(self) -> None:
        """Does nothing: there is nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> List[Any]:
        """An attribute of the environments, which are all one object.  Raises AttributeError if there is none."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raises NotImplementedError: environments have no attributes of their own."""
        raise NotImplementedError("the environments are one object: set its attributes")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> List[Any]:
        """Raises NotImplementedError: environments have no methods of their own."""
        raise NotImplementedError("the environments are one object: call its methods")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> List[bool]:
        """Environments have no wrappers."""
        return [False] * len(list(self._get_indices(indices)))

    def seed(self, seed: Optional[int] = None) -> Sequence[Optional[int]]:
        """See `VecTask.seed`."""
        if seed is not None:
            self.stepped.task.seed(seed)
        return [seed] * self.num_envs
