"""Checkpoints are safe to read, and whole or absent."""

from __future__ import annotations

import io
import pickle
import subprocess
from pathlib import Path
from typing import Optional

import numpy as np
import pytest
import torch

from ppo_grasp import checkpoint
from ppo_grasp.actor_critic import ActorCritic, ActorCriticCfg
from ppo_grasp.checkpoint import (
    CheckpointError,
    find_last,
    load_checkpoint,
    load_policy,
    save_checkpoint,
    save_policy,
)


@pytest.fixture
def policy() -> ActorCritic:
    torch.manual_seed(0)
    policy = ActorCritic(ActorCriticCfg(11, 13, 3, (32, 16), (24,)))
    policy.obs_normalizer.update(5.0 + 3.0 * torch.randn(500, 11))
    policy.actor[-1].weight.data.mul_(100.0)  # type: ignore[operator,union-attr]
    return policy


def test_a_policy_comes_back_with_its_normaliser_and_meta(policy: ActorCritic, tmp_path: Path) -> None:
    save_policy(tmp_path / "policy.pt", policy, {"env_steps": 12, "objects": ["cube"]})
    loaded, meta = load_policy(tmp_path / "policy.pt", "cpu")
    obs = 5.0 + 3.0 * torch.randn(32, 11)
    assert torch.equal(loaded(obs), policy(obs)) and policy(obs).abs().mean() > 0.1
    assert meta["env_steps"] == 12 and meta["objects"] == ["cube"]
    assert not loaded.training


def test_a_policy_can_be_taken_from_a_training_checkpoint(policy: ActorCritic, tmp_path: Path) -> None:
    save_checkpoint(
        tmp_path / "checkpoint.pt", policy, {"iteration": 3, "env_steps": 99, "config": {"task": {"name": "x"}}}
    )
    loaded, meta = load_policy(tmp_path / "checkpoint.pt")
    assert torch.equal(loaded.obs_normalizer.moment_mean, policy.obs_normalizer.moment_mean)
    assert meta["env_steps"] == 99 and meta["config"]["task"]["name"] == "x"
    with pytest.raises(CheckpointError, match="policy alone"):
        save_policy(tmp_path / "policy.pt", policy)
        load_checkpoint(tmp_path / "policy.pt")


def test_files_load_with_weights_only(policy: ActorCritic, tmp_path: Path) -> None:
    save_checkpoint(
        tmp_path / "checkpoint.pt", policy, {"rng": torch.get_rng_state(), "best_score": float("-inf"), "none": None}
    )
    payload = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert payload["state"]["best_score"] == float("-inf") and payload["network"]["actor_hidden"] == (32, 16)


def test_state_that_could_not_be_read_back_is_refused_at_once(policy: ActorCritic, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"state\['task'\]\['score'\] is a float64"):
        save_checkpoint(tmp_path / "checkpoint.pt", policy, {"task": {"score": np.float64(1.0)}})
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file(
    policy: ActorCritic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policy.pt"
    save_policy(path, policy)
    before = path.read_bytes()

    def full_disk(payload: object, file: io.BufferedWriter) -> None:
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_policy(path, policy)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


class Malicious:
    def __reduce__(self) -> tuple:
        return (pytest.fail, ("foreign code ran",))


def test_missing_foreign_and_damaged_files_give_one_clear_line(policy: ActorCritic, tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    save_policy(path, policy)
    whole = path.read_bytes()
    buffer = io.BytesIO()
    torch.save({"model": {}}, buffer)
    old = {"format": "ppo_grasp", "format_version": 0}
    older = io.BytesIO()
    torch.save(old, older)
    incomplete = io.BytesIO()
    torch.save({**torch.load(path, weights_only=True), "model": {}}, incomplete)
    files = {
        "text": b"hello",
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "foreign": buffer.getvalue(),
        "pickle": pickle.dumps(Malicious()),
        "version": older.getvalue(),
        "incomplete": incomplete.getvalue(),
    }
    for name, data in files.items():
        path.write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            load_policy(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value), name
    for missing in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(CheckpointError, match="no checkpoint at"):
            load_policy(missing)


def test_find_last_takes_the_newest(tmp_path: Path) -> None:
    import os

    with pytest.raises(CheckpointError, match="found under"):
        find_last(tmp_path)
    for age, run in ((20, "b"), (10, "c"), (30, "a")):
        (tmp_path / run).mkdir()
        (tmp_path / run / "checkpoint_last.pt").touch()
        os.utime(tmp_path / run / "checkpoint_last.pt", (1000 - age, 1000 - age))
    assert find_last(tmp_path) == tmp_path / "c" / "checkpoint_last.pt"
    assert find_last(tmp_path / "a") == tmp_path / "a" / "checkpoint_last.pt"


def test_the_policy_that_ships_is_the_last_by_name(
    policy: ActorCritic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHIPPED", (tmp_path / "of_the_package", tmp_path / "of_the_source"))
    with pytest.raises(CheckpointError, match="no policy in"):
        checkpoint.shipped_policy()
    for folder, name in (("of_the_source", "z"), ("of_the_source", "a")):
        save_policy(tmp_path / folder / f"{name}.pt", policy)
    assert checkpoint.shipped_policy() == tmp_path / "of_the_source" / "z.pt"
    save_policy(tmp_path / "of_the_package" / "b.pt", policy)
    assert checkpoint.shipped_policy() == tmp_path / "of_the_package" / "b.pt"


def test_a_copy_outside_of_a_repository_has_the_packages_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the repository of something else is around it, such as a project with its own virtual environment."""
    (tmp_path / "lib" / "ppo_grasp").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(checkpoint, "__file__", str(tmp_path / "lib" / "ppo_grasp" / "checkpoint.py"))
    for found, expected in (("1.2.3", "1.2.3"), (None, "unknown")):

        def version(_: str, found: Optional[str] = found) -> str:
            if found is None:
                raise checkpoint.metadata.PackageNotFoundError
            return found

        monkeypatch.setattr(checkpoint.metadata, "version", version)
        checkpoint.program_version.cache_clear()
        assert checkpoint.program_version() == expected
    checkpoint.program_version.cache_clear()
