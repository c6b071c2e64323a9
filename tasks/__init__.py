"""The grasping task and all it is made of: hands, objects, simulators.

`from tasks import make_task` builds a task.  Importing this package alone does not import torch, because Isaac Gym must be
imported before torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.grasp.build import make_task

__all__ = ["make_task"]


def __getattr__(name: str) -> Any:
    """Imports `make_task` when it is first asked for."""
    if name == "make_task":
        from tasks.grasp.build import make_task

        return make_task
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
