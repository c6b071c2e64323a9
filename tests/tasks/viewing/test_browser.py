"""The viewer in the browser, without a browser: what it serves, what it draws, and what its controls do."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator, List

import mujoco
import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.hands import get_hand
from tasks.objects import ObjectSet, load_objects
from tasks.viewing.browser import controls as controls_module
from tasks.viewing.browser.meshes import creased, object_mesh
from tasks.viewing.browser.poses import HandPoses
from tasks.viewing.browser.session import Session
from tasks.viewing.browser.viewer import Viewer
from tasks.viewing.watched import WatchedSimulator

pytest.importorskip("viser")
pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
from tasks.simulators.mujoco.simulator import MujocoSimulator

STEPS = 12
HAND = get_hand("shadow")


def still(obs: Tensor) -> Tensor:
    """Moves the hand down a little."""
    action = torch.zeros(len(obs), HAND.num_drives)
    action[:, 2] = -0.5
    return action


def build(objects: ObjectSet, hands: int) -> GraspTask:
    simulator = WatchedSimulator(MujocoSimulator(HAND, objects, hands, num_threads=1))
    return GraspTask(simulator, HAND, objects, GraspCfg(episode_steps=STEPS), evaluation=True)


@pytest.fixture
def session() -> Session:
    return Session(build, load_objects("primitives", count=6), still, hands=2)


@pytest.fixture
def viewer(session: Session) -> Iterator[Viewer]:
    shown = Viewer(session, HAND, "a policy", port=18080)
    yield shown
    shown.close()


def play(viewer: Viewer, steps: int) -> None:
    """As `Viewer.run` does, without waiting."""
    for _ in range(steps):
        viewer.session.do_what_is_asked()
        if not viewer.session.paused:
            viewer.session.advance()
        viewer.scene.show(viewer.session.shown, viewer.session.objects)


def test_each_episode_has_the_next_object_and_is_told(session: Session) -> None:
    first = session.names()
    met = [first]
    for _ in range(3):
        for _ in range(STEPS):
            session.advance()
        met.append(session.names())
    assert [name for pair in met[:3] for name in pair] == [o.name for o in session.objects.objects]
    assert met[3] == first, "they come round"
    assert session.ended == 6 and session.held == 0
    assert session.said[:2] == [f"{name}: not held" for name in first]


def test_what_is_shown_at_an_episodes_end_is_its_end(session: Session) -> None:
    """The last snapshot of an episode is of before the reset; only the next one is of the new episode."""
    for _ in range(STEPS):
        session.advance()
    assert not session.begun.any()
    assert session.shown.object_id.tolist() == [0, 1]
    session.advance()
    assert session.begun.all() and session.shown.object_id.tolist() == [2, 3]


def test_the_server_answers(viewer: Viewer) -> None:
    page = urllib.request.urlopen(viewer.address, timeout=10).read()
    assert b"<html" in page and len(page) > 100_000
    assert viewer.address in viewer.announce()


def test_another_viewer_takes_the_next_port(viewer: Viewer, session: Session) -> None:
    other = Viewer(session, HAND, "a policy", port=18080)
    assert other.address != viewer.address
    other.close()


def test_the_way_through_ssh_is_told(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.2 50000 10.0.0.7 22")
    port = viewer.server.get_port()
    assert f"ssh -L {port}:localhost:{port} 10.0.0.7" in viewer.announce()


def nodes(viewer: Viewer) -> List[str]:
    return [name for name, handle in viewer.server.scene._handle_from_node_name.items() if handle is not None]


def test_nodes_stand_where_things_are(viewer: Viewer) -> None:
    """Every link with a shape has a node with an instance for each hand, at its pose and at its place on the table."""
    play(viewer, 3)
    names, session, scene = nodes(viewer), viewer.session, viewer.scene
    assert {"/goal", "/frames", "/forces", "/table", "/object/0", "/object/1"} <= set(names)
    model = mujoco.MjModel.from_xml_path(str(HAND.mjcf))
    shapes = {model.body(int(b)).name for b in model.geom_bodyid}
    assert {f"/hand/{name}" for name in shapes} <= set(names)
    state = session.task.simulator.state
    node = scene._nodes[HAND.palm_body]
    expected = state.palm_pos.numpy() - rotated(state.palm_quat.numpy(), model.site(HAND.palm_site).pos)
    np.testing.assert_allclose(node.batched_positions, expected + scene._places, atol=1e-4)
    turned = np.abs((node.batched_wxyzs * state.palm_quat.numpy()).sum(-1))
    np.testing.assert_allclose(turned, 1, atol=1e-5)
    for world in range(2):
        thing = scene._object_nodes[world]
        np.testing.assert_allclose(
            thing.batched_positions[0], state.object_pos[world] + scene._places[world], atol=1e-5
        )
        item = session.objects.objects[int(state.object_id[world])]
        np.testing.assert_allclose(np.abs(thing.vertices).max(axis=0), item.half_extents, atol=1e-6)
    assert np.abs(scene._places[0] - scene._places[1]).max() > 0.3, "side by side"


def rotated(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    found = np.zeros((len(quat), 3))
    for row, q in enumerate(quat.astype(float)):
        mujoco.mju_rotVecQuat(found[row], np.asarray(vector, float), q)
    return found


def test_poses_are_those_of_the_simulator() -> None:
    """Fingertips where the hand's own kinematics has them is where MuJoCo C says they are, coupled joints and all."""
    task = build(load_objects("primitives", count=2), 2)
    task.reset()
    for _ in range(5):
        task.step(still(torch.zeros(2, 1)))
    pos, _ = HandPoses(HAND, HAND.fingertip_bodies)(task.simulator.state.joint_pos.numpy())
    for world in range(2):
        _, data = task.simulator.simulator.model_and_data(world)  # type: ignore[attr-defined]
        for index, name in enumerate(HAND.fingertip_bodies):
            np.testing.assert_allclose(pos[world, index], data.body(name).xpos, atol=2e-3)


def test_pause_step_speed_and_next(viewer: Viewer) -> None:
    session, controls = viewer.session, viewer.controls
    play(viewer, 2)
    assert controls.step.disabled
    controls.pause.value = True
    play(viewer, 1)
    before = session.shown.joint_pos.copy()
    play(viewer, 3)
    assert session.paused and controls.pause.label == "Play" and not controls.step.disabled
    np.testing.assert_array_equal(session.shown.joint_pos, before)
    controls.step.value = True
    play(viewer, 1)
    assert np.abs(session.shown.joint_pos - before).max() > 1e-4
    names = session.names()
    controls.next.value = True
    play(viewer, 1)
    assert session.names() != names
    controls.speed.value = 0.5
    controls.pause.value = True
    play(viewer, 1)
    assert session.speed == 0.5 and not session.paused


def test_forces_and_frames_are_drawn_if_asked_for(viewer: Viewer) -> None:
    """Arrows begin at the fingertips and are 1 cm for each newton."""
    session, scene, controls = viewer.session, viewer.scene, viewer.controls
    assert not scene._nodes["forces"].visible and not scene._nodes["frames"].visible and scene._nodes["goal"].visible
    controls.forces.value = controls.frames.value = True
    controls.goal.value = False
    play(viewer, 2)
    assert scene._nodes["forces"].visible and scene._nodes["frames"].visible and not scene._nodes["goal"].visible
    session.shown.fingertip_force[:] = 0
    session.shown.fingertip_force[1, 3] = (0, 3, -4)
    scene.show(session.shown, session.objects)
    arrows = scene._nodes["forces"].points
    tip = session.shown.fingertip_pos[1, 3] + scene._places[1]
    np.testing.assert_allclose(arrows[HAND.num_fingertips + 3], [tip, tip + np.array([0, 0.03, -0.04])], atol=1e-6)
    assert (arrows[:, 0, 2] < -1).sum() == len(arrows) - 1, "those without a force are out of sight"
    np.testing.assert_allclose(
        scene._nodes["frames"].batched_positions[: HAND.num_fingertips],
        session.shown.fingertip_pos[0] + scene._places[0],
    )


def test_the_object_is_pushed(viewer: Viewer) -> None:
    """By the strength and in the direction that were chosen, for a while."""
    simulator = viewer.session.task.simulator.simulator  # type: ignore[attr-defined]
    viewer.controls.strength.value = 6.0
    viewer.controls.push.value = "-y"
    play(viewer, 1)
    force = simulator.batch.bind("xfrc_applied")[:, simulator.scene.object_body, :3]
    np.testing.assert_allclose(force, [[0, -6, 0]] * 2)
    assert (viewer.session.task.simulator.state.object_vel[:, 1] < -0.05).all()
    play(viewer, round(controls_module.PUSH_SECONDS * 30) + 1)
    np.testing.assert_allclose(simulator.batch.bind("xfrc_applied")[:, simulator.scene.object_body, :3], 0)


def test_other_sets_and_more_hands(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    session, controls = viewer.session, viewer.controls
    monkeypatch.setattr(controls_module, "load_objects", lambda name: load_objects(name, count=4))
    assert "primitives" in controls.objects.options and "holdout" in controls.objects.options
    controls.objects.value = "mixed"
    play(viewer, 2)
    assert session.objects.name == "mixed" and len(session.objects) == 4
    controls.hands.value = 5
    play(viewer, 1)
    assert session.hands == session.task.num_envs == 5
    assert len(viewer.scene._object_nodes) == 5
    assert viewer.scene._nodes[HAND.palm_body].batched_positions.shape == (5, 3)


def drop(viewer: Viewer, name: str, content: bytes) -> None:
    """As the browser's upload does."""
    from viser import UploadedFile

    upload: Any = viewer.controls.upload
    upload._impl.value = UploadedFile(name, content)
    for callback in upload._impl.update_cb:
        callback(None)


def test_a_mesh_is_dropped_in(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    told: List[str] = []
    monkeypatch.setattr(viewer.controls, "tell", lambda title, text, bad=False: told.append(text) if bad else None)
    viewer.controls.scale.value = 0.001
    drop(viewer, "../../brick.stl", trimesh.creation.box((60, 40, 30)).export(file_type="stl"))
    play(viewer, 1)
    assert not told
    (item,) = viewer.session.objects.objects
    assert item.name == "brick" and viewer.controls.objects.value == "brick.stl"
    np.testing.assert_allclose(item.half_extents, [0.03, 0.02, 0.015], atol=1e-6)
    drop(viewer, "words.stl", b"no mesh at all")
    drop(viewer, "words.txt", b"")
    play(viewer, 1)
    assert len(told) == 2 and "words.stl" in told[0] and "words.txt: give a .obj" in told[1]
    assert viewer.session.objects.objects == (item,), "the last one goes on"


def test_a_new_policy_is_taken(session: Session) -> None:
    found = [(lambda obs: torch.zeros(len(obs), HAND.num_drives), "newer, 2.0 M steps")]
    viewer = Viewer(session, HAND, "older", port=18080, newest=lambda: found.pop() if found else None)
    switched: List[bool] = []
    try:
        viewer.run(episodes=2, say=lambda words: switched.append(session.policy is not still))
        assert switched[-1] and viewer.controls.title.content == "newer, 2.0 M steps"
    finally:
        viewer.close()


def test_an_object_is_smooth_but_for_its_edges() -> None:
    """A box keeps 8 x 3 corners, each of one face; a finely cut ball shares every corner."""
    box = trimesh.creation.box((1, 2, 3))
    points, faces = creased(np.asarray(box.vertices), np.asarray(box.faces))
    assert len(points) == 24 and len(faces) == 12
    ball = trimesh.creation.icosphere(subdivisions=2)
    points, faces = creased(np.asarray(ball.vertices), np.asarray(ball.faces))
    assert len(points) == len(ball.vertices)
    item = load_objects("procedural", count=30).objects[20]
    points, faces = object_mesh(item)
    volume = trimesh.Trimesh(points, faces, process=False).volume
    assert volume == pytest.approx(sum(trimesh.convex.convex_hull(p).volume for p in item.parts), rel=1e-4)


def test_play_serves_a_browser(run: Callable[..., Any], policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a display it is what opens; `--episodes` ends it."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    done = run("play.py", "--checkpoint", policy, "--episodes", 3, "--hands", 3, "--speed", 20, "--port", 18080)
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert any(line.startswith("watch in a browser: http://localhost:180") for line in lines)
    assert lines[-1].startswith("3 ") and lines[-1].endswith("not held")


class Camera:
    """What viser has of somebody's camera."""

    def __init__(self, width: int, height: int) -> None:
        self.image_width, self.image_height = width, height
        self.position, self.look_at, self.fov = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0
        self.told: List[Callable[[Any], None]] = []

    def on_update(self, callback: Callable[[Any], None]) -> None:
        self.told.append(callback)

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(np.subtract(self.position, self.look_at)))


def test_a_phone_gets_its_camera_once_its_size_is_known(viewer: Viewer) -> None:
    """The first size that a browser tells is that of an empty canvas, which is wide."""
    phone, tall = Camera(300, 150), Camera(390, 844)
    for camera in (phone, tall):
        viewer.scene._welcome(SimpleNamespace(camera=camera))
    assert phone.distance < tall.distance
    phone.image_width, phone.image_height = 390, 844
    phone.told[0](phone)
    assert phone.distance == tall.distance and phone.look_at == tall.look_at
    phone.position = (1.0, 2.0, 3.0)
    phone.told[0](phone)
    assert phone.position == (1.0, 2.0, 3.0), "who looks from elsewhere stays there"
    phone.image_width, phone.image_height = 844, 390
    phone.told[0](phone)
    assert phone.distance < tall.distance, "the phone was turned"
