"""Following a training: each new checkpoint is found, read and handed out once."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Callable, List

import pytest
import torch

from ppo_grasp import load_policy, save_policy
from tasks.evaluation import following
from tasks.evaluation.following import Follower, newest_checkpoint, wait_for_checkpoint
from tasks.evaluation.trained import load_trained

Maker = Callable[..., Path]


def stamp(path: Path, seconds: int) -> None:
    os.utime(path, (1_000_000 + seconds, 1_000_000 + seconds))


@pytest.fixture
def first(policy_maker: Maker, tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    path = policy_maker(tmp_path / "run" / "checkpoint_last.pt", objects="primitives", env_steps=1000)
    stamp(path, 0)
    return path


def test_the_newest_of_a_run(first: Path, policy_maker: Maker) -> None:
    assert newest_checkpoint(first.parent) == first
    best = policy_maker(first.with_name("checkpoint_best.pt"), objects="primitives")
    stamp(best, 5)
    assert newest_checkpoint(first.parent) == best == newest_checkpoint(first.parent.parent)
    stamp(first, 9)
    assert newest_checkpoint(first.parent) == first
    assert newest_checkpoint(first.parent.parent / "nothing") is None


def test_each_new_policy_is_handed_out_once(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playing = load_trained(first)
    assert playing.env_steps == 1000
    follower = Follower(first.parent, playing)
    try:
        follower.look()
        assert follower.take() is None, "it is played already"
        policy, meta = load_policy(first)
        policy.actor[-1].bias.data.fill_(0.25)  # type: ignore[union-attr,operator]
        save_policy(first, policy, {**meta, "env_steps": 2000})
        follower.look()
        found = follower.take()
        assert found is not None and found.env_steps == 2000
        assert torch.equal(found.policy.actor[-1].bias, policy.actor[-1].bias)  # type: ignore[arg-type]
        follower.look()
        assert follower.take() is None
    finally:
        follower.close()


def test_what_cannot_be_played_is_left_alone(first: Path, policy_maker: Maker) -> None:
    """A file that is damaged, or a policy for other observations, changes nothing; the next good one is taken."""
    follower = Follower(first.parent, load_trained(first))
    try:
        good = first.read_bytes()
        first.write_bytes(good[: len(good) // 2])
        follower.look()
        assert follower.take() is None and "checkpoint_last.pt" in follower.trouble
        policy_maker(first, num_obs=19, objects="primitives")
        follower.look()
        assert follower.take() is None and follower.trouble
        first.write_bytes(good)
        stamp(first, 50)
        follower.look()
        assert follower.take() is not None and not follower.trouble
    finally:
        follower.close()


def test_it_looks_by_itself(first: Path, policy_maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "EVERY_S", 0.02)
    follower = Follower(first.parent, load_trained(first), following=False)
    found: List[Any] = []
    try:
        policy_maker(first, objects="primitives", env_steps=7)
        assert not threading.Event().wait(0.2) and follower.take() is None, "it was not asked to"
        follower.follow(True)
        for _ in range(200):
            found.append(follower.take())
            if found[-1] is not None:
                break
            threading.Event().wait(0.02)
        assert found[-1].env_steps == 7
    finally:
        follower.close()
    assert not follower._thread.is_alive()


def test_the_first_checkpoint_is_waited_for(
    tmp_path: Path, policy_maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "EVERY_S", 0.02)
    with pytest.raises(ValueError, match="no such directory"):
        wait_for_checkpoint(tmp_path / "gone")
    said: List[str] = []
    late = threading.Timer(0.2, lambda: policy_maker(tmp_path / "checkpoint_last.pt", objects="primitives"))
    late.start()
    assert wait_for_checkpoint(tmp_path, said.append) == tmp_path / "checkpoint_last.pt"
    late.join()
    assert said == [f"waiting for the first checkpoint in {tmp_path}"]
