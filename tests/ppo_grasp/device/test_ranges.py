"""The ranges that Nsight Systems shows: named as their module says, nested as work is, and absent unless asked for."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List

import pytest
import torch
from double_integrator import DoubleIntegrator

from ppo_grasp import PPOCfg, Trainer, TrainerCfg
from ppo_grasp.device.ranges import mark_ranges, named_range


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[List[str]]:
    """Names of the ranges that begin, each after those that it is within."""
    names: List[str] = []
    path: List[str] = []

    @contextmanager
    def recorded(name: str) -> Iterator[None]:
        path.append(name)
        names.append("/".join(path))
        yield
        path.pop()

    monkeypatch.setattr(torch.cuda.nvtx, "range", recorded)
    yield names
    mark_ranges(False)


def an_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: bool) -> None:
    cfg = TrainerCfg(total_timesteps=1, profile=profile, ppo=PPOCfg(num_steps=2))
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        trainer = Trainer(DoubleIntegrator(8, time_limit=5), cfg, tmp_path)
    trainer.run()


def test_profile_marks_what_an_iteration_does(seen: List[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    an_iteration(tmp_path, monkeypatch, profile=True)
    parts = ["update", "update/gae", "update/minibatches", "update/normalizers", "log"]
    assert seen[2:] == ["rollout", "rollout/policy", "rollout/policy", *parts]
    assert seen[:2] == ["policy", "policy"]  # the rollout that warms up the normalisers


def test_without_it_nothing_is_marked(seen: List[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark_ranges(True)  # as a run before in the same process would leave it
    an_iteration(tmp_path, monkeypatch, profile=False)
    with named_range("anything"):
        pass
    assert not seen
