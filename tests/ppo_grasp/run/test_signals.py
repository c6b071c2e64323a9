"""Signals stop a training between two iterations, with a checkpoint; or at once, with a whole one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict

import pytest
from small_trainer import after, trainer

from ppo_grasp import ActorCritic
from ppo_grasp.checkpoint import load_checkpoint
from ppo_grasp.run.signals import Signals

TESTS = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_the_first_signal_finishes_the_iteration_and_saves(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the middle of the third iteration, also if it comes twice at once, as from a shell and a scheduler."""
    number = getattr(signal, name)
    outside = signal.signal(number, signal.default_int_handler)  # whatever runs the tests may ignore it, as nohup does
    one = trainer(tmp_path)

    def both() -> None:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

    after(one, 8 * 3 + 3, both)
    try:
        result = one.run()
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, outside)
    assert result["interrupted"] == 1 and result["signal"] == number and result["iteration"] == 3
    assert load_checkpoint(tmp_path / "checkpoint_last.pt")["state"]["iteration"] == 3
    assert "interrupted by" in capsys.readouterr().out.splitlines()[-1]


def test_after_the_errors_that_are_named_signals_are_still_noted() -> None:
    """torchrun sends SIGTERM to those whose process has died, while they save and say so."""
    outside = signal.signal(signal.SIGTERM, signal.default_int_handler)
    signals = Signals(keep_after=(LookupError,))
    try:
        with pytest.raises(ValueError), Signals(keep_after=(LookupError,)):
            raise ValueError
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        with pytest.raises(KeyError), signals:
            raise KeyError
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        signals.__exit__(None, None, None)
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, outside)


def test_usr1_saves_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = trainer(tmp_path, 6)
    saved = []
    save = one.save
    one.save = lambda path: (saved.append(one.iteration), save(path))[1]  # type: ignore[method-assign]
    after(one, 8 * 3 + 3, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    assert one.run()["iteration"] == 6
    assert saved == [1, 3, 6]
    assert "saved as asked" in capsys.readouterr().out


def test_an_evaluation_that_is_stopped_is_done_by_the_resumed_run(tmp_path: Path) -> None:
    """And its figures are in the row where they belong, once, also if the resumed run is killed before it saves."""
    one = trainer(tmp_path, 4, eval_interval=128)

    def stopped(policy: ActorCritic) -> Dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        raise AssertionError("the evaluation went on")

    one.evaluate = stopped
    assert one.run()["iteration"] == 2
    last = (tmp_path / "checkpoint_last.pt").read_bytes()
    for _ in range(2):
        (tmp_path / "checkpoint_last.pt").write_bytes(last)
        two = trainer(tmp_path, 4, eval_interval=128)
        two.load(tmp_path / "checkpoint_last.pt")
        two.evaluate = lambda policy: {"success_rate": 0.5}
        two.run()
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert ["eval_success_rate" in row for row in rows] == [False, True, False, True]


def test_a_second_signal_ends_it_at_once_with_a_whole_checkpoint(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        f"sys.path[:0] = [{str(TESTS / 'support')!r}]\n"
        "from small_trainer import after, trainer\n"
        f"one = trainer(Path({str(tmp_path)!r})); after(one, 30, lambda: (print('here', flush=True), time.sleep(60)))\n"
        "one.run()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline() != "here\n":
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    time.sleep(0.8)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 143 and time.monotonic() - begin < 2
    assert load_checkpoint(tmp_path / "checkpoint_last.pt")["state"]["iteration"] == 1
