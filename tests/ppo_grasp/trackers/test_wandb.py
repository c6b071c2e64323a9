"""Weights & Biases, by a stand-in that writes down what it is told; and by wandb itself without network, if it is installed."""

from __future__ import annotations

import importlib.machinery
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
import small_trainer

from ppo_grasp.distributed import Ranks
from ppo_grasp.trackers.wandb import STEP, VIDEO, WandbRun
from tasks.commands import clips as clips_module
from tasks.commands.presets import TrainArgs
from tasks.commands.train import tracked

Run = Callable[..., Any]
Tiny = Tuple[object, ...]


class StandIn(ModuleType):
    """The part of wandb that is used.  `fails` names the call that raises."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
        self.begun: List[Dict[str, Any]] = []
        self.rows: List[Dict[str, Any]] = []
        self.drawn_over: List[Tuple[str, Optional[str]]] = []
        self.ended: List[int] = []
        self.fails: Optional[str] = None
        self.tried = 0
        self.Settings = dict
        self.Video = lambda path, format: (Path(path).name, format)

    def _call(self, name: str) -> None:
        if self.fails == name:
            self.tried += 1
            raise OSError(f"the network of {name}\nis gone")

    def init(self, **how: Any) -> StandIn:
        self._call("init")
        self.begun.append(how)
        return self

    def define_metric(self, name: str, step_metric: Optional[str] = None) -> None:
        self.drawn_over.append((name, step_metric))

    def log(self, row: Dict[str, Any]) -> None:
        self._call("log")
        self.rows.append(row)

    def finish(self, exit_code: int) -> None:
        self._call("finish")
        self.ended.append(exit_code)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    for name in ("WANDB_PROJECT", "WANDB_NAME"):
        monkeypatch.delenv(name, raising=False)
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    return stand_in


def test_a_training_and_its_resume_are_one_run(
    run: Run, tiny: Tiny, tmp_path: Path, wandb: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings, every number of metrics.jsonl, the video, and the last evaluation."""
    film = "import sys; open(sys.argv[1], 'w').close()"
    monkeypatch.setattr(clips_module, "command", lambda policy, video: [sys.executable, "-c", film, str(video)])
    words = (*tiny, "--wandb", "--run-dir", "r", "--video-every", 64)
    done = run("train.py", *words, "--total-timesteps", 64, "--wandb-project", "hands", "--wandb-name", "first")
    assert done.status == 0 and "warning" not in done.out, done
    (begun,) = wandb.begun
    assert (begun["project"], begun["name"], begun["dir"], begun["resume"]) == ("hands", "first", "r", "allow")
    saved = json.loads((tmp_path / "r" / "config.json").read_text())
    assert begun["config"] == saved and saved["trainer"]["ppo"]["num_steps"] == 8
    assert (STEP, None) in wandb.drawn_over and ("*", STEP) in wandb.drawn_over
    rows = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    sent = [row for row in wandb.rows if VIDEO not in row]
    assert [row[STEP] for row in sent] == [row["env_steps"] for row in rows] == [32, 64]
    assert sent[-1]["eval/success_rate"] == rows[-1]["eval_success_rate"]
    assert sent[0]["losses/approx_kl"] == sent[0]["losses/kl"] == rows[0]["kl"]
    assert [row for row in wandb.rows if VIDEO in row] == [{VIDEO: ("64.mp4", "mp4"), STEP: 64}]
    assert wandb.ended == [0]

    again = run("train.py", *words, "--total-timesteps", 96, "--resume", "auto")
    assert again.status == 0, again.err
    assert wandb.begun[1]["id"] == begun["id"]
    assert [row[STEP] for row in wandb.rows if VIDEO not in row] == [32, 64, 96]
    assert [row[VIDEO][0] for row in wandb.rows if VIDEO in row] == ["64.mp4", "96.mp4"], "none is sent again"
    assert (wandb.begun[1]["project"], wandb.begun[1]["name"]) == ("ppo-grasp", "r")
    WandbRun(tmp_path / "other", {})
    assert wandb.begun[2]["id"] != begun["id"], "another directory is another run"


@pytest.mark.parametrize("call", ["init", "log", "finish"])
def test_trouble_is_said_once_and_training_goes_on(
    call: str, wandb: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb.fails = call
    trainer = small_trainer.trainer(tmp_path, steps=5)
    tracker = WandbRun(tmp_path, trainer.config)
    trainer.trackers.append(tracker.log)
    assert trainer.run()["env_steps"] == 5 * 64
    tracker.close()
    said = [line for line in capsys.readouterr().out.splitlines() if "wandb" in line]
    assert said == [f"warning: wandb stopped working: the network of {call} is gone; training goes on without it"]
    assert wandb.tried == 1, "it is not asked again"
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 5


def test_a_training_that_fails_is_marked(wandb: StandIn, tmp_path: Path) -> None:
    WandbRun(tmp_path, {}).close(failed=True)
    assert wandb.ended == [1]


def test_of_several_processes_the_first_writes(wandb: StandIn, tmp_path: Path) -> None:
    trainer = small_trainer.trainer(tmp_path)
    trainer.ranks = Ranks()
    trainer.ranks.rank = 1
    assert tracked(TrainArgs(wandb=True), trainer, tmp_path) is None and wandb.begun == []
    trainer.ranks.rank = 0
    assert tracked(TrainArgs(wandb=True), trainer, tmp_path) is not None and len(wandb.begun) == 1


def test_without_wandb_one_line_says_how_to_get_it(
    run: Run, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    done = run("train.py", *tiny, "--wandb", "--run-dir", "r")
    assert done.status == 2 and not (tmp_path / "r").exists()
    assert done.err == "error: --wandb: wandb is not installed: pip install -c constraints.txt -e '.[wandb]'\n"
    done = run("train.py", *tiny, "--wandb-name", "x")
    assert done.status == 2 and "do nothing without --wandb" in done.err


@pytest.mark.skipif(find_spec("wandb") is None, reason="needs wandb: pip install -c constraints.txt -e '.[wandb]'")
def test_wandb_itself_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its file holds."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "videos").mkdir()
    tracker = WandbRun(tmp_path, {"a": {"b": 1}}, name="n", videos=tmp_path / "videos")
    (tmp_path / "videos" / "64.mp4").write_bytes(b"a video")
    tracker.log({"env_steps": 64, "kl": 0.25, "eval_success_rate": 0.5})
    tracker.close()
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert file.stem == "run-" + (tmp_path / "wandb_id").read_text().strip()
    content = file.read_bytes()
    for part in (b"losses/approx_kl", b"eval/success_rate", b"global_step", b"videos/policy"):
        assert part in content
    assert len(list((tmp_path / "wandb").glob("offline-run-*/files/media/videos/videos/*.mp4"))) == 1
