"""The viewer as somebody sees it who opens its address: in a real browser, where there is one."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import chromium
import numpy as np
import pytest
import trimesh

from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.hands import get_hand
from tasks.objects import ObjectSet, load_objects
from tasks.viewing.browser.session import Session
from tasks.viewing.browser.viewer import Viewer
from tasks.viewing.watched import WatchedSimulator

pytest.importorskip("viser")
pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
if chromium.find() is None:
    pytest.skip("there is no Chromium", allow_module_level=True)
import torch

from tasks.simulators.mujoco.simulator import MujocoSimulator

HAND = get_hand("shadow")
WEDGE = "v 0 0 0\nv .06 0 0\nv 0 .06 0\nv 0 0 .06\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
DROP = f"""
{{
  const carried = new DataTransfer();
  carried.items.add(new File([{WEDGE!r}], 'wedge.obj'));
  const event = new DragEvent('drop', {{ dataTransfer: carried, bubbles: true, cancelable: true }});
  document.querySelector('canvas').dispatchEvent(event);
}}
"""
"""Drops a mesh on the picture, as a hand with a mouse would."""


def build(objects: ObjectSet, hands: int) -> GraspTask:
    simulator = WatchedSimulator(MujocoSimulator(HAND, objects, hands, num_threads=1))
    return GraspTask(simulator, HAND, objects, GraspCfg(), evaluation=True)


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    """A viewer that plays."""

    class Enough(Exception):  # noqa: N818 - no error
        pass

    def stop_at_the_end() -> None:
        if ended.is_set():
            raise Enough

    def play() -> None:
        with contextlib.suppress(Enough):
            shown.run()

    ended = threading.Event()
    session = Session(build, load_objects("primitives", count=3), lambda obs: torch.zeros(len(obs), HAND.num_drives))
    shown = Viewer(session, HAND, "a policy", port=18090, newest=stop_at_the_end)
    thread = threading.Thread(target=play)
    thread.start()
    yield shown
    ended.set()
    thread.join()
    shown.close()


def pixels(png: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def orange(image: np.ndarray) -> int:
    """Pixels of fingertips."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    return int(((red > 150) & (red > green + 40) & (green > blue + 20)).sum())


def until(true: Callable[[], Any], seconds: float = 30.0) -> None:
    """Waits for what another thread does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_hand_and_controls_are_on_the_page(viewer: Viewer, tmp_path: Path) -> None:
    with chromium.Page(tmp_path / "profile", 560, 360) as page:
        page.open(viewer.address)
        page.wait_for_text("Next object")
        page.wait_for("document.querySelector('canvas') !== null")
        seen = 0
        for _ in range(60):
            scene = pixels(page.picture())[:, :300]  # left of the controls
            seen = orange(scene)
            if seen > 50:
                break
        assert seen > 50, "no fingertips"
        for word in ("a policy", "held: ", "Pause", "Speed", "Hands", "Objects", "Push the object"):
            assert word in page.text(), word
        page.click("Pause")
        page.wait_for_text("Play")
        assert viewer.session.paused
        before = viewer.session.shown.joint_pos.copy()
        page.click("One step")
        until(lambda: (viewer.session.shown.joint_pos != before).any())
        page.run(DROP)
        until(lambda: viewer.session.objects.name == "wedge.obj")
        mesh = tmp_path / "brick.stl"
        mesh.write_bytes(trimesh.creation.box((0.06, 0.05, 0.04)).export(file_type="stl"))
        page.click("Objects")
        page.wait_for("document.querySelector('input[type=file]') !== null")
        page.drop(mesh)
        until(lambda: viewer.session.objects.name == "brick.stl")
        assert not page.errors
