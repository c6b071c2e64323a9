"""Assets of the double: what its importer accepts, and what it makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Tuple
from xml.etree import ElementTree

import mujoco
import numpy as np

from isaacgym._control import RefusedError
from isaacgym._types import DOF_DTYPE, Mat33, RigidBodyProperties, RigidShapeProperties, TendonProperties, Vec3


@dataclass
class AssetData:
    """One asset.  Its joints and links are not in the file's order, because an importer may choose another."""

    options: Any
    body: ElementTree.Element
    """The root link as MJCF."""
    meshes: Dict[str, str] = field(default_factory=dict)
    tendons: List[ElementTree.Element] = field(default_factory=list)
    free: bool = True
    body_names: List[str] = field(default_factory=list)
    dof_names: List[str] = field(default_factory=list)
    body_props: List[Any] = field(default_factory=list)
    shape_bodies: List[int] = field(default_factory=list)
    """For each shape the number of its body."""
    shape_props: List[Any] = field(default_factory=list)
    tendon_props: List[Any] = field(default_factory=list)
    dof_props: np.ndarray = field(default_factory=lambda: np.zeros(0, DOF_DTYPE))
    sensors: List[Tuple[int, Any]] = field(default_factory=list)
    used: bool = False


def load(path: Path, options: Any) -> AssetData:
    """Loads an MJCF or a URDF, which its ending tells."""
    root = ElementTree.fromstring(path.read_text())
    if path.suffix == ".urdf":
        asset = _from_urdf(root, path, options)
    else:
        lint_mjcf(root)
        asset = AssetData(options, root.find("worldbody/body"), tendons=list(root.findall("tendon/fixed")))
        asset.free = not options.fix_base_link
    return finish(asset)


def primitive(kind: str, size: List[float], volume: float, options: Any) -> AssetData:
    """A box or a sphere, with the density of the options."""
    mass = volume * options.density
    body = ElementTree.Element("body", name=kind)
    inertia = mass * 0.4 * size[0] ** 2
    ElementTree.SubElement(body, "inertial", pos="0 0 0", mass=str(mass), diaginertia=f"{inertia} {inertia} {inertia}")
    ElementTree.SubElement(body, "geom", type=kind, size=" ".join(map(str, size)))
    return finish(AssetData(options, body, free=not options.fix_base_link))


def lint_mjcf(root: ElementTree.Element) -> None:
    """T23: refuses what the importer is known to drop or misread, and what it hangs or crashes on."""
    worldbody = root.find("worldbody")
    if worldbody is None or len(worldbody) != 1 or worldbody[0].tag != "body":
        raise RefusedError("T23", "the world must have exactly one child, a body")
    for tag in ("general", "equality", "include", "sensor", "keyframe", "default", "freejoint"):
        if next(root.iter(tag), None) is not None:
            raise RefusedError("T23", f"<{tag}> is dropped, misread or worse")
    for body in worldbody.iter("body"):
        if body.find("inertial") is None:
            raise RefusedError("T23", f"body {body.get('name')!r} has no <inertial>; masses of geoms are ignored")
        if body.find("inertial").get("quat") is not None:
            raise RefusedError("T23", f"body {body.get('name')!r} has a turned <inertial>; its quat is not read")
        for joint in body.findall("joint"):
            if joint.get("limited") != "true" or joint.get("range") is None:
                raise RefusedError("T23", f"joint {joint.get('name')!r} does not say limited and range")
            if joint.get("type", "hinge") not in ("hinge", "slide"):
                raise RefusedError("T23", f"joint {joint.get('name')!r} is a {joint.get('type')}")


def _from_urdf(root: ElementTree.Element, path: Path, options: Any) -> AssetData:
    links = root.findall("link")
    if root.tag != "robot" or len(links) != 1:
        raise NotImplementedError("the double reads URDFs of one link")
    link = links[0]
    body, meshes = ElementTree.Element("body", name=link.get("name", "")), {}
    inertial = link.find("inertial")
    if inertial is None:
        raise RefusedError("T23", "the link has no <inertial>")
    i = inertial.find("inertia").attrib
    ElementTree.SubElement(
        body,
        "inertial",
        pos=inertial.find("origin").get("xyz"),
        mass=inertial.find("mass").get("value"),
        fullinertia=" ".join(i[k] for k in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")),
    )
    for index, collision in enumerate(link.findall("collision")):
        file = path.parent / collision.find("geometry/mesh").get("filename")
        if not file.is_file() or file.suffix != ".obj":
            raise RefusedError("T28", f"there is no mesh {file}")
        if any(word.startswith(("o ", "g ")) for word in file.read_text().splitlines()):
            raise RefusedError("T23", "one file of several groups is one hull unless it is told otherwise")
        meshes[f"mesh{index}"] = str(file)
        ElementTree.SubElement(body, "geom", type="mesh", mesh=f"mesh{index}")
    return AssetData(options, body, meshes, free=not options.fix_base_link)


def finish(asset: AssetData) -> AssetData:
    """Reads names, orders and properties from the asset as MuJoCo compiles it alone."""
    root = ElementTree.Element("mujoco")
    ElementTree.SubElement(root, "compiler", angle="radian")
    assets = ElementTree.SubElement(root, "asset")
    for name, file in asset.meshes.items():
        ElementTree.SubElement(assets, "mesh", name=name, file=file)
    ElementTree.SubElement(root, "worldbody").append(asset.body)
    model = mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))
    bodies = [model.body(i).name for i in range(1, model.nbody)]
    asset.body_names = bodies[:1] + _shuffled(bodies[1:])
    asset.dof_names = _shuffled([model.joint(i).name for i in range(model.njnt)])
    for number, name in enumerate(asset.body_names):
        body = model.body(name).id
        props = RigidBodyProperties()
        props.mass, props.com = float(model.body_mass[body]), Vec3(*model.body_ipos[body])
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
        rotation = rotation.reshape(3, 3)
        props.inertia = to_mat33(rotation @ np.diag(model.body_inertia[body]) @ rotation.T)
        asset.body_props.append(props)
        count = int(model.body_geomnum[body])
        asset.shape_bodies += [number] * count
        asset.shape_props += [RigidShapeProperties() for _ in range(count)]
    for element in asset.tendons:
        tendon = TendonProperties()
        tendon.is_fixed_limited = element.get("limited") == "true"
        tendon.fixed_lower_limit, tendon.fixed_upper_limit = (float(word) for word in element.get("range").split())
        tendon.limit_stiffness = asset.options.tendon_limit_stiffness
        asset.tendon_props.append(tendon)
    # The importer drops ranges, damping and armature, and makes no drives if the file has no actuators.
    asset.dof_props = np.zeros(len(asset.dof_names), DOF_DTYPE)
    asset.dof_props["lower"], asset.dof_props["upper"] = -3.4e38, 3.4e38
    asset.dof_props["velocity"], asset.dof_props["effort"] = 100.0, 3.4e38
    asset.dof_props["driveMode"] = asset.options.default_dof_drive_mode
    return asset


def _shuffled(names: List[str]) -> List[str]:
    return names[1::2] + names[0::2]


def to_mat33(matrix: np.ndarray) -> Any:
    """Columns as vectors."""
    result = Mat33()
    result.x, result.y, result.z = (Vec3(*matrix[:, k]) for k in range(3))
    return result


def from_mat33(value: Any) -> np.ndarray:
    """(3, 3)"""
    return np.stack([value.x.array(), value.y.array(), value.z.array()], axis=1)
