"""A task as rsl_rl's runners want it: tensors on the device, the critic's view as a group of its own."""

from __future__ import annotations

import os
from typing import Any, Dict, Tuple

import torch
from torch import Tensor

from ppo_grasp.adapters import missing
from ppo_grasp.adapters.stepped import Task, stepped

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # where there is no git, its logger does without

try:
    from rsl_rl.env import VecEnv as RslRlVecEnv
    from tensordict import TensorDict
except ImportError as error:
    raise missing("rsl_rl 5", "'rsl-rl-lib>=5'") from error


class VecEnv(RslRlVecEnv):
    """A task for `rsl_rl.runners.OnPolicyRunner`.

    Observation groups: `policy` (num_obs) and `critic` (num_critic_obs), so that the runner's
    `obs_groups` is `{"actor": ["policy"], "critic": ["critic"]}`, or `["policy"]` for both.
    """

    def __init__(self, task: Task, max_episode_length: int = 100) -> None:
        """max_episode_length: in control steps.  The runner reads it if it is told to begin in mid-episode.  That has no effect,
        because a task spreads its episodes itself."""
        self.stepped = task = stepped(task)
        self.num_envs, self.num_actions, self.device = task.num_envs, task.num_actions, task.device
        self.max_episode_length = max_episode_length
        self.episode_length_buf = torch.zeros(task.num_envs, dtype=torch.long, device=task.device)
        self.cfg: Dict[str, Any] = {}
        self._obs = self._groups(self.stepped.reset())

    def get_observations(self) -> TensorDict:
        """What the last step returned."""
        return self._obs

    def step(self, actions: Tensor) -> Tuple[TensorDict, Tensor, Tensor, Dict[str, Any]]:
        """One control step."""
        out = self.stepped.step(actions)
        self._obs = self._groups(out.obs)
        return self._obs, out.reward, out.terminated | out.truncated, {"time_outs": out.truncated}

    def metrics(self) -> Dict[str, float]:
        """See `SteppedTask.metrics`."""
        return self.stepped.metrics()

    def _groups(self, obs: Tensor) -> TensorDict:
        groups = {"policy": obs}
        if self.stepped.num_critic_obs != self.stepped.num_obs:
            groups["critic"] = self.stepped.critic_obs.clone()
        else:
            groups["critic"] = obs
        return TensorDict(groups, batch_size=[self.num_envs])
