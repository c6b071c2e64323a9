"""A headless Chromium that tests look through, by its own debugging protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
)


def find() -> Optional[str]:
    """Where a Chromium is; None if there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Page:
    """One page.  Use it as a context manager."""

    def __init__(self, folder: Path, width: int, height: int) -> None:
        """folder: an empty one, for the profile."""
        self.size = width, height
        self._folder = folder
        self._count = 0
        self.errors: List[str] = []
        """What scripts have thrown or logged as errors."""

    def __enter__(self) -> Page:
        from websockets.sync.client import connect

        words = [find() or "chromium", *FLAGS, f"--user-data-dir={self._folder}", "about:blank"]
        self._process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stderr is not None
        line = next(line for line in self._process.stderr if "DevTools listening on" in line)
        self._socket = connect(line.split()[-1], max_size=None)
        (target,) = [t for t in self._ask("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        attached = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session: Optional[str] = attached["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self._ask(f"{domain}.enable")
        width, height = self.size
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def open(self, address: str) -> None:
        """Goes to an address."""
        self._ask("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        found = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, script: str, seconds: float = 60.0) -> Any:
        """The value of an expression, once it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.2)
        raise AssertionError(f"after {seconds:g} s this is not true: {script}")

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def wait_for_text(self, words: str, seconds: float = 60.0) -> None:
        """Waits until these words are on the page."""
        self.wait_for(f"document.body && document.body.innerText.includes({json.dumps(words)})", seconds)

    def click(self, label: str) -> None:
        """Clicks on what has this label."""
        self.wait_for_text(label)
        self.run(
            "[...document.querySelectorAll('body *')]"
            f".filter(e => e.innerText && e.innerText.trim() === {json.dumps(label)}).pop().click()"
        )

    def drop(self, path: Path) -> None:
        """Gives a file to the page's field for files."""
        found = self._ask("Runtime.evaluate", expression="document.querySelector('input[type=file]')")
        self._ask("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])

    def picture(self, path: Optional[Path] = None) -> bytes:
        """A screenshot as PNG."""
        data = base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(data)
        return data

    def _ask(self, method: str, **params: Any) -> Dict[str, Any]:
        self._count += 1
        message: Dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=120))
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            self._hear(answer)

    def _hear(self, event: Dict[str, Any]) -> None:
        said: Union[str, None] = None
        if event.get("method") == "Runtime.exceptionThrown":
            said = json.dumps(event["params"]["exceptionDetails"])[:500]
        if event.get("method") == "Runtime.consoleAPICalled" and event["params"]["type"] == "error":
            said = json.dumps(event["params"]["args"])[:500]
        if said is not None:
            self.errors.append(said)
