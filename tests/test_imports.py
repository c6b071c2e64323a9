"""Imports point one way: from commands to everything, from the task to its parts, from the engine to torch alone.

Also the size of files and folders.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("tasks.rotations", "tasks.ranges", "tasks.xml_layout", "tasks.hands", "tasks.objects")
OF_ENGINE = ("ppo_grasp.vec_task", "ppo_grasp.device")
MAY_IMPORT: Dict[str, Tuple[str, ...]] = {
    "ppo_grasp": (),
    "tasks.rotations": (),
    "tasks.xml_layout": (),
    "tasks.ranges": (),
    "tasks.hands": ("tasks.rotations", "tasks.ranges", "tasks.xml_layout", "tasks.objects"),
    "tasks.objects": ("tasks.rotations", "tasks.ranges"),
    "tasks.simulators": (*PARTS, "ppo_grasp.device"),
    "tasks.grasp": (*PARTS, "tasks.simulators", *OF_ENGINE),
    "tasks.viewing": (*PARTS, "tasks.simulators", "tasks.grasp", "ppo_grasp"),
    "tasks.evaluation": (*PARTS, "tasks.simulators", "tasks.grasp", "ppo_grasp"),
    "tasks.commands": ("tasks", "ppo_grasp"),
}
"""What the modules of each room may import of this program, beside their own room."""
DOORS = ("tasks", "tasks.gymnasium_ids", "tasks.compile_kernels", "tasks.hands.__main__", "tasks.objects.__main__")
"""They open a command or a name of another room, and hold nothing."""
ADAPTERS = "ppo_grasp.adapters"
ONLY_IN = {"tensorboard": ("metrics",), "rich": ("display",), "wandb": ("wandb",)}
"""Of the engine's modules, those that may import these packages."""


def modules() -> List[Tuple[str, Path]]:
    found = [*ROOT.glob("ppo_grasp/**/*.py"), *ROOT.glob("tasks/**/*.py")]
    names = [(".".join(path.relative_to(ROOT).with_suffix("").parts), path) for path in found]
    return sorted((name[: -len(".__init__")] if name.endswith(".__init__") else name, path) for name, path in names)


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it; `from x import y` counts as x.y, too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or path.name == "__init__.py", f"{path}: imports name their package in full"
            if node.level == 0:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def room_of(name: str) -> str:
    rooms = [room for room in MAY_IMPORT if inside(name, room)]
    assert rooms, f"{name} is in no room: give it one, or add its room to MAY_IMPORT"
    return rooms[0]


@pytest.mark.parametrize("name, path", [pytest.param(*m, id=m[0]) for m in modules() if m[0] not in DOORS])
def test_imports_point_one_way(name: str, path: Path) -> None:
    room = room_of(name)
    allowed = (room, *MAY_IMPORT[room])
    for other in imported(path):
        if other.split(".")[0] in ("tasks", "ppo_grasp"):
            assert any(inside(other, a) or (a in PARTS and other == a) for a in allowed), f"{name} imports {other}"


@pytest.mark.parametrize("name, path", [pytest.param(*m, id=m[0]) for m in modules() if inside(m[0], "ppo_grasp")])
def test_the_engine_needs_torch_alone(name: str, path: Path) -> None:
    for other in imported(path):
        package = "tensorboard" if inside(other, "torch.utils.tensorboard") else other.split(".")[0]
        if package in ONLY_IN:
            assert name.split(".")[-1] in ONLY_IN[package], f"{name} imports {other}"
        if package in ("mujoco", "warp", "isaacgym", "mujoco_warp"):
            raise AssertionError(f"{name} imports {other}: the engine has never heard of a simulator")


def test_files_are_short_and_folders_small() -> None:
    """What CONTRIBUTING.md promises: files under 400 lines, and at most a dozen Python files in a folder."""
    rooms = ("ppo_grasp", "tasks", "tests", "benchmarks", "examples")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    assert [path for path in files if len(path.read_text(encoding="utf-8").splitlines()) >= 400] == []
    in_folder = Counter(path.parent for path in files)
    assert [folder for folder, count in in_folder.items() if count > 12] == []


def test_the_test_sees_what_it_should(tmp_path: Path) -> None:
    """It finds imports inside functions, and modules imported by name from their package."""
    file = tmp_path / "module.py"
    file.write_text("import a.b\n\ndef f():\n    from c.d import e\n")
    assert sorted(imported(file)) == ["a.b", "c.d.e"]
    assert inside("tasks.grasp.starts", "tasks.grasp") and not inside("tasks.grasping", "tasks.grasp")
