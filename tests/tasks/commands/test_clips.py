"""Videos of a training, which another process makes beside it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import imageio.v2 as imageio
import pytest

from ppo_grasp import load_policy
from tasks.commands import clips as clips_module
from tasks.commands.clips import FOLDER, Clips
from tasks.commands.clips.__main__ import main
from tasks.viewing import renderer

Run = Callable[..., Any]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> List[Tuple[str, str]]:
    """Another program instead of the one that films; what it is asked for."""
    asked: List[Tuple[str, str]] = []
    words = "import sys, time; time.sleep(0.2); open(sys.argv[2], 'w').write(str(len(open(sys.argv[1], 'rb').read()) > 1000))"

    def command(policy: Path, video: Path) -> List[str]:
        asked.append((policy.name, video.name))
        return [sys.executable, "-c", words, str(policy), str(video)]

    monkeypatch.setattr(clips_module, "command", command)
    return asked


def test_a_training_makes_clips(
    run: Run, tiny: Tuple[object, ...], tmp_path: Path, stand_in: List[Tuple[str, str]], capfd: Any
) -> None:
    """At the evaluations after so many steps; the last is waited for, and only videos are left."""
    words = ("--total-timesteps", 96, "--eval-interval", 32, "--video-every", 64, "--run-dir", "r")
    done = run("train.py", *tiny, *words)
    assert done.status == 0, done.err
    assert stand_in == [(".policy_64.pt", "64.mp4")]
    assert [path.name for path in (tmp_path / "r" / FOLDER).iterdir()] == ["64.mp4"]
    assert (tmp_path / "r" / FOLDER / "64.mp4").read_text() == "True"
    assert "note" not in done.out


def test_there_is_one_clip_at_a_time(tmp_path: Path, policy: Path, stand_in: List[Tuple[str, str]]) -> None:
    network, meta = load_policy(policy)
    clips = Clips(tmp_path, 100, meta)
    steps = iter((50, 120, 150, 230, 310))

    def measure(_: Any) -> Dict[str, float]:
        return {"success_rate": 0.5}

    measure_and_film = clips.beside(measure, lambda: next(steps))
    assert [measure_and_film(network)["success_rate"] for _ in range(4)] == [0.5] * 4
    assert stand_in == [(".policy_120.pt", "120.mp4")], "the one at 230 would begin before this one is done"
    time.sleep(1.0)
    measure_and_film(network)
    clips.close(wait=True)
    assert [video for _, video in stand_in] == ["120.mp4", "310.mp4"]
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["120.mp4", "310.mp4"]


def test_a_clip_is_stopped_with_the_training(tmp_path: Path, policy: Path, stand_in: List[Tuple[str, str]]) -> None:
    network, meta = load_policy(policy)
    clips = Clips(tmp_path, 100, meta)
    clips.film(network, 100)
    process = clips._process
    clips.close(wait=False)
    assert process is not None and process.poll() is not None
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_where_nothing_can_be_drawn_a_line_says_so(
    tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The process itself, with a renderer that does not exist; no second one is started."""
    network, _ = load_policy(policy)
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    clips = Clips(tmp_path, 100, {"objects": "primitives", "grasp": {"episode_steps": 3, "hold_time": 0.1}})
    clips.film(network, 100)
    clips.close(wait=True)
    assert capsys.readouterr().out.startswith("note: no videos: cannot draw with MUJOCO_GL=glfw")
    clips.film(network, 200)
    assert clips._process is None and list((tmp_path / FOLDER).iterdir()) == []


def test_a_clip_is_a_video_and_an_image_of_tensorboard(
    tmp_path: Path, policy_maker: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the process does, here in this one."""
    settings = {"objects": "primitives", "object_count": 4, "grasp": {"episode_steps": 3, "hold_time": 0.1}}
    policy = policy_maker(tmp_path / "policy.pt", config={"task": settings}, env_steps=700)
    monkeypatch.setattr(renderer, "SIZE", (320, 184))
    try:
        main([str(policy), str(tmp_path / "clips" / "700.mp4")])
    except SystemExit:
        pytest.skip("nothing can be drawn off screen here")
    frames = imageio.mimread(str(tmp_path / "clips" / "700.mp4"), memtest=False)
    assert len(frames) == 4 and frames[0].shape == (184, 320, 3)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "clips"), size_guidance={"images": 0})
    events.Reload()
    (image,) = events.Images("policy")
    assert image.step == 700 and image.encoded_image_string[:6] == b"GIF89a"
    assert len(list((tmp_path / "clips").iterdir())) == 2, "nothing else is left"


def test_the_process_that_films_finds_the_program(tmp_path: Path) -> None:
    words = clips_module.command(tmp_path / "a.pt", tmp_path / "a.mp4")
    assert words[:3] == [sys.executable, "-m", "tasks.commands.clips"]
    assert clips_module.environment()["CUDA_VISIBLE_DEVICES"] == ""
    root = Path(clips_module.environment()["PYTHONPATH"].split(os.pathsep)[0])
    assert (root / "tasks" / "commands" / "clips" / "__main__.py").is_file()
