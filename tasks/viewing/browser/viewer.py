"""The server of the viewer, and the loop that plays in real time."""

from __future__ import annotations

import contextlib
import math
import os
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional, Tuple

from tasks.hands.spec import HandSpec
from tasks.viewing.errors import RenderingError
from tasks.viewing.watched import Policy, between

if TYPE_CHECKING:
    from tasks.viewing.browser.session import Session

FRAMES_PER_S = 30.0
"""At most so many are sent; in slow motion those between two steps of the control are interpolated."""
REPORTS_PER_S = 4.0
HOW_TO_GET = "pip install -c constraints.txt -e '.[viewer]'"
PORT = 8080
MOST_HANDS = 16
Named = Tuple[Policy, str]
"""A policy, and what it is called."""


def is_installed() -> bool:
    """Whether the viewer's packages are here."""
    try:
        import viser  # noqa: F401
    except ImportError:
        return False
    return True


class Viewer:
    """Serves a session's worlds and controls to browsers."""

    def __init__(
        self,
        session: Session,
        hand: HandSpec,
        title: str,
        host: str = "127.0.0.1",
        port: int = PORT,
        can_rebuild: bool = True,
        newest: Optional[Callable[[], Optional[Named]]] = None,
        follow: Optional[Callable[[bool], None]] = None,
        following: bool = False,
    ) -> None:
        """newest: is asked now and then, and returns another policy and what it is called, or None.
        host, port: where the server listens; if the port is taken, the next one that is free.  The others are those of `Controls`.
        Raises RenderingError without the extra `viewer`, or where nothing can be served.
        """
        try:
            import viser
        except ImportError as error:
            raise RenderingError(f"the viewer in the browser needs the extra `viewer`: {HOW_TO_GET}") from error
        from tasks.viewing.browser.controls import Controls
        from tasks.viewing.browser.scene import BrowserScene

        self.session, self.host, self._newest = session, host, newest
        try:
            with _quietly():
                self.server: Any = viser.ViserServer(host=host, port=port, verbose=False)
        except OSError as error:
            raise RenderingError(
                f"--host {host} --port {port}: nothing can be served there: {error.strerror}"
            ) from error
        self.scene = BrowserScene(self.server, hand)
        self.controls = Controls(self.server, session, self.scene, title, can_rebuild, follow, following)
        self.scene.show(session.shown, session.objects)

    @property
    def address(self) -> str:
        """What to open in a browser on this machine."""
        host = "localhost" if self.host in ("127.0.0.1", "0.0.0.0") else self.host
        return f"http://{host}:{self.server.get_port()}"

    def announce(self) -> str:
        """Where the viewer is, and how to reach it from another machine."""
        lines = [f"watch in a browser: {self.address}  (Ctrl-C ends)"]
        if os.environ.get("SSH_CONNECTION") and self.host == "127.0.0.1":
            port, machine = self.server.get_port(), os.environ["SSH_CONNECTION"].split()[2]
            lines.append(f"over ssh, first on your own machine: ssh -L {port}:localhost:{port} {machine}")
        return "\n".join(lines)

    def run(self, episodes: Optional[int] = None, say: Callable[[str], None] = print) -> None:
        """Plays until so many episodes have ended, or until Ctrl-C."""
        session, told, done = self.session, 0.0, 0
        due = began = time.monotonic()
        steps = 0
        while episodes is None or done < episodes:
            asked = session.do_what_is_asked()
            now = time.monotonic()
            if now - told > 1 / REPORTS_PER_S:
                self.controls.report(steps * self._control_dt / max(now - began, 1e-6))
                self._take_newest()
                told = now
                if now - began > 2:
                    began, steps = now, 0
            if session.paused:
                if asked:
                    self.scene.show(session.shown, session.objects)
                due = began = time.monotonic()
                steps = 0
                time.sleep(1 / FRAMES_PER_S)
                continue
            session.advance()
            steps += 1
            pace = self._control_dt / session.speed
            due = max(due + pace, time.monotonic() - pace)
            self._show_until(due, pace)
            for words in session.said:
                done += 1
                say(f"{done} {words}")
            session.said.clear()

    def close(self) -> None:
        """Stops the server."""
        with _quietly():
            self.server.stop()

    @property
    def _control_dt(self) -> float:
        return self.session.task.simulator.control_dt

    def _show_until(self, due: float, pace: float) -> None:
        """Shows the step that was just taken, in as many frames as there is time for, and waits until it is due."""
        session = self.session
        frames = max(1, math.floor(pace * FRAMES_PER_S + 1e-6))
        for frame in range(1, frames + 1):
            moment = due - pace * (frames - frame) / frames
            late = time.monotonic() - moment
            if frame < frames and late > 0:
                continue
            if frame == frames and pace < 1 / FRAMES_PER_S and late > pace:
                break  # there are more steps than frames: some are not shown
            shown = session.shown
            if frame < frames:
                shown = between(session.before, session.shown, frame / frames, session.begun)
            self.scene.show(shown, session.objects)
            time.sleep(max(0.0, moment - time.monotonic()))

    def _take_newest(self) -> None:
        found = self._newest() if self._newest is not None else None
        if found is not None:
            policy, title = found
            self.session.take_policy(policy)
            self.controls.write(self.controls.title, title)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """viser prints a box when it starts and a line when it stops."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        yield
