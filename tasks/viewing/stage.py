"""A MuJoCo model that is only looked at: hand with its skin, object, goal, table, floor and lights.

Physics never sees it.  Whichever simulator worlds are in, a `Snapshot` of them is put into it, to be drawn in a video or shown in
MuJoCo's window.
"""

from __future__ import annotations

from typing import List

import mujoco
import numpy as np

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.mujoco.scene import GEOM_FIELDS, PhysicsCfg, Scene, build_scene
from tasks.viewing import look
from tasks.viewing.skin import hand_skin
from tasks.viewing.watched import Snapshot

GOAL = "goal"
HIDDEN_GROUP = 3
"""The hand's own geoms.  MuJoCo's window shows them when 3 is pressed."""
GOAL_OPACITY = 0.99
"""Opaque to the eye; but MuJoCo gives no shadow to what is not quite opaque."""
SHADOW_SIZE, SAMPLES = 4096, 4
"""Pixels along a side of the shadows' map, and samples for each pixel of a picture."""
STATIC, MOVING = int(mujoco.mjtCatBit.mjCAT_STATIC), int(mujoco.mjtCatBit.mjCAT_DYNAMIC)


class Stage:
    """Shows worlds with one hand and the objects of a set, up to `count` of them side by side."""

    def __init__(self, hand: HandSpec, objects: ObjectSet, count: int = 1) -> None:
        """objects: those that `Snapshot.object_id` counts."""
        self.count = count
        self.scene: Scene = build_scene(
            hand, objects, PhysicsCfg(), for_c=True, furnish=lambda spec: _furnish(spec, hand, count)
        )
        self.model = self.scene.model
        self.data = mujoco.MjData(self.model)
        self._places = look.places(count)
        self._goal_geom = int(self.model.body_geomadr[self.model.body(GOAL).id])

    def pose(self, shown: Snapshot, row: int) -> None:
        """Puts a world of a snapshot into model and data."""
        scene, model, data = self.scene, self.model, self.data
        item, geoms = int(shown.object_id[row]), scene.object_geoms
        for name in GEOM_FIELDS:
            getattr(model, name)[geoms] = scene.geom_rows[name][item]
        empty = scene.geom_rows["geom_dataid"][item] < 0
        model.geom_dataid[geoms] = scene.geom_rows["geom_dataid"][item].clip(min=0)
        model.geom_rgba[geoms, :3] = look.object_colour(item)
        model.geom_rgba[geoms, 3] = 1.0 - empty
        joints = shown.joint_pos[row].astype(float)
        data.qpos[scene.drive_qpos] = joints
        data.qpos[scene.coupled_qpos] = joints[scene.coupled_source] * scene.coupled_ratio
        at = scene.object_qpos
        data.qpos[at : at + 3], data.qpos[at + 3 : at + 7] = shown.object_pos[row], shown.object_quat[row]
        data.mocap_pos[0] = shown.goal[row]
        model.geom_rgba[self._goal_geom, :3] = look.REACHED_COLOUR if shown.reached[row] else look.GOAL_COLOUR
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)

    def fill(
        self, picture: mujoco.MjvScene, option: mujoco.MjvOption, camera: mujoco.MjvCamera, shown: Snapshot
    ) -> None:
        """Fills MuJoCo's list of what is drawn: the table and the lights once, and hand, object and goal of each world."""
        model, data = self.model, self.data
        self.pose(shown, 0)
        mujoco.mjv_updateScene(model, data, option, None, camera, STATIC, picture)
        for row in range(min(len(shown.object_id), self.count)):
            if row:
                self.pose(shown, row)
            before = picture.ngeom
            mujoco.mjv_addGeoms(model, data, option, mujoco.MjvPerturb(), MOVING, picture)
            for geom in picture.geoms[before : picture.ngeom]:
                geom.pos[:2] += self._places[row]
                if geom.objid == self._goal_geom and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                    geom.category = int(mujoco.mjtCatBit.mjCAT_DECOR)


def _furnish(spec: mujoco.MjSpec, hand: HandSpec, count: int) -> None:
    """Adds all that is only to be seen.  spec: has hand, table and object."""
    for body in spec.bodies:
        if body.name != "world" and body.name != "object":
            for geom in body.geoms:
                geom.group = HIDDEN_GROUP
    for geom in spec.body("object").geoms:
        geom.material = _material(spec, "object", specular=0.35, shininess=0.5)
    for index, part in enumerate(hand_skin(hand)):
        name = f"skin_{index}"
        _add_mesh(spec, name, part.points, part.normals, part.faces)
        gloss = {"joint": 0.9, "tip": 0.15}.get(part.kind, 0.4)
        spec.body(part.body).add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=name,
            rgba=[*part.colour, 1],
            material=_material(spec, part.kind, specular=gloss, shininess=0.6),
            contype=0,
            conaffinity=0,
            mass=0,
        )
    goal = spec.worldbody.add_body(name=GOAL, mocap=True)
    _add_mesh(spec, GOAL, *look.rings())
    goal.add_geom(
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=GOAL,
        rgba=[*look.GOAL_COLOUR, GOAL_OPACITY],
        material=_material(spec, GOAL, emission=0.5),
        contype=0,
        conaffinity=0,
        mass=0,
    )
    _add_room(spec, count)


def _add_room(spec: mujoco.MjSpec, count: int) -> None:
    """A table without an end, which fades into the sky, and lights."""
    reach = float(np.abs(look.places(count)).max())
    spec.stat.extent, spec.stat.center = 0.5 + reach, [0, 0, 0.2]
    spec.visual.map.znear, spec.visual.map.zfar = 0.05, 40.0
    spec.visual.map.shadowscale = 0.7
    spec.visual.map.haze, spec.visual.rgba.haze = 0.4, [*look.HORIZON_COLOUR, 1]
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = SHADOW_SIZE, SAMPLES
    spec.visual.global_.fovy = look.FIELD_OF_VIEW
    headlight = spec.visual.headlight
    headlight.ambient, headlight.diffuse, headlight.specular = [look.AMBIENT] * 3, [0.14] * 3, [0.05] * 3
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=look.SKY_COLOUR,
        rgb2=look.HORIZON_COLOUR,
        width=256,
        height=1536,
    )
    spec.add_texture(
        name="tiles",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        mark=mujoco.mjtMark.mjMARK_EDGE,
        rgb1=look.TABLE_COLOUR,
        rgb2=look.TABLE_COLOUR,
        markrgb=look.LINE_COLOUR,
        width=512,
        height=512,
    )
    tiles = spec.add_material(name="tiles", texuniform=True, texrepeat=[10, 10], specular=0.1, shininess=0.3)
    textures: List[str] = [""] * 10
    textures[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)] = "tiles"
    tiles.textures = textures
    table = spec.geom("table")
    table.size, table.rgba, table.material = [0, 0, 0.05], [1, 1, 1, 1], "tiles"
    for light in look.LIGHTS:
        place = (1 + reach) * np.array(light.place)
        direction = [0, 0, 0.15] - place
        spec.worldbody.add_light(
            type=mujoco.mjtLightType.mjLIGHT_SPOT,
            pos=place,
            dir=direction / np.linalg.norm(direction),
            castshadow=light.casts_shadow,
            diffuse=[light.brightness] * 3,
            specular=[0.4 * light.brightness] * 3,
            ambient=[0, 0, 0],
            attenuation=[1, 0, 0],
            cutoff=look.CUTOFF,
            exponent=look.EXPONENT,
        )


def _material(spec: mujoco.MjSpec, name: str, **values: float) -> str:
    if name not in [material.name for material in spec.materials]:
        spec.add_material(name=name, rgba=[1, 1, 1, 1], **values)
    return name


def _add_mesh(spec: mujoco.MjSpec, name: str, points: np.ndarray, normals: np.ndarray, faces: np.ndarray) -> None:
    spec.add_mesh(
        name=name,
        uservert=points.ravel().tolist(),
        usernormal=normals.ravel().tolist(),
        userface=faces.ravel().tolist(),
        userfacenormal=faces.ravel().tolist(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    )
