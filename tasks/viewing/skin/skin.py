"""The parts of a hand's skin: shells around the links, balls in the joints, and pads on the fingertips."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import mujoco
import numpy as np

from tasks.hands.spec import HandSpec
from tasks.viewing.skin.solids import Ball, Solid, box, geom_solid, inside, union, without
from tasks.viewing.skin.surface import mesh

CELL = 0.0024
"""m, size of the triangles of links; wide ones have larger."""
CELLS_ACROSS = 8
"""Half a thick link is cut into no more cells than this, and half a thin one into three at least."""
BLEND = 0.012
"""m, over how much shapes of one link flow into each other."""
BALL, GAP, BITE = 0.95, 0.75, 1.4
"""A joint is a ball of this share of the link's thickness.  Shells end GAP radii from its middle, at a ball of BITE radii more."""
ROUNDING, SEAM = 0.0025, 0.0008
"""m, over which the ends of shells are rounded, and width of the seam between a shell and a fingertip's pad."""
PAD = 1.9
"""The pad reaches so many radii of the fingertip's end from the fingertip's frame."""
LEAST_DEPTH = 0.003
"""m.  Joints that are not as far inside their link are not shown."""
FEWEST_POINTS = 100
"""Of a part.  What is left of a short link between two joints may have fewer, and nobody sees it."""
HARDLY = 0.95
"""rad, the range of a joint that hardly turns."""
CUFF_LENGTH = 0.022
"""m, half of it."""
COLOURS: Dict[str, Tuple[float, float, float]] = {
    "palm": (0.25, 0.27, 0.30),
    "link": (0.84, 0.84, 0.82),
    "joint": (0.15, 0.16, 0.18),
    "tip": (0.95, 0.42, 0.13),
}
"""By what a part is of."""


@dataclass(frozen=True)
class SkinPart:
    """A mesh that moves with a body of the hand."""

    body: str
    kind: str
    """A key of COLOURS."""
    points: np.ndarray
    """(V, 3) m, in the body's frame."""
    normals: np.ndarray
    """(V, 3) outward."""
    faces: np.ndarray
    """(T, 3)"""

    @property
    def colour(self) -> Tuple[float, float, float]:
        """Red, green and blue, 0 to 1."""
        return COLOURS[self.kind]


def hand_skin(hand: HandSpec) -> Tuple[SkinPart, ...]:
    """The skin of a hand.  It takes a second, and is kept."""
    tips = tuple(zip(hand.fingertip_bodies, hand.fingertip_sites, hand.fingertip_radius))
    return _skin(hand.mjcf, hand.palm_body, tips)


@lru_cache(maxsize=4)
def _skin(mjcf: Path, palm: str, tips: Tuple[Tuple[str, str, float], ...]) -> Tuple[SkinPart, ...]:
    model = mujoco.MjModel.from_xml_path(str(mjcf))
    links = {body: link for body in range(1, model.nbody) for link in [_link(model, body)] if link is not None}
    pads = {body: Ball(model.site(site).pos.copy(), PAD * radius) for body, site, radius in tips}
    parts: List[SkinPart] = []
    for body, link in links.items():
        name, own = model.body(body).name, _joint(model, body, links)
        joints = [own] if own is not None else []
        for child in links:
            joint = _joint(model, child, links)
            if int(model.body_parentid[child]) == body and joint is not None:
                joints.append(_in_parent(model, child, joint))
        kind = "palm" if name == palm or _hardly_turns(model, body) else "link"
        shells = _shells(name, kind, without(link, [_bite(j, link) for j in joints], ROUNDING), pads.get(name))
        parts += shells or [_part(name, kind, link)]
        if own is not None:
            parts.append(_part(name, "joint", own.solid()))
        if name == palm:
            parts.append(_part(name, "joint", _cuff(link)))
    return tuple(parts)


def _shells(name: str, kind: str, shell: Solid, pad: Optional[Ball]) -> List[SkinPart]:
    """A shell, or a shell and a pad; without what is too small to be seen."""
    found = [_part(name, kind, shell)]
    if pad is not None:
        rest = without(shell, [Ball(pad.place, pad.radius + SEAM)], ROUNDING)
        found = [_part(name, "tip", inside(shell, pad, ROUNDING)), _part(name, kind, rest)]
    return [part for part in found if len(part.points) >= FEWEST_POINTS]


def _link(model: mujoco.MjModel, body: int) -> Optional[Solid]:
    """All that a body collides as."""
    geoms = range(int(model.body_geomadr[body]), int(model.body_geomadr[body]) + int(model.body_geomnum[body]))
    solids = [geom_solid(model, g) for g in geoms if model.geom_contype[g] or model.geom_conaffinity[g]]
    return union(solids, BLEND) if solids else None


def _joint(model: mujoco.MjModel, body: int, links: Dict[int, Solid]) -> Optional[Ball]:
    """The ball at a body's last hinge, in its own frame; None if that is not inside it, or if it has no link before it."""
    first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
    hinges = [j for j in range(first, first + count) if model.jnt_type[j] == int(mujoco.mjtJoint.mjJNT_HINGE)]
    if not hinges or int(model.body_parentid[body]) not in links:
        return None
    place = model.jnt_pos[hinges[-1]].copy()
    depth = -float(links[body].distance(place[None])[0])
    return Ball(place, BALL * depth) if depth > LEAST_DEPTH else None


def _bite(joint: Ball, link: Solid) -> Ball:
    """What a joint takes away of a link: a large ball beyond it, so that the link's end is almost flat."""
    outward = joint.place - (link.low + link.high) / 2
    outward = outward / (np.linalg.norm(outward) + 1e-9)
    return Ball(joint.place + BITE * joint.radius * outward, (BITE + GAP) * joint.radius)


def _hardly_turns(model: mujoco.MjModel, body: int) -> bool:
    """Whether a link looks like a part of what it is attached to, as the metacarpal of a little finger does."""
    first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
    ranges = model.jnt_range[first : first + count]
    return count > 0 and float(np.ptp(ranges, axis=1).max()) < HARDLY


def _in_parent(model: mujoco.MjModel, body: int, joint: Ball) -> Ball:
    """A body's joint in the frame of the body before it."""
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.body_quat[body])
    return Ball(model.body_pos[body] + turn.reshape(3, 3) @ joint.place, joint.radius)


def _cuff(palm: Solid) -> Solid:
    """A wrist: a short sleeve at the end of the palm that is away from the fingers.  Physics has none."""
    half = (palm.high - palm.low) / 2
    centre = np.array([palm.low[0], (palm.low[1] + palm.high[1]) / 2, (palm.low[2] + palm.high[2]) / 2])
    size = np.array([CUFF_LENGTH, 0.62 * half[1], 0.72 * half[2]])
    edge = 0.9 * float(size.min())
    return Solid(lambda p: box(p - centre, size, edge), centre - size, centre + size, float(size.min()))


def _part(body: str, kind: str, solid: Solid) -> SkinPart:
    points, normals, faces = mesh(solid, min(max(CELL, solid.thickness / CELLS_ACROSS), solid.thickness / 3))
    return SkinPart(body, kind, points, normals, faces)
