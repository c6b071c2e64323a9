"""The panel of controls in the browser.  Each control asks the session for something; none touches the worlds itself."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

from tasks.objects import OBJECT_SETS, ObjectError, ObjectSet, load_objects
from tasks.objects.meshes.load import load_mesh
from tasks.objects.meshes.read import SUFFIXES
from tasks.viewing.browser.dropping import TAKES_DROPPED_FILES
from tasks.viewing.browser.scene import BrowserScene
from tasks.viewing.browser.session import Session
from tasks.viewing.browser.viewer import MOST_HANDS
from tasks.viewing.watched import some_of

OF_A_SET = 50
"""Objects of a set that are shown, again and again."""
LARGEST_MESH = 50_000_000
"""bytes of a file that is dropped in."""
PUSH_SECONDS = 0.15
DIRECTIONS: Dict[str, Tuple[float, float, float]] = {
    "+x": (1, 0, 0), "-x": (-1, 0, 0), "+y": (0, 1, 0), "-y": (0, -1, 0), "up": (0, 0, 1), "down": (0, 0, -1),
}  # fmt: skip
PAUSE, PLAY = "Pause", "Play"


class Controls:
    """Buttons, sliders and what is told about the episodes."""

    def __init__(
        self,
        server: Any,
        session: Session,
        scene: BrowserScene,
        title: str,
        can_rebuild: bool = True,
        follow: Optional[Callable[[bool], None]] = None,
        following: bool = False,
    ) -> None:
        """title: what is played.  can_rebuild: whether the simulator can be built again with other objects or more hands.
        follow: is called when the user switches the following of a training on or off; None if there is no training.
        """
        self.server, self.session, self.scene = server, session, scene
        gui = server.gui
        gui.configure_theme(control_width="small", show_logo=False, show_share_button=False, brand_color=(235, 105, 30))
        gui.set_panel_label("ppo-grasp")
        self.title = gui.add_markdown(title)
        self.status = gui.add_markdown("")
        self._add_playing(gui, can_rebuild)
        if follow is not None:
            self.follow = gui.add_checkbox(
                "Follow training", following, hint="Play each new checkpoint of this training"
            )
            self.follow.on_update(lambda _: follow(self.follow.value))
        with gui.add_folder("Show", expand_by_default=False):
            self.forces = gui.add_checkbox("Contact forces", False, hint="1 cm for each newton, at the fingertips")
            self.frames = gui.add_checkbox("Fingertip frames", False, hint="x red, y green, z blue")
            self.goal = gui.add_checkbox("Goal", True)
        for box in (self.forces, self.frames, self.goal):
            box.on_update(lambda _: session.ask("show", self._show))
        self._add_objects(gui, can_rebuild)
        with gui.add_folder("Push the object", expand_by_default=False):
            self.strength = gui.add_slider("Newtons", 0.5, 20.0, 0.5, 4.0, disabled=not session.can_push)
            self.push = gui.add_button_group("Towards", list(DIRECTIONS), disabled=not session.can_push)
            self.push.on_click(lambda _: session.ask("push", self._push))
            if not session.can_push:
                gui.add_markdown(f"{session.simulator_name} cannot push objects.")

    def _add_playing(self, gui: Any, can_rebuild: bool) -> None:
        session = self.session
        self.pause = gui.add_button(PAUSE)
        self.step = gui.add_button("One step", disabled=True, hint="A thirtieth of a second, while paused")
        self.next = gui.add_button("Next object")
        self.speed = gui.add_slider(
            "Speed", min(0.1, session.speed), max(4.0, session.speed), 0.1, session.speed, hint="Times real time"
        )
        self.hands = gui.add_slider(
            "Hands",
            1,
            MOST_HANDS,
            1,
            session.hands,
            disabled=not can_rebuild,
            hint="Side by side, each with its object",
        )
        self.pause.on_click(lambda _: session.ask("pause", self._toggle))
        self.step.on_click(lambda _: session.ask("step", session.advance))
        self.next.on_click(lambda _: session.ask("next", session.next_object))
        self.speed.on_update(lambda _: session.ask("speed", lambda: setattr(session, "speed", self.speed.value)))
        self.hands.on_update(lambda _: session.ask("hands", lambda: self._rebuild(None)))

    def _add_objects(self, gui: Any, can_rebuild: bool) -> None:
        self.sets: Dict[str, Optional[ObjectSet]] = {name: None for name in OBJECT_SETS}
        first = self.session.objects.name
        self.sets[first] = self.session.objects
        with gui.add_folder("Objects", expand_by_default=False):
            self.objects = gui.add_dropdown("Set", list(self.sets), initial_value=first, disabled=not can_rebuild)
            self.scale = gui.add_number(
                "Metres per unit", 1.0, min=1e-6, step=1e-6, disabled=not can_rebuild, hint="0.001: millimetres"
            )
            self.upload = gui.add_upload_button(
                "Your mesh",
                disabled=not can_rebuild,
                hint=f"A {', '.join(SUFFIXES)} file; you can also drop it on this page",
                mime_type=",".join(SUFFIXES),
            )
        if can_rebuild:
            gui.add_html(TAKES_DROPPED_FILES)
        self.objects.on_update(lambda _: self._choose())
        self.upload.on_upload(lambda _: self._take_mesh())

    # ---------------------------------------------------------------------------------------- in the threads of the server

    def _choose(self) -> None:
        """Loads the set that was chosen, and plays with it."""
        name = self.objects.value
        try:
            found = self.sets[name]
            if found is None:
                self.tell("Loading", f"{name} ...")
                found = self.sets[name] = some_of(load_objects(name), OF_A_SET)
        except (ObjectError, OSError) as error:
            self.tell("These objects cannot be used", str(error), bad=True)
            return
        objects = found
        self.session.ask("objects", lambda: self._rebuild(objects))

    def _take_mesh(self) -> None:
        """Reads the file that was dropped in as an object."""
        file = self.upload.value
        name = Path(file.name).name
        try:
            if Path(name).suffix.lower() not in SUFFIXES:
                raise ObjectError(f"{name}: give a {', '.join(SUFFIXES)} file")
            if len(file.content) > LARGEST_MESH:
                raise ObjectError(f"{name}: is larger than {LARGEST_MESH / 1e6:.0f} MB")
            self.tell("Reading", f"{name}; a mesh that is not convex is cut into parts, which may take a minute")
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / name
                path.write_bytes(file.content)
                item = load_mesh(path, scale=float(self.scale.value))
        except (ObjectError, OSError) as error:
            self.tell("This mesh cannot be used", str(error).replace(f"{tempfile.gettempdir()}/", ""), bad=True)
            return
        self.sets[name] = ObjectSet.of(name, [item])
        self.objects.options = tuple(self.sets)
        self.objects.value = name  # which loads it

    def tell(self, title: str, text: str, bad: bool = False) -> None:
        """A note to everyone who looks."""
        for client in self.server.get_clients().values():
            client.add_notification(title, text, auto_close_seconds=None if bad else 4.0, color="red" if bad else None)

    # ----------------------------------------------------------------------------------------- in the thread that plays

    def _toggle(self) -> None:
        self.session.paused = not self.session.paused
        self.pause.label = PLAY if self.session.paused else PAUSE
        self.step.disabled = not self.session.paused

    def _show(self) -> None:
        scene = self.scene
        scene.show_goal, scene.show_forces, scene.show_frames = self.goal.value, self.forces.value, self.frames.value

    def _push(self) -> None:
        self.session.push([self.strength.value * part for part in DIRECTIONS[self.push.value]], PUSH_SECONDS)

    def _rebuild(self, objects: Optional[ObjectSet]) -> None:
        self.status.content = "building ..."
        try:
            self.session.rebuild(objects, int(self.hands.value))
        except ValueError as error:
            self.tell("That cannot be played", str(error), bad=True)

    def report(self, times_real: float) -> None:
        """Says what is going on."""
        session = self.session
        names, reached = session.names(), session.shown.reached
        if session.hands == 1:
            where = f"**{names[0]}**" + (", at the goal" if reached[0] else "")
        else:
            where = f"**{int(reached.sum())} of {session.hands}** at their goals"
        held = f"held: {session.held} of {session.ended}" if session.ended else "held: none has ended yet"
        slow = "" if session.paused or times_real > 0.8 * session.speed else f"  \n{times_real:.1f} x real time"
        self.write(self.status, f"{where}  \n{held}{slow}")

    def write(self, element: Any, text: str) -> None:
        """Changes a text, if it is another one."""
        if element.content != text:
            element.content = text
