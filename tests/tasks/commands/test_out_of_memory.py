"""Memory that runs out ends a command with one line that says what would fit, and a training is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Tuple

import pytest
import torch

from ppo_grasp.checkpoint import load_checkpoint
from tasks.grasp.environment import GraspTask
from tasks.simulators import memory

pytest.importorskip("mujoco.batch", reason="simulates with MuJoCo C, which needs MuJoCo 4")
Run = Callable[..., Any]
CUDA = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has 79 GiB")
GIGABYTE = 1e9


def after(steps: int, error: Exception) -> Callable[..., Any]:
    """GraspTask.step, which raises the error after so many steps."""
    step, done = GraspTask.step, [0]

    def failing(task: GraspTask, action: torch.Tensor) -> Any:
        done[0] += 1
        if done[0] > steps:
            raise error
        return step(task, action)

    return failing


@pytest.mark.parametrize("error", [CUDA, MemoryError()], ids=["gpu", "host"])
def test_a_training_is_saved_and_says_what_would_fit(
    run: Run, tiny: Tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(GraspTask, "step", after(30, error))  # 8 warm up, 16 are two iterations
    done = run("train.py", *tiny, "--run-dir", "r", "--start.grasp-fraction", 0)
    assert done.status == 2 and done.err.count("\n") == 1, done.err
    assert done.err.startswith("error: out of memory on the processor with 4 hands and 3 for evaluation: ")
    assert "--num-envs 2" in done.err and "Traceback" not in done.out + done.err
    assert "training stopped: " in done.out and "64 steps are in r/checkpoint_last.pt" in done.out
    assert load_checkpoint(tmp_path / "r" / "checkpoint_last.pt")["state"]["iteration"] == 2


def test_an_evaluation_says_what_would_fit(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GraspTask, "step", after(1, CUDA))
    done = run("evaluate_policy.py", "--checkpoint", policy, "--sim", "mujoco", "--num-episodes", 8)
    assert done.status == 2 and done.err.count("\n") == 1, done.err
    assert done.err.startswith("error: out of memory on the processor with 8 hands: give fewer, such as --num-envs 4")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        CUDA,
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("Failed to allocate 123456 bytes on device 'cuda:0'"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"),
        type("FatalError", (Exception,), {})("mj_makeData: Could not allocate memory"),
    ],
)
def test_whoever_runs_out_of_memory_is_understood(error: Exception) -> None:
    said = "out of memory on the GPU with 64 hands"
    with pytest.raises(memory.TooLittleMemoryError, match=said), memory.explained(64, 8, True, 1):
        raise RuntimeError("while recording") from error
    with pytest.raises(ZeroDivisionError), memory.explained(64, 8, True, 1):
        raise ZeroDivisionError


def test_the_advice_is_what_would_fit() -> None:
    line = memory.advice(4096, 512, True, 1, 2.2 * GIGABYTE)
    most = (2.2e9 - memory.GPU[0]) / memory.GPU[1] - 512
    assert 1000 < most < 4096 and line.endswith("about 1,400 would fit, so give --num-envs 1400"), (line, most)
    assert memory.advice(64, 0, True, 1, 80 * GIGABYTE, "--hands").endswith(
        "give fewer, such as --hands 32, or end other programs; 80.0 GB were free at the start"
    )
    assert memory.advice(1, 0, False, 1, None) == "out of memory on the processor with 1 hand: end other programs"
