"""Reads a URDF into a tree, with errors that name the link or joint."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple
from xml.etree import ElementTree

import numpy as np

from tasks.hands.errors import HandError
from tasks.hands.reading import meshes
from tasks.hands.reading.tree import Coupling, Joint, Link, Shape, Tree, about, make_shapes

KINDS = {"revolute": "hinge", "continuous": "hinge", "prismatic": "slide"}


def read_urdf(path: Path, root: ElementTree.Element) -> Tree:
    """The tree of a URDF.  Raises HandError."""
    elements = {element.get("name", ""): element for element in root.findall("link")}
    above: Dict[str, ElementTree.Element] = {}
    for joint in root.findall("joint"):
        name = joint.get("name", "")
        parent, child = (_end(joint, tag, name) for tag in ("parent", "child"))
        for end in (parent, child):
            if end not in elements:
                raise HandError(f"joint {name!r}: there is no link {end!r}")
        if child in above:
            raise HandError(
                f"link {child!r} hangs on two joints, {above[child].get('name')!r} and {name!r}: a hand must be a tree"
            )
        above[child] = joint
    tops = [name for name in elements if name not in above]
    if not elements or not tops:
        raise HandError("its links form a cycle: a hand must be a tree" if elements else "it has no links")
    if len(tops) > 1:
        raise HandError(f"links {tops[0]!r} and {tops[1]!r} are not connected: a hand must be one tree")
    order = [tops[0]]
    for name in order:
        order += [child for child, joint in above.items() if _end(joint, "parent", "") == name]
    lost = [name for name in elements if name not in order]
    if lost:
        raise HandError(f"link {lost[0]!r} is in a cycle of joints: a hand must be a tree")
    tree = Tree([])
    for name in order:
        link = _link(path, name, elements[name], above.get(name), order)
        tree.links.append(link)
        mimic = above[name].find("mimic") if name in above else None
        if mimic is not None and link.joints:
            coupling = Coupling(
                mimic.get("joint", ""), float(mimic.get("multiplier", "1")), float(mimic.get("offset", "0"))
            )
            tree.couplings[link.joints[0].name] = coupling
    return tree


def _end(joint: ElementTree.Element, tag: str, name: str) -> str:
    element = joint.find(tag)
    if element is None or not element.get("link"):
        raise HandError(f"joint {name!r} has no <{tag} link=...>")
    return str(element.get("link"))


def _link(
    path: Path, name: str, element: ElementTree.Element, joint: Optional[ElementTree.Element], order: Sequence[str]
) -> Link:
    pos, turn, joints, parent = np.zeros(3), np.eye(3), [], -1
    if joint is not None:
        pos, turn = _origin(joint, f"joint {joint.get('name')!r}")
        parent = order.index(_end(joint, "parent", ""))
        joints = _joint(joint)
    link = Link(name, parent, pos, turn, joints)
    inertial = element.find("inertial")
    if inertial is not None:
        _inertial(link, inertial)
    else:
        link.mass = float("nan")
    solids = element.findall("collision") or element.findall("visual")
    for number, solid in enumerate(solids):
        link.shapes += _shapes(path, solid, f"link {name!r}, {solid.tag} {number + 1}")
    return link


def _joint(element: ElementTree.Element) -> List[Joint]:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind == "fixed":
        return []
    if kind not in KINDS:
        raise HandError(
            f"joint {name!r} is {kind or 'of no type'}: only revolute, prismatic and fixed joints can be driven"
        )
    limit, axis = element.find("limit"), element.find("axis")
    if limit is None or limit.get("lower") is None or limit.get("upper") is None or kind == "continuous":
        raise HandError(f"joint {name!r} has no limits: give it <limit lower=... upper=... effort=...>, rad or m")
    direction = (
        _numbers(axis.get("xyz", "1 0 0"), 3, f"joint {name!r}, axis") if axis is not None else np.array([1.0, 0, 0])
    )
    if not np.linalg.norm(direction) > 0:
        raise HandError(f"joint {name!r} has the axis 0 0 0")
    low, high = (float(_numbers(limit.get(key, ""), 1, f"joint {name!r}, {key}")[0]) for key in ("lower", "upper"))
    effort = float(limit.get("effort", "0") or 0)
    return [
        Joint(
            name,
            KINDS[kind],
            direction / np.linalg.norm(direction),
            np.zeros(3),
            low,
            high,
            effort if effort > 0 else None,
        )
    ]


def _inertial(link: Link, element: ElementTree.Element) -> None:
    what = f"link {link.name!r}, inertial"
    mass, inertia = element.find("mass"), element.find("inertia")
    if mass is not None:
        link.mass = float(_numbers(mass.get("value", "0"), 1, what)[0])
    if link.mass < 0:
        raise HandError(f"{what}: the mass is {link.mass:g} kg")
    link.com, turn = _origin(element, what)
    if inertia is not None:
        xx, yy, zz, xy, xz, yz = (float(inertia.get(k, "0")) for k in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz"))
        link.inertia = turn @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ turn.T


def _shapes(path: Path, solid: ElementTree.Element, what: str) -> List[Shape]:
    pos, turn = _origin(solid, what)
    geometry = solid.find("geometry")
    form = geometry[0] if geometry is not None and len(geometry) else None
    if form is None:
        raise HandError(f"{what}: has no geometry")
    if form.tag == "box":
        return make_shapes("box", _numbers(form.get("size", ""), 3, what) / 2, pos, turn)
    if form.tag == "sphere":
        return make_shapes("sphere", _numbers(form.get("radius", ""), 1, what), pos, turn)
    if form.tag in ("cylinder", "capsule"):
        radius, length = (float(_numbers(form.get(k, ""), 1, what)[0]) for k in ("radius", "length"))
        return make_shapes(form.tag, np.array([radius, length / 2]), pos, turn)
    if form.tag != "mesh":
        raise HandError(f"{what}: geometry {form.tag!r} is not known")
    scale = _numbers(form.get("scale", "1 1 1"), 3, what)
    return meshes.load(find_mesh(path, form.get("filename", ""), what), scale, pos, turn, what)


def find_mesh(path: Path, filename: str, what: str) -> Path:
    """The file that a mesh element names: relative to the URDF, or for package:// to a folder above it."""
    name = filename
    for start in ("package://", "model://", "file://"):
        name = name[len(start) :] if name.startswith(start) else name
    candidates = [Path(name)]
    if filename.startswith(("package", "model")):  # the first folder is the package's, which may have another name here
        candidates.append(Path(*candidates[0].parts[1:]))
    folders = [path.parent, *path.resolve().parents]
    for candidate in candidates:
        for folder in folders[:6]:
            if (folder / candidate).is_file():
                return folder / candidate
    raise HandError(f"{what}: the mesh {filename!r} is missing: put it beside {path.name}, or correct its name")


def _origin(element: ElementTree.Element, what: str) -> Tuple[np.ndarray, np.ndarray]:
    origin = element.find("origin")
    if origin is None:
        return np.zeros(3), np.eye(3)
    roll, pitch, yaw = _numbers(origin.get("rpy", "0 0 0"), 3, what)
    x, y, z = np.eye(3)
    return _numbers(origin.get("xyz", "0 0 0"), 3, what), about(z, yaw) @ about(y, pitch) @ about(x, roll)


def _numbers(text: str, count: int, what: str) -> np.ndarray:
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.zeros(0)
    if len(values) != count or not np.isfinite(values).all():
        raise HandError(f"{what}: {text!r} should be {count} number{'s' if count > 1 else ''}")
    return values
