"""Finds how a hand grips: the pose before a grasp, by closing its fingers on spheres in simulation.

Poses of each finger are drawn at random once.  A candidate is a point before the palm and a direction: one finger, the
thumb, goes to one side of the point, and all others go to the other side.  Each finger takes the drawn pose whose tip is
nearest to its place with its pad towards the point.  The best candidates then try to lift spheres.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

import mujoco
import numpy as np

from tasks.hands.lifting import Grip, Thing, lifts
from tasks.hands.spec import HandSpec

SPHERES = (0.025, 0.035, 0.045)
"""m, radii of the spheres that are lifted."""
OPENING = 0.105
"""m between the thumb's tip and the fingers' before a grasp: room for an object of 8 cm."""
DEPTHS = (0.055, 0.075, 0.095)
"""m, of the object's middle before the palm."""


@dataclass(frozen=True)
class Found:
    """The best grip, and what it could lift."""

    grip: Grip
    thumb: int
    """Number of the fingertip that opposes the others."""
    grip_yaw: float
    lifted: Tuple[float, ...]
    """m, radii of the spheres it lifted, a part of SPHERES."""

    @property
    def palm_centre(self) -> Tuple[float, float, float]:
        """For `HandSpec.palm_centre`."""
        x, y = self.grip.centre
        return round(x, 4), round(y, 4), round(-max(0.03, self.grip.depth - 0.035), 4)


@dataclass
class Reach:
    """Drawn poses of one finger: K samples of its n joints."""

    joints: List[str]
    """Driven joints that move the fingertip."""
    pose: np.ndarray
    """(K, n) rad"""
    tip: np.ndarray
    """(K, 3) m, in the palm's frame, and in `pad` (K, 3) where its pad looks to."""
    pad: np.ndarray
    strain: np.ndarray
    """(K,) mean square distance from the open pose, in shares of the joints' ranges."""


def search(hand: HandSpec, samples: int = 2000, tries: int = 16, seed: int = 0) -> Found:
    """The best of `tries` candidates.  Raises ValueError if no finger opposes another."""
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    reaches = draw(hand, model, samples, np.random.default_rng(seed))
    ranked = sorted(_candidates(reaches), key=lambda c: c[0])
    if not ranked:
        raise ValueError("no finger can oppose another before the palm")
    best: Tuple[float, Found] = (-1.0, None)  # type: ignore[assignment]
    for rank, (_, thumb, centre, yaw, depth) in enumerate(_spread(ranked, tries)):
        grip = _grip(reaches, thumb, centre, yaw, depth)
        lifted = tuple(r for r in SPHERES if lifts(hand, grip, Thing("sphere", (r,)), hold=0.5))
        score = len(lifted) - 0.01 * rank
        if score > best[0]:
            best = score, Found(grip, thumb, _yaw(hand, model, grip.pregrasp, thumb), lifted)
        if len(lifted) == len(SPHERES):
            break
    return best[1]


def draw(hand: HandSpec, model: mujoco.MjModel, samples: int, random: np.random.Generator) -> List[Reach]:
    """Random poses of each finger within its joints' ranges."""
    data = mujoco.MjData(model)
    ranges = np.array([model.joint(name).range for name in hand.finger_joints])
    addresses = [int(model.joint(name).qposadr[0]) for name in hand.finger_joints]
    sites = [model.site(name).id for name in hand.fingertip_sites]
    drawn = random.uniform(ranges[:, 0], ranges[:, 1], size=(samples, len(ranges)))
    tips, pads = np.zeros((samples, len(sites), 3)), np.zeros((samples, len(sites), 3))
    for i, pose in enumerate(drawn):
        data.qpos[addresses] = pose
        follow(hand, data)
        mujoco.mj_kinematics(model, data)
        tips[i] = data.site_xpos[sites]
        pads[i] = -data.site_xmat[sites].reshape(-1, 3, 3)[:, :, 2]
    opened = np.array([hand.open_pose.get(name, 0.0) for name in hand.finger_joints])
    strain = ((drawn - opened) / np.ptp(ranges, axis=1)) ** 2
    result = []
    for tip, name in enumerate(hand.fingertip_sites):
        own = [k for k, joint in enumerate(hand.finger_joints) if moves(hand, model, joint, name)]
        result.append(
            Reach(
                [hand.finger_joints[k] for k in own], drawn[:, own], tips[:, tip], pads[:, tip],
                strain[:, own].mean(axis=1) if own else np.zeros(samples),
            )
        )  # fmt: skip
    return result


def moves(hand: HandSpec, model: mujoco.MjModel, joint: str, site: str) -> bool:
    """Whether a driven joint, or one that follows it, is on the way from the palm to a site."""
    bodies = {int(model.joint(name).bodyid[0]) for name in (joint, *_followers(hand, joint))}
    body = int(model.site(site).bodyid[0])
    while body:
        if body in bodies:
            return True
        body = int(model.body_parentid[body])
    return False


def _followers(hand: HandSpec, joint: str) -> List[str]:
    return [name for name, source in hand.coupled_joints.items() if source == joint]


def follow(hand: HandSpec, data: mujoco.MjData) -> None:
    """Sets the coupled joints to where the joints that they follow say."""
    for name, source in hand.coupled_joints.items():
        data.joint(name).qpos[0] = hand.coupling(name) * data.joint(source).qpos[0]


Candidate = Tuple[float, int, np.ndarray, float, float]
"""Cost, thumb, centre (2,), yaw, depth."""


def _candidates(reaches: Sequence[Reach]) -> List[Candidate]:
    """All of a grid, with how badly the fingers reach their places."""
    tips = np.concatenate([r.tip for r in reaches])
    low, high = (
        np.percentile(tips[tips[:, 2] < -0.03], (10, 90), axis=0) if (tips[:, 2] < -0.03).any() else (None, None)
    )
    if low is None:
        return []
    grid = [np.array(c) for c in itertools.product(np.linspace(low[0], high[0], 6), np.linspace(low[1], high[1], 6))]
    opened = []
    for thumb, centre, yaw in itertools.product(range(len(reaches)), grid, np.arange(-np.pi, np.pi, np.pi / 6)):
        cost = sum(_place(r, *p)[0] for r, p in zip(reaches, _places(reaches, thumb, centre, yaw, None)))
        opened.append((cost, thumb, centre, float(yaw)))
    found = []
    for cost, thumb, centre, yaw in sorted(opened, key=lambda c: c[0])[:100]:
        for depth in DEPTHS:
            shut = sum(_place(r, *p)[0] for r, p in zip(reaches, _places(reaches, thumb, centre, yaw, depth)))
            found.append((cost + shut, thumb, centre, yaw, depth))
    return found


def _spread(ranked: Sequence[Candidate], count: int) -> List[Candidate]:
    """The best ones that differ from each other."""
    chosen: List[Candidate] = []
    for item in ranked:
        if all(
            item[1] != c[1] or np.linalg.norm(item[2] - c[2]) > 0.012 or abs(item[3] - c[3]) > 0.3 or item[4] != c[4]
            for c in chosen
        ):
            chosen.append(item)
        if len(chosen) == count:
            break
    return chosen


def _places(
    reaches: Sequence[Reach], thumb: int, centre: np.ndarray, yaw: float, depth: float | None
) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Where each fingertip shall be, and a point that its pad shall look to; without depth before the grasp."""
    along, side = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
    middles = [float((r.tip[:, :2].mean(axis=0) - centre) @ side) for r in reaches]
    rest = [m for i, m in enumerate(middles) if i != thumb]
    offset = [m - np.mean(rest) for m in middles]
    apart = OPENING / 2 if depth is None else 0.006
    places = []
    for tip in range(len(reaches)):
        sign, down = (-1.0, 0.07) if tip == thumb else (1.0, 0.055)
        sideways = 0.0 if tip == thumb else float(np.clip(offset[tip], -0.03, 0.03) * (1.0 if depth is None else 0.7))
        place = centre + sign * apart * along + sideways * side
        goal = centre + sideways * side
        deep = down if depth is None else depth
        places.append((np.array([*place, -deep]), np.array([*goal, -deep - (0.02 if depth is None else 0.0)])))
    return places


def _place(reach: Reach, place: np.ndarray, looks_to: np.ndarray) -> Tuple[float, int]:
    """(cost, number of the drawn pose)"""
    towards = looks_to - reach.tip
    away = reach.tip - place
    facing = 1 - np.einsum("ki,ki->k", reach.pad, towards) / np.sqrt(np.einsum("ki,ki->k", towards, towards) + 1e-12)
    cost = np.einsum("ki,ki->k", away, away) / 0.01**2 + 1.5 * facing + 4 * reach.strain
    best = int(cost.argmin())
    return float(cost[best]), best


def _grip(reaches: Sequence[Reach], thumb: int, centre: np.ndarray, yaw: float, depth: float) -> Grip:
    poses: List[Dict[str, float]] = []
    for at in (None, depth):
        pose: Dict[str, float] = {}
        for reach, place in zip(reaches, _places(reaches, thumb, centre, yaw, at)):
            values = reach.pose[_place(reach, *place)[1]]
            pose.update({name: round(float(v), 3) for name, v in zip(reach.joints, values)})
        poses.append(pose)
    return Grip(poses[0], poses[1], (float(centre[0]), float(centre[1])), depth)


def _yaw(hand: HandSpec, model: mujoco.MjModel, pose: Dict[str, float], thumb: int) -> float:
    data = mujoco.MjData(model)
    for name, value in pose.items():
        data.joint(name).qpos[0] = value
    follow(hand, data)
    mujoco.mj_kinematics(model, data)
    tips = np.array([data.site(name).xpos for name in hand.fingertip_sites])
    grip = np.delete(tips, thumb, axis=0).mean(axis=0) - tips[thumb]
    return round(float(np.arctan2(grip[1], grip[0])), 3)
