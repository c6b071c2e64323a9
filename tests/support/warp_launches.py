"""Notes which kernels a piece of code launches."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, List

import pytest
import warp as wp
from torch.utils._python_dispatch import TorchDispatchMode


class NoTorch(TorchDispatchMode):
    """Refuses all operations of torch."""

    def __torch_dispatch__(self, function: Any, *_args: Any, **_named: Any) -> None:  # type: ignore[override]
        pytest.fail(f"torch was asked for {function}")


@contextmanager
def launches_of_warp() -> Iterator[List[str]]:
    """Collects the names of the kernels that Warp launches meanwhile.  Torch may launch none."""
    launched: List[str] = []
    launch = wp.launch

    def noted(kernel: wp.Kernel, *args: Any, **named: Any) -> None:
        launched.append(kernel.key)
        launch(kernel, *args, **named)

    with pytest.MonkeyPatch.context() as patch, NoTorch():
        patch.setattr(wp, "launch", noted)
        yield launched
