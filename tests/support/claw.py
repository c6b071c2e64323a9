"""A hand that is not ours, as a URDF: three fingers of three joints, the last of which follows the one before by 0.8."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Dict, Tuple

FINGERS: Dict[str, float] = {"thumb": math.pi, "left": 0.6, "right": -0.6}
"""Name and place round the palm, rad."""


def link(name: str, mass: float, com: str, shapes: str = "") -> str:
    inertia = 'ixx="1e-5" iyy="1e-5" izz="1e-5" ixy="0" ixz="0" iyz="0"'
    return (
        f'<link name="{name}"><inertial><origin xyz="{com}"/><mass value="{mass}"/><inertia {inertia}/></inertial>'
        f"{shapes}</link>"
    )


def solid(place: str, geometry: str) -> str:
    return f'<collision><origin xyz="{place}"/><geometry>{geometry}</geometry></collision>'


def joint(name: str, parent: str, child: str, origin: Tuple[str, str], axis: str, limit: str, mimic: str = "") -> str:
    xyz, rpy = origin
    return (
        f'<joint name="{name}" type="revolute"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{xyz}" rpy="{rpy}"/><axis xyz="{axis}"/><limit {limit} velocity="3"/>{mimic}</joint>'
    )


def urdf() -> str:
    """The description; replace parts of it to spoil it."""
    parts = [link("base", 0.5, "0 0 0.02", solid("0 0 0.02", '<cylinder radius="0.045" length="0.04"/>'))]
    for name, angle in FINGERS.items():
        place = f"{0.05 * math.cos(angle):.4f} {0.05 * math.sin(angle):.4f} 0.035"
        tip = solid("0 0 0.018", '<cylinder radius="0.009" length="0.036"/>') + solid(
            "0 0 0.036", '<sphere radius="0.009"/>'
        )
        parts += [
            link(f"{name}_knuckle", 0.03, "0 0 0.005"),
            link(f"{name}_proximal", 0.05, "0 0 0.03", solid("0 0 0.03", '<box size="0.018 0.02 0.06"/>')),
            link(f"{name}_distal", 0.03, "0 0 0.02", tip),
            joint(
                f"{name}_spread", "base", f"{name}_knuckle", (place, f"0 0 {angle:.4f}"), "0 0 1",
                'lower="-0.5" upper="0.5" effort="1"',
            ),
            joint(
                f"{name}_flex", f"{name}_knuckle", f"{name}_proximal", ("0 0 0.01", "0 0 0"), "0 -1 0",
                'lower="-0.3" upper="1.4" effort="1.2"',
            ),
            joint(
                f"{name}_curl", f"{name}_proximal", f"{name}_distal", ("0 0 0.06", "0 0 0"), "0 -1 0",
                'lower="0" upper="1.4" effort="1"',
                f'<mimic joint="{name}_flex" multiplier="0.8" offset="0.1"/>',
            ),
        ]  # fmt: skip
    return '<robot name="claw">\n' + "\n".join(parts) + "\n</robot>\n"


def written(folder: Path, text: str = "", name: str = "claw.urdf") -> Path:
    path = folder / name
    path.write_text(text or urdf())
    return path
