"""Writes the completed hand: a floating base, contact bits, drives with gains that settle, tendons for coupled joints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple
from xml.etree import ElementTree

import mujoco
import numpy as np

from tasks.hands.errors import HandError
from tasks.hands.reading.notes import Notes
from tasks.hands.reading.propose import tip_place
from tasks.hands.reading.simplify import Hand
from tasks.hands.reading.tree import Joint, Link, Shape, to_quat
from tasks.xml_layout import indent

EFFORT = {"hinge": 0.8, "slide": 20.0}
"""N m and N, at least, of drives whose limit the file does not say.  A drive of heavy links gets what moves them."""
ARMATURE = {"hinge": 0.002, "slide": 0.05}
"""kg m^2 and kg, at least: with less, coarse steps of the physics are unstable."""
SLOWEST, FASTEST = 26.0, 40.0
"""rad/s, natural frequencies between which a drive's gain is chosen: a step then settles in 0.1 to 0.3 s."""
DAMPING_TIME = 0.067
"""s, least damping over stiffness."""
BASE = ("base_x", "base_y", "base_z", "base_rx", "base_ry", "base_rz")
PALM_SITE = "palm_frame"


@dataclass(frozen=True)
class Completed:
    """An MJCF text, and the names in it."""

    text: str
    palm: str
    fingertip_bodies: Tuple[str, ...]
    fingertip_sites: Tuple[str, ...]
    efforts: Dict[str, float]
    guessed: Tuple[str, ...]
    """Drives whose effort the file does not say."""


def complete(name: str, hand: Hand, notes: Notes) -> Completed:
    """Moves the hand's tree into the palm's frame, chooses gains, and writes the MJCF.

    Raises HandError if the notes do not fit the hand.
    """
    tree = hand.tree
    pos, turn = palm_frame(hand, notes)
    _to_palm(tree.links, pos, turn)
    taken = [b for b in BASE if b in tree.joints()]
    if taken:
        raise HandError(f"joint {taken[0]!r} has a name of the base that the program adds: give it another")
    tips = [tip_place(hand, tip) for tip in notes.fingertips.values()]
    joints = [tree.joints()[name] for name in hand.driven]
    efforts = {j.name: j.effort for j in joints if j.effort}
    for joint in tree.joints().values():
        joint.armature = max(joint.armature, ARMATURE[joint.kind])
    plain = _write(name, hand, tips, {}, {})
    gains, base = _gains(mujoco.MjModel.from_xml_string(plain), hand, efforts)
    return Completed(
        text=_write(name, hand, tips, gains, base, efforts),
        palm=tree.links[0].name,
        fingertip_bodies=tuple(tree.links[link].name for link, _ in tips),
        fingertip_sites=tuple(f"tip_{i}" for i in range(len(tips))),
        efforts=efforts,
        guessed=tuple(j.name for j in joints if not j.effort),
    )


def palm_frame(hand: Hand, notes: Notes) -> Tuple[np.ndarray, np.ndarray]:
    """Origin (3,) and axes (3, 3) of the palm's frame in its link: x to the fingers, z out of the back."""
    if notes.palm not in hand.places or hand.places[notes.palm][0] != 0:
        raise HandError(f"palm body {notes.palm!r} is not the link that all fingers hang on")
    _, pos, turn = hand.places[notes.palm]
    normal, along = turn @ np.array(notes.normal), turn @ np.array(notes.fingers)
    if np.linalg.norm(np.cross(normal, along)) < 1e-3:
        raise HandError("palm.normal and palm.fingers must not be parallel, nor 0")
    z = -normal / np.linalg.norm(normal)
    x = along - (along @ z) * z
    x = x / np.linalg.norm(x)
    return pos + turn @ np.array(notes.origin), np.stack([x, np.cross(z, x), z], axis=1)


def _to_palm(links: List[Link], pos: np.ndarray, turn: np.ndarray) -> None:
    """Moves link 0's frame into (pos, turn)."""
    palm = links[0]
    palm.com, palm.inertia = turn.T @ (palm.com - pos), turn.T @ palm.inertia @ turn
    for shape in palm.shapes:
        shape.pos, shape.turn, shape.points = (
            turn.T @ (shape.pos - pos),
            turn.T @ shape.turn,
            (shape.points - pos) @ turn,
        )
    for link in links[1:]:
        if link.parent == 0:
            link.pos, link.turn = turn.T @ (link.pos - pos), turn.T @ link.turn


def _gains(
    model: mujoco.MjModel, hand: Hand, efforts: Dict[str, float]
) -> Tuple[Dict[str, Tuple[float, float]], Dict[str, float]]:
    """({drive: (kp, kv)}, factors of the base's gains) from the inertias that the drives move.  Fills in missing efforts."""
    inertia = np.zeros(model.nv)
    for share in (0.0, 0.5):
        data = mujoco.MjData(model)
        for name, joint in hand.tree.joints().items():
            start = float(np.clip(0.0, joint.low, joint.high))
            data.joint(name).qpos[0] = start + share * (joint.high - start)
        mujoco.mj_forward(model, data)
        inertia = np.maximum(inertia, _moved_inertia(model, data))
    gains = {}
    for name in hand.driven:
        joint = hand.tree.joints()[name]
        moved = float(inertia[model.joint(name).dofadr[0]])
        for follower, coupling in hand.tree.couplings.items():
            if coupling.source == name:
                moved += coupling.ratio**2 * float(inertia[model.joint(follower).dofadr[0]])
        step = 0.4 * (joint.high - joint.low)
        efforts.setdefault(name, round(max(EFFORT[joint.kind], moved * SLOWEST**2 * step), 3))
        wanted = efforts[name] / step
        kp = float(np.clip(wanted, moved * SLOWEST**2, moved * FASTEST**2))
        gains[name] = kp, max(2 * np.sqrt(kp * moved), DAMPING_TIME * kp)
    mass = float(model.body_subtreemass[1])
    return gains, {"slide": max(mass, 0.7), "hinge": max(1.0, float(inertia[3:6].max()) / 0.02)}


def _moved_inertia(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """(nv,) the inertia that each joint moves, if the others stand still: the diagonal of the mass matrix."""
    column, diagonal = np.zeros(model.nv), np.zeros(model.nv)
    for k, unit in enumerate(np.eye(model.nv)):
        mujoco.mj_mulM(model, data, column, unit)
        diagonal[k] = column[k]
    return diagonal


def _write(
    name: str,
    hand: Hand,
    tips: Sequence[Tuple[int, np.ndarray]],
    gains: Dict[str, Tuple[float, float]],
    base: Dict[str, float],
    efforts: Dict[str, float] | None = None,
) -> str:
    """The MJCF.  Without gains it has neither drives nor tendons: its inertias are what gains are chosen by."""
    slide, hinge = base.get("slide", 1.0), base.get("hinge", 1.0)
    root = ElementTree.Element("mujoco", model=name)
    _add(root, "compiler", angle="radian", autolimits="false")
    assets = _add(root, "asset")
    elements: List[ElementTree.Element] = [_add(root, "worldbody")]
    tree = hand.tree
    for number, link in enumerate(tree.links):
        parent = elements[0] if link.parent < 0 else elements[link.parent + 1]
        body = _add(parent, "body", name=link.name, gravcomp="1")
        if number:
            body.set("pos", text(link.pos))
            body.set("quat", text(to_quat(link.turn)))
        values, axes = np.linalg.eigh(link.inertia)
        axes = axes * np.sign(np.linalg.det(axes))
        _add(
            body,
            "inertial",
            mass=text(link.mass),
            pos=text(link.com),
            quat=text(to_quat(axes)),
            diaginertia=text(values),
        )
        if not number:
            for k, base_joint in enumerate(BASE):
                attributes = {"axis": text(np.eye(3)[k % 3]), "limited": "true", "type": "slide" if k < 3 else "hinge"}
                span = ("0 1.2" if k == 2 else "-1 1") if k < 3 else "-3.1 3.1"
                _add(
                    body,
                    "joint",
                    name=base_joint,
                    range=span,
                    armature=text(0.0 if k < 3 else 0.01 * hinge),
                    **attributes,
                )
            _add(body, "site", name=PALM_SITE, size="0.004", group="4")
        for joint in link.joints:
            _joint(body, joint, joint.name in tree.couplings)
        is_tip = any(link_of == number for link_of, _ in tips)
        for k, shape in enumerate(link.shapes):
            _geom(
                body,
                assets,
                shape,
                f"{link.name}_{k}",
                (0.93, 0.45, 0.2) if is_tip else (0.7, 0.69, 0.66) if not number else (0.3, 0.33, 0.38),
            )
        for tip, (link_of, at) in enumerate(tips):
            if link_of == number:
                quat = text(to_quat(_tip_turn(link, at)))
                _add(body, "site", name=f"tip_{tip}", pos=text(at), quat=quat, size="0.004", group="4")
        elements.append(body)
    if gains:
        _drives(root, hand, gains, slide, hinge, efforts or {})
    indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, attributes)


def _joint(body: ElementTree.Element, joint: Joint, coupled: bool) -> None:
    _add(
        body, "joint", name=joint.name, type=joint.kind, axis=text(joint.axis), pos=text(joint.anchor), limited="true",
        range=text([joint.low, joint.high]), armature=text(joint.armature), damping="0.01" if coupled else "0",
    )  # fmt: skip


def _geom(
    body: ElementTree.Element, assets: ElementTree.Element, shape: Shape, name: str, colour: Tuple[float, float, float]
) -> None:
    common = {
        "name": name, "contype": "1", "conaffinity": "2", "condim": "4", "friction": "1 0.005 0.0001",
        "rgba": text([*colour, 1.0]),
    }  # fmt: skip
    if shape.kind == "hull":
        # The MuJoCo of Python 3.8 has no such attribute.  There a mesh's inertia is that of its hull's triangles, as here.
        inertia = {"inertia": "convex"} if hasattr(mujoco, "mjtMeshInertia") else {}
        _add(assets, "mesh", name=name, vertex=text(shape.points), maxhullvert="48", **inertia)
        _add(body, "geom", type="mesh", mesh=name, **common)
    else:
        size = text(shape.size)
        _add(body, "geom", type=shape.kind, size=size, pos=text(shape.pos), quat=text(to_quat(shape.turn)), **common)


def _tip_turn(link: Link, at: np.ndarray) -> np.ndarray:
    """x along the finger, z out of the nail's side: the finger bends about y."""
    joint = link.joints[-1]
    x = at - joint.anchor
    x = x / np.linalg.norm(x) if np.linalg.norm(x) > 1e-6 else np.array([1.0, 0, 0])
    y = joint.axis * (1.0 if joint.high >= -joint.low else -1.0)
    if joint.kind == "slide":
        y = np.cross(joint.axis, x)
    y = y - (y @ x) * x
    if np.linalg.norm(y) < 1e-3:
        y = np.cross(x, np.eye(3)[int(np.abs(x).argmin())])
    y = y / np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def _drives(
    root: ElementTree.Element, hand: Hand, gains: Dict[str, Tuple[float, float]], slide: float, hinge: float,
    efforts: Dict[str, float],
) -> None:  # fmt: skip
    joints = hand.tree.joints()
    if hand.tree.couplings:
        tendons = _add(root, "tendon")
        for name, coupling in hand.tree.couplings.items():
            fixed = _add(
                tendons, "fixed", name=f"couple_{name}", limited="true", range="-0.005 0.005", solreflimit="0.01 1",
                solimplimit="0.95 0.99 0.001 0.5 2",
            )  # fmt: skip
            _add(fixed, "joint", joint=name, coef="1")
            _add(fixed, "joint", joint=coupling.source, coef=text(-coupling.ratio))
    actuators = _add(root, "actuator")
    limited = {"ctrllimited": "true", "forcelimited": "true"}
    for k, name in enumerate(BASE):
        kp, kv, force = (400 * slide, 30 * slide, 100 * slide) if k < 3 else (20 * hinge, hinge, 10 * hinge)
        span = ("0 1.2" if k == 2 else "-1 1") if k < 3 else "-3.1 3.1"
        _add(
            actuators, "position", name=name, joint=name, kp=text(kp), kv=text(kv), ctrlrange=span,
            forcerange=text([-force, force]), **limited,
        )  # fmt: skip
    for name in hand.driven:
        kp, kv = gains[name]
        _add(
            actuators, "position", name=name, joint=name, kp=text(round(kp, 4)), kv=text(round(kv, 5)),
            ctrlrange=text([joints[name].low, joints[name].high]), forcerange=text([-efforts[name], efforts[name]]),
            **limited,
        )  # fmt: skip


def text(values: Sequence[float] | np.ndarray | float) -> str:
    """Numbers as MJCF has them."""
    return " ".join(f"{value:.7g}" for value in np.atleast_1d(np.asarray(values, dtype=float)).ravel() + 0.0)
