"""What every hand has to be able to do, and what simulators and importers ask of its file."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any, Dict

import mujoco
import numpy as np
import pytest

from tasks.hands import HANDS, HandSpec, get_hand
from tasks.hands.lifting import Grip, Thing, lifts

INTEGRATORS = {
    "implicitfast_120": (mujoco.mjtIntegrator.mjINT_IMPLICITFAST, 1 / 120),
    "implicitfast_240": (mujoco.mjtIntegrator.mjINT_IMPLICITFAST, 1 / 240),
    "discrete_60": (getattr(mujoco.mjtIntegrator, "mjINT_DISCRETE", None), 1 / 60),
}
THINGS = (("sphere", (0.035,)), ("box", (0.03, 0.03, 0.03)), ("cylinder", (0.03, 0.04)))
CLOSED = {
    "allegro": {
        **{f"{finger}J1": 0.95 for finger in ("FF", "MF", "RF")},
        **{f"{finger}J2": 1.0 for finger in ("FF", "MF", "RF")},
        **{f"{finger}J3": 0.9 for finger in ("FF", "MF", "RF")},
        **{"FFJ0": -0.05, "RFJ0": 0.05, "THJ0": 1.3, "THJ1": 0.5, "THJ2": 1.2, "THJ3": 0.5},
    },
    "leap": {
        **{f"{finger}_MCP": 0.9 for finger in ("IF", "MF", "RF")},
        **{f"{finger}_PIP": 0.9 for finger in ("IF", "MF", "RF")},
        **{f"{finger}_DIP": 0.8 for finger in ("IF", "MF", "RF")},
        **{"IF_ROT": 0.15, "RF_ROT": -0.15, "TH_CMC": 1.6, "TH_AXL": 0.6, "TH_MCP": 1.0, "TH_IPL": 0.3},
    },
}


@pytest.fixture(params=sorted(HANDS))
def hand(request: pytest.FixtureRequest) -> HandSpec:
    return HANDS[request.param]


@pytest.fixture
def model(hand: HandSpec) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(str(hand.mjcf))


def compiled(hand: HandSpec, integrator: str) -> mujoco.MjModel:
    kind, timestep = INTEGRATORS[integrator]
    if kind is None:
        pytest.skip("this MuJoCo has no discrete integrator")
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    model.opt.timestep, model.opt.integrator = timestep, kind
    return model


def at(hand: HandSpec, model: mujoco.MjModel, pose: Dict[str, float]) -> mujoco.MjData:
    """At rest in a pose, targets included."""
    data = mujoco.MjData(model)
    for name in hand.drives:
        low, high = model.joint(name).range
        value = float(np.clip(pose.get(name, 0.0), low, high))
        data.joint(name).qpos[0], data.actuator(name).ctrl[0] = value, value
    for name, source in hand.coupled_joints.items():
        data.joint(name).qpos[0] = hand.coupling(name) * data.joint(source).qpos[0]
    mujoco.mj_forward(model, data)
    return data


def test_hands_by_name() -> None:
    assert list(HANDS) == ["shadow", "allegro", "leap"]
    for name, hand in HANDS.items():
        assert get_hand(name) is hand
        assert hand.name == name
    with pytest.raises(ValueError, match=r"unknown hand 'claw'.*allegro, leap, shadow"):
        get_hand("claw")


def test_names_drives_and_limits(hand: HandSpec, model: mujoco.MjModel) -> None:
    assert tuple(model.actuator(i).name for i in range(model.nu)) == hand.drives
    assert [int(i) for i in model.actuator_trnid[:, 0]] == [model.joint(name).id for name in hand.drives]
    assert {model.joint(i).name for i in range(model.njnt)} == {*hand.drives, *hand.coupled_joints}
    assert [model.joint(i).name for i in range(6)] == list(hand.base_joints)
    assert model.jnt_limited.all()
    assert model.actuator_ctrllimited.all()
    assert model.actuator_forcelimited.all()
    assert np.array_equal(model.actuator_ctrlrange, [model.joint(name).range for name in hand.drives])
    assert not model.dof_frictionloss.any()
    assert set(hand.coupled_joints.values()) <= set(hand.finger_joints)
    lift = 9.81 * 1.0 + 2 * 9.81 * (1.0 + model.body_subtreemass[1])
    assert model.actuator("base_z").forcerange[1] > lift
    for pose in (hand.open_pose, hand.pregrasp_pose):
        for name in hand.finger_joints:
            low, high = model.joint(name).range
            assert low <= pose.get(name, 0.0) <= high, name
        assert set(pose) <= set(hand.finger_joints)


def test_fingertips_are_rounded_ends(hand: HandSpec, model: mujoco.MjModel) -> None:
    count = hand.num_fingertips
    assert len(hand.fingertip_bodies) == len(hand.fingertip_sites) == len(hand.fingertip_radius) == count
    for body, site, radius in zip(hand.fingertip_bodies, hand.fingertip_sites, hand.fingertip_radius):
        body_id = model.body(body).id
        assert model.site_bodyid[model.site(site).id] == body_id
        ends = [
            model.geom_pos[g] + [model.geom_size[g, 1], 0, 0]
            for g in range(model.ngeom)
            if model.geom_bodyid[g] == body_id
            and model.geom_contype[g]
            and model.geom_type[g] == mujoco.mjtGeom.mjGEOM_CAPSULE
            and model.geom_size[g, 0] == pytest.approx(radius)
        ]
        assert any(np.allclose(model.site(site).pos, end, atol=1e-6) for end in ends), site


def test_masses_and_inertias(model: mujoco.MjModel) -> None:
    assert 0.7 < model.body_subtreemass[1] < 1.5
    assert np.all(model.body_gravcomp[1:] == 1)
    for i in range(1, model.nbody):
        mass, inertia = model.body_mass[i], np.sort(model.body_inertia[i])
        assert mass >= 0.003
        assert inertia[2] <= inertia[0] + inertia[1] + 1e-12
        radii = np.sqrt(inertia / mass)
        assert 0.004 < radii[0] <= radii[2] < 0.06


def test_elements_that_importers_can_read(hand: HandSpec) -> None:
    elements: Any = ElementTree.parse(hand.mjcf).getroot()
    assert len(elements.find("worldbody")) == 1
    forbidden = {"general", "equality", "include", "mesh", "keyframe", "freejoint", "spatial", "sensor", "exclude"}
    assert not forbidden & {element.tag for element in elements.iter()}
    assert {element.tag for element in elements.find("actuator")} == {"position"}
    assert elements.find("compiler").get("autolimits") == "false"
    assert elements.find("compiler").get("angle") == "radian"
    for body in elements.find("worldbody").iter("body"):
        assert body.find("inertial") is not None, body.get("name")
        assert body.get("gravcomp") == "1"
    defaults = elements.find("default")
    assert defaults.find("joint").get("limited") == "true"
    assert {geom.get("type") for geom in elements.iter("geom")} <= {None, "capsule", "box"}
    for joint in elements.find("worldbody").iter("joint"):
        (group,) = [group for group in defaults.findall("default") if group.get("class") == joint.get("class")]
        assert joint.get("range") or group.find("joint").get("range")


def test_contacts_with_the_world_but_not_with_itself(hand: HandSpec, model: mujoco.MjModel) -> None:
    collides = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    assert 15 <= collides.sum() <= 32
    assert np.all(model.geom_contype[collides] == 1)
    assert np.all(model.geom_conaffinity[collides] == 2)
    assert np.all(model.geom_condim[collides] == 4)
    assert at(hand, model, {name: 1.0 for name in hand.finger_joints}).ncon == 0


def test_palm_frame(hand: HandSpec, model: mujoco.MjModel) -> None:
    flat = at(hand, model, {"base_z": 0.0})
    assert np.allclose(flat.site(hand.palm_site).xpos, 0)
    assert np.allclose(flat.body(hand.palm_body).xpos, 0)
    assert np.allclose(flat.site(hand.palm_site).xmat, np.eye(3).ravel())
    geom = model.geom("palm")
    assert geom.pos[2] - geom.size[2] == pytest.approx(0, abs=2e-3)
    moved = at(hand, model, {"base_x": 0.3, "base_y": -0.2, "base_z": 0.7, "base_rz": np.pi / 2})
    assert np.allclose(moved.site(hand.palm_site).xpos, (0.3, -0.2, 0.7))
    assert np.allclose(moved.site(hand.palm_site).xmat.reshape(3, 3), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-9)


def test_is_a_right_hand_whose_fingers_bend_to_the_front(hand: HandSpec, model: mujoco.MjModel) -> None:
    """Palm down, fingers pointing away: a right hand's thumb is on the left, which is +y."""
    thumb = hand.fingertips.index("thumb")
    flat = at(hand, model, dict(hand.open_pose))
    tips = np.array([flat.site(site).xpos for site in hand.fingertip_sites])
    assert np.all(np.delete(tips[:, 0], thumb) > 0.12)
    assert tips[thumb, 1] > np.delete(tips[:, 1], thumb).max() + 0.03
    bent = at(hand, model, dict(hand.pregrasp_pose))
    bent_tips = np.array([bent.site(site).xpos for site in hand.fingertip_sites])
    assert np.all(bent_tips[:, 2] < -0.03)
    assert np.all(bent_tips[:, 2] > -0.085), "a start 7 cm above an object must not put tips through the table"
    grip = np.delete(bent_tips, thumb, axis=0).mean(axis=0) - bent_tips[thumb]
    assert np.linalg.norm(grip) > 0.09, "room for an object"
    assert hand.grip_yaw == pytest.approx(np.arctan2(grip[1], grip[0]), abs=0.03)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_drives_follow_a_step(hand: HandSpec, integrator: str) -> None:
    model = compiled(hand, integrator)
    timestep = model.opt.timestep
    for i, name in enumerate(hand.drives):
        data = at(hand, model, {"base_z": 0.5})
        joint = data.joint(name)
        start = float(joint.qpos[0])
        step = 0.1 if i < 3 else min(1.0, model.joint(name).range[1] - start)
        data.actuator(name).ctrl[0] = start + step
        followed = []
        for _ in range(round(0.6 / timestep)):
            mujoco.mj_step(model, data)
            followed.append((joint.qpos[0] - start) / step)
        path = np.array(followed)
        rise = (np.argmax(path > 0.9) + 1) * timestep
        assert 0.03 < rise < 0.18, name
        assert path.max() < 1.05, name
        assert np.abs(path[round(0.4 / timestep) :] - 1).max() < 0.02, name


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_random_targets_stay_stable(hand: HandSpec, integrator: str) -> None:
    model = compiled(hand, integrator)
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    for _ in range(150):
        data.ctrl[:] = rng.uniform(*model.actuator_ctrlrange.T)
        for _ in range(round(1 / 30 / model.opt.timestep)):
            mujoco.mj_step(model, data)
            assert np.abs(data.qvel).max() < 60
    assert not any(warning.number for warning in data.warning)


@pytest.mark.parametrize("friction", (0.5, 0.8, 1.2))
@pytest.mark.parametrize("name", sorted(CLOSED))
def test_scripted_grasp_lifts_and_holds(name: str, friction: float) -> None:
    """A sphere, a cube and a cylinder of 0.2 kg are lifted by 15 cm and held for two seconds."""
    hand = HANDS[name]
    grip = Grip(hand.pregrasp_pose, CLOSED[name], hand.palm_centre[:2], 0.06)
    for shape, size in THINGS:
        assert lifts(hand, grip, Thing(shape, size, 0.2, friction), hold=2.0), shape
