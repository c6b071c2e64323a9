"""What would break the training of a hand that was read: each finding is one line with what to do."""

from __future__ import annotations

from typing import List, Tuple

import mujoco
import numpy as np

from tasks.hands.picture import posed
from tasks.hands.pregrasp import SPHERES, moves
from tasks.hands.reading.load import Loaded
from tasks.hands.spec import HandSpec

Finding = Tuple[bool, str]
"""Whether it is well, and what it is."""
DEEPEST = 0.13
"""m, from the palm to a fingertip before a grasp: a start 7 cm above a small object would put it through the table."""


def check(loaded: Loaded) -> List[Finding]:
    """All findings, good and bad."""
    hand = loaded.spec
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    return [
        *_poses(hand, model),
        *_effort_limits(loaded),
        *_idle_joints(hand, model),
        *_step_responses(hand, model),
        *_random_targets(hand, model),
        *_self_collisions(hand, model),
        *_grip(loaded, model),
    ]


def _poses(hand: HandSpec, model: mujoco.MjModel) -> List[Finding]:
    for label, pose in (("open", hand.open_pose), ("pregrasp", hand.pregrasp_pose)):
        for name in hand.finger_joints:
            low, high = model.joint(name).range
            if not low - 1e-3 <= pose.get(name, 0.0) <= high + 1e-3:
                return [
                    (
                        False,
                        f"[{label}] puts {name} at {pose.get(name, 0.0):g}, its limits are {low:g} and {high:g}: change it",
                    )
                ]
    return [(True, "both poses are within the joints' limits")]


def _effort_limits(loaded: Loaded) -> List[Finding]:
    found: List[Finding] = []
    if loaded.completed.guessed:
        names = ", ".join(f"{name} ({loaded.completed.efforts[name]:.2g})" for name in loaded.completed.guessed)
        found.append(
            (False, f"no effort limit for {names}: those in brackets are taken, N m or N; give effort or forcerange")
        )
    weak = [n for n, e in loaded.completed.efforts.items() if e < 0.05]
    if weak:
        found.append(
            (False, f"drive {weak[0]} exerts {loaded.completed.efforts[weak[0]]:g} N m: it will not hold 100 g")
        )
    return found or [(True, "all drives have effort limits")]


def _idle_joints(hand: HandSpec, model: mujoco.MjModel) -> List[Finding]:
    idle = [
        joint
        for joint in hand.finger_joints
        if not any(moves(hand, model, joint, site) for site in hand.fingertip_sites)
    ]
    if idle:
        return [
            (
                False,
                f"joint {idle[0]} moves no fingertip: make it fixed, or add the fingertip that it moves to the TOML",
            )
        ]
    return [(True, "each drive moves a fingertip")]


def _step_responses(hand: HandSpec, model: mujoco.MjModel) -> List[Finding]:
    """Step responses at the coarse steps of training."""
    discrete = getattr(mujoco.mjtIntegrator, "mjINT_DISCRETE", None)
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST if discrete is None else discrete
    model.opt.timestep = 1 / 120 if discrete is None else 1 / 60
    bad = []
    for name in hand.finger_joints:
        data = posed(hand, model, hand.open_pose)
        for drive in hand.drives:
            data.actuator(drive).ctrl[0] = data.joint(drive).qpos[0]
        start = float(data.joint(name).qpos[0])
        low, high = model.joint(name).range
        step = 0.5 * (high - start) if high - start > start - low else 0.5 * (low - start)
        data.actuator(name).ctrl[0] = start + step
        path = []
        for _ in range(round(0.8 / model.opt.timestep)):
            mujoco.mj_step(model, data)
            path.append((float(data.joint(name).qpos[0]) - start) / step)
        tail = np.array(path[len(path) * 3 // 4 :])
        if max(path) > 1.2 or np.ptp(tail) > 0.1 or not np.isfinite(path).all():
            bad.append(f"{name} (to {max(path):.2f} of a step)")
        elif tail[-1] < 0.8:
            bad.append(f"{name} (only {tail[-1]:.2f} of a step after 0.8 s)")
    if bad:
        return [(False, f"drives do not settle: {', '.join(bad)}: check the link's mass and the effort limit")]
    return [(True, "each drive settles after a step")]


def _random_targets(hand: HandSpec, model: mujoco.MjModel) -> List[Finding]:
    data, random = posed(hand, model, hand.open_pose), np.random.default_rng(0)
    fastest = 0.0
    for _ in range(60):
        data.ctrl[:] = random.uniform(*model.actuator_ctrlrange.T)
        for _ in range(round(1 / 30 / model.opt.timestep)):
            mujoco.mj_step(model, data)
            fastest = max(fastest, float(np.abs(data.qvel).max()))
    if not np.isfinite(fastest) or any(w.number for w in data.warning) or fastest > 100:
        return [(False, f"random targets make it unstable ({fastest:.0f} rad/s): check masses, inertias and efforts")]
    return [(True, f"random targets leave it stable ({fastest:.0f} rad/s at most)")]


def _self_collisions(hand: HandSpec, model: mujoco.MjModel) -> List[Finding]:
    """Fingers that are inside each other before a grasp.  The hand does not collide with itself in training."""
    model.geom_conaffinity[model.geom_contype > 0] = 3
    deepest, pair = 0.0, ("", "")
    for pose in (hand.open_pose, hand.pregrasp_pose):
        data = posed(hand, model, pose)
        for contact in data.contact[: data.ncon]:
            bodies = [int(model.geom_bodyid[g]) for g in (contact.geom1, contact.geom2)]
            near = {int(model.body_parentid[b]) for b in bodies} & set(bodies) or 1 in bodies
            if not near and contact.dist < deepest:
                deepest, pair = float(contact.dist), (model.body(bodies[0]).name, model.body(bodies[1]).name)
    model.geom_conaffinity[model.geom_contype > 0] = 2
    if deepest < -0.004:
        return [
            (
                False,
                f"{pair[0]} and {pair[1]} are {-1000 * deepest:.0f} mm inside each other before a grasp: change [pregrasp]",
            )
        ]
    return [(True, "fingers are clear of each other")]


def _grip(loaded: Loaded, model: mujoco.MjModel) -> List[Finding]:
    hand = loaded.spec
    found: List[Finding] = []
    data = posed(hand, model, hand.pregrasp_pose)
    deep = -min(float(data.site(site).xpos[2]) for site in hand.fingertip_sites)
    if deep > DEEPEST:
        found.append(
            (False, f"a fingertip is {100 * deep:.0f} cm below the palm before a grasp: at most {100 * DEEPEST:.0f} cm")
        )
    if deep < 0.02:
        found.append(
            (False, "no fingertip is bent before the palm: check palm.normal, it must point to what is grasped")
        )
    if loaded.searched:
        sizes = " and ".join(f"{200 * r:.0f}" for r in loaded.lifted) or "no"
        enough = len(loaded.lifted) >= len(SPHERES) - 1
        end = "" if enough else ": look at the picture, then give [pregrasp] and palm.normal in the TOML"
        found.append((enough, f"closing lifts spheres of {sizes} cm{end}"))
    return found
