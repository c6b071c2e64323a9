"""Writes meshes of household things, in metres: half like scans, half like unprepared drawings.

    python benchmarks/stand_ins/household.py DIR && python evaluate_policy.py --objects DIR

They stand in for real scans and drawings, which are not in this repository.  A scan is one closed dense mesh, slightly rounded
and noisy.  A drawing is like those that stores of 3-D models hold: y is up, sheets are open, groups are by material or missing,
some faces are double or inside out, and there are small loose parts and hidden inner walls.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, List, Tuple

import numpy as np
import trimesh
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stand_ins.shapes import solid
from stand_ins.things import Thing, things

NOISE = 0.05
"""cm, the standard deviation of a scan's noise along the normals.  Things thinner than 1 cm have less."""
TRIANGLES = 12000
"""About how many triangles a scan has.  Thin things have more."""
Mesh = Tuple[np.ndarray, np.ndarray]


@dataclass
class Args:
    """Write the stand-ins."""

    directory: Annotated[Path, tyro.conf.Positional]
    """The folder to write to; it is made if it does not exist."""
    seed: int = 0
    """The seed of the noise and of the faults of drawings."""


def scan(thing: Thing, rng: np.random.Generator) -> Mesh:
    """One closed mesh with edges rounded by smoothing and noise along the normals."""
    area = sum(trimesh.Trimesh(p.vertices, p.faces, process=False).area for p in thing.pieces)
    spacing = min((3 * area / TRIANGLES) ** 0.5, thing.thin / 1.7)
    mesh = trimesh.Trimesh(*solid(thing.pieces, spacing), process=False)
    noise = NOISE * min(1.0, thing.thin) * np.clip(rng.standard_normal(len(mesh.vertices)), -2, 2)
    return mesh.vertices + noise[:, None] * mesh.vertex_normals, mesh.faces


def drawing(thing: Thing, rng: np.random.Generator) -> List[Tuple[str, np.ndarray, np.ndarray]]:
    """(group, vertices, triangles) of each sheet.  Some are inside out, some double; small parts lie inside and outside."""
    sheets: List[Mesh] = []
    for piece in thing.pieces:
        faces = piece.faces[:, ::-1] if rng.random() < 0.3 else piece.faces
        if rng.random() < 0.3:
            faces = np.concatenate([faces, faces[:, ::-1]])
        sheets.append((piece.vertices, faces))
        if rng.random() < 0.3:  # an inner wall, a little smaller
            middle = (piece.vertices.min(axis=0) + piece.vertices.max(axis=0)) / 2
            sheets.append((middle + 0.93 * (piece.vertices - middle), piece.faces))
    solid_count = len(sheets)
    for _ in range(int(rng.integers(0, 30))):  # screws, letters, labels, seams
        vertices, faces = sheets[int(rng.integers(solid_count))]
        corner = vertices[faces[int(rng.integers(len(faces)))]]
        normal = np.cross(corner[1] - corner[0], corner[2] - corner[0])
        if np.linalg.norm(normal) < 0.05:
            continue
        middle = corner.mean(axis=0)
        spread = min(0.15, 0.8 / float(np.ptp(corner, axis=0).max()))
        mark = 0.8 * (rng.dirichlet((3, 3, 3)) @ corner - middle) + middle + spread * (corner - middle)
        mark = mark + 0.02 * normal / np.linalg.norm(normal)
        sheets.append((mark, np.array([(0, 1, 2)])))
    style = rng.choice(["piece", "material", "one"], p=(0.35, 0.45, 0.2))
    names = {"piece": [f"mesh{k}" for k in range(len(sheets))], "one": ["model"] * len(sheets)}
    names["material"] = [f"material{rng.integers(min(4, 1 + len(sheets) // 2))}" for _ in sheets]
    return [(names[style][k], v[:, [0, 2, 1]] * (1, 1, -1), f) for k, (v, f) in enumerate(sheets)]


def write_obj(path: Path, sheets: List[Tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Writes an .obj file as exporters do, with all sheets of a group together and normals of no use."""
    lines, start = ["# exported", "mtllib model.mtl"], 1
    for group in dict.fromkeys(name for name, _, _ in sheets):
        lines += [f"g {group}", f"usemtl {group}"]
        for name, vertices, faces in sheets:
            if name == group:
                lines += ["v {:.6f} {:.6f} {:.6f}".format(*v) for v in 0.01 * vertices]
                lines += ["f {0}//{0} {1}//{1} {2}//{2}".format(*f) for f in faces + start]
                start += len(vertices)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(args: Args) -> None:
    """Writes a file for each thing, in the file formats by turns."""
    args.directory.mkdir(parents=True, exist_ok=True)
    for index, thing in enumerate(things()):
        rng = np.random.default_rng([args.seed, *thing.name.encode()])
        path = args.directory / f"{thing.like}_{thing.name}"
        if thing.like == "scan":
            vertices, faces = scan(thing, rng)
            trimesh.Trimesh(0.01 * vertices, faces, process=False).export(
                str(path) + (".ply", ".stl", ".obj")[index % 3]
            )
            continue
        sheets = drawing(thing, rng)
        if index % 5:
            write_obj(path.with_suffix(".obj"), sheets)
        else:
            joined = trimesh.util.concatenate([trimesh.Trimesh(0.01 * v, f, process=False) for _, v, f in sheets])
            joined.export(str(path.with_suffix(".stl" if index % 2 else ".ply")))


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
