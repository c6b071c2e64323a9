"""Draws worlds to pictures, off screen."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from typing import Any, List, Optional, Tuple

import mujoco
import numpy as np

from tasks.viewing import look
from tasks.viewing.errors import RenderingError
from tasks.viewing.stage import Stage
from tasks.viewing.watched import Snapshot

SIZE = (1280, 720)
"""Width and height of pictures, in pixels."""


class WorldRenderer:
    """Draws what is on a stage to arrays, (height, width, 3) uint8."""

    def __init__(self, stage: Stage, size: Optional[Tuple[int, int]] = None) -> None:
        """size: width and height, SIZE by default.  Raises RenderingError where nothing can be drawn off screen."""
        self.stage = stage
        self.width, self.height = size or SIZE
        model = stage.model
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, self.width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, self.height)
        self._gl, self._context = gl_contexts(model, self.width, self.height)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=100 + 100 * stage.count)
        self._option = mujoco.MjvOption()
        mujoco.mjv_defaultOption(self._option)
        self._camera = mujoco.MjvCamera()

    def draw(self, shown: Snapshot, seconds: float = 0.0) -> np.ndarray:
        """Draws worlds, at most as many as the stage has places for.  seconds: of the video, by which the camera turns."""
        place_camera(self._camera, look.view(self.stage.count, seconds))
        self.stage.fill(self._scene, self._option, self._camera, shown)
        self._gl.make_current()
        rectangle = mujoco.MjrRect(0, 0, self.width, self.height)
        mujoco.mjr_render(rectangle, self._scene, self._context)
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


def place_camera(camera: mujoco.MjvCamera, view: look.View) -> None:
    """Puts a free camera there."""
    camera.lookat[:] = view.look_at
    camera.distance, camera.azimuth, camera.elevation = view.distance, view.azimuth, view.elevation


def gl_contexts(model: mujoco.MjModel, width: int, height: int) -> Tuple[Any, Optional[mujoco.MjrContext]]:
    """An OpenGL context off screen, and MuJoCo's context in it.

    MUJOCO_GL decides how, or else the first that works of EGL, OSMesa and a window system.
    """
    # A software renderer and triton bring an LLVM each, and triton crashes if it is the second one.
    with contextlib.suppress(ImportError):
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
