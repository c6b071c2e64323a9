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
from tasks.viewing import look, renderer, stage, window
from tasks.viewing.errors import RenderingError

pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
from tasks.simulators.mujoco.scene import GEOM_FIELDS
from tasks.simulators.mujoco.simulator import MujocoSimulator
from tasks.viewing.renderer import WorldRenderer, place_camera
from tasks.viewing.stage import GOAL, MOVING, Stage
from tasks.viewing.watched import WatchedSimulator, snapshot

ROOT = Path(__file__).resolve().parents[3]
EPISODE_STEPS = 25
SMALL = (320, 180)
"""Width and height of videos in these tests."""
Run = Callable[..., Any]
"""See `run` in conftest.py."""


def can_draw() -> bool:
    try:
        context, _ = renderer.gl_contexts(mujoco.MjModel.from_xml_string("<mujoco/>"), 32, 32)
        context.free()
    except RenderingError:
        return False
    return True


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Software draws them, and time is short."""
    monkeypatch.setattr(renderer, "SIZE", SMALL)
    monkeypatch.setattr(stage, "SHADOW_SIZE", 512)
    monkeypatch.setattr(stage, "SAMPLES", 1)


def watched_task(count: int, worlds: int, name: str = "mixed") -> GraspTask:
    """Worlds on MuJoCo C, in their second episode."""
    hand, objects = get_hand("shadow"), load_objects(name, count=count)
    simulator = WatchedSimulator(MujocoSimulator(hand, objects, worlds))
    task = GraspTask(simulator, hand, objects, GraspCfg(), evaluation=True)
    task.reset()
    task.reset()
    return task


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
def test_play_films_hands_side_by_side(run: Run, policy: Path, tmp_path: Path) -> None:
    words = ("--hands", 3, "--episodes", 4, "--video", "film.mp4")
    done = run("play.py", "--checkpoint", policy, *words)
    assert done.status == 0, done.err
    assert "4/4 " in done.out
    assert len(imageio.mimread(str(tmp_path / "film.mp4"), memtest=False)) == 2 * (EPISODE_STEPS + 1)


@draws
def test_play_without_a_display_writes_a_video(run: Run, policy: Path, tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "viser", None)  # else it is shown in a browser
    done = run("play.py", "--checkpoint", policy, "--episodes", 1)
    assert done.status == 0, done.err
    assert "as there is no display" in done.out and "pip install -c constraints.txt -e '.[viewer]'" in done.out
    assert (tmp_path / "grasp.mp4").stat().st_size > 1000


@draws
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_triton_loads_after_a_picture() -> None:
    """It and a software renderer bring an LLVM each; the second one to be loaded may crash, and with it the process."""
    words = """
import mujoco
from tasks.viewing.renderer import gl_contexts
gl_contexts(mujoco.MjModel.from_xml_string("<mujoco/>"), 32, 32)
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


def test_a_stage_shows_the_worlds_of_a_simulator() -> None:
    """MuJoCo C's own model and data say what is to be seen."""
    task = watched_task(40, 3)
    simulator = task.simulator
    moved: List[bool] = []
    simulator.after_step = lambda: moved.append(True)
    for _ in range(4):
        task.step(torch.zeros(3, task.num_actions))
    assert len(moved) == 4 and simulator.state is simulator.simulator.state
    stage, shown = Stage(task.hand, task.objects), snapshot(task, (2, 0))
    for row, world in enumerate((2, 0)):
        stage.pose(shown, row)
        model, data = simulator.simulator.model_and_data(world)
        own_model, own_data = stage.model, stage.data
        # Coupled joints are drawn where they belong.
        np.testing.assert_allclose(own_data.qpos, data.qpos, atol=0.01)
        np.testing.assert_allclose(own_data.body("object").xpos, data.body("object").xpos, atol=1e-6)
        np.testing.assert_allclose(own_data.body(GOAL).xpos, task.episodes.goal.pos[world].numpy(), atol=1e-6)
        for body in range(model.nbody):
            name = model.body(body).name
            np.testing.assert_allclose(own_data.body(name).xpos, data.body(name).xpos, atol=1e-3, err_msg=name)
        mine, right = (of(m) for of in [object_geoms] for m in (own_model, model))
        for field in (*GEOM_FIELDS, "geom_rgba"):
            columns = slice(3, 4) if field == "geom_rgba" else slice(None)  # its colour is of the look
            found, wanted = (getattr(m, field)[geoms] for m, geoms in ((own_model, mine), (model, right)))
            if field == "geom_dataid":  # the same meshes have other numbers
                found, wanted = ([m.mesh(int(k)).name for k in ids] for m, ids in ((own_model, found), (model, wanted)))
                assert found == wanted
            else:
                np.testing.assert_allclose(
                    np.atleast_2d(found)[..., columns], np.atleast_2d(wanted)[..., columns], atol=1e-6, err_msg=field
                )


def object_geoms(model: mujoco.MjModel) -> range:
    body = model.body("object")
    return range(int(body.geomadr[0]), int(body.geomadr[0]) + int(body.geomnum[0]))


def test_a_stage_sets_hands_side_by_side() -> None:
    """Each world's things are drawn once, at its place; tables and lights are not drawn again."""
    task = watched_task(6, 4)
    stage = Stage(task.hand, task.objects, 4)
    picture, option, camera = mujoco.MjvScene(stage.model, 1000), mujoco.MjvOption(), mujoco.MjvCamera()
    stage.fill(picture, option, camera, snapshot(task, range(4)))
    palm = stage.model.body(task.hand.palm_body).id
    skins = [
        g for g in range(stage.model.ngeom) if stage.model.geom_bodyid[g] == palm and stage.model.geom_group[g] == 0
    ]
    drawn = [g for g in picture.geoms[: picture.ngeom] if g.objid == skins[0] and g.objtype == mujoco.mjtObj.mjOBJ_GEOM]
    centre = np.mean([g.pos[:2] for g in drawn], axis=0)
    np.testing.assert_allclose([g.pos[:2] - centre for g in drawn], look.places(4), atol=0.01)
    table = stage.model.geom("table").id
    assert sum(g.objid == table and g.objtype == mujoco.mjtObj.mjOBJ_GEOM for g in picture.geoms[: picture.ngeom]) == 1
    assert picture.nlight == stage.model.nlight + 1 and MOVING


@draws
def test_the_window_looks_like_the_videos() -> None:
    """The model that the window draws by itself gives the picture that a video has of the same world."""
    task = watched_task(4, 1, "primitives")
    shown = snapshot(task, [0])
    drawer = WorldRenderer(Stage(task.hand, task.objects), SMALL)
    video = drawer.draw(shown).astype(int)
    drawer.close()
    stage = Stage(task.hand, task.objects)
    stage.pose(shown, 0)
    seen = draw_as_a_window(stage).astype(int)
    assert video.mean() > 100, "nearly black"
    assert np.abs(seen - video).mean() < 3 and (np.abs(seen - video).max(-1) > 40).mean() < 0.02


def draw_as_a_window(stage: Stage) -> np.ndarray:
    """MuJoCo's own list of what is in a model, and its own lights and sky, from where the window's camera stands."""
    context, gpu = renderer.gl_contexts(stage.model, *SMALL)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, gpu)
    picture, camera = mujoco.MjvScene(stage.model, 1000), mujoco.MjvCamera()
    place_camera(camera, look.view())
    mujoco.mjv_updateScene(stage.model, stage.data, mujoco.MjvOption(), None, camera, 7, picture)
    rectangle, pixels = mujoco.MjrRect(0, 0, *SMALL), np.empty((SMALL[1], SMALL[0], 3), np.uint8)
    mujoco.mjr_render(rectangle, picture, gpu)
    mujoco.mjr_readPixels(pixels, None, rectangle, gpu)
    gpu.free()
    context.free()
    return pixels[::-1]


@draws
def test_an_object_hides_the_goal_behind_it() -> None:
    """A goal's wire is seen before the object and not through it."""
    task = watched_task(1, 1, "primitives")
    shown = snapshot(task, [0])
    shown.object_pos[0] = (0.0, 0.0, 0.3)
    drawer = WorldRenderer(Stage(task.hand, task.objects), SMALL)

    def green(goal: Tuple[float, float, float]) -> int:
        shown.goal[0] = goal
        image = drawer.draw(shown).astype(int)
        return int(((image[..., 1] > image[..., 0] + 40) & (image[..., 1] > image[..., 2] + 40)).sum())

    away = look.view().position - shown.object_pos[0]
    away = 0.12 * away / np.linalg.norm(away)
    before, behind = green(tuple(shown.object_pos[0] + away)), green(tuple(shown.object_pos[0] - away))
    drawer.close()
    assert before > 60 and behind < 0.7 * before


def test_play_opens_a_window(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the viewer sees each step and the object of the episode."""
    shown: List[Tuple[float, int]] = []

    class Viewer:
        def __init__(self, model: Any, data: Any, **_: Any) -> None:
            import mujoco

            self.model, self.data, self.cam = model, data, mujoco.MjvCamera()

        def lock(self) -> Any:

            return contextlib.nullcontext()

        def sync(self) -> None:
            assert self.data.body(GOAL).xpos[2] > 0.25  # the goal
            assert self.cam.azimuth == look.view().azimuth
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
