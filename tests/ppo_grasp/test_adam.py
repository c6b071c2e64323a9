"""Adam against torch.optim.Adam."""

from __future__ import annotations

import torch

from ppo_grasp.adam import Adam


def test_steps_are_those_of_torch_and_a_skipped_one_changes_nothing() -> None:
    torch.manual_seed(0)
    start = [torch.randn(4, 3), torch.randn(5), torch.randn(())]
    ours, theirs = [[x.clone().requires_grad_() for x in start] for _ in range(2)]
    adam, expected = Adam(ours, 0.01), torch.optim.Adam(theirs, lr=0.01)
    for step in range(6):
        grads = [torch.randn_like(x) for x in start]
        skip = step == 3
        if step == 4:
            adam.learning_rate.fill_(0.003)
            expected.param_groups[0]["lr"] = 0.003
        adam.step(grads, skip=torch.tensor(skip))
        if not skip:
            for x, grad in zip(theirs, grads):
                x.grad = grad
            expected.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_state_goes_on_in_another_one() -> None:
    torch.manual_seed(0)
    one, other = [torch.ones(3)], [torch.ones(3)]
    first = Adam(one, 0.1)
    first.step([torch.randn(3)], skip=torch.tensor(False))
    first.learning_rate.fill_(0.02)
    second = Adam(other, 0.1)
    second.load_state_dict(first.state_dict())
    other[0].copy_(one[0])
    grads = [torch.randn(3)]
    first.step(grads, skip=torch.tensor(False))
    second.step(grads, skip=torch.tensor(False))
    assert torch.equal(one[0], other[0]) and float(second.learning_rate) == float(first.learning_rate)
