"""The hand meets itself if it is asked to: on both MuJoCos alike."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from plain_mujoco import CUBE, FINE, HAND, PHYSICS, resting, some_objects
from torch import Tensor

from tasks.hands import get_hand
from tasks.objects import ObjectSet
from tasks.simulators.contract import Simulator
from tasks.simulators.mujoco.scene import PhysicsCfg, build_scene

pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
from tasks.simulators.mujoco.simulator import MujocoSimulator

ON = replace(FINE, self_collision=True)


def of_cube() -> ObjectSet:
    return ObjectSet.of("cube", [some_objects().objects[CUBE]])


def fist(simulator: Simulator, seconds: float) -> Tensor:
    """(24,) where the joints are when the hand has closed with the thumb across, far above the object."""
    start = resting(of_cube(), torch.zeros(1, dtype=torch.int64))
    start.into(simulator)
    targets = start.joint_pos.clone()
    for finger in ("FF", "MF", "RF", "LF"):
        for joint in ("J3", "J2"):
            targets[:, HAND.drives.index(finger + joint)] = 1.4
    for joint, value in (("THJ4", 1.2), ("THJ5", 0.6), ("THJ2", 0.6), ("THJ1", 0.8)):
        targets[:, HAND.drives.index(joint)] = value
    for _ in range(round(seconds / simulator.control_dt)):
        simulator.step(targets.to(simulator.device))
    return simulator.state.joint_pos[0].clone()


def deepest(joint_pos: Tensor) -> float:
    """m, by which links of the hand are inside each other, at most."""
    scene = build_scene(HAND, of_cube(), ON)
    data = mujoco.MjData(scene.model)
    joints = joint_pos.double().numpy()
    data.qpos[scene.drive_qpos] = joints
    data.qpos[scene.coupled_qpos] = joints[scene.coupled_source] * scene.coupled_ratio
    data.qpos[scene.object_qpos] = 5.0  # out of the way
    mujoco.mj_forward(scene.model, data)
    return max(0.0, -float(data.contact.dist.min())) if data.ncon else 0.0


def test_a_fist_stays_outside_of_itself() -> None:
    through = deepest(fist(MujocoSimulator(HAND, of_cube(), 1, FINE, 1), 1.0))
    outside = deepest(fist(MujocoSimulator(HAND, of_cube(), 1, ON, 1), 1.0))
    assert through > 0.01 and outside < 0.002, (through, outside)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compiles kernels for a minute on a processor")
def test_both_mujocos_make_the_same_fist() -> None:
    from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator

    warp = fist(MujocoWarpSimulator(HAND, of_cube(), 1, torch.device("cuda"), ON), 0.4).cpu()
    c = fist(MujocoSimulator(HAND, of_cube(), 1, ON, 1), 0.4)
    free = fist(MujocoSimulator(HAND, of_cube(), 1, FINE, 1), 0.4)
    assert (warp - c).abs().max() < 0.02 < (c - free).abs().max()


@pytest.mark.parametrize("name", ["shadow", "allegro", "leap"])
def test_hands_at_ease_do_not_touch_themselves(name: str) -> None:
    """Links that always touch, such as those about one knuckle, are left out.  Others are not."""
    hand = get_hand(name)
    model = build_scene(hand, of_cube(), replace(PHYSICS, self_collision=True)).model
    data = mujoco.MjData(model)
    for pose in (hand.open_pose, hand.pregrasp_pose):
        data.qpos[:] = model.qpos0
        data.qpos[model.joint(hand.base_joints[2]).qposadr] = 1.0
        for joint, value in pose.items():
            data.qpos[model.joint(joint).qposadr] = value
        for joint, source in hand.coupled_joints.items():
            data.qpos[model.joint(joint).qposadr] = hand.coupling(joint) * data.qpos[model.joint(source).qposadr]
        mujoco.mj_forward(model, data)
        bodies = model.geom_bodyid[data.contact.geom]
        assert not (model.body_rootid[bodies] == model.body_rootid[model.body(hand.palm_body).id]).all(-1).any()
    assert model.nexclude == (3 if name == "leap" else 0)


def test_off_is_the_model_as_it_was() -> None:
    off, on = (build_scene(HAND, of_cube(), replace(PHYSICS, self_collision=it)).model for it in (False, True))
    hand_geoms = (off.geom_contype & 1) > 0
    assert set(off.geom_conaffinity[hand_geoms]) == {2} and set(on.geom_conaffinity[hand_geoms]) == {3}
    np.testing.assert_array_equal(off.geom_conaffinity[~hand_geoms], on.geom_conaffinity[~hand_geoms])


def test_policies_are_measured_as_they_were_trained() -> None:
    from tasks.evaluation.settings import TrainingSettings

    assert TrainingSettings(physics=replace(PHYSICS, self_collision=True)).measured_in("fine") == ON
    assert TrainingSettings().measured_in("fine") == PhysicsCfg.fine()
