"""Writes what Isaac Gym reads: the hand as a flat MJCF, and objects as URDFs.

Isaac Gym's MJCF importer drops or misreads parts of MJCF (docs/isaac_gym.md).  So MuJoCo compiles the hand's file, and it is
written anew with only what the importer is known to read: one body under the world, which is a fixed mount without joints;
one joint a body; explicit inertials, ranges and sizes; colliding geoms; fixed tendons.  There are no defaults, actuators,
sites or options.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Dict, List, Sequence, Tuple
from xml.etree import ElementTree

import mujoco
import numpy as np

from tasks.objects.geometry import convex_hull
from tasks.objects.model import ObjectModel
from tasks.simulators.errors import SimulatorError
from tasks.simulators.flat_hand import MOUNT, Link, flatten
from tasks.xml_layout import indent


def flat_hand(model: mujoco.MjModel) -> str:
    """The hand's compiled model as an MJCF text that Isaac Gym's importer can read.  Names, masses and frames are kept.

    Raises SimulatorError for what cannot be written so.
    """
    root = ElementTree.Element("mujoco", model="hand")
    ElementTree.SubElement(root, "compiler", angle="radian", inertiafromgeom="false")
    world = ElementTree.SubElement(root, "worldbody")
    mount = ElementTree.SubElement(world, "body", name=MOUNT, pos="0 0 0")
    ElementTree.SubElement(mount, "inertial", mass="1", pos="0 0 0", diaginertia="0.01 0.01 0.01")
    elements: List[ElementTree.Element] = []
    for link in flatten(model):
        elements.append(_flat_link(link, mount if link.parent < 0 else elements[link.parent]))
    if model.ntendon:
        _flat_tendons(model, ElementTree.SubElement(root, "tendon"))
    indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _flat_link(link: Link, parent: ElementTree.Element) -> ElementTree.Element:
    if not np.allclose(link.inertia_quat, [1.0, 0.0, 0.0, 0.0], atol=1e-6):
        raise SimulatorError(
            f"body {link.name!r}: Isaac Gym reads no turned inertia; give <inertial> a diaginertia along the body's axes"
        )
    body = ElementTree.SubElement(parent, "body", name=link.name, pos=_text(link.pos), quat=_text(link.quat))
    ElementTree.SubElement(
        body, "inertial", mass=_text([link.mass]), pos=_text(link.com), diaginertia=_text(link.inertia)
    )
    if link.joint is not None:
        joint = link.joint
        ElementTree.SubElement(
            body,
            "joint",
            name=joint.name,
            type=joint.kind,
            axis=_text(joint.axis),
            pos=_text(joint.anchor),
            limited="true",
            range=_text(joint.range),
            armature=_text(joint.armature),
            damping=_text(joint.damping),
        )
    for shape in link.shapes:
        ElementTree.SubElement(
            body,
            "geom",
            name=shape.name,
            type=shape.kind,
            size=_text(shape.size),
            pos=_text(shape.pos),
            quat=_text(shape.quat),
        )
    return body


def _flat_tendons(model: mujoco.MjModel, parent: ElementTree.Element) -> None:
    for tendon in range(model.ntendon):
        fixed = ElementTree.SubElement(
            parent, "fixed", name=model.tendon(tendon).name, limited="true", range=_text(model.tendon_range[tendon])
        )
        for wrap in range(int(model.tendon_adr[tendon]), int(model.tendon_adr[tendon] + model.tendon_num[tendon])):
            joint = model.joint(int(model.wrap_objid[wrap])).name
            ElementTree.SubElement(fixed, "joint", joint=joint, coef=_text(model.wrap_prm[wrap]))


def object_urdf(item: ObjectModel) -> Tuple[str, List[str]]:
    """(URDF text, OBJ text of each part): one link in the object's frame, one convex collision mesh `part_i.obj` a part."""
    robot = ElementTree.Element("robot", name="object")
    link = ElementTree.SubElement(robot, "link", name="object")
    inertial = ElementTree.SubElement(link, "inertial")
    ElementTree.SubElement(inertial, "origin", xyz=_text(item.com), rpy="0 0 0")
    ElementTree.SubElement(inertial, "mass", value=_text(item.mass))
    i = np.asarray(item.inertia, dtype=float)
    ElementTree.SubElement(
        inertial,
        "inertia",
        ixx=_text(i[0, 0]),
        ixy=_text(i[0, 1]),
        ixz=_text(i[0, 2]),
        iyy=_text(i[1, 1]),
        iyz=_text(i[1, 2]),
        izz=_text(i[2, 2]),
    )
    meshes = []
    for index, vertices in enumerate(item.parts):
        meshes.append(_obj_text(np.asarray(vertices, dtype=float)))
        element = ElementTree.SubElement(link, "collision")
        ElementTree.SubElement(element, "origin", xyz="0 0 0", rpy="0 0 0")
        ElementTree.SubElement(ElementTree.SubElement(element, "geometry"), "mesh", filename=f"part_{index}.obj")
    indent(robot)
    return ElementTree.tostring(robot, encoding="unicode") + "\n", meshes


def write_hand(model: mujoco.MjModel, cache: Path) -> Path:
    """Writes the flat hand into a folder of its own under `cache`, and returns its path.  The same hand has the same path."""
    return _write(cache, "hand", {"hand.xml": flat_hand(model)}) / "hand.xml"


def write_object(item: ObjectModel, cache: Path) -> Path:
    """Writes an object's URDF and meshes into a folder of its own under `cache`, and returns the URDF's path."""
    urdf, meshes = object_urdf(item)
    files = {"object.urdf": urdf, **{f"part_{index}.obj": text for index, text in enumerate(meshes)}}
    return _write(cache, "object", files) / "object.urdf"


def default_cache() -> Path:
    """The folder for generated assets if the settings name none."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ppo_grasp" / "isaac_gym"


def _write(cache: Path, kind: str, files: Dict[str, str]) -> Path:
    """Writes files into a folder that is named by their content.  Each file appears whole, so that processes that start at
    the same time do not disturb each other.
    """
    digest = hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in files.items()).encode()).hexdigest()[:16]
    folder = cache / f"{kind}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            target = folder / name
            if not target.exists():
                partial = folder / f"{name}.{os.getpid()}"
                partial.write_text(text)
                partial.replace(target)
    except OSError as cause:
        raise SimulatorError(f"cannot write assets for Isaac Gym to {folder}: {cause.strerror}") from cause
    return folder


def _obj_text(vertices: np.ndarray) -> str:
    hull = convex_hull(vertices)
    lines = [f"v {_text(vertex)}" for vertex in hull.vertices]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in hull.triangles]
    return "\n".join(lines) + "\n"


def _text(values: Sequence[float] | np.ndarray | float) -> str:
    return " ".join(f"{value:.9g}" for value in np.atleast_1d(np.asarray(values, dtype=float)))
