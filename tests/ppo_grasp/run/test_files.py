"""Full disks, deleted run directories and second processes: one clear line, and the training goes on or ends with a save."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trainer import after, trainer

from ppo_grasp.checkpoint import load_checkpoint
from ppo_grasp.metrics import FILE, MetricsLogger
from ppo_grasp.run.files import DirectoryInUseError, directory_lock, discard_if_empty, new_directory

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def row(iteration: int) -> dict:
    return {
        "iteration": iteration,
        "env_steps": 100 * iteration,
        "wall_s": 1.0,
        "steps_per_s": 1.0,
        "success_rate": 0.0,
    }


def test_a_second_process_is_kept_out_and_told_of_the_first(tmp_path: Path) -> None:
    held = (
        "import sys\nfrom pathlib import Path\nfrom ppo_grasp.run.files import directory_lock\n"
        f"with directory_lock(Path({str(tmp_path)!r})):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", held], stdin=-1, stdout=-1, text=True)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(DirectoryInUseError, match=f"process {process.pid} is training there"):
        trainer(tmp_path).run()
    process.kill()  # the system drops the lock
    process.wait()
    with directory_lock(tmp_path), directory_lock(tmp_path):
        pass


def test_two_runs_of_the_same_second_get_directories_of_their_own(tmp_path: Path) -> None:
    made = [new_directory(tmp_path / "runs", "2026-01-01") for _ in range(3)]
    assert [path.name for path in made] == ["2026-01-01", "2026-01-01-2", "2026-01-01-3"]


def test_the_last_the_best_and_every_second_checkpoint_are_kept(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint_last.pt.123.tmp").write_bytes(b"of a process that was killed")
    one = trainer(tmp_path, 5, eval_interval=64)
    one.cfg.keep_every = 2 * 64
    one.evaluate = lambda policy: {"success_rate": float(one.iteration == 3)}
    one.run()
    kept = {path.name: load_checkpoint(path)["state"]["iteration"] for path in tmp_path.glob("*.pt")}
    assert kept == {"checkpoint_last.pt": 5, "checkpoint_best.pt": 3, "checkpoint_128.pt": 2, "checkpoint_256.pt": 4}
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_run_directory_without_a_run_is_removed(tmp_path: Path) -> None:
    with directory_lock(tmp_path / "empty"), directory_lock(tmp_path / "used"):
        (tmp_path / "used" / "config.json").write_text("{}")
    for name in ("empty", "used", "none"):
        discard_if_empty(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


def test_damaged_lines_do_not_stop_a_resume(tmp_path: Path) -> None:
    good = [json.dumps(row(i)) + "\n" for i in (1, 2, 3)]
    bad = ["{}\n", "[1]\n", "3\n", '{"iteration": "x"}\n', "\x00\x00\n", '{"iteration": 2, "env_st\n']
    (tmp_path / FILE).write_bytes("".join([good[0], *bad, good[1], good[2]]).encode() + b"\xff\xfe\n" + b'{"iter')
    MetricsLogger(tmp_path, 1000, None, iteration=2, env_steps=200).close()
    assert (tmp_path / FILE).read_text() == "".join(good[:2])


def test_a_kill_while_old_rows_are_dropped_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(json.dumps(row(i)) + "\n" for i in (1, 2, 3))
    (tmp_path / FILE).write_text(text)

    def killed(*_: Any) -> None:
        raise SystemExit(9)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(SystemExit):
        MetricsLogger(tmp_path, 1000, None, iteration=2, env_steps=200)
    assert (tmp_path / FILE).read_text() == text


def test_a_deleted_run_directory_is_made_again(tmp_path: Path) -> None:
    one = trainer(tmp_path / "run", 6)
    after(one, 8 * 4, lambda: shutil.rmtree(tmp_path / "run"))
    one.run()
    rows = (tmp_path / "run" / FILE).read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in rows][-1] == 6
    assert load_checkpoint(tmp_path / "run" / "checkpoint_last.pt")["state"]["iteration"] == 6


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checkpoints, metrics and TensorBoard cannot be written for an iteration: three lines, and training goes on."""
    one = trainer(tmp_path, 8, checkpoint_interval=64)
    log = MetricsLogger._append
    real = os.replace
    full = [False]

    def replace(*words: Any) -> None:
        if full[0]:
            raise NO_SPACE
        real(*words)

    def append(self: MetricsLogger, values: Any) -> None:
        full[0] = values["iteration"] == 4
        if full[0]:
            raise NO_SPACE
        log(self, values)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(MetricsLogger, "_append", append)
    assert one.run()["iteration"] == 8
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert len(warnings) == 2 and all("No space left on device" in line for line in warnings)
    assert "checkpoint_last.pt" in warnings[1] and "training goes on" in warnings[1]
    assert load_checkpoint(tmp_path / "checkpoint_last.pt")["state"]["iteration"] == 8
    assert [json.loads(line)["iteration"] for line in (tmp_path / FILE).read_text().splitlines()] == [
        1,
        2,
        3,
        5,
        6,
        7,
        8,
    ]
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_broken_tensorboard_does_not_end_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch.utils import tensorboard

    def broken(*_: Any, **__: Any) -> None:
        raise NO_SPACE

    monkeypatch.setattr(tensorboard.SummaryWriter, "add_scalar", broken)
    monkeypatch.setattr(tensorboard.SummaryWriter, "close", broken)
    assert trainer(tmp_path, 4).run()["iteration"] == 4
    assert capsys.readouterr().out.count("TensorBoard's file") == 1
    assert torch.isfinite(load_checkpoint(tmp_path / "checkpoint_last.pt")["model"]["std_logit"]).all()
