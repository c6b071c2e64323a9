"""A strict double of Isaac Gym Preview 4's Python API, as far as this program uses it, over MuJoCo.

It refuses what the real one refuses, and what the real one silently gets wrong; each refusal names its rule, T1 to T30, which
`tests/tasks/simulators/test_isaac_double.py` lists.  What it cannot know is how the real importer reads files and how PhysX
moves things.  `control` sets it up for a test; the real package has no such thing.
"""

import os
import sys

if "torch" in sys.modules and not os.environ.get("ISAAC_DOUBLE_TORCH_LOADED"):  # T1
    raise ImportError("PyTorch was imported before isaacgym modules.  Please import torch after isaacgym modules.")
if sys.version_info[:2] not in ((3, 6), (3, 7), (3, 8)) and not os.environ.get("ISAAC_DOUBLE_ANY_PYTHON"):  # T1
    raise RuntimeError(
        f"No gym module found for the active version of Python ({sys.version_info[0]}.{sys.version_info[1]})"
    )

from isaacgym import gymapi

__all__ = ["gymapi"]
