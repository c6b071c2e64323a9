"""Makes torch and the PhysX of a simulator wait for each other.

Torch queues its work on its current stream, which need not be the one that Isaac Gym or PhysX uses.  They know only the
addresses of tensors, and no document says that they wait.  Without these calls they might read numbers that torch has not
written yet, and torch might read numbers that they have not written yet.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import torch


def finish_torch(device: torch.device) -> None:
    """Waits until torch has written what the simulator is going to read."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def finish_all(device: torch.device) -> None:
    """Waits until the simulator, too, has written what torch is going to read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def another_stream(device: torch.device) -> Iterator[None]:
    """Runs torch's work on a stream of its own, as trainings do."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)
