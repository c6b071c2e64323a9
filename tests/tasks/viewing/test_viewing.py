"""Videos, the window, and pictures of failures, as a user meets them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, List, Tuple

import imageio.v2 as imageio
import mujoco
import numpy as np
import pytest
import torch

from tasks.commands import evaluate as evaluate_command
from tasks.evaluation.measure import Evaluation
from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.hands import get_hand
from tasks.objects import load_objects
from tasks.viewing import renderer as renderer_module
from tasks.viewing import window
from tasks.viewing.errors import RenderingError
from tasks.viewing.mirrored import MirroredSimulator
from tasks.viewing.renderer import WorldRenderer
from tasks.viewing.window import SHOWN, copy_world, furnished_model

pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
from tasks.simulators.mujoco.simulator import MujocoSimulator
from tasks.viewing.watching import WatchedSimulator

ROOT = Path(__file__).resolve().parents[3]
EPISODE_STEPS = 25
Run = Callable[..., Any]
"""See `run` in conftest.py."""


def can_draw() -> bool:
    import mujoco

    try:
        WorldRenderer(mujoco.MjModel.from_xml_string("<mujoco/>"), (32, 32)).close()
    except RenderingError:
        return False
    return True


draws = pytest.mark.skipif(not can_draw(), reason="nothing can be drawn off screen here")


@draws
@pytest.mark.parametrize("name", ["film.gif", "film.mp4"])
def test_play_films_every_step(run: Run, policy: Path, tmp_path: Path, name: str) -> None:
    done = run("play.py", "--checkpoint", policy, "--episodes", 2, "--video", f"films/{name}")
    assert done.status == 0, done.err
    assert done.out.count("not brought to the goal") == 2
    frames = imageio.mimread(str(tmp_path / "films" / name), memtest=False)
    assert len(frames) == 2 * (EPISODE_STEPS + 1)
    assert np.std(frames[0][..., :3]) > 10, "an empty picture"
    assert np.abs(frames[0][..., :3].astype(int) - frames[EPISODE_STEPS][..., :3]).max() > 50, "nothing moves"


@draws
def test_play_without_a_display_writes_a_video(run: Run, policy: Path, tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    done = run("play.py", "--checkpoint", policy, "--episodes", 1)
    assert done.status == 0, done.err
    assert (tmp_path / "grasp.mp4").stat().st_size > 1000


@draws
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_triton_loads_after_a_picture() -> None:
    """It and a software renderer bring an LLVM each; the second one to be loaded may crash, and with it the process."""
    words = """
import mujoco
from tasks.viewing.renderer import WorldRenderer
WorldRenderer(mujoco.MjModel.from_xml_string("<mujoco/>"))
import triton
"""
    assert subprocess.run([sys.executable, "-c", words], cwd=ROOT, timeout=120).returncode == 0


@draws
def test_failures_are_drawn(run: Run, policy: Path, tmp_path: Path) -> None:
    done = run(
        "evaluate_policy.py", "--checkpoint", policy, "--num-episodes", 3, "--sim", "mujoco", "--failures", "f.png"
    )
    assert done.status == 0, done.err
    assert "3 of 3 failed episodes" in done.out and "held" not in done.out.splitlines()[-1]
    assert imageio.imread(str(tmp_path / "f.png")).shape == (262, 3 * 320, 3)  # a row of three


def judge(monkeypatch: pytest.MonkeyPatch, held: torch.Tensor) -> None:
    """Makes the evaluation find that these episodes were held."""
    measure = evaluate_command.measure

    def judged(*args: Any) -> Evaluation:
        found = measure(*args)
        found.episodes.held.copy_(held)
        return found

    monkeypatch.setattr(evaluate_command, "measure", judged)


@draws
def test_the_failed_episodes_themselves_are_drawn(
    run: Run, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures begin where failed episodes began: the same objects, places, turns and friction, two rounds of them."""
    began: List[Any] = []
    reset = MujocoSimulator.reset

    def noted(simulator: MujocoSimulator, mask: torch.Tensor, start: Any) -> None:
        if mask.all():
            began.append(start)
        reset(simulator, mask, start)

    monkeypatch.setattr(MujocoSimulator, "reset", noted)
    judge(monkeypatch, torch.arange(10) % 4 != 1)  # 1, 5 and 9 failed
    words = ("--num-episodes", 10, "--num-envs", 5, "--sim", "mujoco", "--failures", "f.png")
    done = run("evaluate_policy.py", "--checkpoint", policy, *words)
    assert done.status == 0, done.err
    assert "3 of 3 failed episodes" in done.out
    first, second, again = began[:6:2]  # after each there is one for the next episodes, which do not count
    for name in ("joint_pos", "object_pos", "object_quat", "friction", "mass_scale"):
        of_all = torch.cat([getattr(first, name), getattr(second, name)])
        assert torch.equal(getattr(again, name), of_all[[1, 5, 9]]), name


def test_nothing_is_drawn_where_all_is_held(
    run: Run, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(monkeypatch, torch.ones(2, dtype=torch.bool))
    words = ("--num-episodes", 2, "--sim", "mujoco", "--failures", "f.png")
    done = run("evaluate_policy.py", "--checkpoint", policy, *words)
    assert done.status == 0 and "no failures to draw" in done.out
    assert not (tmp_path / "f.png").exists()


def test_a_mirror_shows_the_worlds_of_another_simulator() -> None:
    """MuJoCo C, whose own model and data say what is to be seen."""
    hand, objects = get_hand("shadow"), load_objects("mixed", count=40)
    watched = WatchedSimulator(hand, objects, 3)
    mirror = MirroredSimulator(watched, hand, objects)
    task = GraspTask(mirror, hand, objects, GraspCfg(), evaluation=True)
    moved: List[bool] = []
    mirror.after_step = lambda: moved.append(True)
    task.reset()
    task.reset()
    for _ in range(4):
        task.step(torch.zeros(3, task.num_actions))
    assert len(moved) == 4 and mirror.state is watched.state
    for world in (2, 0):
        model, data = watched.model_and_data(world)
        own_model, own_data = mirror.model_and_data(world)
        # Coupled joints are drawn where they belong.
        np.testing.assert_allclose(own_data.qpos, data.qpos, atol=0.01)
        np.testing.assert_allclose(own_data.body("object").xpos, data.body("object").xpos, atol=1e-6)
        for name in SHOWN:
            mine, right = getattr(own_model, name)[own_model.ngeom - 8 :], getattr(model, name)[model.ngeom - 8 :]
            np.testing.assert_allclose(mine, right, atol=1e-6, err_msg=name)


@draws
def test_the_window_looks_like_the_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that the window draws by itself gives the picture that a video has of the same world."""
    hand, objects = get_hand("shadow"), load_objects("primitives", count=4)
    simulator = WatchedSimulator(hand, objects, 1)
    task = GraspTask(simulator, hand, objects, GraspCfg(), evaluation=True)
    task.reset()
    task.reset()  # another object than the scene was built with
    model, data = simulator.model_and_data(0)
    renderer = WorldRenderer(model, (320, 240))
    video = renderer.draw(model, data).astype(int)
    renderer.close()
    shown = furnished_model(hand, objects)
    shown_data = mujoco.MjData(shown)
    copy_world(model, data, shown, shown_data)
    renderer = WorldRenderer(shown, (320, 240))
    monkeypatch.setattr(renderer_module, "decorate", lambda scene, model: None)  # the viewer adds nothing either
    seen = renderer.draw(shown, shown_data).astype(int)
    renderer.close()
    assert video.mean() > 100, "nearly black"
    assert np.abs(seen - video).mean() < 3 and (np.abs(seen - video).max(-1) > 40).mean() < 0.02


def test_play_opens_a_window(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the viewer sees each step and the object of the episode."""
    shown: List[Tuple[float, int]] = []

    class Viewer:
        def __init__(self, model: Any, data: Any, **_: Any) -> None:
            import mujoco

            self.model, self.data, self.cam = model, data, mujoco.MjvCamera()
            self.user_scn = mujoco.MjvScene(model, 10)

        def lock(self) -> Any:

            return contextlib.nullcontext()

        def sync(self) -> None:
            assert self.user_scn.ngeom == 1  # the goal
            body = self.model.body("object").id
            shown.append((float(self.data.xpos[body, 2]), int(self.model.geom_dataid[self.model.body_geomadr[body]])))

        def is_running(self) -> bool:
            return len(shown) < EPISODE_STEPS + 5  # closed early in the second episode

        def close(self) -> None:
            shown.append((0.0, -1))

    import glfw
    import mujoco.viewer

    monkeypatch.setattr(glfw, "init", lambda: True)
    monkeypatch.setattr(mujoco.viewer, "launch_passive", Viewer)
    monkeypatch.setattr(window, "has_display", lambda: True)
    done = run("play.py", "--checkpoint", policy, "--speed", 100)
    assert done.status == 0, done.err
    assert len(shown) == EPISODE_STEPS + 6
    assert shown[-1] == (0.0, -1)  # and the window is closed
    assert len({mesh for _, mesh in shown[:-1]}) == 2, "both episodes showed the same object"
    assert min(height for height, _ in shown[:-1]) > 0.05
