"""Each slice of the observation against plain MuJoCo's own figures of a grasp in progress, turned by scipy."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from typing import List

import mujoco
import numpy as np
import pytest
import torch
from plain_mujoco import (
    CUBE,
    FINE,
    HAND,
    SPHERE,
    PlainWorld,
    closing,
    grasping,
    mujoco_simulator,
    some_objects,
    tip_wrenches,
)
from scipy.spatial.transform import Rotation
from torch import Tensor
from views import NUM_OBS, SLICES, observe

from tasks import rotations
from tasks.simulators.contract import SimState

LAYOUT = {
    "joint_pos": (0, 24),
    "joint_vel": (24, 48),
    "object_pose": (48, 55),
    "object_vel": (55, 61),
    "fingertips_to_object": (61, 76),
    "previous_action": (76, 100),
    "goal_pose": (100, 107),
    "drive_force": (107, 131),
    "fingertip_quat": (131, 151),
    "fingertip_vel": (151, 181),
    "fingertip_wrench": (181, 211),
}
WORLDS = 2


@dataclass
class Moment:
    """A moment of a grasp: what was observed, and the same moment in plain MuJoCo."""

    obs: np.ndarray
    state: SimState
    action: Tensor
    goal_pos: Tensor
    goal_quat: Tensor
    models: List[mujoco.MjModel]
    acting: List[mujoco.MjData]
    """After mj_step: contacts and drive forces of the last sub-step, at the poses of its start."""
    now: List[mujoco.MjData]
    """mj_forward at the state reached."""

    def palm(self, world: int) -> Rotation:
        return Rotation.from_matrix(self.now[world].site(HAND.palm_site).xmat.reshape(3, 3))

    def palm_pos(self, world: int) -> np.ndarray:
        return self.now[world].site(HAND.palm_site).xpos

    def slice(self, world: int, name: str) -> np.ndarray:
        return self.obs[world, LAYOUT[name][0] : LAYOUT[name][1]]


def wxyz(rotation: Rotation) -> np.ndarray:
    q = rotation.as_quat()[[3, 0, 1, 2]]
    return q if q[0] >= 0 else -q


@pytest.fixture(scope="module")
def moment() -> Moment:
    """A cube and a sphere that are being lifted, carried aside and turned; the last control step is plain MuJoCo's too."""
    # In coarse steps the sphere slips out of the script's hand.
    sim = mujoco_simulator(HAND, some_objects(), WORLDS, FINE, 1)
    start = grasping(some_objects(), torch.tensor([CUBE, SPHERE]))
    start.into(sim)
    for step in range(24):
        sim.step(closing(start, step))
    plain = [PlainWorld(start, world, FINE) for world in range(WORLDS)]
    for world, one in enumerate(plain):
        mujoco.mj_setState(one.model, one.data, sim.batch.state[world], mujoco.mjtState.mjSTATE_INTEGRATION)
    targets = closing(start, 24)
    sim.step(targets)
    now = []
    for world, one in enumerate(plain):
        one.step(targets[world])
        now.append(copy.copy(one.data))
        mujoco.mj_forward(one.model, now[-1])
    random = torch.Generator().manual_seed(1)
    action = torch.rand(WORLDS, 24, generator=random) * 2 - 1
    goal_pos = start.object_pos + torch.tensor([0.0, 0.0, 0.25])
    obs = observe(sim.state, action, goal_pos, start.object_quat)
    return Moment(
        obs.double().numpy(), sim.state, action, goal_pos, start.object_quat, [p.model for p in plain],
        [p.data for p in plain], now,
    )  # fmt: skip


def test_layout_is_the_published_one() -> None:
    assert {name: (s.start, s.stop) for name, s in SLICES.items()} == LAYOUT
    assert NUM_OBS == 211


def test_the_moment_is_worth_testing(moment: Moment) -> None:
    """Hand turned and moving, object in the air and moving, several fingertips at it."""
    assert moment.obs.shape == (WORLDS, 211)
    for world in range(WORLDS):
        assert moment.palm(world).magnitude() > 0.3
        assert moment.now[world].body("object").xpos[2] > 0.11
        assert np.linalg.norm(moment.now[world].qvel[-6:-3]) > 0.1
        wrench, contacts = tip_wrenches(moment.models[world], moment.acting[world])
        assert len(contacts) >= 3 and np.abs(wrench[:, :3]).max() > 0.3 and np.abs(wrench[:, 3:]).max() > 1e-4


@pytest.mark.parametrize("world", range(WORLDS))
def test_joints_and_drives(moment: Moment, world: int) -> None:
    model, now, acting = moment.models[world], moment.now[world], moment.acting[world]
    q = [now.qpos[model.joint(name).qposadr[0]] for name in HAND.drives]
    v = [now.qvel[model.joint(name).dofadr[0]] for name in HAND.drives]
    force = [acting.actuator(name).force[0] for name in HAND.drives]
    np.testing.assert_allclose(moment.slice(world, "joint_pos"), q, atol=1e-6)
    np.testing.assert_allclose(moment.slice(world, "joint_vel"), v, atol=2e-6)
    np.testing.assert_allclose(moment.slice(world, "drive_force"), force, atol=1e-5)
    np.testing.assert_allclose(moment.slice(world, "previous_action"), moment.action[world], atol=0)


@pytest.mark.parametrize("world", range(WORLDS))
def test_object_and_goal(moment: Moment, world: int) -> None:
    model, now, palm = moment.models[world], moment.now[world], moment.palm(world)
    body = now.body("object")
    own = Rotation.from_matrix(body.xmat.reshape(3, 3))
    pose = np.concatenate([palm.apply(body.xpos - moment.palm_pos(world), inverse=True), wxyz(palm.inv() * own)])
    np.testing.assert_allclose(moment.slice(world, "object_pose"), pose, atol=1e-6)
    velocity = np.zeros(6)
    mujoco.mj_objectVelocity(model, now, mujoco.mjtObj.mjOBJ_XBODY, model.body("object").id, velocity, 0)
    expected = np.concatenate([palm.apply(velocity[3:], inverse=True), palm.apply(velocity[:3], inverse=True)])
    np.testing.assert_allclose(moment.slice(world, "object_vel"), expected, atol=1e-5)
    goal = Rotation.from_quat(moment.goal_quat[world].numpy()[[1, 2, 3, 0]])
    at = moment.goal_pos[world].double().numpy() - moment.palm_pos(world)
    pose = np.concatenate([palm.apply(at, inverse=True), wxyz(palm.inv() * goal)])
    np.testing.assert_allclose(moment.slice(world, "goal_pose"), pose, atol=1e-6)


@pytest.mark.parametrize("world", range(WORLDS))
def test_fingertips(moment: Moment, world: int) -> None:
    model, now, palm = moment.models[world], moment.now[world], moment.palm(world)
    wrench, _ = tip_wrenches(model, moment.acting[world])
    velocity = np.zeros(6)
    for tip, name in enumerate(HAND.fingertip_sites):
        site = now.site(name)
        gap = palm.apply(site.xpos - now.body("object").xpos, inverse=True)
        np.testing.assert_allclose(moment.slice(world, "fingertips_to_object").reshape(5, 3)[tip], gap, atol=1e-6)
        quat = wxyz(palm.inv() * Rotation.from_matrix(site.xmat.reshape(3, 3)))
        np.testing.assert_allclose(moment.slice(world, "fingertip_quat").reshape(5, 4)[tip], quat, atol=1e-6)
        mujoco.mj_objectVelocity(model, now, mujoco.mjtObj.mjOBJ_SITE, model.site(name).id, velocity, 0)
        expected = np.concatenate([palm.apply(velocity[3:], inverse=True), palm.apply(velocity[:3], inverse=True)])
        np.testing.assert_allclose(moment.slice(world, "fingertip_vel").reshape(5, 6)[tip], expected, atol=2e-5)
        # Forces are of the last sub-step, seen from the palm as it is now.
        expected = np.concatenate(
            [palm.apply(wrench[tip, :3], inverse=True), palm.apply(wrench[tip, 3:], inverse=True)]
        )
        np.testing.assert_allclose(moment.slice(world, "fingertip_wrench").reshape(5, 6)[tip], expected, atol=2e-5)


def changed_slices(before: Tensor, after: Tensor, tolerance: float) -> List[int]:
    return ((before - after).abs().amax(0) > tolerance).nonzero()[:, 0].tolist()


def moved(state: SimState, turn: Tensor, shift: Tensor) -> SimState:
    """The same scene elsewhere: turned about the origin, then shifted.  Joints stay, for the caller to set."""
    s = SimState(**{f.name: getattr(state, f.name).clone() for f in fields(state)})
    for name in ("palm", "fingertip", "object"):
        pos, quat = getattr(s, f"{name}_pos"), getattr(s, f"{name}_quat")
        pos.copy_(rotations.rotate(turn, pos) + shift)
        quat.copy_(rotations.multiply(turn, quat))
    for vectors in (s.object_vel, s.fingertip_vel, s.fingertip_wrench):
        vectors[..., :3] = rotations.rotate(turn, vectors[..., :3])
        vectors[..., 3:] = rotations.rotate(turn, vectors[..., 3:])
    return s


def test_where_the_scene_is_only_the_base_tells(moment: Moment) -> None:
    """A scene that is turned and shifted looks the same but for the base's own joints."""
    turn = torch.tensor([0.6, -0.2, 0.5, 0.4])
    turn, shift = turn / turn.norm(), torch.tensor([0.2, -0.1, 0.3])
    state = moved(moment.state, turn, shift)
    state.joint_pos[:, :3] += shift
    goal_pos = rotations.rotate(turn, moment.goal_pos) + shift
    goal_quat = rotations.multiply(turn, moment.goal_quat)
    obs = observe(state, moment.action, goal_pos, goal_quat)
    assert changed_slices(torch.from_numpy(moment.obs).float(), obs, 2e-5) == [0, 1, 2]


def test_shift_of_a_simulation_shows_in_the_base_only() -> None:
    """Two worlds, the second 9 cm aside, stepped alike: the observations differ in base_x and base_y alone."""
    sim = mujoco_simulator(HAND, some_objects(), 2, FINE, 1)
    start = grasping(some_objects(), torch.tensor([CUBE, CUBE]))
    shift = torch.tensor([0.09, -0.05])
    start.joint_pos[1, :2] += shift
    start.object_pos[1, :2] += shift
    start.into(sim)
    for step in range(14):
        sim.step(closing(start, step))
    goal = start.object_pos + torch.tensor([0.0, 0.0, 0.25])
    obs = observe(sim.state, torch.zeros(2, 24), goal, start.object_quat)
    forces = list(range(*LAYOUT["fingertip_wrench"]))
    changed = changed_slices(obs[:1], obs[1:], 1e-3)
    assert [i for i in changed if i not in forces] == [0, 1]
    torch.testing.assert_close(obs[1, :2] - obs[0, :2], shift, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(obs[0, forces], obs[1, forces], atol=0.02, rtol=0.02)
