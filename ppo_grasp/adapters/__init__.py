"""A task as other libraries want it, and other libraries' environments as a task.

Each module serves one library and imports it.  `pip install 'ppo-grasp[adapters]'` installs all of them.
"""

from __future__ import annotations


def missing(library: str, package: str) -> ImportError:
    """The error of a module whose library is not installed.  package: what pip calls the library."""
    return ImportError(
        f"{library} is not installed: pip install {package} (or all adapters: pip install 'ppo-grasp[adapters]')"
    )
