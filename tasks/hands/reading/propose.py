"""Proposes what a hand's file does not say: fingertips, the palm's frame, the open pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

import numpy as np

from tasks.hands.errors import HandError
from tasks.hands.reading.notes import Fingertip, Notes, Vector
from tasks.hands.reading.simplify import Hand, ends
from tasks.hands.reading.tree import Joint, Tree
from tasks.objects.geometry import convex_hull, hull_faces

REACH = 0.12
"""m, the longest that open fingers may reach before the palm's frame: of longer claws it is moved out to there."""
PALM_LENGTH = 0.11
"""m, from the fingers back; what lies behind is a wrist or a forearm."""


@dataclass
class Finger:
    """A chain of moving links."""

    links: List[int]
    joints: List[str]
    """All driven joints that move its tip, from the palm on."""


def fingers(hand: Hand) -> List[Finger]:
    """One for each chain that ends, in the order of the file.  Raises HandError if there are fewer than two."""
    tree, found = hand.tree, []
    for last in ends(tree):
        chain, at = [last], tree.links[last].parent
        while at > 0:
            chain.insert(0, at)
            at = tree.links[at].parent
        joints = [j.name for i in chain for j in tree.links[i].joints]
        driven = [tree.couplings[j].source if j in tree.couplings else j for j in joints]
        found.append(Finger(chain, list(dict.fromkeys(driven))))
    if len(found) < 2:
        raise HandError("no fingers: a hand needs two chains that end, at least")
    return found


def rest(hand: Hand) -> Dict[str, float]:
    """Each joint at 0, or at the limit nearest to it."""
    return {name: float(np.clip(0.0, joint.low, joint.high)) for name, joint in hand.tree.joints().items()}


def with_coupled(hand: Hand, angles: Dict[str, float]) -> Dict[str, float]:
    """The same with the joints that follow others."""
    return {**angles, **{n: c.ratio * angles.get(c.source, 0.0) for n, c in hand.tree.couplings.items()}}


def propose(hand: Hand, notes: Notes) -> Notes:
    """Fills in what the notes do not say, but for what depends on the pose before a grasp."""
    tree, chains = hand.tree, fingers(hand)
    if notes.palm is None:
        notes.palm = tree.links[0].name
    if not notes.fingertips:
        notes.fingertips = {tree.links[f.links[-1]].name: _tip(tree, f) for f in chains}
    if notes.open is None:
        notes.open = {j: round(v, 3) for j, v in rest(hand).items() if j in hand.driven and v != 0}
    if notes.origin is None or notes.normal is None or notes.fingers is None:
        normal, along = _directions(hand, chains, notes)
        own = hand.places[notes.palm][1:]
        if notes.normal is None:
            notes.normal = _vector(_straightened(own[1].T @ normal))
        if notes.fingers is None:
            notes.fingers = _vector(_straightened(own[1].T @ along))
        normal, along = own[1] @ np.array(notes.normal), own[1] @ np.array(notes.fingers)
        if notes.origin is None:
            face = _face(tree, normal, along)
            deep = float(((_open_tips(hand, notes) - face) @ normal).min())
            face = face + max(0.0, deep - REACH) * normal
            notes.origin = _vector(own[1].T @ (face - own[0]))
    return notes


def _tip(tree: Tree, finger: Finger) -> Fingertip:
    """The rounded end of the last link: as far as it reaches from its joint."""
    link = tree.links[finger.links[-1]]
    if not link.shapes:
        return Fingertip(link.name, (0.0, 0.0, 0.0), 0.008)
    points, anchor = np.concatenate([s.points for s in link.shapes]), link.joints[-1].anchor
    middle = (points.max(axis=0) + points.min(axis=0)) / 2 - anchor
    far = points[np.argmax(np.linalg.norm(points - anchor, axis=1))] - anchor
    along = middle if middle @ far > 0 and np.linalg.norm(middle) > 0.2 * np.linalg.norm(far) else far
    along = along / np.linalg.norm(along)
    reach = (points - anchor) @ along
    end = points[reach > reach.max() - 0.012]
    sideways = (end - anchor) - np.outer((end - anchor) @ along, along)
    centre = (sideways.max(axis=0) + sideways.min(axis=0)) / 2
    round_ends = [
        s.size[0]
        for s in link.shapes
        if s.kind in ("sphere", "capsule") and ((s.points - anchor) @ along).max() > reach.max() - 0.001
    ]
    spans = np.sort(np.ptp(sideways, axis=0))[1:]  # the third is along the finger
    radius = float(np.clip(max(round_ends) if round_ends else spans.mean() / 2, 0.005, 0.015))
    origin = anchor + centre + along * (reach.max() - radius)
    return Fingertip(link.name, _vector(origin), round(radius, 4))


def tip_place(hand: Hand, tip: Fingertip) -> Tuple[int, np.ndarray]:
    """(link, (3,) in its frame) of a fingertip.  Raises HandError if its body is not known."""
    if tip.body not in hand.places:
        raise HandError(
            f"fingertip body {tip.body!r} is not in the hand; there are: {', '.join(list(hand.places)[:12])}"
        )
    link, pos, turn = hand.places[tip.body]
    if link == 0:
        raise HandError(f"fingertip body {tip.body!r} is a part of the palm: give the last link of a finger")
    return link, pos + turn @ np.array(tip.origin)


def bends(joint: Joint) -> float:
    """The sign with which a joint bends a finger: that of the side where its range is larger."""
    return 1.0 if joint.high >= -joint.low else -1.0


def bent(hand: Hand) -> Dict[str, float]:
    """Each finger joint bent as far as it goes; those that go as far one way as the other spread the fingers, and stay."""
    found = {}
    for name in hand.driven:
        joint = hand.tree.joints()[name]
        if abs(joint.low + joint.high) >= 0.3 * (joint.high - joint.low):
            found[name] = joint.high if bends(joint) > 0 else joint.low
    return found


def _open_tips(hand: Hand, notes: Notes) -> np.ndarray:
    """(F, 3) of the fingertips in the palm's link, all joints at rest."""
    frames = hand.tree.frames(with_coupled(hand, rest(hand)))
    placed = [tip_place(hand, tip) for tip in notes.fingertips.values()]
    return np.array([frames[link][0] + frames[link][1] @ at for link, at in placed])


def _directions(hand: Hand, chains: List[Finger], notes: Notes) -> Tuple[np.ndarray, np.ndarray]:
    """(normal, along) in the palm's link: out of the palm's inner face, and where the fingers point."""
    tree, start = hand.tree, rest(hand)
    placed = [tip_place(hand, tip) for tip in notes.fingertips.values()]

    def tips(angles: Dict[str, float]) -> np.ndarray:
        frames = tree.frames(with_coupled(hand, angles))
        return np.array([frames[link][0] + frames[link][1] @ at for link, at in placed])

    frames, straight = tree.frames(with_coupled(hand, start)), tips(start)
    joints = tree.joints()
    roots = []
    for link, _ in placed:
        at = link
        while tree.links[at].parent > 0:
            at = tree.links[at].parent
        roots.append(frames[at][0])
    bent = {}
    for name in hand.driven:
        joint = joints[name]
        one_sided = min(abs(joint.low), abs(joint.high)) < 0.45 * max(abs(joint.low), abs(joint.high))
        reach = 0.4 * (joint.high - joint.low) if one_sided else 0.0
        bent[name] = float(np.clip(start[name] + bends(joint) * reach, joint.low, joint.high))
    closing = tips(bent) - straight
    pointing = straight - np.array(roots)
    pointing /= np.linalg.norm(pointing, axis=1, keepdims=True) + 1e-9
    agree = pointing @ pointing.T
    # The fingertip that points least like the others is the thumb.
    odd = int(agree.sum(axis=1).argmin()) if len(placed) > 2 else 0
    others = [i for i in range(len(placed)) if i != odd]
    along = _unit(pointing[others].mean(axis=0))
    inwards = closing - (closing @ along)[:, None] * along
    inwards = inwards / (np.linalg.norm(inwards, axis=1, keepdims=True) + 1e-9)
    meet = inwards @ inwards.T
    claw = _unit(pointing.mean(axis=0)) if len(placed) < 3 or (meet.min() < -0.4 and agree.min() > 0.7) else None
    if len(placed) == 3:
        claw = _stool(straight, pointing, closing, pointing[odd] @ along < -0.5) if claw is None else claw
    if claw is not None:
        claw = _straightened(claw, 30)
        # They stand round the palm and close towards each other: it faces where they point.
        sideways = closing - (closing @ claw)[:, None] * claw
        sideways = sideways / (np.linalg.norm(sideways, axis=1, keepdims=True) + 1e-9)
        odd = int((sideways @ sideways.T).sum(axis=1).argmin())
        away = np.mean([r for i, r in enumerate(roots) if i != odd], axis=0) - roots[odd]
        return claw, _unit(away - (away @ claw) * claw)
    together = closing[others].mean(axis=0)
    return _unit(together - (together @ along) * along), along


def _stool(tips: np.ndarray, pointing: np.ndarray, closing: np.ndarray, flat: bool) -> Optional[np.ndarray]:
    """The normal of the plane of three fingertips, if the fingers are spread like the legs of a stool; flat: laid down."""
    normal = np.cross(tips[1] - tips[0], tips[2] - tips[0])
    length = np.linalg.norm(normal)
    if length <= 0.05 * np.linalg.norm(tips[1] - tips[0]) * np.linalg.norm(tips[2] - tips[0]):
        return None  # in a row
    normal = normal / length
    moved = closing / (np.linalg.norm(closing, axis=1, keepdims=True) + 1e-9)
    normal = normal * (1.0 if (pointing + moved).sum(axis=0) @ normal > 0 else -1.0)
    return normal if flat or (pointing @ normal).min() > 0.3 else None


def _face(tree: Tree, normal: np.ndarray, along: np.ndarray) -> np.ndarray:
    """The middle of the palm's inner face in the palm's link."""
    shapes = tree.links[0].shapes
    side = np.cross(normal, along)
    if not shapes:
        return np.zeros(3)
    points = np.concatenate([s.points for s in shapes])
    x, y = points @ along, points @ side
    low = max(float(x.min()), float(x.max()) - PALM_LENGTH)
    kept = x >= low
    middle = (low + float(x.max())) / 2 * along + (float(y[kept].max()) + float(y[kept].min())) / 2 * side
    heights = []
    for shape in shapes:
        try:
            faces = hull_faces(convex_hull(shape.points))
        except ValueError:
            continue
        slope, room = faces.normals @ normal, faces.offsets - faces.normals @ middle
        enters = np.where(slope < -1e-9, room / np.where(slope < -1e-9, slope, 1), -np.inf).max()
        leaves = np.where(slope > 1e-9, room / np.where(slope > 1e-9, slope, 1), np.inf).min()
        if enters < leaves and not (room[np.abs(slope) <= 1e-9] < 0).any():
            heights.append(float(leaves))
    height = max(heights) if heights else float((points @ normal).max())
    return middle + height * normal


def _straightened(direction: np.ndarray, degrees: float = 8) -> np.ndarray:
    """An axis of the frame that is as near as this: a palm is drawn along its axes, fingers bend a little across them."""
    nearest = np.zeros(3)
    at = int(np.abs(direction).argmax())
    nearest[at] = np.sign(direction[at])
    return nearest if direction @ nearest > np.cos(np.radians(degrees)) else direction


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        raise HandError("the palm's directions cannot be told: give palm.normal and palm.fingers in the TOML")
    return vector / length


def _vector(values: np.ndarray) -> Vector:
    return tuple(round(float(v), 5) for v in values)  # type: ignore[return-value]
