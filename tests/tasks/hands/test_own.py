"""A user's own hand: read, completed, its grip found, and refused with one line that names what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Tuple

import mujoco
import numpy as np
import pytest
from claw import urdf, written

from tasks.evaluation.trained_for import identity, mismatch
from tasks.hands import HandError, get_hand
from tasks.hands.__main__ import main
from tasks.hands.reading import meshes
from tasks.hands.reading.load import load
from tasks.hands.reading.tree import box_points
from tasks.objects.geometry import Hull, convex_hull, mass_properties

FOUND = """
[palm]
body = "base"
centre = [0.01, 0.0, -0.05]
grip_yaw = 0.0
[pregrasp]
thumb_flex = 0.1
"""
"""With a grip given, nothing is searched for."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def claw(tmp_path: Path) -> Path:
    (tmp_path / "claw.toml").write_text(FOUND)
    return written(tmp_path)


def test_a_urdf_becomes_a_hand(claw: Path) -> None:
    hand = get_hand(str(claw))
    assert hand.num_drives == 12
    assert hand.fingertips == ("thumb_distal", "left_distal", "right_distal")
    assert dict(hand.coupled_joints) == {f"{f}_curl": f"{f}_flex" for f in ("thumb", "left", "right")}
    assert hand.coupling("left_curl") == 0.8
    assert hand.fingertip_radius == (0.009, 0.009, 0.009)
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    assert sorted(model.actuator(i).name for i in range(model.nu)) == sorted(hand.drives)
    assert model.actuator("left_flex").forcerange == pytest.approx((-1.2, 1.2))
    assert np.allclose(model.body_gravcomp[1:], 1)
    assert model.body_subtreemass[1] == pytest.approx(0.5 + 3 * 0.11)
    assert set(model.geom_contype) == {1}
    assert set(model.geom_conaffinity) == {2}


def test_places_are_those_of_the_file(claw: Path) -> None:
    """The palm looks to where the fingers point; a finger's tip is where the URDF's joints put it."""
    hand = get_hand(str(claw))
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    data = mujoco.MjData(model)
    flex = 0.2
    data.joint("left_flex").qpos[0] = flex
    data.joint("left_curl").qpos[0] = 0.8 * flex  # its zero is moved by the offset of 0.1
    mujoco.mj_kinematics(model, data)
    tip = data.site(hand.fingertip_sites[1]).xpos
    bend = flex + 0.8 * flex + 0.1
    # In the finger's plane: out of the middle, and up from the base.
    out = 0.05 - 0.06 * np.sin(flex) - 0.036 * np.sin(bend)
    up = 0.035 + 0.01 + 0.06 * np.cos(flex) + 0.036 * np.cos(bend)
    place = np.array([out * np.cos(0.6), out * np.sin(0.6), up])
    face = np.array([0.0, 0.0, 0.04])  # the inner face of the palm
    assert np.linalg.norm(tip) == pytest.approx(np.linalg.norm(place - face), abs=2e-3)
    assert tip[2] == pytest.approx(-(up - 0.04), abs=2e-3), "in front of the palm is below it"
    assert tip[0] > 0, "x points from the thumb to the fingers"


@pytest.mark.parametrize("integrator", ("coarse", "fine"))
def test_made_drives_settle(claw: Path, integrator: str) -> None:
    hand = get_hand(str(claw))
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    kind = getattr(mujoco.mjtIntegrator, "mjINT_DISCRETE", None)
    if integrator == "coarse" and kind is None:
        pytest.skip("this MuJoCo has no discrete integrator")
    model.opt.timestep = 1 / 60 if integrator == "coarse" else 1 / 240
    model.opt.integrator = kind if integrator == "coarse" else mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    for name in hand.drives:
        data = mujoco.MjData(model)
        data.joint("base_z").qpos[0] = data.actuator("base_z").ctrl[0] = 0.5
        start, step = float(data.joint(name).qpos[0]), 0.1 if name.startswith("base_") and "r" not in name else 0.4
        data.actuator(name).ctrl[0] = start + step
        path = []
        for _ in range(round(0.6 / model.opt.timestep)):
            mujoco.mj_step(model, data)
            path.append((float(data.joint(name).qpos[0]) - start) / step)
        assert max(path) < 1.06, name
        assert abs(path[-1] - 1) < 0.03, name


def test_the_grip_is_found_and_lifts(tmp_path: Path) -> None:
    loaded = load(written(tmp_path))
    assert loaded.searched
    assert len(loaded.lifted) >= 2
    assert set(loaded.spec.pregrasp_pose) <= set(loaded.spec.finger_joints)


def test_mjcf_with_meshes_tendons_and_an_arm(tmp_path: Path) -> None:
    """The arm's joint is left out, the tendon is kept, meshes become convex parts, and actuators give the drives."""
    corners = "0.01 -0.01 0  -0.01 -0.01 0  0 0.01 0  0 0 0.05"
    finger = """
      <body name="f{0}" pos="{1} 0 0.02"><joint name="a{0}" axis="0 {2} 0" range="0 1.4"/>
        <geom type="mesh" mesh="m"/>
        <body name="g{0}" pos="0 0 0.05"><joint name="b{0}" axis="0 {2} 0" range="0 1.4"/><geom type="mesh" mesh="m"/></body>
      </body>"""
    (tmp_path / "two.xml").write_text(
        f"""<mujoco><compiler angle="radian"/><asset><mesh name="m" vertex="{corners}"/></asset><worldbody><body name="arm">
      <geom type="box" size="0.1 0.1 0.1" pos="0 0 -0.3"/>
      <body name="hand"><joint name="wrist" axis="1 0 0" range="-1 1"/><geom type="box" size="0.05 0.03 0.02"/>
      {finger.format(1, 0.05, -1)}{finger.format(2, -0.05, 1)}</body></body></worldbody>
      <tendon><fixed name="t"><joint joint="a1" coef="1"/><joint joint="b1" coef="1"/></fixed></tendon>
      <equality><joint joint1="b2" joint2="a2" polycoef="0 0.5 0 0 0"/></equality>
      <actuator><position tendon="t" kp="5" forcelimited="true" forcerange="-2 2"/>
      <motor joint="a2" ctrllimited="true" ctrlrange="-1 1" gear="1.5"/></actuator></mujoco>"""
    )
    (tmp_path / "two.toml").write_text(
        '[palm]\nbody = "hand"\ncentre = [0, 0, -0.04]\ngrip_yaw = 0\n[pregrasp]\na1 = 0.1\n'
    )
    loaded = load(tmp_path / "two.xml")
    hand = loaded.spec
    assert hand.finger_joints == ("a1", "a2")
    assert dict(hand.coupled_joints) == {"b1": "a1", "b2": "a2"}
    assert hand.coupling("b2") == 0.5
    assert any("wrist" in line for line in loaded.said)
    assert loaded.completed.efforts == {"a1": 2.0, "a2": 1.5}
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    assert (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH).sum() == 4


SPOILT: Dict[str, Tuple[str, str, str]] = {
    "cycle": ('<parent link="base"/><child link="left_knuckle"/>', '<parent link="left_distal"/><child link="left_knuckle"/>', "left_knuckle.*cycle"),
    "two parents": ('<child link="left_distal"/>', '<child link="right_distal"/>', "right_distal.*two joints"),
    "no such link": ('<parent link="base"/><child link="left', '<parent link="bone"/><child link="left', "left_spread.*'bone'"),
    "no limits": ('<limit lower="-0.3" upper="1.4" effort="1.2" velocity="3"/>', "", "thumb_flex.*no limits"),
    "zero mass": ('<mass value="0.05"/>', '<mass value="0"/>', "thumb_proximal.*no mass"),
    "mesh": ('<box size="0.018 0.02 0.06"/>', '<mesh filename="package://x/bone.stl"/>', "thumb_proximal.*bone.stl.*missing"),
    "mimic": ('<mimic joint="thumb_flex"', '<mimic joint="nothing"', "thumb_curl.*'nothing'"),
    "numbers": ('size="0.018 0.02 0.06"', 'size="0.018 0.02"', "thumb_proximal.*3 numbers"),
    "no joints": ('type="revolute"', 'type="fixed"', "fingers"),
    "planar": ('type="revolute"', 'type="planar"', "thumb_spread.*planar"),
    "no XML": ("</robot>", "", "no XML"),
    "other XML": ("robot", "svg", "svg"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SPOILT))
def test_bad_files_end_in_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, says = SPOILT[name]
    assert old in urdf()
    path = written(tmp_path, urdf().replace(old, new))
    assert main([str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    with pytest.raises(HandError, match=says):
        get_hand(str(path))


def test_a_gripper_with_one_drive_and_a_chain(tmp_path: Path) -> None:
    gripper = """<mujoco><worldbody><body name="hand"><geom size="0.03"/>
      <body name="l" pos="0 0.02 0.05"><joint name="left" type="slide" axis="0 1 0" range="0 0.04"/><geom size="0.01"/></body>
      <body name="r" pos="0 -0.02 0.05"><joint name="right" type="slide" axis="0 -1 0" range="0 0.04"/><geom size="0.01"/></body>
      </body></worldbody><equality><joint joint1="right" joint2="left"/></equality></mujoco>"""
    with pytest.raises(HandError, match="one drive, 'left'"):
        load(written(tmp_path, gripper, "gripper.xml"))
    chain = (
        '<mujoco><worldbody><body name="a"><joint name="j" range="0 1"/><geom size="0.03"/></body></worldbody></mujoco>'
    )
    with pytest.raises(HandError, match=r"no fingers.*'a'"):
        load(written(tmp_path, chain, "chain.xml"))
    with pytest.raises(HandError, match="no hand's description"):
        get_hand(str(tmp_path / "none.urdf"))


@pytest.mark.parametrize(
    "text, says",
    [
        ('[palm]\nbody = "bone"', "palm body 'bone'"),
        ("[palm]\nnormal = [0, 1]", "palm.normal must be three numbers"),
        ("[open]\nleft_curl = 0.1", "left_curl.*no driven joint"),
        ("[fingertips.thumb]\nbody = 'base'\norigin = [0, 0, 0]\nradius = 0.01", "part of the palm"),
        ("[hand]\n", "'hand' is not known"),
        ("[coupled]\nx = 'left_flex'", "'x', which is no joint"),
        ("palm = ", "cannot be read"),
    ],
)
def test_bad_tomls_end_in_one_line(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "hand.toml").write_text(text)
    with pytest.raises(HandError, match=says):
        load(written(tmp_path))


def test_the_command_describes_checks_and_draws(claw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(claw), "--picture", str(tmp_path / "claw.png")]) == 0
    said = capsys.readouterr().out
    for word in ("drives (6", "fingertips (3)", "palm: base", "left_curl = 0.8 x left_flex", "each drive settles"):
        assert word in said
    assert (tmp_path / "claw.png").stat().st_size > 5000


def test_a_policy_knows_its_hand() -> None:
    """Allegro and LEAP have the same sizes."""
    allegro, leap = get_hand("allegro"), get_hand("leap")
    kept = {"config": {"task": {"hand": "allegro", "hand_names": identity(allegro)}}}
    assert mismatch(kept, "allegro", allegro) is None
    assert "for the hand allegro" in str(mismatch(kept, "allegro", leap))
    assert "for the hand leap" in str(mismatch({"config": {"task": {}}}, "leap", allegro))


def test_meshes_are_cut_once_and_only_if_it_is_worth_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An L of two boxes becomes both boxes; dents of 4 mm are filled; what was cut is not cut again."""
    boxes = [(np.array([0.05, 0.01, 0.01]), np.zeros(3)), (np.array([0.01, 0.01, 0.05]), np.array([-0.04, 0, 0.06]))]
    corners, sides = zip(*[(hull.vertices + at, hull.triangles) for hull, at in _boxes(boxes)])
    vertices, faces = np.concatenate(corners), np.concatenate([sides[0], sides[1] + len(corners[0])])
    calls: List[int] = []
    cut = meshes.convex_parts
    monkeypatch.setattr(meshes, "convex_parts", lambda *a, **k: (calls.append(1), cut(*a, **k))[1])
    for _ in range(2):
        found = meshes.hulls(vertices, faces, np.zeros(3), np.eye(3), "link 'l'")
        assert len(found) >= 2
        filled = sum(mass_properties(convex_hull(shape.points))[0] for shape in found)
        assert filled == pytest.approx(8 * sum(np.prod(half) for half, _ in boxes), rel=0.3), (
            "its hull has twice as much"
        )
    assert len(calls) == 1
    shallow = vertices * np.array([1, 1, 0.04])
    assert len(meshes.hulls(shallow, faces, np.zeros(3), np.eye(3), "link 's'")) == 1
    assert len(meshes.hulls(vertices, faces, np.zeros(3), np.eye(3), "link 'l'", cut=False)) == 1
    with pytest.raises(HandError, match="link 'l': is flat"):
        meshes.hulls(vertices * [1, 1, 0], faces, np.zeros(3), np.eye(3), "link 'l'")


def _boxes(boxes: List[Tuple[np.ndarray, np.ndarray]]) -> List[Tuple[Hull, np.ndarray]]:
    return [(convex_hull(box_points(half)), at) for half, at in boxes]
