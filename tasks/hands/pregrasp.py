"""Finds how a hand grips: the pose before a grasp, by closing its fingers on spheres in simulation.

Poses of each finger are drawn at random once.  A candidate is a point before the palm and a direction: one finger, the
thumb, goes to one side of the point, and all others go to the other side.  Each finger takes the drawn pose whose tip is
nearest to its place with its pad towards the point.  The best candidates then try to lift spheres.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

import mujoco
import numpy as np

from tasks.hands.lifting import Grip, Thing, lifts
from tasks.hands.spec import HandSpec

VERSION = 5
"""To be raised when the same hand would be given another grip."""
SPHERES = (0.025, 0.035, 0.045)
"""m, radii of the spheres that are lifted."""
CLOSED = 0.006
"""m from the middle of the object to where the fingertips are sent: inside it, so that they press."""
FEW = 300
"""Samples that a first look at all candidates takes."""
OPENING = 0.105
"""m between the thumb's tip and the fingers' before a grasp: room for an object of 8 cm."""
OPEN_DEPTHS = (0.06, 0.085, 0.11)
"""m, from the palm to the fingertips before a grasp.  The less it is, the wider the things that a start above them clears."""
DEEPER = (0.0, 0.02)
"""m, by how much the object's middle is further from the palm than that."""


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
    """(K, 3) m, in the palm's frame."""
    pad: np.ndarray
    """(K, 3) unit vectors in the palm's frame, out of the fingertip's pad."""
    strain: np.ndarray
    """(K,) mean square distance from the open pose, in shares of the joints' ranges."""
    middle: np.ndarray
    """(3,) m, the tip in the open pose, by which fingers keep their order."""

    def first(self, count: int) -> Reach:
        """Only so many of the samples."""
        return Reach(
            self.joints, self.pose[:count], self.tip[:count], self.pad[:count], self.strain[:count], self.middle
        )


def search(hand: HandSpec, samples: int = 2000, tries: int = 16, seed: int = 0) -> Found:
    """The best of `tries` candidates.  Raises ValueError if no finger opposes another."""
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    reaches = draw(hand, model, samples, np.random.default_rng(seed))
    ranked = sorted(_candidates(reaches), key=lambda c: c.cost)
    if not ranked:
        raise ValueError("no finger can oppose another before the palm")
    best: Tuple[float, Found] = (-1.0, None)  # type: ignore[assignment]
    for rank, candidate in enumerate(_spread(ranked, tries)):
        grip = _grip(reaches, candidate)
        lifted = tuple(r for r in SPHERES if lifts(hand, grip, Thing("sphere", (r,)), hold=0.5))
        score = len(lifted) - 0.01 * rank
        if score > best[0]:
            yaw = _yaw(hand, model, grip.pregrasp, candidate.thumb)
            best = score, Found(grip, candidate.thumb, yaw, lifted)
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
        set_coupled_joints(hand, data)
        mujoco.mj_kinematics(model, data)
        tips[i] = data.site_xpos[sites]
        pads[i] = -data.site_xmat[sites].reshape(-1, 3, 3)[:, :, 2]
    opened = np.array([hand.open_pose.get(name, 0.0) for name in hand.finger_joints])
    data.qpos[addresses] = opened
    set_coupled_joints(hand, data)
    mujoco.mj_kinematics(model, data)
    straight = data.site_xpos[sites].copy()
    strain = ((drawn - opened) / np.ptp(ranges, axis=1)) ** 2
    result = []
    for tip, name in enumerate(hand.fingertip_sites):
        own = [k for k, joint in enumerate(hand.finger_joints) if moves(hand, model, joint, name)]
        result.append(
            Reach(
                [hand.finger_joints[k] for k in own], drawn[:, own], tips[:, tip], pads[:, tip],
                strain[:, own].mean(axis=1) if own else np.zeros(samples), straight[tip],
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


def set_coupled_joints(hand: HandSpec, data: mujoco.MjData) -> None:
    """Moves the coupled joints to where the joints that they follow want them."""
    for name, source in hand.coupled_joints.items():
        data.joint(name).qpos[0] = hand.coupling(name) * data.joint(source).qpos[0]


class Candidate(NamedTuple):
    """A way to grip that may be tried."""

    cost: float
    """How badly the fingers reach their places."""
    thumb: int
    """Number of the fingertip that opposes the others."""
    centre: np.ndarray
    """(2,) m, x and y of the object's middle in the palm's frame."""
    yaw: float
    """rad, direction from the thumb to the other fingers."""
    depth: float
    """m, of the open fingertips before the palm."""
    deeper: float
    """m, by how much the object's middle is further from the palm than that."""


def _candidates(reaches: Sequence[Reach]) -> List[Candidate]:
    """Those of a grid of centres, directions, depths and thumbs that the fingers reach best when they are open."""
    tips = np.concatenate([r.tip for r in reaches])
    before = tips[tips[:, 2] < -0.03]
    if not len(before):
        return []
    low, high = np.percentile(before, (10, 90), axis=0)
    grid = [np.array(c) for c in itertools.product(np.linspace(low[0], high[0], 7), np.linspace(low[1], high[1], 7))]
    few = [r.first(FEW) for r in reaches]
    opened = []
    for thumb, centre, yaw in itertools.product(range(len(reaches)), grid, np.arange(-np.pi, np.pi, np.pi / 6)):
        for deep in OPEN_DEPTHS:
            places = _places(reaches, thumb, centre, yaw, deep)
            cost = sum(_place(r, *p)[0] for r, p in zip(few, places)) + 60 * (deep - OPEN_DEPTHS[0])
            cost += _crossing(reaches, thumb, centre, yaw)
            opened.append((cost, thumb, centre, float(yaw), deep))
    found = []
    for _, thumb, centre, yaw, deep in sorted(opened, key=lambda c: c[0])[:150]:
        places = _places(reaches, thumb, centre, yaw, deep)
        cost = sum(_place(r, *p)[0] for r, p in zip(reaches, places)) + 60 * (deep - OPEN_DEPTHS[0])
        cost += _crossing(reaches, thumb, centre, yaw)
        for deeper in DEEPER:
            places = _places(reaches, thumb, centre, yaw, deep + deeper, closed=True)
            closed_cost = sum(_place(r, *p)[0] for r, p in zip(reaches, places))
            found.append(Candidate(cost + closed_cost, thumb, centre, yaw, deep, deeper))
    return found


def _spread(ranked: Sequence[Candidate], count: int) -> List[Candidate]:
    """The best ones that differ from each other."""

    def differ(a: Candidate, b: Candidate) -> bool:
        away, turned = np.linalg.norm(a.centre - b.centre) > 0.012, abs(a.yaw - b.yaw) > 0.3
        return bool(a.thumb != b.thumb or away or turned or (a.depth, a.deeper) != (b.depth, b.deeper))

    chosen: List[Candidate] = []
    for item in ranked:
        if all(differ(item, c) for c in chosen):
            chosen.append(item)
        if len(chosen) == count:
            break
    return chosen


def _places(
    reaches: Sequence[Reach], thumb: int, centre: np.ndarray, yaw: float, deep: float, closed: bool = False
) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Where each fingertip shall be, and a point that its pad shall look to, (3,) m each, in the palm's frame.

    deep: m, from the palm to the fingertips.  closed: whether the fingers are closed, or open before a grasp.  Before a grasp
    the thumb is a little deeper than the others, and the pads look to a point below the fingertips.
    """
    apart = CLOSED if closed else OPENING / 2
    looks = deep if closed else deep + 0.03
    along, side = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
    middles = [float((r.middle[:2] - centre) @ side) for r in reaches]
    rest = np.mean([m for i, m in enumerate(middles) if i != thumb])
    places = []
    for tip, middle in enumerate(middles):
        sign = -1.0 if tip == thumb else 1.0
        lower = 0.0 if closed else -0.0075 * sign
        sideways = 0.0 if tip == thumb else float(np.clip(middle - rest, -0.03, 0.03))
        goal = centre + sideways * side
        place = goal + sign * apart * along
        places.append((np.array([*place, -deep - lower]), np.array([*goal, -looks])))
    return places


def _crossing(reaches: Sequence[Reach], thumb: int, centre: np.ndarray, yaw: float) -> float:
    """What it costs that open fingers are on the other's side of the object: they would get in each other's way."""
    along = np.array([np.cos(yaw), np.sin(yaw)])
    across = [(1.0 if i == thumb else -1.0) * float((r.middle[:2] - centre) @ along) for i, r in enumerate(reaches)]
    return sum(max(0.0, out) ** 2 for out in across) / 0.01**2


def _place(reach: Reach, place: np.ndarray, looks_to: np.ndarray) -> Tuple[float, int]:
    """(cost, number) of the drawn pose whose tip is nearest to its place, with its pad towards the point."""
    towards = looks_to - reach.tip
    away = reach.tip - place
    facing = 1 - np.einsum("ki,ki->k", reach.pad, towards) / np.sqrt(np.einsum("ki,ki->k", towards, towards) + 1e-12)
    cost = np.einsum("ki,ki->k", away, away) / 0.01**2 + 1.5 * facing + 4 * reach.strain
    best = int(cost.argmin())
    return float(cost[best]), best


def _grip(reaches: Sequence[Reach], candidate: Candidate) -> Grip:
    """The drawn poses that come closest to a candidate, open and closed."""
    _, thumb, centre, yaw, deep, deeper = candidate
    poses: List[Dict[str, float]] = []
    for closed, depth in ((False, deep), (True, deep + deeper)):
        pose: Dict[str, float] = {}
        for reach, place in zip(reaches, _places(reaches, thumb, centre, yaw, depth, closed)):
            values = reach.pose[_place(reach, *place)[1]]
            pose.update({name: round(float(v), 3) for name, v in zip(reach.joints, values)})
        poses.append(pose)
    return Grip(poses[0], poses[1], (float(centre[0]), float(centre[1])), deep + deeper)


def _yaw(hand: HandSpec, model: mujoco.MjModel, pose: Mapping[str, float], thumb: int) -> float:
    """rad, direction from the thumb's tip to the middle of the others, for `HandSpec.grip_yaw`."""
    data = mujoco.MjData(model)
    for name, value in pose.items():
        data.joint(name).qpos[0] = value
    set_coupled_joints(hand, data)
    mujoco.mj_kinematics(model, data)
    tips = np.array([data.site(name).xpos for name in hand.fingertip_sites])
    grip = np.delete(tips, thumb, axis=0).mean(axis=0) - tips[thumb]
    return round(float(np.arctan2(grip[1], grip[0])), 3)
