"""Late actions, against an explicit list."""

from __future__ import annotations

from typing import List

import pytest
import torch

from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.randomisation.delay import DelayLine

CPU = torch.device("cpu")
HOLD = -1.0


def line(delay: int, jitter: int, count: int) -> DelayLine:
    result = DelayLine(RandomCfg(action_delay=delay, action_jitter=jitter), count, 2, CPU)
    result.begin(torch.ones(count, dtype=torch.bool), torch.full((count, 2), HOLD))
    return result


def sent(step: int, count: int) -> torch.Tensor:
    return torch.full((count, 2), float(step))


@pytest.mark.parametrize("delay", [1, 2, 4])
def test_a_fixed_delay_is_a_list(delay: int) -> None:
    late = line(delay, 0, 3)
    waiting: List[float] = [HOLD] * delay
    for step in range(9):
        waiting.append(step)
        acts = late.arriving(sent(step, 3), torch.ones(3))
        assert torch.equal(acts, torch.full((3, 2), waiting.pop(0)))


def test_levels_make_delays_shorter() -> None:
    late = line(2, 0, 4)
    level = torch.tensor([0.0, 0.34, 0.67, 1.0])
    for step in range(5):
        acts = late.arriving(sent(step, 4), level)
    assert acts[:, 0].tolist() == [4, 3, 2, 2]


def test_jitter_is_within_its_bounds_takes_all_values_and_lets_none_overtake() -> None:
    torch.manual_seed(0)
    late = line(1, 3, 500)
    before = torch.full((500,), HOLD)
    seen = set()
    for step in range(30):
        acts = late.arriving(sent(step, 500), torch.ones(500))[:, 0]
        assert (acts >= before).all(), "an older action came after a newer one"
        before = acts
        if step > 5:
            by = step - acts
            assert by.min() >= 1 and by.max() <= 4
            seen |= set(by.tolist())
    assert seen == {1, 2, 3, 4}


def test_until_the_first_action_arrives_the_targets_are_held() -> None:
    """Only in the worlds that begin; the others' actions are on their way still."""
    late = line(2, 0, 2)
    for step in range(4):
        late.arriving(sent(step, 2), torch.ones(2))
    late.begin(torch.tensor([True, False]), torch.full((2, 2), -7.0))
    acts = [late.arriving(sent(step, 2), torch.ones(2))[:, 0].tolist() for step in range(4, 8)]
    assert acts == [[-7, 2], [-7, 3], [4, 4], [5, 5]]
