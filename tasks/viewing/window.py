"""A window on a world: MuJoCo's interactive viewer, with the look of the videos."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Sequence

import mujoco

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.mujoco.scene import GEOM_FIELDS, PhysicsCfg, build_scene
from tasks.viewing.errors import RenderingError
from tasks.viewing.look import OBJECT_COLOUR, furnish, mark_goal, object_geoms, place_camera

SHOWN = (*GEOM_FIELDS, "geom_rgba")
"""Model fields that an exchange of objects changes and a picture shows."""


def has_display() -> bool:
    """Whether a window can be expected to open."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def furnished_model(hand: HandSpec, objects: ObjectSet) -> mujoco.MjModel:
    """A model with the bodies of the simulator's, and with lights and backdrop, to be looked at and not to be stepped."""
    return build_scene(hand, objects, PhysicsCfg(), for_c=True, furnish=furnish).model


def copy_world(model: mujoco.MjModel, data: mujoco.MjData, shown: mujoco.MjModel, shown_data: mujoco.MjData) -> None:
    """Copies a simulator's world, its object included, to the model and data that are looked at."""
    source, target = list(object_geoms(model)), list(object_geoms(shown))
    for name in SHOWN:
        getattr(shown, name)[target] = getattr(model, name)[source]
    shown.geom_rgba[target, :3] = OBJECT_COLOUR
    shown_data.qpos[:] = data.qpos
    mujoco.mj_kinematics(shown, shown_data)
    mujoco.mj_camlight(shown, shown_data)


class Window:
    """MuJoCo's interactive viewer on one world, whose object changes between episodes."""

    def __init__(self, hand: HandSpec, objects: ObjectSet) -> None:
        """objects: those of the simulator whose world is shown.  Raises RenderingError where no window can be opened."""
        import mujoco.viewer as viewer

        _try_window_system()
        self._model = furnished_model(hand, objects)
        self._data = mujoco.MjData(self._model)
        try:
            self._handle = viewer.launch_passive(self._model, self._data, show_left_ui=False, show_right_ui=False)
        except Exception as error:  # no display, or macOS without mjpython
            raise RenderingError(
                f"the viewer did not open ({' '.join(str(error).split())[:120]}): give --video FILE.mp4; "
                "on macOS start with mjpython instead of python"
            ) from error
        with self._handle.lock():
            place_camera(self._handle.cam)

    @property
    def is_open(self) -> bool:
        """Until the user closes it."""
        return bool(self._handle.is_running())

    def show(self, model: mujoco.MjModel, data: mujoco.MjData, goal: Sequence[float], reached: bool) -> None:
        """Shows a world of the simulator, and the goal (3,), m."""
        with self._handle.lock():
            copy_world(model, data, self._model, self._data)
            scene = self._handle.user_scn
            if scene is not None:
                scene.ngeom = 0
                mark_goal(scene, goal, reached)
        self._handle.sync()

    def close(self) -> None:
        """Closes the window."""
        self._handle.close()


def _try_window_system() -> None:
    """Raises RenderingError where GLFW does not start, because the viewer would end the process."""
    import glfw

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        started = glfw.init()
    if not started:
        reason = " ".join(str(said[-1].message).split())[:120] if said else "GLFW did not start"
        raise RenderingError(f"no window can be opened ({reason}): give --video FILE.mp4")
