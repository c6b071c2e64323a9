"""The report of runs: what is read, which runs belong together, what the charts show, and the page as a whole."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List, Tuple
from xml.etree import ElementTree

import numpy as np
import pytest

from tasks.evaluation.page.charts import Line, chart, fitting, number, ticks
from tasks.evaluation.page.page import page
from tasks.evaluation.page.runs import differing, environment, groups, load_run

STEPS = 1000


def written(folder: Path, seed: int = 0, rate: float = 1e-3, count: int = 40, **row: Any) -> Path:
    """A run directory.  In iteration i `reward` is i + seed, and `eval_success_rate` is there every tenth time."""
    folder.mkdir(parents=True)
    config = {
        "trainer": {"seed": seed, "ppo": {"learning_rate": rate}},
        "task": {"objects": "<b>"},
        "versions": {"torch": "2"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    lines = []
    for i in range(1, count + 1):
        line: Dict[str, Any] = {"iteration": i, "env_steps": i * STEPS, "wall_s": 30.0 + i, "reward": float(i + seed)}
        line.update({"success_rate": i / 100, "physics_ms": 6.0, "update_ms": 3.0, "reward/lift": 0.5, **row})
        line.update({"success_rate/cube": 0.25, "kl": None if i == 3 else 0.01})
        if i % 10 == 0:
            line.update({"eval_success_rate": i / 50, "eval_grip_force_n": 10.0 - seed})
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join([*lines, '{"iteration": 41, "env_st']))  # cut off by a crash
    return folder


@pytest.fixture
def paths(tmp_path: Path) -> List[Path]:
    """Two seeds of one training, and one with another rate."""
    return [
        written(tmp_path / "base_seed0"),
        written(tmp_path / "base_seed1", seed=1),
        written(tmp_path / "fast", rate=3e-3),
    ]


def test_runs_are_read_and_grouped(paths: List[Path]) -> None:
    runs = [load_run(path) for path in paths]
    assert len(runs[0].rows) == 40, "the line that was cut off is left out"
    assert runs[0].settings["trainer.ppo.learning_rate"] == 1e-3 and runs[0].last("kl") == 0.01
    assert differing(runs) == ["trainer.seed", "trainer.ppo.learning_rate"]
    found = groups(runs)
    assert [group.name for group in found] == ["base (2 seeds)", "fast"]
    assert [[run.name for run in group.runs] for group in found] == [["base_seed0", "base_seed1"], ["fast"]]


def test_a_band_is_lowest_to_highest_of_the_seeds(paths: List[Path]) -> None:
    group = groups([load_run(path) for path in paths])[0]
    x, mean, low, high = group.band("reward")
    i = np.arange(1, 41)
    for values, right in ((x, i * STEPS), (mean, i + 0.5), (low, i), (high, i + 1)):
        np.testing.assert_allclose(values, right)
    x, mean, _, _ = group.band("kl")
    assert len(x) == 39 and 3 * STEPS not in x
    assert len(group.band("nothing")[0]) == 0


def test_long_curves_are_means_of_neighbours(tmp_path: Path) -> None:
    run = load_run(written(tmp_path / "long", count=1000))
    x, y = run.curve("reward", points=100)
    np.testing.assert_allclose(x, STEPS * (np.arange(100) * 10 + 5.5))
    np.testing.assert_allclose(y, np.arange(100) * 10 + 5.5)


@pytest.mark.parametrize(("name", "said"), [("none", "no directory"), ("empty", "no run"), ("young", "is empty")])
def test_what_is_no_run_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "young").mkdir()
    (tmp_path / "young" / "metrics.jsonl").touch()
    with pytest.raises(ValueError, match=said):
        load_run(tmp_path / name)


def points(path: str) -> np.ndarray:
    return np.array([[float(v) for v in pair.split()] for pair in path.strip("MZ").split("L")])


def test_a_line_is_where_its_numbers_are() -> None:
    """Against the axes' own labels: a straight line through two ticks of each axis says where every point must be."""
    x = np.linspace(0, 8, 33)
    y = 20 + 5 * np.sin(x)
    figure = ElementTree.fromstring(chart("a < b", [Line(x, y, low=y - 1, high=y + 1)], "s", "N", (10, 30)))
    assert figure.findtext("figcaption") == "a < b "
    frame = figure.find("svg")
    assert frame is not None
    labels = [
        (t.text or "", float(t.get("x", "")), float(t.get("y", "")), t.get("text-anchor")) for t in frame.iter("text")
    ]
    down = {float(text): py - 3.5 for text, _, py, anchor in labels if anchor == "end"}
    along = {float(text): px for text, px, _, anchor in labels if anchor == "middle" and text != "s"}
    band, line = (points(p.get("d", "")) for p in frame.findall("svg/path"))
    slope, start = np.polyfit(list(along), list(along.values()), 1)
    np.testing.assert_allclose(line[:, 0], slope * x + start, atol=0.2)
    slope, start = np.polyfit(list(down), list(down.values()), 1)
    np.testing.assert_allclose(line[:, 1], slope * y + start, atol=0.2)
    np.testing.assert_allclose(band[:33, 1], slope * (y + 1) + start, atol=0.2)
    np.testing.assert_allclose(band[33:, 1], slope * (y[::-1] - 1) + start, atol=0.2)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3e-7, 5e-7), (17.0, 17.3), (-1e6, 5e8), (0, 100)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high, 4)
    assert 2 <= len(found) <= 8 and low - 1e-9 * (high - low) <= found[0] and found[-1] <= high + 1e-9 * (high - low)
    step = found[1] - found[0]
    assert round(step / 10 ** math.floor(math.log10(step * 1.001)), 6) in (1, 2, 2.5, 5)


def test_numbers_are_short() -> None:
    given = {0.0: "0", 0.5: "0.5", 97.65: "97.7", 414000.0: "4.1e5", 3e-4: "0.0003", 1234.5: "1234", -2.5e-5: "-2.5e-5"}
    assert {value: number(value) for value in given} == given


def test_a_range_leaves_out_one_in_a_hundred() -> None:
    y = np.ones(1000)
    y[3] = 1e6
    y[::2] = 0.5
    low, high = fitting([Line(np.arange(1000.0), y)])
    assert low == 0 and 1 < high < 1.2
    assert fitting([Line(np.arange(3.0), np.zeros(3))]) == (0.0, 1.0)


class Seen(HTMLParser):
    """Which elements are open, what they refer to, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: List[str] = []
        self.references: List[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Any]]) -> None:
        self.references += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: List[Tuple[str, Any]]) -> None:
        """Those of SVG."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_alone(paths: List[Path]) -> None:
    """Every element is closed, nothing is fetched, what runs say is text, and it has what was measured."""
    per_object = {
        "mug_01": {"episodes": 3, "success_rate": 1.0, "still_success_rate": 1.0, "ever_success_rate": 1.0},
        "mug_02": {"episodes": 1, "success_rate": 0.0, "still_success_rate": 0.0, "ever_success_rate": 1.0},
    }
    evaluation = {"success_rate": 0.75, "success_ci95": [0.3, 0.95], "num_episodes": 4, "objects": "mine"}
    (paths[0] / "measured.json").write_text(json.dumps({**evaluation, "sim": "mujoco", "per_object": per_object}))
    (paths[0] / "failures.png").write_bytes(b"\x89PNG picture")
    (paths[0] / "environment.json").write_text(json.dumps({"gpu": "some GPU"}))
    text = page([load_run(path) for path in paths], [("base_seed0", "<p>an episode</p>")])
    seen = Seen()
    seen.feed(text)
    assert not seen.open
    assert all(reference.startswith("data:image/png;base64,") for reference in seen.references) and seen.references
    assert "http" not in text and "<script" not in text and "<b></" not in text
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    wanted = [
        "Success",
        "Success by kind of object",
        "Grip and steadiness",
        "Reward",
        "Learning",
        "Time of an iteration",
    ]
    assert [name for name in headings if name in wanted] == wanted
    assert "Evaluation, base_seed0, measured.json" in headings and "Settings that differ" in headings
    for words in (
        "base (2 seeds)",
        "9.5 N (9 to 10)",
        "75 / 75 % of 4",
        "some GPU",
        "<b>",
        "an episode",
        "lift",
        "80 %",
    ):
        assert words in seen.text, words
    alone = page([load_run(paths[2])])
    assert "Settings that differ" not in alone and "seeds" not in alone


def test_the_environment_is_known() -> None:
    import torch

    found = environment()
    assert found["torch"] == torch.__version__ and found["cores"] >= 1 and all(map(str, found.values()))
