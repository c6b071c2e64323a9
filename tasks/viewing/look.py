"""The look of a scene in videos, pictures and the window: lights, floor, backdrop, colours, camera and goal.

None of it is in the model that physics uses.  A video adds it to each frame that is drawn.  The window draws a model by itself,
so it gets a model of its own that has it.
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import mujoco
import numpy as np

from tasks.simulators.contract import TABLE_HEIGHT
from tasks.simulators.mujoco.scene import OBJECT_BODY

LOOK_AT, DISTANCE = (0.0, 0.0, 0.23), 0.74
AZIMUTH, ELEVATION = 225.0, -20.0
EXTENT = 0.4
"""m, the size of what is looked at, to which MuJoCo fits how near and how far it draws."""
OBJECT_COLOUR = (0.24, 0.57, 0.92)
"""Unlike that of the fingertips, so that a grasp can be seen."""
GOAL_RADIUS = 0.05
GOAL_COLOUR = (0.20, 0.85, 0.45, 0.20)
REACHED_COLOUR = (0.30, 1.00, 0.40, 0.13)
FLOOR_COLOUR, WALL_COLOUR = (0.55, 0.61, 0.70, 1.0), (0.62, 0.70, 0.80, 1.0)
TILE, TILES, TILE_COLOUR = 0.1, 12, (0.70, 0.69, 0.68, 1.0)


class Light(NamedTuple):
    """A spotlight, beside the light at the camera that every model has."""

    pos: Tuple[float, float, float]
    brightness: float
    casts_shadow: bool

    @property
    def direction(self) -> np.ndarray:
        """Towards the table, (3,)."""
        direction = np.array([0, 0, 0.1]) - np.asarray(self.pos)
        return direction / np.linalg.norm(direction)


LIGHTS = (Light((0.6, 0.5, 1.7), 0.62, True), Light((0.9, -0.8, 1.1), 0.22, False))
"""One that casts shadows, and a weak one for what lies in them."""
CUTOFF = 40.0
"""deg, half the angle of a spotlight."""


class Box(NamedTuple):
    """A part of the backdrop."""

    size: Tuple[float, float, float]
    pos: Tuple[float, float, float]
    colour: Tuple[float, float, float, float]
    frame: np.ndarray
    """(3, 3) rotation."""


def backdrop() -> List[Box]:
    """A soft checker on the table, a floor below it, and a wall behind it that is turned to the camera."""
    turn = np.radians(AZIMUTH)
    towards = np.array([np.cos(turn), np.sin(turn), 0.0])
    side = np.array([-towards[1], towards[0], 0.0])
    level, upright = np.eye(3), np.stack([side, np.array([0.0, 0, 1]), towards], axis=1)
    wall = (float(2.2 * towards[0]), float(2.2 * towards[1]), 0.0)
    boxes = [
        Box((4, 4, 0.01), (0, 0, -0.4), FLOOR_COLOUR, level),
        Box((4, 4, 0.01), wall, WALL_COLOUR, upright),
    ]
    for i in range(TILES):
        for j in range(i % 2, TILES, 2):
            x, y = (TILE * (k - (TILES - 1) / 2) for k in (i, j))
            boxes.append(Box((TILE / 2, TILE / 2, 1e-4), (x, y, TABLE_HEIGHT), TILE_COLOUR, level))
    return boxes


def object_geoms(model: mujoco.MjModel) -> range:
    """Numbers of the object's geoms."""
    body = model.body(OBJECT_BODY).id
    start = int(model.body_geomadr[body])
    return range(start, start + int(model.body_geomnum[body]))


def place_camera(camera: mujoco.MjvCamera) -> None:
    """Points a free camera at the grasp."""
    camera.lookat[:] = LOOK_AT
    camera.distance, camera.azimuth, camera.elevation = DISTANCE, AZIMUTH, ELEVATION


def furnish(spec: mujoco.MjSpec) -> None:
    """Adds lights and backdrop to a model that is only looked at."""
    spec.stat.extent, spec.stat.center = EXTENT, LOOK_AT  # the backdrop's size would make near things flicker
    for light in LIGHTS:
        spec.worldbody.add_light(
            type=mujoco.mjtLightType.mjLIGHT_SPOT,
            pos=light.pos,
            dir=light.direction,
            castshadow=light.casts_shadow,
            diffuse=[light.brightness] * 3,
            specular=[0.25 * light.brightness] * 3,
            ambient=[0, 0, 0],
            attenuation=[1, 0, 0],
            cutoff=CUTOFF,
            exponent=1.0,
        )
    for box in backdrop():
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, box.frame.ravel())
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=box.size,
            pos=box.pos,
            quat=quat,
            rgba=box.colour,
            contype=0,
            conaffinity=0,
        )


def decorate(scene: mujoco.MjvScene, model: mujoco.MjModel) -> None:
    """Adds lights and backdrop to a frame that is drawn of a plain model, and gives the object its colour."""
    objects = object_geoms(model)
    for geom in scene.geoms[: scene.ngeom]:
        if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM and geom.objid in objects:
            geom.rgba[:3] = OBJECT_COLOUR
    scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = True
    scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
    for light in LIGHTS:
        _add_light(scene, light)
    for box in backdrop():
        _add(scene, mujoco.mjtGeom.mjGEOM_BOX, box.size, box.pos, box.colour, box.frame)


def mark_goal(scene: mujoco.MjvScene, goal: Sequence[float], reached: bool = False) -> None:
    """Adds a translucent ball at the goal.  It is clearer while the object is in it, so that it does not hide the grasp."""
    colour = REACHED_COLOUR if reached else GOAL_COLOUR
    _add(scene, mujoco.mjtGeom.mjGEOM_SPHERE, [GOAL_RADIUS] * 3, goal, colour)


def _add(
    scene: mujoco.MjvScene,
    kind: Any,
    size: Sequence[float],
    position: Sequence[float],
    colour: Sequence[float],
    frame: Optional[np.ndarray] = None,
) -> None:
    if scene.ngeom >= scene.maxgeom:
        return
    geom = scene.geoms[scene.ngeom]
    frame = np.eye(3) if frame is None else frame
    mujoco.mjv_initGeom(
        geom,
        int(kind),
        np.asarray(size, dtype=np.float64),
        np.asarray(position, dtype=np.float64),
        np.asarray(frame, dtype=np.float64).ravel(),
        np.asarray(colour, dtype=np.float32),
    )
    geom.category = int(mujoco.mjtCatBit.mjCAT_DECOR)
    scene.ngeom += 1


def _add_light(scene: mujoco.MjvScene, spot: Light) -> None:
    light = scene.lights[scene.nlight]
    light.id = -1
    light.type = int(mujoco.mjtLightType.mjLIGHT_SPOT)
    light.pos[:] = spot.pos
    light.dir[:] = spot.direction
    light.attenuation[:] = (1, 0, 0)
    light.cutoff, light.exponent = CUTOFF, 1.0
    light.ambient[:] = 0
    light.diffuse[:] = spot.brightness
    light.specular[:] = 0.25 * spot.brightness
    light.headlight, light.castshadow = 0, int(spot.casts_shadow)
    light.texid, light.range, light.intensity, light.bulbradius = -1, 10.0, 0.0, 0.02
    scene.nlight += 1
