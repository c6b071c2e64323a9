"""A step and a reset stay on the device, and what a step carries over keeps its address."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, List

import pytest
import torch
from scripted_task import idle, play, scripted
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.grasp.environment import GraspTask
from tasks.grasp.randomisation.config import RandomCfg

DISTURBED = replace(RandomCfg.sim2real(), com=0.3, table_height=0.03, joint_friction=0.05)


class NoHost(TorchDispatchMode):
    """Fails where a value would have to reach the host, or decide a shape."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "item", "masked_select", "unique", "is_nonzero", "equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert not any(name == bad or name.startswith(bad + "_") for bad in self.FORBIDDEN), f"{name} asks the device"
        if name in ("index", "index_put", "index_put_"):
            chosen = [i for i in args[1] if i is not None]
            assert all(i.dtype not in (torch.bool, torch.uint8) for i in chosen), f"{name} by a mask has no fixed shape"
        return func(*args, **(kwargs or {}))


def test_no_host_finds_what_it_must_find() -> None:
    x = torch.ones(3)
    for bad in (lambda: x.sum().item(), lambda: bool(x.any()), lambda: x[x > 0], lambda: x.nonzero()):
        with pytest.raises(AssertionError, match=r"asks the device|no fixed shape"), NoHost():
            bad()


@pytest.mark.parametrize("reward", ["default", "recipe"])
@pytest.mark.parametrize("curriculum", ["uniform", "recipe", "adaptive"])
@pytest.mark.parametrize("evaluation", [True, False])
@pytest.mark.parametrize("random", [RandomCfg(), DISTURBED], ids=["ideal", "disturbed"])
def test_step_and_reset_stay_on_the_device(reward: str, curriculum: str, evaluation: bool, random: RandomCfg) -> None:
    """Resets, curriculum and metrics are masks: no value decides anything on the host."""
    task = scripted(4, evaluation=evaluation, reward=reward, curriculum=curriculum, random=random)
    task.simulator.masks = []
    task.reset()
    action = idle(task)
    with NoHost():
        task.reset()
        task.episodes.time.copy_(torch.tensor([99, 98, 0, 0]))
        for _ in range(3):
            task.step(action)


def test_state_addresses_stay() -> None:
    """Recorded graphs keep pointers: whatever a step carries over is written in place."""
    task = scripted(3, evaluation=False)
    task.reset()

    def addresses() -> Dict[str, int]:
        parts = (
            task,
            task.episodes,
            task.episodes.goal,
            task.episodes.record,
            task.targets,
            task.metrics,
            task.curriculum,
        )
        return {
            f"{type(part).__name__}.{name}": value.data_ptr()
            for part in parts
            for name, value in vars(part).items()
            if isinstance(value, Tensor)
        }

    before = addresses()
    task.episodes.time.fill_(99)
    play(task, 2)
    task.reset()
    assert addresses() == before


class Static:
    """What a CUDA graph is to its caller: from the second call on results lie where they lay."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function, self.calls = function, 0
        self.kept: Any = None

    def __call__(self) -> Any:
        self.calls += 1
        if self.calls <= 2:
            self.kept = self.function()
            return self.kept
        for kept, new in zip(tensors(self.kept), tensors(self.function())):
            kept.copy_(new)
        return self.kept


def tensors(results: Any) -> List[Tensor]:
    parts = results if isinstance(results, tuple) else () if results is None else (results,)
    found = [x for part in parts for x in ([part] if isinstance(part, Tensor) else vars(part).values())]
    return [x for x in found if x is not None]  # a start on usual tables has no `table_rise`


def replaying(task: GraspTask) -> GraspTask:
    task._replays = True
    for name in ("_before_physics", "_after_physics", "_begin_replayed"):
        setattr(task, name, Static(getattr(task, name)))
    return task


def play_randomly(task: GraspTask, steps: int) -> List[Tensor]:
    torch.manual_seed(0)
    task.reset()
    task.episodes.time.copy_(torch.tensor([99, 95, 90, 0]))
    seen = []
    for _ in range(steps):
        step = task.step((torch.rand(task.num_envs, task.num_actions, device=task.device) * 2.4) - 1.2)
        seen += [x.clone() for x in (step.obs, step.critic_obs, step.reward, step.truncated, step.final_critic_obs)]
    return [x.float().cpu() for x in seen]


def test_a_step_in_pieces_that_are_replayed_is_the_same_step() -> None:
    """As on a GPU with a simulator that cannot be recorded."""
    plain = play_randomly(scripted(4, evaluation=False), 14)
    pieces = replaying(scripted(4, evaluation=False))
    for a, b in zip(plain, play_randomly(pieces, 14)):
        assert torch.equal(a, b)
    assert pieces._begin_replayed.calls == 14
