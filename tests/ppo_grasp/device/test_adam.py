"""Adam against torch.optim.Adam."""

from __future__ import annotations

from typing import List

import torch
from torch import Tensor

from ppo_grasp.device.adam import CHUNKS, Adam, Flat


def step(adam: Adam, grads: List[Tensor], scale: float = 1.0, skip: bool = False) -> None:
    for mine, grad in zip(adam.grads.each, grads):
        mine.copy_(grad)
    adam.step(torch.tensor(scale), torch.tensor(skip))


def test_steps_are_those_of_torch_and_a_skipped_one_changes_nothing() -> None:
    torch.manual_seed(0)
    start = [torch.randn(4, 3), torch.randn(5), torch.randn(()), torch.randn(50, 40)]
    ours, theirs = [[x.clone().requires_grad_() for x in start] for _ in range(2)]
    adam, expected = Adam(ours, 0.01), torch.optim.Adam(theirs, lr=0.01)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    for number in range(6):
        grads = [torch.randn_like(x) for x in start]
        scale = 1.0 + number
        if number == 4:
            adam.learning_rate.fill_(0.003)
            expected.param_groups[0]["lr"] = 0.003
        if number == 3:
            step(adam, [grads[0] * float("nan"), *grads[1:]], float("nan"), skip=True)
        else:
            step(adam, grads, scale)
            for x, grad in zip(theirs, grads):
                x.grad = grad / scale
            expected.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    used = sum(x.numel() for x in start)
    for flat in (adam.params, adam.grads):
        assert flat.all.count_nonzero() == used, "gaps stay zero, also where a gradient was not finite"


def test_state_goes_on_in_another_one() -> None:
    torch.manual_seed(0)
    one, other = [torch.ones(3)], [torch.ones(3)]
    first = Adam(one, 0.1)
    step(first, [torch.randn(3)])
    first.learning_rate.fill_(0.02)
    second = Adam(other, 0.1)
    second.load_state_dict(first.state_dict())
    other[0].copy_(one[0])
    grads = [torch.randn(3)]
    step(first, grads)
    step(second, grads)
    assert torch.equal(one[0], other[0]) and float(second.learning_rate) == float(first.learning_rate)


def test_a_flat_tensor_holds_each_at_an_aligned_place_and_all_in_equal_chunks() -> None:
    like = [torch.zeros(3, 5), torch.zeros(1), torch.zeros(16), torch.zeros(7, 2)]
    flat = Flat(like, torch.bfloat16)
    for k, view in enumerate(flat.each):
        view.fill_(k + 1)
    assert [x.shape for x in flat.each] == [x.shape for x in like]
    assert all((x.data_ptr() - flat.all.data_ptr()) % 16 == 0 for x in flat.each)
    assert [int((flat.all == k + 1).sum()) for k in range(4)] == [15, 1, 16, 14], "none lies in another"
    assert len({len(x) for x in flat.chunks}) == 1 and len(flat.chunks) == CHUNKS
    assert torch.equal(torch.cat(flat.chunks), flat.all)
