"""The Shadow Hand against what is published about it, what importers can read, and what a hand has to be able to do."""

from __future__ import annotations

import math
from typing import Any, Dict, Mapping

import mujoco
import numpy as np
import pytest

from tasks.hands import SHADOW_HAND

HAND = SHADOW_HAND
FINGERS = ("FF", "MF", "RF", "LF")
DEGREE = math.pi / 180

# Published ranges of motion of the right E3M5, degrees; joint 5 is nearest to the wrist.
PUBLISHED_RANGES = {
    **{f"{finger}J4": (-20, 20) for finger in FINGERS},
    **{f"{finger}J3": (-15, 90) for finger in FINGERS},
    **{f"{finger}J2": (0, 90) for finger in FINGERS},
    **{f"{finger}J1": (0, 90) for finger in FINGERS},
    "LFJ5": (0, 45),
    "THJ5": (-60, 60),
    "THJ4": (0, 70),
    "THJ3": (-12, 12),
    "THJ2": (-40, 40),
    "THJ1": (-15, 90),
}
# Drive torques, N m.
PUBLISHED_TORQUES = {
    **{f"{finger}J4": 0.9 for finger in FINGERS},
    **{f"{finger}J3": 0.9 for finger in FINGERS},
    **{f"{finger}J2": 0.7245 for finger in FINGERS},
    "LFJ5": 0.9,
    "THJ5": 2.3722,
    "THJ4": 1.45,
    "THJ3": 0.99,
    "THJ2": 0.99,
    "THJ1": 0.81,
}
# Lengths of proximal and middle phalanges, m.
PUBLISHED_LENGTHS = {
    "ff": (0.045, 0.025),
    "mf": (0.045, 0.025),
    "rf": (0.045, 0.025),
    "lf": (0.045, 0.025),
    "th": (0.038, 0.032),
}
PHALANX_MASSES = {"ff": (0.038, 0.017, 0.013), "th": (0.05, 0.025, 0.017)}

INTEGRATORS = {
    "implicitfast_120": (mujoco.mjtIntegrator.mjINT_IMPLICITFAST, 1 / 120),
    "implicitfast_240": (mujoco.mjtIntegrator.mjINT_IMPLICITFAST, 1 / 240),
    "discrete_60": (getattr(mujoco.mjtIntegrator, "mjINT_DISCRETE", None), 1 / 60),
}
GRASP_CLOSED = {
    **{f"{finger}J3": 1.0 for finger in FINGERS},
    **{f"{finger}J2": 1.4 for finger in FINGERS},
    **{"THJ5": 0.7, "THJ4": 1.2, "THJ3": 0.2, "THJ2": 0.2, "THJ1": 0.6},
}
PINCH_CLOSED = {
    **{f"{finger}J3": 0.98 for finger in FINGERS},
    **{f"{finger}J2": 0.96 for finger in FINGERS},
    **{"THJ5": 0.45, "THJ4": 1.1, "THJ2": 0.3, "THJ1": 0.45},
}


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(str(HAND.mjcf))


def compiled(integrator: str) -> mujoco.MjModel:
    kind, timestep = INTEGRATORS[integrator]
    if kind is None:
        pytest.skip("this MuJoCo has no discrete integrator")
    pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
    spec = mujoco.MjSpec.from_file(str(HAND.mjcf))
    spec.option.timestep, spec.option.integrator = timestep, kind
    return spec.compile()


def set_pose(data: mujoco.MjData, pose: Mapping[str, float]) -> None:
    for joint, value in pose.items():
        data.joint(joint).qpos[0] = value
    for joint, source in HAND.coupled_joints.items():
        data.joint(joint).qpos[0] = data.joint(source).qpos[0]


def posed(model: mujoco.MjModel, pose: Mapping[str, float]) -> mujoco.MjData:
    data = mujoco.MjData(model)
    set_pose(data, pose)
    mujoco.mj_kinematics(model, data)
    return data


def targets(model: mujoco.MjModel, pose: Mapping[str, float]) -> np.ndarray:
    ctrl = np.zeros(model.nu)
    for joint, value in pose.items():
        ctrl[HAND.drives.index(joint)] = value
    return ctrl


def blend(start: Mapping[str, float], end: Mapping[str, float], s: float) -> Dict[str, float]:
    return {name: (1 - s) * start.get(name, 0.0) + s * end.get(name, 0.0) for name in {**start, **end}}


def rotation(axis: int, angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    result = np.eye(3)
    result[i, i], result[i, j], result[j, i], result[j, j] = c, -s, s, c
    return result


def test_counts_names_and_orders(model: mujoco.MjModel) -> None:
    assert (model.nu, model.njnt, model.nv, model.ntendon, model.neq) == (24, 28, 28, 4, 0)
    assert len(HAND.base_joints) == 6
    assert len(HAND.finger_joints) == 18
    assert tuple(model.actuator(i).name for i in range(model.nu)) == HAND.drives
    assert [int(i) for i in model.actuator_trnid[:, 0]] == [model.joint(name).id for name in HAND.drives]
    joints = {model.joint(i).name for i in range(model.njnt)}
    assert joints == {*HAND.drives, *HAND.coupled_joints}
    assert [model.joint(i).name for i in range(6)] == list(HAND.base_joints)
    assert dict(HAND.coupled_joints) == {f"{finger}J1": f"{finger}J2" for finger in FINGERS}
    assert len(HAND.fingertip_bodies) == len(HAND.fingertip_sites) == len(HAND.fingertip_radius) == len(HAND.fingertips)
    assert model.site_bodyid[model.site(HAND.palm_site).id] == model.body(HAND.palm_body).id
    for body, site, radius in zip(HAND.fingertip_bodies, HAND.fingertip_sites, HAND.fingertip_radius):
        body_id = model.body(body).id
        assert model.site_bodyid[model.site(site).id] == body_id
        (geom,) = [g for g in range(model.ngeom) if model.geom_bodyid[g] == body_id and model.geom_contype[g]]
        assert model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE
        assert model.geom_size[geom, 0] == pytest.approx(radius)
        end = model.geom_pos[geom] + [model.geom_size[geom, 1], 0, 0]
        assert np.allclose(model.site(site).pos, end, atol=1e-6)
    for pose in (HAND.open_pose, HAND.pregrasp_pose):
        for name, value in pose.items():
            low, high = model.joint(name).range
            assert name in HAND.finger_joints
            assert low <= value <= high


def test_limits_are_the_published(model: mujoco.MjModel) -> None:
    assert set(PUBLISHED_RANGES) == {*HAND.finger_joints, *HAND.coupled_joints}
    for name, (low, high) in PUBLISHED_RANGES.items():
        assert np.allclose(model.joint(name).range, (low * DEGREE, high * DEGREE), atol=1e-5), name
    for name, torque in PUBLISHED_TORQUES.items():
        assert np.allclose(model.actuator(name).forcerange, (-torque, torque)), name
    assert set(PUBLISHED_TORQUES) == set(HAND.finger_joints)
    for i, name in enumerate(HAND.drives):
        assert np.array_equal(model.actuator_ctrlrange[i], model.joint(name).range)
        assert model.actuator_ctrllimited[i]
        assert model.actuator_forcelimited[i]
    assert model.jnt_limited.all()
    assert model.tendon_limited.all()
    assert not model.dof_frictionloss.any()
    lift = 9.81 * 1.0 + 2 * 9.81 * (1.0 + model.body_subtreemass[1])
    assert model.actuator("base_z").forcerange[1] > lift


def test_links_are_the_published(model: mujoco.MjModel) -> None:
    for finger, (proximal, middle) in PUBLISHED_LENGTHS.items():
        assert np.linalg.norm(model.body(f"{finger}_middle").pos) == pytest.approx(proximal)
        assert np.linalg.norm(model.body(f"{finger}_distal").pos) == pytest.approx(middle)
    for finger, masses in PHALANX_MASSES.items():
        assert [model.body(f"{finger}_{part}").mass[0] for part in ("proximal", "middle", "distal")] == pytest.approx(
            masses
        )
    data = posed(model, {})
    knuckles = np.array([data.body(f"{finger}_proximal").xpos for finger in ("ff", "mf", "rf", "lf")])
    assert np.allclose(np.diff(knuckles[:, 1]), -0.022)
    assert np.allclose(knuckles[:, 0] - knuckles[1, 0], [-0.004, 0, -0.004, -0.0125], atol=1e-4)


def test_masses_and_inertias(model: mujoco.MjModel) -> None:
    assert 0.7 < model.body_subtreemass[1] < 1.5
    assert np.all(model.body_gravcomp[1:] == 1)
    for i in range(1, model.nbody):
        mass, inertia = model.body_mass[i], np.sort(model.body_inertia[i])
        assert mass > 0.005
        assert inertia[2] <= inertia[0] + inertia[1] + 1e-12
        radii = np.sqrt(inertia / mass)
        assert 0.004 < radii[0] <= radii[2] < 0.06


def test_contacts_with_the_world_but_not_with_itself(model: mujoco.MjModel) -> None:
    collides = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    assert 15 <= collides.sum() <= 20
    assert np.all(model.geom_contype[collides] == 1)
    assert np.all(model.geom_conaffinity[collides] == 2)
    assert np.all(model.geom_condim[collides] == 4)
    assert np.all(model.geom_group[~collides] == 1)
    data = mujoco.MjData(model)
    set_pose(data, PINCH_CLOSED)
    mujoco.mj_forward(model, data)
    assert data.ncon == 0


def test_palm_frame(model: mujoco.MjModel) -> None:
    data = posed(model, {})
    assert np.allclose(data.site(HAND.palm_site).xpos, 0)
    assert np.allclose(data.body(HAND.palm_body).xpos, 0)
    assert np.allclose(data.site(HAND.palm_site).xmat, np.eye(3).ravel())
    slides, angles = (0.3, -0.2, 0.7), (0.5, -0.8, 1.1)
    data = posed(model, dict(zip(HAND.base_joints, slides + angles)))
    expected = rotation(0, angles[0]) @ rotation(1, angles[1]) @ rotation(2, angles[2])
    assert np.allclose(data.site(HAND.palm_site).xpos, slides)
    assert np.allclose(data.site(HAND.palm_site).xmat.reshape(3, 3), expected)


def test_inner_face_is_at_the_origin(model: mujoco.MjModel) -> None:
    geom = model.geom("palm")
    assert geom.pos[2] - geom.size[2] == pytest.approx(0)
    data = posed(model, {})
    knuckles = np.mean([data.body(f"{finger}_proximal").xpos[0] for finger in ("ff", "mf", "rf", "lf")])
    assert knuckles == pytest.approx(-(geom.pos[0] - geom.size[0]), abs=0.01)


def test_is_a_right_hand(model: mujoco.MjModel) -> None:
    """Palm down, fingers pointing away: a right hand's thumb is on the left, which is +y."""
    data = posed(model, HAND.open_pose)
    tips = np.array([data.site(site).xpos for site in HAND.fingertip_sites])
    assert np.all(tips[:4, 0] > 0.12)
    assert np.all(np.diff(tips[:4, 1]) < 0)
    assert tips[4, 1] > tips[0, 1] + 0.05
    assert np.all(np.abs(tips[:, 2]) < 0.02)


def test_fingertip_frames_and_flexion(model: mujoco.MjModel) -> None:
    flat = posed(model, HAND.open_pose)
    for site in HAND.fingertip_sites[:4]:
        assert np.allclose(flat.site(site).xmat.reshape(3, 3), np.eye(3), atol=1e-6)
    for site, joint in zip(HAND.fingertip_sites, ("FFJ3", "MFJ3", "RFJ3", "LFJ3", "THJ1")):
        before = flat.site(site)
        bent = posed(model, {**HAND.open_pose, joint: 0.3}).site(site)
        x, z = before.xmat.reshape(3, 3)[:, 0], before.xmat.reshape(3, 3)[:, 2]
        assert (bent.xpos - before.xpos) @ z < -0.004  # towards the finger's inner side
        assert bent.xmat.reshape(3, 3)[:, 0] @ z == pytest.approx(-math.sin(0.3), abs=1e-3)
        assert x @ z == pytest.approx(0, abs=1e-9)
    bent = posed(model, HAND.pregrasp_pose)
    assert all(bent.site(site).xpos[2] < -0.03 for site in HAND.fingertip_sites)
    tips = np.array([bent.site(site).xpos for site in HAND.fingertip_sites])
    grip = tips[:4].mean(axis=0) - tips[4]
    assert HAND.grip_yaw == pytest.approx(np.arctan2(grip[1], grip[0]), abs=0.02)


def test_closing_fingertips_meet_the_thumb(model: mujoco.MjModel) -> None:
    found = []
    for s in np.linspace(0, 1, 41):
        data = posed(model, blend(HAND.pregrasp_pose, PINCH_CLOSED, s))
        thumb = data.site(HAND.fingertip_sites[4]).xpos
        found.append([np.linalg.norm(data.site(site).xpos - thumb) for site in HAND.fingertip_sites[:2]])
    distances = np.array(found)
    assert np.all(distances[0] > 0.07)  # room for an object before
    assert np.all(distances.min(axis=0) < 0.02)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_coupling_holds_under_load(integrator: str) -> None:
    """10 N on every fingertip, from its inner and from its nail's side."""
    model = compiled(integrator)
    data = mujoco.MjData(model)
    bent = {f"{finger}J{joint}": 0.8 for finger in FINGERS for joint in (3, 2)}
    data.ctrl[:] = targets(model, {"base_z": 0.5, **bent})
    set_pose(data, {"base_z": 0.5, **bent})
    for force in (10.0, -10.0):
        for _ in range(round(0.7 / model.opt.timestep)):
            for body in HAND.fingertip_bodies[:4]:
                data.body(body).xfrc_applied[:3] = force * data.body(body).xmat.reshape(3, 3)[:, 2]
            mujoco.mj_step(model, data)
        for joint, source in HAND.coupled_joints.items():
            assert abs(data.joint(source).qpos[0] - 0.8) > 0.05, "the load does not reach the drive"
            assert data.joint(joint).qpos[0] == pytest.approx(data.joint(source).qpos[0], abs=0.015)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_scripted_grasp_lifts_and_holds(integrator: str) -> None:
    """Palm down 3 cm above a box of 6 x 6 x 8 cm and 0.2 kg: close, lift by 20 cm within a second, hold for a second."""
    kind, timestep = INTEGRATORS[integrator]
    if kind is None:
        pytest.skip("this MuJoCo has no discrete integrator")
    table, half, lift = 0.05, (0.03, 0.03, 0.04), 0.2
    pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
    spec = mujoco.MjSpec.from_file(str(HAND.mjcf))
    option = spec.option
    option.timestep, option.integrator = timestep, kind
    option.cone, option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 10
    contact: Dict[str, Any] = {"contype": 2, "conaffinity": 3, "condim": 4, "priority": 1}
    contact.update(solref=[0.01, 1], solimp=[0.95, 0.99, 0.001, 0.5, 2])
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1, 1, 0.1], pos=[0, 0, table], **contact)
    body = spec.worldbody.add_body(name="object", pos=[*HAND.palm_centre[:2], table + half[2]])
    body.add_freejoint()
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=half, mass=0.2, **contact)
    model = spec.compile()
    data = mujoco.MjData(model)
    height = table + 2 * half[2] + 0.03
    set_pose(data, {"base_z": height, **HAND.pregrasp_pose})
    mujoco.mj_forward(model, data)
    assert data.contact.dist.min() > -1e-3  # the pre-grasp leaves room for the object
    while data.time < 3:
        pose = blend(HAND.pregrasp_pose, GRASP_CLOSED, min(1.0, data.time / 0.7))
        rise = lift * min(1.0, max(0.0, data.time - 1.0))
        data.ctrl[:] = targets(model, {**pose, "base_z": height + rise})
        mujoco.mj_step(model, data)
    assert data.body("object").xpos[2] - (table + half[2]) > lift - 0.03
    assert np.linalg.norm(data.body("object").cvel) < 0.1
