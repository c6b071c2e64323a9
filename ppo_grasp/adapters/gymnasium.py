"""Gymnasium, both ways: a task as a vector environment, and any vector environment as a task."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ppo_grasp.adapters import missing
from ppo_grasp.adapters.stepped import Task, stepped
from ppo_grasp.vec_task import Step, VecTask

try:
    import gymnasium
    from gymnasium.vector import AutoresetMode
    from gymnasium.vector.utils import batch_space
except ImportError as error:
    raise missing("gymnasium 1.1 or newer", "'gymnasium>=1.1'") from error

Array = Union[np.ndarray, Tensor]


def spaces(task: Any) -> Tuple[gymnasium.spaces.Box, gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """What one environment of a task has: the actor's observations, the critic's, and actions within [-1, 1]."""
    unbounded = [gymnasium.spaces.Box(-np.inf, np.inf, (n,), np.float32) for n in (task.num_obs, task.num_critic_obs)]
    return unbounded[0], unbounded[1], gymnasium.spaces.Box(-1.0, 1.0, (task.num_actions,), np.float32)


class VectorEnv(gymnasium.vector.VectorEnv):
    """A task as a vector environment.

    An environment whose episode ends starts its next one in the same step.  `info["final_obs"]` is what the episode ended with,
    and `info["_final_obs"]` (N,) says where.
    """

    def __init__(self, task: Task, to: str = "numpy") -> None:
        """to: "numpy" for arrays on the host, "torch" for tensors on the task's device.  Actions may be either."""
        if to not in ("numpy", "torch"):
            raise ValueError(f"to={to!r}: choose numpy or torch")
        self.stepped = task = stepped(task)
        self.num_envs, self.device = task.num_envs, task.device
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space, _, self.single_action_space = spaces(task)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._numpy = to == "numpy"

    def reset(
        self, *, seed: Optional[Any] = None, options: Optional[Dict[str, Any]] = None
    ) -> Tuple[Array, Dict[str, Any]]:
        """Starts every environment anew.  seed: see `VecTask.seed`; of a list, the first counts.

        Raises ValueError if `options` asks for some environments alone.
        """
        if options and "reset_mask" in options:
            raise ValueError("reset_mask: environments start again by themselves, and cannot be reset one by one")
        seed = seed[0] if isinstance(seed, (list, tuple)) else seed
        super().reset(seed=seed)
        return self._out(self.stepped.reset(seed)), {}

    def step(self, actions: Array) -> Tuple[Array, Array, Array, Array, Dict[str, Any]]:
        """One control step.  actions: (N, num_actions), nominally within [-1, 1]."""
        out = self.stepped.step(torch.as_tensor(actions, dtype=torch.float32, device=self.device))
        ended = out.terminated | out.truncated
        if self._numpy:
            info = _final_rows(out.final_obs, ended.cpu().numpy())
        else:
            info = {"final_obs": out.final_obs.clone(), "_final_obs": ended}
        obs, reward, terminated, truncated = (self._out(x) for x in out[:4])
        return obs, reward, terminated, truncated, info

    def metrics(self) -> Dict[str, float]:
        """See `SteppedTask.metrics`."""
        return self.stepped.metrics()

    def _out(self, value: Tensor) -> Array:
        return value.cpu().numpy() if self._numpy else value


def _final_rows(final_obs: Tensor, ended: np.ndarray) -> Dict[str, Any]:
    """The info of a step as Gymnasium's own vector environments write it: nothing where no episode ended."""
    if not ended.any():
        return {}
    rows = np.full(len(ended), None, dtype=object)
    for index in np.flatnonzero(ended):
        rows[index] = final_obs[index].cpu().numpy().copy()
    return {"final_obs": rows, "_final_obs": ended}


class Env(gymnasium.Env):
    """A task of one world as a single environment, for libraries that know no other.  Slow: use `VectorEnv` if you can."""

    metadata: Dict[str, Any] = {"render_modes": []}

    def __init__(self, task: Task) -> None:
        """Raises ValueError if the task has several worlds."""
        if task.num_envs != 1:
            raise ValueError(f"a single environment needs a task of one world, this one has {task.num_envs}")
        self.stepped = task = stepped(task)
        self.observation_space, _, self.action_space = spaces(task)

    def reset(
        self, *, seed: Optional[int] = None, options: Optional[Dict[str, Any]] = None
    ) -> Tuple[np.ndarray, Dict[str, Any]]:
        """Starts an episode.  seed: see `VecTask.seed`."""
        super().reset(seed=seed)
        return self.stepped.reset(seed)[0].cpu().numpy(), {}

    def step(self, action: np.ndarray) -> Tuple[np.ndarray, float, bool, bool, Dict[str, Any]]:
        """One control step.  action: (num_actions,)."""
        out = self.stepped.step(torch.as_tensor(action, dtype=torch.float32)[None])
        terminated, truncated = bool(out.terminated), bool(out.truncated)
        obs = out.final_obs if terminated or truncated else out.obs
        return obs[0].cpu().numpy().copy(), float(out.reward), terminated, truncated, {}


class GymnasiumTask(VecTask):
    """Any vector environment of continuous actions as a task of this engine.

    The engine's actions within [-1, 1] become the whole range of the environment's.
    """

    metric_names = ("episodic_return", "episodic_length")

    def __init__(self, envs: Any, device: Union[str, torch.device] = "cpu", seed: Optional[int] = None) -> None:
        """envs: a `gymnasium.vector.VectorEnv`.  Episodes must start again in the step that ends one, or on request: make it with
        `gymnasium.make_vec(ID, N, vector_kwargs={"autoreset_mode": "SameStep"})`.  device: where the engine's tensors are.
        seed: of the environment's first reset.

        Raises ValueError for other environments, and for observations or actions that are no bounded or flat arrays.
        """
        mode = envs.metadata.get("autoreset_mode")
        mode = AutoresetMode(mode) if isinstance(mode, str) else mode
        if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
            raise ValueError(
                f"the environment's autoreset mode is {mode}: make it with "
                "gymnasium.make_vec(ID, N, vector_kwargs={'autoreset_mode': 'SameStep'})"
            )
        seen, action = envs.single_observation_space, envs.single_action_space
        if not isinstance(seen, gymnasium.spaces.Box):
            raise ValueError(f"observations must be a Box, not {seen}: try gymnasium.wrappers.FlattenObservation")
        if not isinstance(action, gymnasium.spaces.Box) or not action.is_bounded():
            raise ValueError(f"actions must be a Box with bounds, not {action}: PPO here has continuous actions only")
        self.envs, self.num_envs, self.device = envs, envs.num_envs, torch.device(device)
        self.num_obs = self.num_critic_obs = int(np.prod(seen.shape))
        self.num_actions = int(np.prod(action.shape))
        self.metric_sums = torch.zeros(2, 2, device=self.device)
        self._resets_itself = mode is AutoresetMode.SAME_STEP
        self._seed = seed
        self._low, self._high, self._shape, self._dtype = action.low, action.high, action.shape, action.dtype
        self._return, self._length = np.zeros(self.num_envs), np.zeros(self.num_envs)

    def reset(self) -> Tuple[Tensor, Tensor]:
        """See `VecTask.reset`."""
        obs, _ = self.envs.reset(seed=self._seed)
        self._seed = None
        self._return[:], self._length[:] = 0.0, 0.0
        seen = self._tensor(obs)
        return seen, seen

    def step(self, action: Tensor) -> Step:
        """See `VecTask.step`."""
        share = 0.5 * (_numpy(action).clip(-1.0, 1.0).reshape(self.num_envs, *self._shape) + 1.0)
        scaled = (self._low + share * (self._high - self._low)).astype(self._dtype)
        obs, reward, terminated, truncated, info = self.envs.step(scaled)
        reward, terminated, truncated = (_numpy(x) for x in (reward, terminated, truncated))
        truncated = truncated & ~terminated
        ended = terminated | truncated
        final = np.array(_numpy(obs), dtype=np.float32)
        if ended.any():
            if self._resets_itself:
                for index in np.flatnonzero(ended):
                    final[index] = _numpy(info["final_obs"][index])
            else:
                obs, _ = self.envs.reset(options={"reset_mask": ended})
        self._count(reward, ended)
        seen = self._tensor(obs)
        return Step(
            seen,
            seen,
            torch.as_tensor(reward, dtype=torch.float32, device=self.device),
            torch.as_tensor(terminated, device=self.device),
            torch.as_tensor(truncated, device=self.device),
            self._tensor(final),
        )

    def _count(self, reward: np.ndarray, ended: np.ndarray) -> None:
        self._return += reward
        self._length += 1
        count = int(ended.sum())
        if count:
            sums = [[self._return[ended].sum(), count], [self._length[ended].sum(), count]]
            self.metric_sums += torch.tensor(sums, dtype=torch.float32, device=self.device)
            self._return[ended], self._length[ended] = 0.0, 0.0

    def _tensor(self, value: Any) -> Tensor:
        """(N, num_obs) float32, a copy."""
        flat = np.array(_numpy(value), dtype=np.float32).reshape(self.num_envs, -1)
        return torch.from_numpy(flat).to(self.device)


def _numpy(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
