"""Draws worlds on MuJoCo C to pictures, off screen."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from typing import Any, List, Optional, Sequence, Tuple

import mujoco
import numpy as np

from tasks.viewing.errors import RenderingError
from tasks.viewing.look import decorate, mark_goal, place_camera

SIZE = (640, 480)
"""Width and height of pictures, in pixels."""


class WorldRenderer:
    """Draws worlds of one scene to arrays, (height, width, 3) uint8."""

    def __init__(self, model: mujoco.MjModel, size: Tuple[int, int] = SIZE) -> None:
        """model: of any world of the scene.  Raises RenderingError where nothing can be drawn off screen."""
        self.width, self.height = size
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, self.width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, self.height)
        self._gl, self._context = _gl_contexts(model, self.width, self.height)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._option = mujoco.MjvOption()
        mujoco.mjv_defaultOption(self._option)
        self._camera = mujoco.MjvCamera()
        place_camera(self._camera)

    def draw(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        goal: Optional[Sequence[float]] = None,
        reached: bool = False,
    ) -> np.ndarray:
        """model, data: a world, from `MujocoSimulator.model_and_data`.  goal: (3,) m, where to mark the goal, if at all."""
        scene = self._scene
        mujoco.mjv_updateScene(
            model, data, self._option, None, self._camera, int(mujoco.mjtCatBit.mjCAT_ALL), scene
        )  # fmt: skip
        decorate(scene, model)
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


def _gl_contexts(model: mujoco.MjModel, width: int, height: int) -> Tuple[Any, Optional[mujoco.MjrContext]]:
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
