"""Torch and Isaac Gym wait for each other, whatever stream torch is on."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, List

import conformance
import pytest
import torch
from conformance import start
from isaac_support.backend import make

from tasks.objects import ObjectSet
from tasks.simulators import streams

SETTERS = {
    "set_actor_root_state_tensor_indexed",
    "set_dof_state_tensor_indexed",
    "set_dof_position_target_tensor",
}


def test_each_step_waits_before_setters_and_after_refreshes(
    isaac: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = make(ObjectSet.of("one", [conformance.CUBE]), 2, tmp_path)
    begin = start(sim, 1)
    monkeypatch.setattr(streams, "finish_torch", lambda device: isaac.calls.append("finish torch"))
    monkeypatch.setattr(streams, "finish_all", lambda device: isaac.calls.append("finish all"))
    for reset in (True, False):
        if reset:
            begin.into(sim)
        isaac.calls.clear()
        sim.step(begin.joint_pos)
        calls: List[str] = isaac.calls
        setters = [i for i, name in enumerate(calls) if name in SETTERS]
        refreshes = [i for i, name in enumerate(calls) if name.startswith("refresh_")]
        assert len(setters) == (3 if reset else 1) and len(refreshes) == 4
        assert calls.index("finish torch") < setters[0]
        assert calls.index("finish all") > refreshes[-1]


def test_waiting_is_for_the_current_stream_and_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    told: List[Any] = []

    class Stream:
        def __init__(self, device: Any = None) -> None:
            self.name = "own" if device is None else f"new on {device}"

        def synchronize(self) -> None:
            told.append(self.name)

        def wait_stream(self, other: Any) -> None:
            told.append((self.name, "waits for", other.name))

    current = Stream()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: told.append(str(device)))
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    gpu, cpu = torch.device("cuda:0"), torch.device("cpu")
    for device in (gpu, cpu):
        streams.finish_torch(device)
        streams.finish_all(device)
        with streams.another_stream(device):
            pass
    new = "new on cuda:0"
    assert told == ["own", "cuda:0", (new, "waits for", "own"), ("own", "waits for", new)]
