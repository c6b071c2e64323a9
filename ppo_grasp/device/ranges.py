"""Named ranges of the host's time for Nsight Systems (NVTX): what was being done when kernels were issued.

rollout: policy, physics, reward, reset, observation.  update: gae, minibatches, normalizers.  log, evaluate.  A replayed CUDA graph is
one launch: what is inside rollout and update shows with `--no-graphs` only.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, ContextManager

import torch

_marking = False


def mark_ranges(wanted: bool) -> None:
    """Whether `named_range` marks from now on, in the whole process; it needs a CUDA build of torch."""
    global _marking
    _marking = wanted


def named_range(name: str) -> ContextManager[Any]:
    """Marks what is issued inside, if ranges are wanted."""
    return torch.cuda.nvtx.range(name) if _marking else nullcontext()
