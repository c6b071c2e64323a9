"""How a test sets the double up, and the errors it raises."""

from __future__ import annotations

from typing import Any, Callable, Dict, List


class RefusedError(RuntimeError):
    """A call that the real Isaac Gym refuses, or gets wrong without a word.  `rule` is T1 to T30."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule


class Control:
    """Switches of the double."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Sets everything as in a new process."""
        self.strict = True
        """Whether a second call of a setter in one step is refused.  If not, the second one replaces the first."""
        self.refuse_half_turns = False
        """Whether the quaternion (1, 0, 0, 0) is taken for an identity in the wrong order.  It is half a turn about x, which is
        rare, but some objects rest so."""
        self.frames = "local"
        """Positions are relative to each world's origin, or "global"."""
        self.fail_once: Dict[str, Any] = {}
        """Name of a function -> what its next call returns instead of doing anything."""
        self.max_materials = 64_000
        self.sims = 0
        self.calls: List[str] = []
        """Names of the functions called, in order."""
        self.gpu_devices = 1
        self.mutate_asset: Callable[[Any], None] = lambda asset: None
        """Called with each loaded asset.  A test can change it, to act as an importer that misreads something."""


control = Control()
