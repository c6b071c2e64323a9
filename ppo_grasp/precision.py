"""What the networks compute in: TF32 or bfloat16 for their matrix products, and for nothing else."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, List, Sequence

import torch
from torch import Tensor

from ppo_grasp.actor_critic import ActorCritic


@contextmanager
def tf32() -> Iterator[None]:
    """Lets float32 matrix products inside the block run on TF32 tensor cores; restores the setting after it.

    Never set globally: a simulator or task that rotates vectors with matrix products would lose 13 bits of mantissa.
    torch >= 2.9 has a second name for the setting, but its compiler still reads this one, and refuses a mixture.
    """
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


class Bfloat16Twin:
    """A policy whose towers compute in bfloat16, and follow those of a policy in float32.

    The numbers are autocast's, which casts layer by layer in every pass, where this casts all parameters by one kernel and
    all gradients by another.
    """

    def __init__(self, original: ActorCritic) -> None:
        self.policy = original.bfloat16_twin()
        self._originals = _tower_parameters(original)
        self._copies = _tower_parameters(self.policy)
        self._grads = [torch.empty_like(p) for p in self._originals]

    @torch.no_grad()
    def follow(self) -> None:
        """Casts the original's parameters, after they changed."""
        torch._foreach_copy_(self._copies, self._originals)

    def in_float32(self, grads: Sequence[Tensor]) -> List[Tensor]:
        """Gradients of the twin's towers, actor's then critic's, in float32; overwritten by the next call."""
        torch._foreach_copy_(self._grads, list(grads))
        return self._grads


def _tower_parameters(policy: ActorCritic) -> List[Tensor]:
    return [*policy.actor.parameters(), *policy.critic.parameters()]
