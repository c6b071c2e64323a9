"""A step and a reset stay on the device, and what a step carries over keeps its address."""

from __future__ import annotations

from typing import Any, Dict

import pytest
import torch
from scripted_task import idle, play, scripted
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.grasp.randomisation.config import RandomCfg


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
@pytest.mark.parametrize("random", [RandomCfg(), RandomCfg.sim2real()], ids=["ideal", "disturbed"])
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
