"""How much memory a training will need, how many hands would fit, and what to do when it did run out."""

from __future__ import annotations

import contextlib
from typing import Iterator, Optional

import torch

GPU = (1.7e9, 260e3)
"""Bytes of a training on a GPU: those that do not depend on the number of hands, and those of one hand.  Measured on an H100
with the default settings: 2.9 GB with 4096 hands and 512 for evaluation, 6.1 GB with 16,384."""
PROCESSOR = (0.37e9, 380e3)
"""The same on a processor: 0.49 GB with 256 hands and 64 for evaluation, 1.96 GB with 4096."""
TOO_MUCH = 1.5
"""A training that needs this many times the free memory is refused.  The forecast is not exact enough for a smaller factor."""


RAN_OUT = ("out of memory", "can't allocate memory", "Failed to allocate", "Could not allocate", "ALLOC_FAILED")
"""What torch, CUDA, Warp and MuJoCo say in errors without a type of their own."""


class TooLittleMemoryError(ValueError):
    """The memory of the GPU or of the machine ran out.  The message is one line that says what would fit."""


def free_bytes(on_gpu: bool) -> Optional[float]:
    """Memory that is free now, on the GPU or in the machine; None if the system does not tell."""
    if on_gpu and torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    try:
        with open("/proc/meminfo") as file:
            words = next(line for line in file if line.startswith("MemAvailable:")).split()
        return 1024.0 * float(words[1])
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def forecast(num_envs: int, eval_envs: int, on_gpu: bool, processes: int, free: Optional[float]) -> str:
    """A line about what is needed and what would fit.  Raises ValueError if it cannot fit.

    processes: how many share the memory.  free: `free_bytes`.
    """
    base, per_hand = GPU if on_gpu else PROCESSOR
    needed = processes * (base + per_hand * (num_envs + eval_envs))
    said = f"{num_envs:,} hands need about {_gigabytes(needed)}"
    if free is None:
        return said
    most = _most(eval_envs, on_gpu, processes, free)
    fit = f"up to {_rounded(most):,} would fit" if most > 0 else "none fit with these --eval-envs"
    line = f"{said}, {_gigabytes(free)} free: {fit}"
    if needed > TOO_MUCH * free:
        raise ValueError(f"--num-envs {num_envs}: {line}")
    return line


@contextlib.contextmanager
def explained(
    num_envs: int, eval_envs: int, on_gpu: bool, processes: int, option: str = "--num-envs"
) -> Iterator[None]:
    """Raises TooLittleMemoryError, with what would fit, in place of whatever error says that memory ran out inside.

    option: what sets num_envs.
    """
    free = free_bytes(on_gpu)  # when it has run out, nobody can tell any more
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError) or not ran_out(error):  # a ValueError says already what to do
            raise
        raise TooLittleMemoryError(advice(num_envs, eval_envs, on_gpu, processes, free, option)) from error


def ran_out(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that there is no more memory."""
    one: Optional[BaseException] = error
    while one is not None:
        if isinstance(one, (MemoryError, torch.cuda.OutOfMemoryError)):
            return True
        untyped = isinstance(one, RuntimeError) or type(one).__name__ == "FatalError"  # the latter is MuJoCo's
        if untyped and any(said in str(one) for said in RAN_OUT):
            return True
        one = one.__cause__
    return False


def advice(
    num_envs: int, eval_envs: int, on_gpu: bool, processes: int, free: Optional[float], option: str = "--num-envs"
) -> str:
    """What to do after memory ran out: how many hands would fit, or half as many if all should have.

    free: `free_bytes` before it ran out.
    """
    beside = f" and {eval_envs:,} for evaluation" if eval_envs else ""
    what = (
        f"out of memory on the {'GPU' if on_gpu else 'processor'} with {num_envs:,} hand{'s' * (num_envs > 1)}{beside}"
    )
    most = None if free is None else _most(eval_envs, on_gpu, processes, free)
    if most is not None and 0 < most < num_envs:
        return f"{what}: about {_rounded(most):,} would fit, so give {option} {_rounded(most)}"
    room = "" if free is None else f"; {_gigabytes(free)} were free at the start"
    if num_envs > 1:
        return f"{what}: give fewer, such as {option} {num_envs // 2}, or end other programs{room}"
    return f"{what}: end other programs{room}"


def _most(eval_envs: int, on_gpu: bool, processes: int, free: float) -> int:
    """How many hands fit beside those of the evaluation; below 1 if none do."""
    base, per_hand = GPU if on_gpu else PROCESSOR
    return int((free / processes - base) / per_hand) - eval_envs


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"


def _rounded(count: int) -> int:
    """Two digits: more would promise too much."""
    unit = 10 ** max(0, len(str(count)) - 2)
    return count // unit * unit
