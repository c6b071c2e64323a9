"""Rows turn one compiled model into that of any object.  They are compared with each object compiled alone."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import pytest
import torch
from plain_mujoco import CUBE, HAND, PHYSICS, TOY, plain_qpos, resting, scene_alone, some_objects

from tasks.objects import ObjectSet
from tasks.simulators.contract import TABLE_HEIGHT
from tasks.simulators.mujoco.scene import BODY_FIELDS, GEOM_FIELDS, OBJECT_BITS, Scene, build_scene

OBJECTS = range(5)

pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene(HAND, some_objects(), PHYSICS, for_c=True)


def rotation(quat: np.ndarray) -> np.ndarray:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


@pytest.mark.parametrize("index", OBJECTS)
def test_geom_rows_are_what_the_compiler_writes(scene: Scene, index: int) -> None:
    alone = scene_alone(index)
    parts = len(some_objects().objects[index].parts)
    geoms = range(alone.object_geoms.start, alone.object_geoms.start + parts)
    for name in GEOM_FIELDS:
        right, mine = getattr(alone.model, name)[geoms], scene.geom_rows[name][index, :parts]
        if name == "geom_dataid":
            for a, b in zip(right, mine):
                np.testing.assert_array_equal(vertices(alone.model, a), vertices(scene.model, b))
        else:
            np.testing.assert_allclose(mine, right, rtol=1e-6, atol=1e-9, err_msg=name)
    assert (scene.geom_rows["geom_dataid"][index, parts:] == -1).all()


def vertices(model: mujoco.MjModel, mesh: int) -> np.ndarray:
    return model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]


@pytest.mark.parametrize("index", OBJECTS)
def test_body_rows_are_what_the_compiler_writes(scene: Scene, index: int) -> None:
    alone = scene_alone(index)
    body, model = alone.object_body, alone.model
    rows = {name: scene.body_rows[name][index] for name in BODY_FIELDS}
    for name in ("body_mass", "body_ipos", "body_invweight0"):
        np.testing.assert_allclose(rows[name], getattr(model, name)[body], rtol=1e-6, atol=1e-9, err_msg=name)
    # Principal axes have no order: compare the inertia they stand for.
    axes, right = rotation(rows["body_iquat"]), rotation(model.body_iquat[body])
    inertia = axes @ np.diag(rows["body_inertia"]) @ axes.T
    np.testing.assert_allclose(inertia, right @ np.diag(model.body_inertia[body]) @ right.T, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(inertia, some_objects().objects[index].inertia, rtol=1e-6, atol=1e-12)
    assert np.linalg.norm(rows["body_iquat"]) == pytest.approx(1, abs=1e-12)
    dof = alone.object_dof
    np.testing.assert_allclose(scene.dof_invweight0[index], model.dof_invweight0[dof : dof + 6], rtol=1e-6)


@pytest.mark.parametrize("index", OBJECTS)
def test_compiled_shape_is_the_objects(scene: Scene, index: int) -> None:
    """The compiler moves each mesh into its own frame: moved back it is the part as given."""
    item = some_objects().objects[index]
    for slot, part in enumerate(item.parts):
        rows = {name: scene.geom_rows[name][index, slot] for name in GEOM_FIELDS}
        moved = vertices(scene.model, int(rows["geom_dataid"])) @ rotation(rows["geom_quat"]).T + rows["geom_pos"]
        gap = np.linalg.norm(moved[:, None] - part[None], axis=-1).min(1)
        assert len(moved) == len(part) and gap.max() < 1e-6


def test_scene_says_where_things_are(scene: Scene) -> None:
    model = scene.model
    assert [model.joint(int(model.dof_jntid[d])).name for d in scene.drive_dof] == list(HAND.drives)
    assert [int(model.jnt_qposadr[model.dof_jntid[d]]) for d in scene.drive_dof] == scene.drive_qpos.tolist()
    assert [HAND.drives[i] for i in scene.coupled_source] == list(HAND.coupled_joints.values())
    coupled = [int(model.joint(name).qposadr[0]) for name in HAND.coupled_joints]
    assert coupled == scene.coupled_qpos.tolist()
    assert model.geom("table").pos[2] == TABLE_HEIGHT
    hand = sum(model.body_mass[i] for i in range(1, model.nbody) if i != scene.object_body)
    assert scene.hand_mass == pytest.approx(hand)
    assert model.body_simple[scene.object_body] == 0, "a centred object's shortcut is wrong for the others"
    assert model.nu == 24 and model.nq == 24 + 4 + 7


def swapped(scene: Scene, index: int) -> mujoco.MjModel:
    """The compiled model with the rows of another object, by hand."""
    model = copy.deepcopy(scene.model)
    geoms, body, dof = scene.object_geoms, scene.object_body, scene.object_dof
    for name in GEOM_FIELDS:
        getattr(model, name)[geoms] = scene.geom_rows[name][index].reshape(getattr(model, name)[geoms].shape)
    for name in BODY_FIELDS:
        getattr(model, name)[body] = scene.body_rows[name][index]
    empty = scene.geom_rows["geom_dataid"][index] < 0
    model.geom_dataid[geoms] = np.maximum(model.geom_dataid[geoms], 0)
    model.geom_contype[geoms] = np.where(empty, 0, OBJECT_BITS[0])
    model.geom_conaffinity[geoms] = np.where(empty, 0, OBJECT_BITS[1])
    model.body_subtreemass[body] = model.body_mass[body]
    model.body_subtreemass[0] = scene.hand_mass + model.body_mass[body]
    model.dof_invweight0[dof : dof + 6] = scene.dof_invweight0[index]
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
    return model


def fall(model: mujoco.MjModel, scene: Scene, index: int, steps: int) -> np.ndarray:
    """(steps, nq): tossed onto the table, with a spin, while the hand closes in the air."""
    start = resting(some_objects(), torch.tensor([index]))
    data = mujoco.MjData(model)
    quat = np.array([0.8, 0.3, -0.4, 0.2]) / np.linalg.norm([0.8, 0.3, -0.4, 0.2])
    data.qpos[:] = plain_qpos(scene, start.joint_pos[0].double().numpy(), np.array([0.02, -0.04, 0.2]), quat)
    data.qvel[scene.object_dof : scene.object_dof + 6] = [0.1, 0.2, -1.0, 2.0, -3.0, 1.0]
    data.ctrl[2], data.ctrl[6:] = 0.6, 0.4
    path = np.zeros((steps, model.nq))
    for step in range(steps):
        mujoco.mj_step(model, data)
        path[step] = data.qpos
    return path


@pytest.mark.parametrize("index", OBJECTS)
def test_swapped_model_steps_like_the_compiled_one(scene: Scene, index: int) -> None:
    """The paths agree to 1e-9, through the first impact."""
    mine = fall(swapped(scene, index), scene, index, 24)
    alone = scene_alone(index)
    right = fall(alone.model, alone, index, 24)
    assert np.abs(mine - right).max() < 1e-9
    at = scene.object_qpos
    in_the_air = 0.2 - 1.0 * 0.2 - 9.81 * 0.2**2 / 2
    assert right[-1, at + 2] > in_the_air + 0.05, "it has hit the table"


def test_first_object_makes_no_difference() -> None:
    """A set that starts with four loaded parts has the rows of one that starts with a centred sphere."""
    items = some_objects().objects
    turned = build_scene(HAND, ObjectSet.of("turned", items[::-1]), PHYSICS, for_c=True)
    scene = build_scene(HAND, some_objects(), PHYSICS, for_c=True)
    for index in OBJECTS:
        for name in (n for n in GEOM_FIELDS if n != "geom_dataid"):
            np.testing.assert_allclose(turned.geom_rows[name][4 - index], scene.geom_rows[name][index], atol=1e-12)
        mine, right = fall(swapped(turned, 4 - index), turned, index, 20), fall(swapped(scene, index), scene, index, 20)
        assert np.abs(mine - right).max() < 1e-9


@pytest.mark.parametrize("index", [CUBE, TOY])
def test_ends_beyond_the_first_object_are_felt(index: int) -> None:
    """An object larger than the set's first one whose end comes up under the fingertips meets them, as if compiled alone."""
    small = some_objects().objects[3]
    item = some_objects().objects[index]
    scene = build_scene(HAND, ObjectSet.of("small first", [small, item]), PHYSICS, for_c=True)
    alone = scene_alone(index)
    paths = []
    for model, of in ((swapped(scene, 1), scene), (alone.model, alone)):
        data = mujoco.MjData(model)
        joints = np.zeros(24)
        joints[:3] = -item.half_extents[0] - 0.004 - 0.1355, 0.0, 0.35  # the fingertips' ends reach 4 mm over
        data.qpos[:] = plain_qpos(of, joints, np.array([0, 0, 0.352 - item.half_extents[2]]), np.array([1.0, 0, 0, 0]))
        data.qvel[of.object_dof + 2] = 1.5
        data.ctrl[:] = joints
        path = []
        for _ in range(10):
            mujoco.mj_step(model, data)
            path.append(data.qpos.copy())
        paths.append(np.stack(path))
    assert np.abs(paths[0] - paths[1]).max() < 1e-9
    turned = 2 * np.arccos(min(1.0, abs(paths[1][-1, scene.object_qpos + 3])))
    assert turned > 0.05, "the blow at its end turned it"
