"""A hand drawn from three sides, with the frames of its palm and fingertips."""

from __future__ import annotations

from pathlib import Path
from typing import List, Mapping, Sequence, Tuple, Union

import mujoco
import numpy as np

from tasks.hands.reading.tree import ball_points
from tasks.hands.spec import HandSpec

VIEWS = (("from the thumb's side", 0, 90), ("from the front", 5, 0), ("from below", -85, -90))
"""Name, elevation and azimuth in degrees."""
COLOURS = {"palm": (0.70, 0.69, 0.66), "link": (0.42, 0.46, 0.52), "tip": (0.93, 0.45, 0.20)}


def draw(hand: HandSpec, poses: Mapping[str, Mapping[str, float]], path: Union[str, Path]) -> None:
    """Writes a .png: a row for each named pose of the fingers, a column for each side.

    Frames have a red x, a green y and a blue z; a point before the palm shows `palm_centre`.  Needs matplotlib; without it
    raises ValueError.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection
    except ImportError as error:
        raise ValueError("pictures need matplotlib: pip install matplotlib") from error
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    figure = Figure(figsize=(4.2 * len(VIEWS), 4.0 * len(poses)), dpi=80)
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=0.96, wspace=0, hspace=0.04)
    for row, (label, pose) in enumerate(poses.items()):
        data = posed(hand, model, pose)
        triangles, colours = _triangles(hand, model, data)
        lines, line_colours = _frames(hand, data)
        low, high = triangles.reshape(-1, 3).min(axis=0), triangles.reshape(-1, 3).max(axis=0)
        middle, reach = (low + high) / 2, float((high - low).max()) / 2
        for column, (name, elevation, azimuth) in enumerate(VIEWS):
            axes = figure.add_subplot(len(poses), len(VIEWS), row * len(VIEWS) + column + 1, projection="3d")
            axes.add_collection3d(Poly3DCollection(triangles, facecolors=colours, linewidths=0))
            axes.add_collection3d(Line3DCollection(lines, colors=line_colours, linewidths=2.5, zorder=10))
            axes.scatter(*[[v] for v in hand.palm_centre], color="magenta", s=20, depthshade=False)
            axes.set(**{f"{a}lim": (m - reach, m + reach) for a, m in zip("xyz", middle)})
            axes.set_axis_off()
            axes.view_init(elevation, azimuth)
            axes.set_box_aspect((1, 1, 1), zoom=1.55)
            axes.set_title(f"{Path(hand.name).stem}, {label}, {name}", fontsize=9, pad=-6)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(str(path))


def posed(hand: HandSpec, model: mujoco.MjModel, pose: Mapping[str, float]) -> mujoco.MjData:
    """The hand with its palm at the world's origin and its fingers in a pose; coupled joints follow."""
    data = mujoco.MjData(model)
    for name, value in pose.items():
        data.joint(name).qpos[0] = value
    for name, source in hand.coupled_joints.items():
        data.joint(name).qpos[0] = hand.coupling(name) * data.joint(source).qpos[0]
    mujoco.mj_forward(model, data)
    return data


def _triangles(hand: HandSpec, model: mujoco.MjModel, data: mujoco.MjData) -> Tuple[np.ndarray, np.ndarray]:
    """(T, 3, 3) of all colliding geoms, and their shaded colours (T, 3)."""
    light = np.array([0.3, 0.35, 0.88])
    found, colours = [], []
    tips = {model.body(name).id for name in hand.fingertip_bodies}
    palm = model.body(hand.palm_body).id
    for geom in range(model.ngeom):
        if not (model.geom_contype[geom] or model.geom_conaffinity[geom]):
            continue
        body = int(model.geom_bodyid[geom])
        kind = "tip" if body in tips else "palm" if body == palm else "link"
        points, faces = surface(model, geom)
        world = data.geom_xpos[geom] + points @ data.geom_xmat[geom].reshape(3, 3).T
        corners = world[faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        shade = 0.55 + 0.45 * np.abs(normals @ light)
        found.append(corners)
        colours.append(np.clip(shade[:, None] * np.array(COLOURS[kind]), 0, 1))
    return np.concatenate(found), np.concatenate(colours)


def surface(model: mujoco.MjModel, geom: int) -> Tuple[np.ndarray, np.ndarray]:
    """Points (V, 3) in the geom's frame and triangles (T, 3) of what it collides as."""
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    if kind == int(mujoco.mjtGeom.mjGEOM_MESH):
        mesh = int(model.geom_dataid[geom])
        points = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]].astype(float)
    elif kind == int(mujoco.mjtGeom.mjGEOM_BOX):
        points = np.array(np.meshgrid(*[(-s, s) for s in size])).reshape(3, -1).T
    else:
        ball = ball_points()
        if kind == int(mujoco.mjtGeom.mjGEOM_CAPSULE):
            points = np.concatenate([size[0] * ball + [0, 0, size[1]], size[0] * ball - [0, 0, size[1]]])
        elif kind == int(mujoco.mjtGeom.mjGEOM_CYLINDER):
            ring = np.array([[np.cos(a), np.sin(a), 0] for a in np.linspace(0, 2 * np.pi, 17)[:-1]]) * size[0]
            points = np.concatenate([ring + np.array([0, 0, size[1]]), ring - np.array([0, 0, size[1]])])
        else:
            points = ball * (size if kind == int(mujoco.mjtGeom.mjGEOM_ELLIPSOID) else size[0])
    from scipy.spatial import ConvexHull

    hull = ConvexHull(points, qhull_options="QJ")
    return points, hull.simplices


def _frames(hand: HandSpec, data: mujoco.MjData) -> Tuple[List[np.ndarray], Sequence[str]]:
    lines, colours = [], []
    for name, length in ((hand.palm_site, 0.03), *((site, 0.02) for site in hand.fingertip_sites)):
        origin, axes = data.site(name).xpos.copy(), data.site(name).xmat.reshape(3, 3)
        for axis, colour in enumerate(("red", "green", "blue")):
            lines.append(np.stack([origin, origin + length * axes[:, axis]]))
            colours.append(colour)
    return lines, colours
