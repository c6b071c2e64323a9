"""Pictures and films of a world on MuJoCo C, drawn off screen.

Lights, floor, backdrop and goal are added to what is drawn and not to the model: physics never sees them.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import mujoco
import numpy as np
from torch import Tensor

from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.contract import TABLE_HEIGHT, Start
from tasks.simulators.mujoco.scene import GEOM_FIELDS, OBJECT_BODY, PhysicsCfg
from tasks.simulators.mujoco.simulator import MujocoSimulator

FPS = 30
VIDEO_SUFFIXES = (".mp4", ".gif")
SIZE = (640, 480)
"""Width and height of pictures, in pixels."""

LOOK_AT, DISTANCE = (0.0, 0.0, 0.23), 0.74
AZIMUTH, ELEVATION = 225.0, -20.0
OBJECT_COLOUR = (0.24, 0.57, 0.92)
"""Unlike the hand's fingertips, that a grasp can be seen."""
GOAL_RADIUS = 0.05
GOAL_COLOUR = (0.20, 0.85, 0.45, 0.20)
REACHED_COLOUR = (0.30, 1.00, 0.40, 0.13)
FLOOR_COLOUR, WALL_COLOUR = (0.55, 0.61, 0.70, 1.0), (0.62, 0.70, 0.80, 1.0)
TILE, TILES, TILE_COLOUR = 0.1, 12, (0.70, 0.69, 0.68, 1.0)
LOOKS = (*GEOM_FIELDS, "geom_rgba")
"""Model fields that an exchange of objects changes and a picture shows."""


class RenderingError(ValueError):
    """Pictures that cannot be drawn or written here; the text is one line that says what to do."""


def has_display() -> bool:
    """Whether a window can be expected to open."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


class WatchedSimulator(MujocoSimulator):
    """MuJoCo C with hooks for who wants to see a world's last moment, which a reset inside the task's step would hide."""

    after_step: Optional[Callable[[], None]] = None
    before_reset: Optional[Callable[[Tensor], None]] = None

    def step(self, targets: Tensor) -> None:
        """See `Simulator.step`."""
        super().step(targets)
        if self.after_step is not None:
            self.after_step()

    def reset(self, mask: Tensor, start: Start) -> None:
        """See `Simulator.reset`."""
        if self.before_reset is not None:
            self.before_reset(mask)
        super().reset(mask, start)


class WorldRenderer:
    """Draws worlds of one scene to arrays, (height, width, 3) uint8."""

    def __init__(self, model: mujoco.MjModel, size: Tuple[int, int] = SIZE) -> None:
        """model: of any of the scene's worlds.  Raises RenderingError where nothing can be drawn off screen."""
        self.width, self.height = size
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, self.width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, self.height)
        self._gl, self._context = _gl_contexts(model, self.width, self.height)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._option = mujoco.MjvOption()
        mujoco.mjv_defaultOption(self._option)
        self._camera = mujoco.MjvCamera()
        self._camera.lookat[:] = LOOK_AT
        self._camera.distance, self._camera.azimuth, self._camera.elevation = DISTANCE, AZIMUTH, ELEVATION

    def draw(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        goal: Optional[Sequence[float]] = None,
        reached: bool = False,
    ) -> np.ndarray:
        """model, data: a world, as from `MujocoSimulator.model_and_data`.  goal: (3,) where to mark the goal, m."""
        scene = self._scene
        mujoco.mjv_updateScene(
            model, data, self._option, None, self._camera, int(mujoco.mjtCatBit.mjCAT_ALL), scene
        )  # fmt: skip
        objects = object_geoms(model)
        for geom in scene.geoms[: scene.ngeom]:
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM and geom.objid in objects:
                geom.rgba[:3] = OBJECT_COLOUR
        scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = True
        scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        _light(scene)
        _backdrop(scene)
        if goal is not None:
            mark_goal(scene, goal, reached)
        self._gl.make_current()
        rectangle = mujoco.MjrRect(0, 0, self.width, self.height)
        mujoco.mjr_render(rectangle, scene, self._context)
        pixels = np.empty((self.height, self.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(pixels, None, rectangle, self._context)
        return np.ascontiguousarray(pixels[::-1])

    def close(self) -> None:
        """Frees the OpenGL context."""
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._context = None


def object_geoms(model: mujoco.MjModel) -> range:
    """Numbers of the object's geoms."""
    body = model.body(OBJECT_BODY).id
    start = int(model.body_geomadr[body])
    return range(start, start + int(model.body_geomnum[body]))


def mark_goal(scene: mujoco.MjvScene, goal: Sequence[float], reached: bool = False) -> None:
    """Adds a translucent ball at the goal, clearer while the object is in it, so as not to hide the grasp."""
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


def _light(scene: mujoco.MjvScene) -> None:
    """A key light that casts shadows and a weak fill light, beside the model's headlight."""
    for pos, colour, shadow in (
        ((0.6, 0.5, 1.7), 0.62, True),
        ((0.9, -0.8, 1.1), 0.22, False),
    ):
        light = scene.lights[scene.nlight]
        light.id = -1
        light.type = int(mujoco.mjtLightType.mjLIGHT_SPOT)
        light.pos[:] = pos
        direction = np.array([0, 0, 0.1]) - np.asarray(pos)
        light.dir[:] = direction / np.linalg.norm(direction)
        light.attenuation[:] = (1, 0, 0)
        light.cutoff, light.exponent = 40.0, 1.0
        light.ambient[:] = 0
        light.diffuse[:] = colour
        light.specular[:] = 0.25 * colour
        light.headlight, light.castshadow = 0, int(shadow)
        light.texid, light.range, light.intensity, light.bulbradius = -1, 10.0, 0.0, 0.02
        scene.nlight += 1


def _backdrop(scene: mujoco.MjvScene) -> None:
    """A soft checker on the table, a floor below it and a wall behind it, turned to the camera."""
    turn = np.radians(AZIMUTH)
    towards = np.array([np.cos(turn), np.sin(turn), 0.0])
    side = np.array([-towards[1], towards[0], 0.0])
    frame = np.stack([side, np.array([0.0, 0, 1]), towards], axis=1)
    box = mujoco.mjtGeom.mjGEOM_BOX
    _add(scene, box, (4, 4, 0.01), (0, 0, -0.4), FLOOR_COLOUR)
    _add(scene, box, (4, 4, 0.01), (2.2 * towards).tolist(), WALL_COLOUR, frame)
    for i in range(TILES):
        for j in range(i % 2, TILES, 2):
            x, y = (TILE * (k - (TILES - 1) / 2) for k in (i, j))
            _add(scene, box, (TILE / 2, TILE / 2, 1e-4), (x, y, TABLE_HEIGHT), TILE_COLOUR)


class Film:
    """Writes frames to an .mp4 or .gif file; also a context manager."""

    def __init__(self, path: Union[str, Path], fps: float = FPS) -> None:
        """Raises RenderingError if the suffix is another."""
        self.path, self.frames = Path(path), 0
        suffix = self.path.suffix.lower()
        if suffix not in VIDEO_SUFFIXES:
            raise RenderingError(f"{path}: the name of a video must end in {' or '.join(VIDEO_SUFFIXES)}")
        import imageio.v2 as imageio  # the viewer can do without

        self.path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".gif":
            self._writer = imageio.get_writer(str(path), mode="I", duration=1000 / fps, loop=0)
        else:
            self._writer = imageio.get_writer(str(path), fps=fps, codec="libx264", quality=7, macro_block_size=8)

    def add(self, image: np.ndarray) -> None:
        """image: (height, width, 3) uint8, each of the same size."""
        self._writer.append_data(image)
        self.frames += 1

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


class Window:
    """MuJoCo's interactive viewer on one world whose object changes between episodes."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """model: of the world.  Raises RenderingError where no window can be opened."""
        import mujoco.viewer as viewer

        _try_window_system()
        self._model, self._data = copy.copy(model), mujoco.MjData(model)
        try:
            self._handle = viewer.launch_passive(self._model, self._data, show_left_ui=False, show_right_ui=False)
        except Exception as error:  # no display, or macOS without mjpython
            raise RenderingError(
                f"the viewer did not open ({' '.join(str(error).split())[:120]}): give --video FILE.mp4; "
                "on macOS start with mjpython instead of python"
            ) from error
        with self._handle.lock():
            camera = self._handle.cam
            camera.lookat[:] = LOOK_AT
            camera.distance, camera.azimuth, camera.elevation = DISTANCE, AZIMUTH, ELEVATION

    @property
    def is_open(self) -> bool:
        """Until the user closes it."""
        return bool(self._handle.is_running())

    def show(self, model: mujoco.MjModel, data: mujoco.MjData, goal: Sequence[float], reached: bool) -> None:
        """The world as it is now."""
        with self._handle.lock():
            for name in LOOKS:
                getattr(self._model, name)[:] = getattr(model, name)
            self._model.geom_rgba[list(object_geoms(model)), :3] = OBJECT_COLOUR
            self._data.qpos[:] = data.qpos
            mujoco.mj_kinematics(self._model, self._data)
            scene = self._handle.user_scn
            if scene is not None:
                scene.ngeom = 0
                mark_goal(scene, goal, reached)
        self._handle.sync()

    def close(self) -> None:
        """Closes the window."""
        self._handle.close()


def _try_window_system() -> None:
    """Raises RenderingError where GLFW does not start: the viewer would end the process."""
    import glfw

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        started = glfw.init()
    if not started:
        reason = " ".join(str(said[-1].message).split())[:120] if said else "GLFW did not start"
        raise RenderingError(f"no window can be opened ({reason}): give --video FILE.mp4")


def contact_sheet(
    images: Sequence[np.ndarray], labels: Sequence[str], path: Union[str, Path], columns: int = 4
) -> None:
    """Writes a .png of images (height, width, 3) of one size, in rows, each above its label."""
    from PIL import Image, ImageDraw

    height, width = images[0].shape[:2]
    rows, strip = -(-len(images) // columns), 22
    sheet = Image.new("RGB", (width * min(columns, len(images)), (height + strip) * rows), (250, 250, 250))
    pen = ImageDraw.Draw(sheet)
    for index, (image, label) in enumerate(zip(images, labels)):
        x, y = width * (index % columns), (height + strip) * (index // columns)
        sheet.paste(Image.fromarray(image), (x, y))
        pen.text((x + 6, y + height + 5), label, fill=(20, 20, 20))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sheet.save(str(path), format="PNG")


def draw_failures(
    policy: Callable[[Tensor], Tensor],
    hand: HandSpec,
    objects: ObjectSet,
    cfg: GraspCfg,
    physics: PhysicsCfg,
    path: Union[str, Path],
    attempts: int = 4,
    most: int = 12,
) -> int:
    """Writes a contact sheet of how failed episodes ended, played anew on MuJoCo C; returns how many there are.

    objects: each is tried `attempts` times; at most `most` pictures; no file is written if there is no failure.
    """
    worlds = attempts * len(objects)
    simulator = WatchedSimulator(hand, objects, worlds, physics)
    task = GraspTask(simulator, hand, objects, cfg, evaluation=True)
    renderer = WorldRenderer(simulator.scene.model, (320, 240))
    ends: Dict[int, np.ndarray] = {}

    def keep(mask: Tensor) -> None:
        for world in mask.nonzero()[:, 0].tolist():
            if world not in ends:
                model, data = simulator.model_and_data(world)
                ends[world] = renderer.draw(model, data, task.episodes.goal.pos[world].tolist())

    obs = task.reset()[0]
    simulator.before_reset = keep
    for _ in range(cfg.episode_steps):
        obs = task.step(policy(obs)).obs
    renderer.close()
    record = task.episodes.record
    failed = (~record.held).nonzero()[:, 0].tolist()[:most]
    if failed:
        names = [objects.objects[int(record.object_id[w])].name for w in failed]
        labels = [
            f"{name}: {'off the table' if record.dropped[w] else f'{100 * float(record.final_rise[w].clamp(min=0)):.0f} cm up'}"
            for name, w in zip(names, failed)
        ]
        contact_sheet([ends[w] for w in failed], labels, path)
    return len(failed)


def _gl_contexts(model: mujoco.MjModel, width: int, height: int) -> Tuple[Any, Optional[mujoco.MjrContext]]:
    """OpenGL's context and MuJoCo's in it, off screen, by what MUJOCO_GL says, else by the first that works of EGL, OSMesa
    and a window system."""
    with contextlib.suppress(
        ImportError
    ):  # a software renderer and triton bring an LLVM each: loaded after it, triton crashes
        importlib.import_module("triton")
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    usual = {"linux": ("egl", "osmesa", "glfw"), "darwin": ("cgl", "glfw")}.get(sys.platform, ("glfw",))
    backends = (chosen,) if chosen in ("egl", "osmesa", "glfw", "cgl") else usual
    reasons: List[str] = []
    for backend in backends:
        platform = os.environ.get("PYOPENGL_PLATFORM")
        os.environ["MUJOCO_GL"] = backend
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # GLFW's way to say why
                context = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
                context.make_current()
                return context, mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except Exception as error:  # what is missing differs: a library, a device, a driver
            reasons.append(f"{backend}: {' '.join(str(error).split())[:90]}")
            _forget_opengl(platform)
    if chosen:
        os.environ["MUJOCO_GL"] = chosen
    else:
        os.environ.pop("MUJOCO_GL", None)
    if chosen:
        raise RenderingError(
            f"cannot draw with MUJOCO_GL={chosen}: unset it, or try egl or osmesa ({'; '.join(reasons)})"
        )
    raise RenderingError(f"cannot draw here: install libegl1 or libosmesa6, and PyOpenGL ({'; '.join(reasons)})")


def _forget_opengl(platform: Optional[str]) -> None:
    """PyOpenGL binds to one platform when it is imported; the next backend must import it anew."""
    for name in [n for n in sys.modules if n.split(".")[0] == "OpenGL"]:
        del sys.modules[name]
    if platform is None:
        os.environ.pop("PYOPENGL_PLATFORM", None)
    else:
        os.environ["PYOPENGL_PLATFORM"] = platform
