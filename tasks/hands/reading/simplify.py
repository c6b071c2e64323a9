"""Makes a tree a hand: the palm is its root, every other link moves, and couplings have no offset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, List, Tuple

import numpy as np

from tasks.hands.errors import HandError
from tasks.hands.reading.tree import Joint, Link, Shape, Tree, about, joined

DENSITY = 800.0
"""kg/m^3, of links whose mass the file does not say."""

PALM_MASS = 0.3
"""kg, of a palm that has neither a mass nor shapes."""


@dataclass
class Hand:
    """A simplified tree; link 0 is the palm."""

    tree: Tree
    driven: List[str]
    places: Dict[str, Tuple[int, np.ndarray, np.ndarray]]
    """Link of the file -> the link that it is a part of now, and its frame in it."""


def ends(tree: Tree) -> List[int]:
    """The last moving link of each chain."""
    moving = [i for i, link in enumerate(tree.links) if link.joints]
    inner = set()
    for i in moving:
        at = tree.links[i].parent
        while at >= 0:
            inner.add(at)
            at = tree.links[at].parent
    return [i for i in moving if i not in inner]


def find_palm(tree: Tree) -> int:
    """The link nearest to the fingers that all of them hang on.  Raises HandError if there are no two fingers."""
    last = ends(tree)
    if not last:
        raise HandError("no joint moves: a hand needs fingers")
    chains = [_ancestors(tree, i) for i in last]
    if len(last) < 2:
        raise HandError(f"no fingers: all joints are in one chain that ends at {tree.links[last[0]].name!r}")
    shared = [i for i in chains[0] if all(i in chain for chain in chains)]
    if not shared:
        raise HandError("its chains have no link in common")
    return shared[-1]


def _ancestors(tree: Tree, link: int) -> List[int]:
    """From the root to the link's parent."""
    found: List[int] = []
    at = tree.links[link].parent
    while at >= 0:
        found.insert(0, at)
        at = tree.links[at].parent
    return found


def simplify(tree: Tree, palm: int) -> Hand:
    """The hand of a tree with this palm: fixed links become a part of the link that they hang on.

    Raises HandError for what cannot be driven.
    """
    root = palm
    while tree.links[root].parent >= 0 and not tree.links[root].joints:
        root = tree.links[root].parent
    kept = [root]
    for i, link in enumerate(tree.links):
        if link.parent in kept and i not in kept:
            kept.append(i)
    dropped = [j.name for i, link in enumerate(tree.links) if i not in kept or i == root for j in link.joints]
    if dropped:
        tree.notes.append(
            f"joints that carry the palm are left out, since the program adds a base: {', '.join(dropped)}"
        )
    frames: Dict[int, Tuple[int, np.ndarray, np.ndarray]] = {root: (0, np.zeros(3), np.eye(3))}
    links = [Link(tree.links[root].name, -1, np.zeros(3), np.eye(3))]
    parts: List[List[Link]] = [[tree.links[root]]]
    inside: List[List[Tuple[np.ndarray, np.ndarray]]] = [[(np.zeros(3), np.eye(3))]]
    for i in kept[1:]:
        link = tree.links[i]
        owner, pos, turn = frames[link.parent]
        pos, turn = pos + turn @ link.pos, turn @ link.turn
        if link.joints:
            frames[i] = (len(links), np.zeros(3), np.eye(3))
            links.append(Link(link.name, owner, pos, turn, [replace(j) for j in link.joints]))
            parts.append([link])
            inside.append([(np.zeros(3), np.eye(3))])
        else:
            frames[i] = (owner, pos, turn)
            parts[owner].append(link)
            inside[owner].append((pos, turn))
    result = Tree(links, dict(tree.couplings), None, tree.notes)
    for link, group, where in zip(links, parts, inside):
        _fuse(link, group, where, result)
    names = {joint.name for link in links for joint in link.joints}
    gone = set(dropped)
    result.couplings = {name: c for name, c in result.couplings.items() if name in names and c.source not in gone}
    _couple(result)
    driven = [name for name in result.joints() if name not in result.couplings]
    if tree.driven is not None:
        idle = [name for name in driven if name not in tree.driven]
        if idle:
            raise HandError(
                f"joint {idle[0]!r} has no actuator and follows no joint: give it one, or name it in the TOML's [coupled]"
            )
    for link in links:
        for joint in link.joints:
            if joint.kind not in ("hinge", "slide"):
                raise HandError(f"joint {joint.name!r} is free: a finger cannot fly")
            if not (np.isfinite([joint.low, joint.high]).all() and joint.low < joint.high):
                raise HandError(f"joint {joint.name!r} has no limits: give it a range, rad or m")
    if len(driven) < 2:
        raise HandError(
            f"a gripper with one drive, {driven[0] if driven else 'none'!r}: grasping needs a hand of two or more"
        )
    return Hand(result, driven, {tree.links[i].name: frame for i, frame in frames.items()})


def _fuse(link: Link, group: List[Link], where: List[Tuple[np.ndarray, np.ndarray]], tree: Tree) -> None:
    """Gives a link the masses and shapes of the group that it is made of.  where: (pos, turn) of each in the link's frame."""
    masses = []
    for part, (pos, turn) in zip(group, where):
        mass, com, inertia = part.mass, part.com, part.inertia
        if np.isnan(mass):
            mass, com, inertia = _guess(part.shapes)
            if mass:
                tree.notes.append(f"link {part.name} has no mass: {1000 * mass:.0f} g are taken from its shapes")
        masses.append((mass, pos + turn @ com, turn @ inertia @ turn.T))
        for shape in part.shapes:
            link.shapes.append(
                Shape(shape.kind, shape.size, pos + turn @ shape.pos, turn @ shape.turn, pos + shape.points @ turn.T)
            )
    link.mass, link.com, inertia = joined(masses)
    if link.mass <= 0 and link.parent < 0:
        link.mass, inertia = PALM_MASS, PALM_MASS * 0.03**2 * np.eye(3)
        tree.notes.append(f"the palm, {link.name}, has no mass: {1000 * PALM_MASS:.0f} g are taken")
    if link.mass <= 0:
        raise HandError(f"link {link.name!r} has no mass, but it moves: give it an inertial with a mass above 0 kg")
    link.inertia = _sound(link.mass, inertia)


def _guess(shapes: List[Shape]) -> Tuple[float, np.ndarray, np.ndarray]:
    """(mass, centre of mass, inertia about it) of the boxes around the shapes, half full."""
    parts = []
    for shape in shapes:
        size = np.ptp(shape.points, axis=0)
        mass = 0.5 * DENSITY * float(np.prod(size))
        inertia = np.diag(mass / 12 * (size @ size - size**2))
        parts.append((mass, (shape.points.max(axis=0) + shape.points.min(axis=0)) / 2, inertia))
    return joined(parts)


def _sound(mass: float, inertia: np.ndarray) -> np.ndarray:
    """An inertia that a solid can have: radii of gyration of at least 3 mm, no axis above the sum of the others."""
    values, axes = np.linalg.eigh((inertia + inertia.T) / 2)
    values = np.maximum(values, mass * 0.003**2)
    values[0] = max(values[0], 1.001 * (values[2] - values[1]))  # more, since the file has seven digits
    return axes @ np.diag(values) @ axes.T


def _couple(tree: Tree) -> None:
    """Makes every source a driven joint, every ratio positive and every offset 0.

    To this end it moves the zeros and turns the axes of the joints that follow.
    """
    joints = tree.joints()
    owner = {joint.name: link for link in tree.links for joint in link.joints}
    for name, coupling in tree.couplings.items():
        seen = [name]
        while coupling.source in tree.couplings:
            if coupling.source in seen:
                raise HandError(f"joint {name!r} follows itself, over {coupling.source!r}")
            seen.append(coupling.source)
            above = tree.couplings[coupling.source]
            coupling.offset, coupling.ratio = (
                coupling.offset + coupling.ratio * above.offset,
                coupling.ratio * above.ratio,
            )
            coupling.source = above.source
        if coupling.source not in joints:
            raise HandError(f"joint {name!r} follows {coupling.source!r}, which is no joint of the fingers")
        if abs(coupling.ratio) < 0.05:
            raise HandError(f"joint {name!r} follows {coupling.source!r} by {coupling.ratio:g}: make it a fixed joint")
    for name, coupling in tree.couplings.items():
        joint, link = joints[name], owner[name]
        if coupling.offset:
            if link.joints[0] is not joint:
                raise HandError(f"joint {name!r} follows with an offset, but is not the first joint of {link.name!r}")
            _shift(link, joint, coupling.offset)
            coupling.offset = 0.0
        if coupling.ratio < 0:
            joint.axis, joint.low, joint.high, coupling.ratio = -joint.axis, -joint.high, -joint.low, -coupling.ratio
        low, high = (coupling.ratio * value for value in (joints[coupling.source].low, joints[coupling.source].high))
        joint.low, joint.high = (min(joint.low, low), max(joint.high, high)) if np.isfinite(joint.low) else (low, high)


def _shift(link: Link, joint: Joint, offset: float) -> None:
    """Makes the joint's angle `offset` its new zero."""
    if joint.kind == "slide":
        link.pos = link.pos + link.turn @ (offset * joint.axis)
    else:
        bend = about(joint.axis, offset)
        link.pos = link.pos + link.turn @ (joint.anchor - bend @ joint.anchor)
        link.turn = link.turn @ bend
    joint.low, joint.high = joint.low - offset, joint.high - offset
