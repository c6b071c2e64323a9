"""A window on a world: MuJoCo's interactive viewer, with the look of the videos."""

from __future__ import annotations

import os
import sys
import warnings

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.viewing import look
from tasks.viewing.errors import RenderingError
from tasks.viewing.renderer import place_camera
from tasks.viewing.stage import Stage
from tasks.viewing.watched import Snapshot


def has_display() -> bool:
    """Whether a window can be expected to open."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


class Window:
    """MuJoCo's interactive viewer on one world, whose object changes between episodes."""

    def __init__(self, hand: HandSpec, objects: ObjectSet) -> None:
        """objects: those of the simulator whose world is shown.  Raises RenderingError where no window can be opened."""
        import mujoco.viewer as viewer

        _try_window_system()
        self._stage = Stage(hand, objects)
        try:
            self._handle = viewer.launch_passive(
                self._stage.model, self._stage.data, show_left_ui=False, show_right_ui=False
            )
        except Exception as error:  # no display, or macOS without mjpython
            raise RenderingError(
                f"the viewer did not open ({' '.join(str(error).split())[:120]}): give --video FILE.mp4 or --viewer browser; "
                "on macOS start with mjpython instead of python"
            ) from error
        with self._handle.lock():
            place_camera(self._handle.cam, look.view())

    @property
    def is_open(self) -> bool:
        """Until the user closes it."""
        return bool(self._handle.is_running())

    def show(self, shown: Snapshot) -> None:
        """Shows the first world of a snapshot."""
        with self._handle.lock():
            self._stage.pose(shown, 0)
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
        raise RenderingError(f"no window can be opened ({reason}): give --video FILE.mp4 or --viewer browser")
