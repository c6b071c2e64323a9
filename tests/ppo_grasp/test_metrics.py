"""What a run leaves on disk and shows."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import Dict

import pytest

from ppo_grasp.metrics import FILE, MetricsLogger, process_age, tensorboard_tag


def row(iteration: int, **more: float) -> Dict[str, float]:
    return {
        "iteration": iteration,
        "env_steps": 100 * iteration,
        "wall_s": 1.0,
        "steps_per_s": 50.0,
        "success_rate": 0.25,
        **more,
    }


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_tags_group_like_with_like() -> None:
    tags = {
        "kl": "losses/kl",
        "reward": "charts/reward",
        "eval_success_rate": "eval/success_rate",
        "drop_rate": "task/drop_rate",
    }
    assert {name: tensorboard_tag(name) for name in tags} == tags
    assert tensorboard_tag("diagnostics_nan_worlds") == "diagnostics/nan_worlds"


def test_one_json_line_per_iteration_and_null_for_what_is_not_finite(tmp_path: Path) -> None:
    log = MetricsLogger(tmp_path, 1000, None, iteration=0, env_steps=0)
    log.log(row(1, kl=math.nan))
    log.log(row(2, kl=0.01, eval_success_rate=0.5))
    log.close()
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2]
    assert lines[0]["kl"] is None and lines[1] == row(2, kl=0.01, eval_success_rate=0.5)


def test_a_resumed_run_goes_on_where_its_checkpoint_was(tmp_path: Path) -> None:
    log = MetricsLogger(tmp_path, 1000, None, iteration=0, env_steps=0)
    for i in (1, 2, 3, 4):
        log.log(row(i))
    log.close()
    with open(tmp_path / FILE, "a") as file:
        file.write('{"iteration": 5, "env_st')  # killed in the middle of a line
    log = MetricsLogger(tmp_path, 1000, None, iteration=2, env_steps=200)
    log.log(row(3, kl=1.0))
    log.close()
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert lines == [row(1), row(2), row(3, kl=1.0)]


def test_tensorboard_holds_the_values_and_drops_what_a_resume_repeats(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start, iterations in ((0, (1, 2, 3)), (2, (3, 4))):
        log = MetricsLogger(tmp_path, 1000, None, iteration=start, env_steps=100 * start)
        for i in iterations:
            log.log(row(i, kl=float(10 * start + i)))
        log.close()
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("losses/kl")] == [
        (100, 1.0),
        (200, 2.0),
        (300, 23.0),
        (400, 24.0),
    ]


def test_tensorboard_has_the_names_of_other_libraries_too(tmp_path: Path) -> None:
    """Those of CleanRL's ppo_continuous_action.py, by which people compare runs."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    losses = {"policy_loss": 1.0, "value_loss": 2.0, "entropy": 3.0, "explained_variance": 4.0}
    more = {"kl": 5.0, "clip_fraction": 6.0, "learning_rate": 7.0, "episode_return": 8.0, "episode_steps": 9.0}
    log = MetricsLogger(tmp_path, 1000, None, iteration=0, env_steps=0)
    log.log(row(1, **losses, **more))
    log.close()
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    of_cleanrl = {
        **{f"losses/{name}": value for name, value in losses.items()},
        **{"losses/approx_kl": 5.0, "losses/clipfrac": 6.0, "charts/learning_rate": 7.0, "charts/SPS": 50.0},
        **{"charts/episodic_return": 8.0, "charts/episodic_length": 9.0},
    }
    for tag, value in of_cleanrl.items():
        assert [(e.step, e.value) for e in events.Scalars(tag)] == [(100, value)], tag
    assert {"losses/kl", "charts/steps_per_s", "task/episode_return"} <= set(events.Tags()["scalars"])


def test_plain_output_names_what_matters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = MetricsLogger(tmp_path, 1000, None, iteration=0, env_steps=0)
    log.stage("compiling ...")
    log.log(
        row(
            1,
            kl=0.0123,
            reward=1.5,
            learning_rate=3e-4,
            physics_ms=5.0,
            task_ms=1.0,
            environment_ms=6.0,
            policy_ms=1.0,
            update_ms=3.0,
        )
    )
    log.log(row(2))  # too soon for another line
    log.close("done")
    out = capsys.readouterr().out
    first, line, last = out.splitlines()
    assert (first, last) == ("compiling ...", "done")
    for part in (
        "physics 50 %, task 10 %, policy 10 %, update 30 %",
        "success 25.0 % in training",
        "reward 1.5",
        "kl 0.0123",
        "lr 3.0e-04",
        "left 0:18",
    ):
        assert part in line


def test_process_age_is_seconds_since_the_process_began() -> None:
    age = process_age()
    assert 0.0 < age < 24 * 3600 and 0.0 <= process_age() - age < 60.0


def test_panel_in_a_terminal_shows_progress_and_the_tasks_own_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)
    log = MetricsLogger(tmp_path, 1000, 1e7, iteration=0, env_steps=0)
    log.stage("compiling ...")
    log.log(row(1, drop_rate=0.125, eval_success_rate=0.5, kl=0.01, nonfinite_steps=2.0))
    log.close()
    out = without_colours(capsys.readouterr().out)
    for part in (
        "10.0 %",
        "drop_rate",
        "0.125",
        "25.0 % of episodes in training",
        "50.0 % of the last evaluation",
        "0.0100",
        "not finite",
    ):
        assert part in out


def test_without_the_simulations_time_the_split_names_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = MetricsLogger(tmp_path, 1000, None, iteration=0, env_steps=0)
    unknown = {"physics_ms": math.nan, "task_ms": math.nan}
    log.log(row(1, environment_ms=6.0, policy_ms=1.0, update_ms=3.0, **unknown))
    log.close()
    out = capsys.readouterr().out
    assert "environment 60 %, policy 10 %, update 30 %" in out and "physics" not in out


def test_the_same_sentence_is_said_once_a_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the output is no terminal: the line comes every ten seconds, and what there is to say of it not as often."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    sentences = iter(["waits for 9 s", "waits for 8.5 s", "waits for 7 s", "overflows", "overflows"])
    log = MetricsLogger(tmp_path, 20_000, None, iteration=0, env_steps=0, describe=lambda row: next(sentences))
    for i, at in enumerate((0, 11, 62, 73, 84)):
        now[0] = at
        log.log(row(i + 1))
    log.close()
    ends = [line.rpartition(" | ")[2] for line in capsys.readouterr().out.splitlines()]
    assert [end for end in ends if "left" not in end] == ["waits for 9 s", "waits for 7 s", "overflows"]
    assert len(ends) == 5


def test_a_dumb_terminal_gets_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A panel cannot be drawn again there, so that it would be seen at the end only."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    log = MetricsLogger(tmp_path, 20_000, None, iteration=0, env_steps=0)
    log.log({name: value for name, value in row(13).items() if name != "success_rate"})
    out = capsys.readouterr().out
    assert out.startswith("1,300 of 20,000 steps | ") and "\x1b" not in out and "success" not in out
    log.close()


def test_a_row_is_put_into_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def describe(row: Dict[str, float]) -> str:
        return f"nothing yet at {row['env_steps']:.0f}"

    log = MetricsLogger(tmp_path, 1000, None, iteration=0, env_steps=0, describe=describe)
    log.log(row(1))
    log.close()
    assert capsys.readouterr().out.endswith("| nothing yet at 100\n")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_the_panel_cuts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """Every name and value is whole at every width."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(width)}.items():
        monkeypatch.setenv(name, value)
    names = ("ever_success_rate", "success_rate/cylinder", "reward/palm_near", "episode_return", "touched_rate")
    sentence = "nothing held yet: 50 % of episodes touch the object, and it rises by 3.4 cm on average"
    log = MetricsLogger(tmp_path, 10**8, 3600.0, iteration=0, env_steps=0, describe=lambda row: sentence)
    times = {"physics_ms": 5.0, "task_ms": 1.0, "environment_ms": 6.0, "policy_ms": 1.0, "update_ms": 3.0}
    log.log(row(1, eval_success_rate=0.5, kl=0.0123, **times, **{name: 0.125 for name in names}))
    log.close()
    plain = without_colours(capsys.readouterr().out)
    words = " ".join(plain.split())
    assert "…" not in words
    for part in (*names, "0.0123", "25.0 %", "50.0 %", "task 10 %", "0.00 M of 100 M steps", "gone"):
        assert part in words
    assert words.index("25.0 %") < words.index(sentence) < words.index("per step"), "it stands below success"
    assert all(len(line) <= width for line in plain.replace("\r", "\n").splitlines())
