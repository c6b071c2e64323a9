"""The files that Isaac Gym reads are the hand and the objects, in words that its importer knows."""

from __future__ import annotations

import copy
from pathlib import Path
from xml.etree import ElementTree

import conformance
import mujoco
import numpy as np
import pytest
import torch

from tasks.hands import get_hand
from tasks.simulators import flat_hand
from tasks.simulators.errors import SimulatorError
from tasks.simulators.isaac_gym import assets
from tasks.simulators.kinematics import hand_kinematics

HAND = get_hand("shadow")


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(str(HAND.mjcf))


@pytest.fixture(scope="module")
def flat(model: mujoco.MjModel) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(assets.flat_hand(model))


def test_isaac_flat_hand_has_the_same_kinematics(model: mujoco.MjModel, flat: mujoco.MjModel) -> None:
    random = np.random.default_rng(0)
    a, b = mujoco.MjData(model), mujoco.MjData(flat)
    for _ in range(5):
        a.qpos[:] = random.uniform(*model.jnt_range.T)
        for joint in range(model.njnt):
            b.qpos[flat.joint(model.joint(joint).name).qposadr] = a.qpos[joint]
        mujoco.mj_kinematics(model, a)
        mujoco.mj_kinematics(flat, b)
        for body in range(1, model.nbody):
            name = model.body(body).name
            assert np.allclose(a.body(name).xpos, b.body(name).xpos, atol=1e-7)
            assert np.allclose(a.body(name).xmat, b.body(name).xmat, atol=1e-7)


def test_isaac_flat_hand_has_the_same_masses_and_limits(model: mujoco.MjModel, flat: mujoco.MjModel) -> None:
    mount = flat.body(flat_hand.MOUNT).mass[0]
    assert flat.body_mass.sum() - mount == pytest.approx(model.body_mass.sum(), rel=1e-6)
    for joint in range(model.njnt):
        name = model.joint(joint).name
        assert np.allclose(flat.joint(name).range, model.joint(name).range)
        assert np.allclose(flat.joint(name).axis, model.joint(name).axis, atol=1e-8)
    assert {flat.tendon(i).name for i in range(flat.ntendon)} == {model.tendon(i).name for i in range(model.ntendon)}
    # A hand of the same inertia, but for the links of 2 g that do not turn with all joints of their body.
    a, b = mujoco.MjData(model), mujoco.MjData(flat)
    mujoco.mj_forward(model, a)
    mujoco.mj_forward(flat, b)
    full = np.zeros((2, model.nv, model.nv))
    if hasattr(a, "qM"):
        mujoco.mj_fullM(model, full[0], a.qM)
        mujoco.mj_fullM(flat, full[1], b.qM)
    else:
        mujoco.mj_fullM(model, a, full[0])
        mujoco.mj_fullM(flat, b, full[1])
    assert np.allclose(full[0], full[1], rtol=0.02, atol=5e-4)


def test_isaac_flat_hand_uses_only_what_the_importer_knows(model: mujoco.MjModel) -> None:
    root = ElementTree.fromstring(assets.flat_hand(model))
    known = {"mujoco", "compiler", "worldbody", "body", "inertial", "joint", "geom", "tendon", "fixed"}
    assert {element.tag for element in root.iter()} == known
    assert len(root.find("worldbody")) == 1
    for body in root.iter("body"):
        assert len(body.findall("inertial")) == 1
        assert len(body.findall("joint")) == (0 if body.get("name") == flat_hand.MOUNT else 1)
        assert all(joint.get("limited") == "true" and joint.get("range") for joint in body.findall("joint"))
    names = [body.get("name") for body in root.iter("body")]
    assert len(set(names)) == len(names)


def test_isaac_flat_hand_has_no_visual_geoms(model: mujoco.MjModel, flat: mujoco.MjModel) -> None:
    colliding = int(((model.geom_contype | model.geom_conaffinity) != 0).sum())
    assert flat.ngeom == colliding < model.ngeom


def test_isaac_drives_are_those_of_the_mjcf(model: mujoco.MjModel) -> None:
    drives = flat_hand.read_drives(HAND, model)
    assert drives.names == (*HAND.drives, *HAND.coupled_joints)
    for i, name in enumerate(HAND.drives):
        actuator = model.actuator(name)
        assert drives.stiffness[i] == actuator.gainprm[0] > 0
        assert drives.damping[i] == -actuator.biasprm[2]
        assert drives.effort[i] == actuator.forcerange[1]
        assert [drives.target_lower[i], drives.target_upper[i]] == pytest.approx(list(actuator.ctrlrange))
    assert not drives.stiffness[24:].any() and (drives.joint_damping[24:] > 0).all()


def test_isaac_hand_that_it_cannot_have_is_an_error() -> None:
    text = """<mujoco><worldbody><body name="a"><inertial mass="1" pos="0 0 0" diaginertia="1 1 1"/>{}</body></worldbody></mujoco>"""
    for inside in (
        '<joint name="j" type="hinge" limited="false"/>',
        '<joint name="j" type="ball"/>',
        '<joint name="j" type="hinge" limited="true" range="-1 1" stiffness="3"/>',
        '<joint name="j" type="hinge" limited="true" range="-1 1"/><geom type="ellipsoid" size="1 1 2"/>',
    ):
        model = mujoco.MjModel.from_xml_string(text.format(inside))
        with pytest.raises(SimulatorError):
            assets.flat_hand(model)


def test_isaac_object_file_is_the_object(tmp_path: Path) -> None:
    item = conformance.LOADED
    path = assets.write_object(item, tmp_path)
    link = ElementTree.parse(str(path)).getroot().find("link")
    origin = [float(word) for word in link.find("inertial/origin").get("xyz").split()]
    assert origin == pytest.approx(list(item.com), rel=1e-6)
    assert float(link.find("inertial/mass").get("value")) == pytest.approx(item.mass)
    i = {key: float(value) for key, value in link.find("inertial/inertia").attrib.items()}
    matrix = [[i["ixx"], i["ixy"], i["ixz"]], [i["ixy"], i["iyy"], i["iyz"]], [i["ixz"], i["iyz"], i["izz"]]]
    assert np.allclose(matrix, item.inertia, rtol=1e-6)
    meshes = [element.get("filename") for element in link.findall("collision/geometry/mesh")]
    assert len(meshes) == len(item.parts)
    for name, vertices in zip(meshes, item.parts):
        lines = (path.parent / name).read_text().splitlines()
        written = np.array([[float(word) for word in line.split()[1:]] for line in lines if line.startswith("v ")])
        assert sorted(map(tuple, written.round(7))) == sorted(map(tuple, vertices.round(7)))
        assert not any(line.startswith(("o ", "g ")) for line in lines)


def test_isaac_files_are_named_by_their_content(tmp_path: Path, model: mujoco.MjModel) -> None:
    first, again = assets.write_object(conformance.LOADED, tmp_path), assets.write_object(conformance.LOADED, tmp_path)
    assert first == again != assets.write_object(conformance.CUBE, tmp_path)
    assert assets.write_hand(model, tmp_path).read_text() == assets.flat_hand(model)
    assert not list(tmp_path.rglob("*.[0-9]*")), "no partial files stay"


def test_isaac_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulatorError, match="cannot write"):
        assets.write_object(conformance.CUBE, tmp_path / "file")


def test_kinematics_agree_with_mujoco(model: mujoco.MjModel) -> None:
    """Also with joints outside their ranges; 64 postures at once."""
    random = np.random.default_rng(1)
    names = (*HAND.drives, *HAND.coupled_joints)
    joint_pos = random.uniform(-1.5, 1.5, size=(64, len(names)))
    pos, quat = hand_kinematics(HAND, torch.device("cpu"))(torch.tensor(joint_pos, dtype=torch.float32))
    assert pos.shape == (64, 6, 3) and quat.shape == (64, 6, 4)
    data = mujoco.MjData(model)
    for row in range(64):
        for name, value in zip(names, joint_pos[row]):
            data.qpos[model.joint(name).qposadr] = value
        mujoco.mj_kinematics(model, data)
        for k, site in enumerate((HAND.palm_site, *HAND.fingertip_sites)):
            assert np.allclose(pos[row, k], data.site(site).xpos, atol=2e-6)
            right = np.zeros(4)
            mujoco.mju_mat2Quat(right, data.site(site).xmat)
            assert abs(float(quat[row, k] @ torch.tensor(right, dtype=torch.float32))) == pytest.approx(1, abs=1e-5)


def test_kinematics_of_anchors_and_turned_sites() -> None:
    """What the hand does not have: joints off their body's origin, sites turned in their body."""
    text = """<mujoco><compiler angle="radian"/><worldbody><body name="a" pos="1 2 3" quat="0.8 0.6 0 0">
    <joint name="h" type="hinge" axis="0 1 0" pos="0.1 0.2 0.3"/><joint name="s" type="slide" axis="1 0 0"/>
    <geom size="1"/><body name="b" pos="0 0 1"><joint name="k" type="hinge" axis="0 0.6 0.8" pos="0 -0.2 0"/>
    <geom size="1"/><site name="x" pos="0.3 0.2 0.1" quat="0.6 0 0.8 0"/></body></body></worldbody></mujoco>"""
    from tasks.simulators.kinematics import HandKinematics

    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    data.qpos[:] = [0.7, -0.3, 1.1]
    mujoco.mj_kinematics(model, data)
    chain = HandKinematics(model, ("k", "h", "s"), ("x",), torch.device("cpu"))
    pos, quat = chain(torch.tensor([[1.1, 0.7, -0.3]]))
    right = np.zeros(4)
    mujoco.mju_mat2Quat(right, data.site("x").xmat)
    assert np.allclose(pos[0, 0], data.site("x").xpos, atol=1e-6)
    assert abs(float(quat[0, 0] @ torch.tensor(right, dtype=torch.float32))) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="moves a site"):
        HandKinematics(model, ("k", "h"), ("x",), torch.device("cpu"))


def test_isaac_flat_hand_asks_for_its_own_inertias_and_refuses_turned_ones(model: mujoco.MjModel) -> None:
    """The importer reads no quaternion of an inertial, and may take inertias from geoms unless it is told not to."""
    root = ElementTree.fromstring(assets.flat_hand(model))
    compiler = root.find("compiler")
    assert compiler is not None and compiler.get("inertiafromgeom") == "false"
    assert all(inertial.get("quat") is None for inertial in root.iter("inertial"))
    turned = copy.deepcopy(model)
    turned.body_iquat[model.body(HAND.palm_body).id] = [0.8, 0.6, 0.0, 0.0]
    with pytest.raises(SimulatorError, match=r"'palm'.*no turned inertia.*diaginertia"):
        assets.flat_hand(turned)
