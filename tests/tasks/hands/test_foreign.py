"""What descriptions of other people's hands have, on small hands of our own."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
from claw import urdf, written

from tasks.hands import HandError
from tasks.hands.reading.load import load, read
from tasks.hands.reading.notes import Notes, to_toml
from tasks.hands.reading.propose import propose
from tasks.hands.reading.simplify import find_palm, simplify

GIVEN = '[palm]\nbody = "palm"\ncentre = [0, 0, -0.05]\ngrip_yaw = 0\n[pregrasp]\n'
"""With a grip given, nothing is searched for."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def fingers(joints: str, count: int = 3, extra: str = "") -> str:
    """An MJCF of fingers round a palm, which point along z.  {0} in `joints` and `extra` is the finger's number."""
    bodies = ""
    for k in range(count):
        angle = 2 * np.pi * k / count
        place, turn = f"{0.05 * np.cos(angle):.4f} {0.05 * np.sin(angle):.4f} 0.02", f"0 0 {angle + np.pi:.4f}"
        bodies += f'<body name="near{k}" pos="{place}" euler="{turn}">{joints.format(k)}</body>'
    return (
        f'<mujoco><compiler angle="radian" eulerseq="xyz"/><worldbody><body name="palm"><geom type="box" size="0.05 0.05 0.02"/>'
        f"{bodies}</body></worldbody>{extra}</mujoco>"
    )


TWO = """
  <joint name="a{0}" axis="0 1 0" ref="0.2" range="0 1.4"/><geom type="capsule" size="0.008" fromto="0 0 0 0 0 0.05"/>
  <body name="far{0}" pos="0 0 0.05"><joint name="b{0}" axis="0 1 0" ref="-0.1" range="-0.3 1.4"/>
  <geom type="capsule" size="0.008" fromto="0 0 0 0 0 0.04"/></body>"""


def test_angles_of_joints_with_a_reference(tmp_path: Path) -> None:
    """Links are where MuJoCo has them in the file, couplings by equality and by tendon included."""
    extra = """<tendon><fixed name="t" limited="true" range="0.0005 0.0006"><joint joint="b1" coef="0.01"/><joint joint="a1" coef="-0.005"/>
      </fixed><fixed name="loose" limited="true" range="-0.02 0.02"><joint joint="b2" coef="0.01"/><joint joint="a2" coef="-0.01"/>
      </fixed><fixed name="one" limited="true" range="-0.01 0.01"><joint joint="b2" coef="0.01"/></fixed></tendon><equality><joint joint1="b0" joint2="a0" polycoef="0.1 0.8 0 0 0"/></equality>"""
    path = written(tmp_path, fingers(TWO, extra=extra), "ref.xml")
    (tmp_path / "ref.toml").write_text(GIVEN)
    loaded = load(path)
    assert any("ref" in line and "a0" in line for line in loaded.said)
    hand = loaded.spec
    assert dict(hand.coupled_joints) == {"b0": "a0", "b1": "a1"}
    own, theirs = mujoco.MjModel.from_xml_path(str(hand.mjcf)), mujoco.MjModel.from_xml_path(str(path))
    assert own.joint("a2").range == pytest.approx((-0.2, 1.2))
    ours, file = mujoco.MjData(own), mujoco.MjData(theirs)
    angle = 0.7
    for k in range(3):
        file.joint(f"a{k}").qpos[0] = angle
        ours.joint(f"a{k}").qpos[0] = angle - 0.2
    file.joint("b0").qpos[0] = -0.1 + 0.1 + 0.8 * (angle - 0.2)
    file.joint("b1").qpos[0] = 0.055 + 0.5 * angle
    file.joint("b2").qpos[0] = 0.3
    ours.joint("b2").qpos[0] = 0.4
    for name, source in hand.coupled_joints.items():
        ours.joint(name).qpos[0] = hand.coupling(name) * ours.joint(source).qpos[0]
    mujoco.mj_kinematics(own, ours)
    mujoco.mj_kinematics(theirs, file)
    tips = [
        np.array([d.body(f"far{k}").xpos + d.body(f"far{k}").xmat.reshape(3, 3) @ [0, 0, 0.04] for k in range(3)])
        for d in (ours, file)
    ]
    for k in range(3):
        assert np.linalg.norm(tips[0][k] - tips[0][k - 1]) == pytest.approx(
            np.linalg.norm(tips[1][k] - tips[1][k - 1]), abs=1e-4
        )


@pytest.mark.parametrize("spread", (0.0, 0.6, 1.2, 1.5))
def test_a_claw_faces_what_its_fingers_close_on(spread: float, tmp_path: Path) -> None:
    """However far its fingers are spread where the file draws it."""
    out = f'<joint name="a{{0}}" axis="0 1 0" range="0 {1.3 + spread:.2f}"/><geom type="capsule" size="0.008" fromto="0 0 0 '
    out += f'{-0.08 * np.sin(spread):.4f} 0 {0.08 * np.cos(spread):.4f}"/>'
    tree = read(written(tmp_path, fingers(out), "claw.xml"))
    notes = propose(simplify(tree, find_palm(tree)), Notes())
    assert notes.normal is not None
    assert notes.normal[2] > 0.98


@pytest.mark.parametrize("mass", (0.03, 1.0))
def test_a_drive_without_a_limit_can_move_its_finger(mass: float, tmp_path: Path) -> None:
    """Heavy fingers, too: a step is followed without running past its end."""
    heavy = f'<joint name="a{{0}}" axis="0 1 0" range="0 1.4"/><geom type="capsule" size="0.01" fromto="0 0 0 0 0 0.1" mass="{mass}"/>'
    path = written(tmp_path, fingers(heavy), "heavy.xml")
    (tmp_path / "heavy.toml").write_text(GIVEN)
    hand = load(path).spec
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    model.opt.timestep, model.opt.integrator = 1 / 240, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    data = mujoco.MjData(model)
    data.joint("base_z").qpos[0] = data.actuator("base_z").ctrl[0] = 0.5
    data.actuator("a0").ctrl[0] = 0.7
    path_taken = []
    for _ in range(240):
        mujoco.mj_step(model, data)
        path_taken.append(float(data.joint("a0").qpos[0]))
    assert max(path_taken) < 0.7 * 1.1
    assert path_taken[-1] == pytest.approx(0.7, abs=0.03)


def test_inertias_on_the_edge_and_a_palm_without_a_mass(tmp_path: Path) -> None:
    """A thin plate's inertia is that of no solid once it is rounded; MuJoCo takes what is written."""
    edge = 'ixx="1.2345678e-5" iyy="2.3456789e-5" izz="3.58024679e-5"'
    text = urdf().replace('ixx="1e-5" iyy="1e-5" izz="1e-5"', edge)
    (tmp_path / "claw.toml").write_text(GIVEN.replace('"palm"', '"base"'))
    hand = load(written(tmp_path, text.replace('<mass value="0.5"/>', '<mass value="0"/>'))).spec
    inertia = np.sort(mujoco.MjModel.from_xml_path(str(hand.mjcf)).body("left_proximal").inertia)
    assert inertia == pytest.approx((1.2345678e-5, 2.3456789e-5, 3.58024679e-5), rel=2e-3)
    assert inertia[0] + inertia[1] >= inertia[2]


def test_a_mesh_of_gltf(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    trimesh.creation.box((0.018, 0.02, 0.06)).export(str(tmp_path / "bone.glb"))
    (tmp_path / "claw.toml").write_text(GIVEN.replace('"palm"', '"base"'))
    text = urdf().replace('<box size="0.018 0.02 0.06"/>', '<mesh filename="bone.glb"/>')
    model = mujoco.MjModel.from_xml_path(str(load(written(tmp_path, text)).spec.mjcf))
    (geom,) = [g for g in range(model.ngeom) if model.geom_bodyid[g] == model.body("left_proximal").id]
    assert model.geom_aabb[geom, 3:] == pytest.approx((0.009, 0.01, 0.03), abs=1e-4)


SCENE = """<body name="cube" pos="1 0 0"><freejoint/><geom type="box" size="0.02 0.02 0.02"/></body>
  <body name="door"><joint name="lid" range="0 1"/><geom size="0.1"/></body>"""


def test_a_scene_with_other_bodies(tmp_path: Path) -> None:
    """What has fingers is the hand; of two hands the TOML names one."""
    plain = '<joint name="a{0}" axis="0 1 0" range="0 1.4"/><geom type="capsule" size="0.01" fromto="0 0 0 0 0 0.1"/>'
    text = fingers(plain).replace("</worldbody>", SCENE + "</worldbody>")
    tree = read(written(tmp_path, text, "scene.xml"))
    assert set(tree.joints()) == {"a0", "a1", "a2"}
    assert any("cube" in line and "door" in line for line in tree.notes)
    other = '<body name="left" pos="0 1 0"><geom size="0.05"/>{}</body>'.format(
        "".join(f'<body name="l{k}"><joint name="l{k}" range="0 1"/><geom size="0.01"/></body>' for k in range(2))
    )
    two = written(tmp_path, text.replace("</worldbody>", other + "</worldbody>"), "two.xml")
    with pytest.raises(HandError, match=r"'palm' and 'left'.*TOML"):
        load(two)
    assert set(read(two, "left").joints()) == {"l0", "l1"}
    (tmp_path / "two.toml").write_text('[palm]\nbody = "nothing"\n')
    with pytest.raises(HandError, match="palm body 'nothing' is not in the file"):
        load(two)


def test_radians_that_are_read_as_degrees(tmp_path: Path) -> None:
    text = fingers(TWO).replace('angle="radian" ', "")
    with pytest.raises(HandError, match='add <compiler angle="radian"/>'):
        load(written(tmp_path, text, "degrees.xml"))


def test_the_search_tells_how_to_close(tmp_path: Path) -> None:
    """Fingers that bend towards their lower limits, too: from before a grasp to closed, the tips come together."""
    down = TWO.replace('axis="0 1 0"', 'axis="0 -1 0"').replace('ref="0.2" ', "").replace('ref="-0.1" ', "")
    down = down.replace('range="0 1.4"', 'range="-1.4 0.4"').replace('range="-0.3 1.4"', 'range="-1.4 0.3"')
    loaded = load(written(tmp_path, fingers(down), "down.xml"))
    hand = loaded.spec
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    widths = []
    for pose in (hand.pregrasp_pose, hand.closed_pose):
        data = mujoco.MjData(model)
        for name, value in pose.items():
            data.joint(name).qpos[0] = value
        mujoco.mj_kinematics(model, data)
        tips = np.array([data.site(site).xpos for site in hand.fingertip_sites])
        widths.append(float(np.linalg.norm(tips - tips.mean(axis=0), axis=1).mean()))
    assert widths[1] < 0.6 * widths[0]
    toml = to_toml(loaded.notes)
    assert "[closed]" in toml
    (tmp_path / "down.toml").write_text(toml)
    again = load(tmp_path / "down.xml")
    assert not again.searched
    assert again.spec.closed_pose == pytest.approx(hand.closed_pose, abs=1e-3)
    (tmp_path / "down.toml").write_text(toml[: toml.index("[closed]")])
    assert load(tmp_path / "down.xml").spec.closed_pose == {f"{j}{k}": -1.4 for j in "ab" for k in range(3)}
