"""Where training starts: stable poses by their probability, the bent hand close above, not inside anything."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Dict

import mujoco
import numpy as np
import pytest
import torch
from plain_mujoco import HAND, plain_qpos, scene_alone, some_objects
from scipy.spatial.transform import Rotation

from tasks.grasp.starts import StartCfg, StartSampler
from tasks.objects import ObjectTensors
from tasks.simulators.contract import TABLE_HEIGHT, Start

PREGRASP = StartCfg(pregrasp_fraction=1.0)


@lru_cache(maxsize=None)
def library() -> ObjectTensors:
    return some_objects().tensors()


def drawn(ids: torch.Tensor, cfg: StartCfg = PREGRASP, evaluation: bool = False, seed: int = 0) -> Start:
    torch.manual_seed(seed)
    return StartSampler(HAND, library(), cfg, evaluation).draw(ids)


def highest(start: Start, world: int) -> float:
    """Of the object's points, m above the ground."""
    item = some_objects().objects[int(start.object_id[world])]
    turn = Rotation.from_quat(start.object_quat[world].numpy()[[1, 2, 3, 0]])
    return float(turn.apply(np.concatenate(item.parts))[:, 2].max() + start.object_pos[world, 2])


@pytest.mark.parametrize("index", range(5))
def test_rest_poses_come_as_often_as_when_dropped(index: int) -> None:
    item, count = some_objects().objects[index], 8000
    start = drawn(torch.full((count,), index))
    up = Rotation.from_quat(start.object_quat.numpy()[:, [1, 2, 3, 0]]).apply([0, 0, 1], inverse=True)
    rest = np.stack([Rotation.from_quat(q[[1, 2, 3, 0]]).apply([0, 0, 1], inverse=True) for q in item.rest_quat])
    closeness = up @ rest.T
    assert closeness.max(1).min() > 1 - 1e-5, "each start is one of the stable poses"
    # Poses that differ by a turn about the vertical only are one.
    same = rest @ rest.T > 1 - 1e-6
    often = (closeness > 1 - 1e-5).mean(0)
    expected = (same * item.rest_prob).sum(1)
    tolerance = 5 * np.sqrt(expected * (1 - expected) / count) + 1e-9
    assert (np.abs(often - expected) <= tolerance).all(), (often, expected)
    height = start.object_pos[:, 2].double().numpy() - TABLE_HEIGHT
    np.testing.assert_allclose(height, item.rest_height[closeness.argmax(1)], atol=2e-4)


def test_padding_is_never_drawn() -> None:
    """Objects of few stable poses share a table with one of many: no start from the padding's pose."""
    most = library().rest_prob.shape[1]
    few = min(range(5), key=lambda i: len(some_objects().objects[i].rest_prob))
    assert len(some_objects().objects[few].rest_prob) < most
    sampler = StartSampler(HAND, library(), PREGRASP, evaluation=False)
    ends = torch.tensor([0.0, 0.5, 1 - 2**-24, 1.0])
    pose = sampler._rest_pose(torch.full((4,), few), ends)
    real = len(some_objects().objects[few].rest_prob)
    assert (pose[:3] < real).all() and (library().rest_prob[few, pose[:3]] > 0).all()


def test_half_of_training_starts_are_bent() -> None:
    start = drawn(torch.arange(5).repeat(2000), StartCfg())
    bent = (start.joint_pos[:, 6:] != 0).any(-1)
    assert abs(bent.float().mean() - 0.5) < 0.025
    high = start.joint_pos[~bent]
    assert (high[:, 3:] == 0).all() and (high[:, 2] >= TABLE_HEIGHT + 0.2).all()
    assert (drawn(torch.arange(5), StartCfg(), evaluation=True).joint_pos[:, 6:] == 0).all()


def test_pregrasp_geometry() -> None:
    """Palm level, 7 to 10 cm above the object's top, its centre over the object give or take."""
    count = 1500
    start = drawn(torch.arange(5).repeat(count // 5))
    joints = start.joint_pos
    clearance = joints[:, 2].numpy() - np.array([highest(start, world) for world in range(count)])
    assert clearance.min() > 0.07 - 1e-5 and clearance.max() < 0.10 + 1e-5
    assert abs(clearance.mean() - 0.085) < 0.001
    assert (joints[:, 3:5] == 0).all()
    turn = Rotation.from_euler("z", joints[:, 5:6].double().numpy())
    centre = joints[:, :3].double().numpy() + turn.apply(HAND.palm_centre)
    miss = centre[:, :2] - start.object_pos[:, :2].double().numpy()
    assert np.abs(miss.mean(0)).max() < 0.002 and np.abs(miss.std(0) - 0.015).max() < 0.002
    expected = [dict(HAND.pregrasp_pose).get(name, 0.0) for name in HAND.finger_joints]
    np.testing.assert_allclose(joints[:, 6:].numpy(), np.tile(expected, (count, 1)), atol=1e-6)


def test_pregrasps_grip_across_the_narrowest_side() -> None:
    """Seen along the grip, an object is hardly wider than from where it is narrowest: up to 0.4 rad and 5 degrees off."""
    start = drawn(torch.arange(5).repeat(100))
    yaw = start.joint_pos[:, 5].double().numpy()
    assert np.abs(yaw).max() < math.pi / 2 + 1e-6 and np.abs(yaw).max() > 1.5
    all_angles = np.radians(np.arange(0.0, 180.0))
    off = []
    for world, angle in enumerate(yaw + HAND.grip_yaw):
        item = some_objects().objects[int(start.object_id[world])]
        turn = Rotation.from_quat(start.object_quat[world].numpy()[[1, 2, 3, 0]])
        points = turn.apply(np.concatenate(item.parts))[:, :2]
        widths = np.ptp(points @ np.stack([np.cos(all_angles), np.sin(all_angles)]), axis=0)
        near = np.abs((all_angles - angle + math.pi / 2) % math.pi - math.pi / 2) < 0.4 + math.radians(6)
        off.append(widths[near].min() / widths.min())
    assert max(off) < 1.03 and abs(np.diff(yaw)).max() > 1


def test_pregrasps_miss_that_direction_by_as_much_as_asked() -> None:
    """Uniform within +- pregrasp_yaw, where the quarter turn's end does not cut it off."""
    ids = torch.arange(5).repeat(400)
    exact, loose = (drawn(ids, StartCfg(pregrasp_fraction=1.0, pregrasp_yaw=y)).joint_pos[:, 5] for y in (0.0, 0.4))
    missed = (loose - exact)[exact.abs() < math.pi / 2 - 0.4]
    assert len(missed) > 1000 and missed.abs().max() <= 0.4 + 1e-5 and missed.abs().max() > 0.39
    assert abs(missed.mean()) < 0.03 and abs(missed.std() - 0.4 / 3**0.5) < 0.01


def test_masses_and_frictions() -> None:
    start = drawn(torch.arange(5).repeat(2000))
    log = start.mass_scale.log() / math.log(2)
    assert log.abs().max() <= 1 + 1e-6 and abs(log.mean()) < 0.03 and abs(log.std() - 1 / 3**0.5) < 0.02
    assert start.friction.min() >= 0.5 and start.friction.max() <= 1.2
    known = library()
    known = ObjectTensors(**{**known.__dict__, "friction": torch.tensor([math.nan, 0.3, math.nan, 2.0, math.nan])})
    sampler = StartSampler(HAND, known, StartCfg(), evaluation=True)
    friction = sampler.draw(torch.arange(5)).friction
    assert friction[[1, 3]].tolist() == pytest.approx([0.3, 2.0]), "what an object knows of itself holds"
    assert ((friction[[0, 2, 4]] >= 0.5) & (friction[[0, 2, 4]] <= 1.2)).all()


def sunk(start: Start) -> Dict[str, np.ndarray]:
    """How deep the hand is in the object and in the table, (N,) m each, by MuJoCo's contacts."""
    count = len(start.object_id)
    depth = {"object": np.zeros(count), "table": np.zeros(count)}
    for world in range(count):
        scene = scene_alone(int(start.object_id[world]))
        model, data = scene.model, mujoco.MjData(scene.model)
        values = (start.joint_pos, start.object_pos, start.object_quat)
        data.qpos[:] = plain_qpos(scene, *(v[world].double().numpy() for v in values))
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        for contact in data.contact:
            bodies = {int(model.geom_bodyid[contact.geom1]), int(model.geom_bodyid[contact.geom2])}
            if bodies != {0, scene.object_body}:
                other = "object" if scene.object_body in bodies else "table"
                depth[other][world] = max(depth[other][world], -float(contact.dist))
    return depth


def test_evaluation_start_touches_nothing() -> None:
    for other, depth in sunk(drawn(torch.arange(5).repeat(20), evaluation=True)).items():
        assert (depth == 0).all(), other


@pytest.mark.parametrize("other", ["object", "table"])
def test_pregrasp_starts_inside_nothing(other: str) -> None:
    """The bent hand is sunk less than 2 mm into object or table in more than 95 % of the starts."""
    depth = sunk(drawn(torch.arange(5).repeat(300)))[other]  # 3.3 % are, give or take 0.5 of them by chance
    share = (depth < 0.002).mean()
    assert share > 0.95, f"{1 - share:.0%} are deeper than 2 mm in the {other}, the deepest {depth.max() * 1000:.1f} mm"
