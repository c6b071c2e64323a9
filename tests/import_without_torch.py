"""Imports every module of the program with a stand-in for torch, to see on an old Python that nothing newer is evaluated.

Run as a script: `python3.8 tests/import_without_torch.py`.  It needs numpy, scipy, mujoco, trimesh and tyro, not torch.
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any, List

ROOT = Path(__file__).resolve().parents[1]
ADAPTED = ("gymnasium", "rsl_rl", "tensordict", "rl_games", "skrl", "stable_baselines3")
ABSENT = ("torch", "tensorboard", "imageio", "coacd", "onnx", "rich", *ADAPTED)
"""Packages that are stood in for where they are not installed."""


class StandIn(types.ModuleType):
    """A module that has every name: classes where they may be bases, and calls that return themselves."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name[0].isupper():
            return type(name, (), {"__class_getitem__": classmethod(lambda cls, item: cls)})
        module = StandIn(f"{self.__name__}.{name}")
        module.__path__ = []  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        setattr(self, name, module)
        return module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) and not kwargs else self


class Finder:
    """Finds stand-ins for the submodules of what is absent."""

    def __init__(self, roots: List[str]) -> None:
        self.roots = roots

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.split(".")[0] in self.roots:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: Any) -> StandIn:
        return StandIn(spec.name)

    def exec_module(self, module: Any) -> None: ...


def problem(name: str) -> str:
    """Why this module does not import; empty if it does."""
    try:
        importlib.import_module(name)
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"
    return ""


def main() -> int:
    """The number of modules that do not import."""
    sys.path.insert(0, str(ROOT))
    absent = [name for name in ABSENT if problem(name)]
    sys.meta_path.append(Finder(absent))  # type: ignore[arg-type]
    names = []
    for package in ("ppo_grasp", "tasks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            newer = path.parent.name in ("mujoco", "mujoco_warp")
            # The audit's command insists on running before torch, and decompose.py is a script that needs coacd.
            command = path.parent.name == "isaac_gym" and path.name == "__main__.py"
            if not newer and not command and path.name != "decompose.py":
                names.append(".".join(path.relative_to(ROOT).with_suffix("").parts))
    found = [text for text in map(problem, names) if text]
    # What draws MuJoCo's worlds needs its newer versions, and what compiles kernels needs MuJoCo Warp.
    newer_mujoco = [text for text in found if "mujoco.batch" in text or "No module named 'mujoco_warp'" in text]
    problems = [text for text in found if text not in newer_mujoco]
    print(*(text.split(":")[0] + " is for newer versions of MuJoCo" for text in newer_mujoco), sep="\n")
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"Python {sys.version.split()[0]}, stand-ins for {', '.join(absent) or 'nothing'}")
    print(f"{len(names) - len(found)} passed, {len(problems)} failed")
    return len(problems)


if __name__ == "__main__":
    raise SystemExit(bool(main()))
