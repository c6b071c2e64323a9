"""The table of simulators against the simulators themselves."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest
import torch

from tasks.hands import get_hand
from tasks.objects import load_objects
from tasks.simulators import registry
from tasks.simulators.errors import SimulatorError

ROOT = Path(__file__).resolve().parents[3]
CLASSES = {
    "mujoco": "tasks.simulators.mujoco.simulator:MujocoSimulator",
    "mujoco_warp": "tasks.simulators.mujoco_warp.simulator:MujocoWarpSimulator",
    "physx": "tasks.simulators.physx.simulator:PhysxSimulator",
    "isaac_gym": "tasks.simulators.isaac_gym.simulator:IsaacGymSimulator",
}
NO_MUJOCO_4 = find_spec("mujoco.batch") is None


def test_every_simulator_of_the_folder_is_in_the_table() -> None:
    folders = {path.parent.name for path in (ROOT / "tasks" / "simulators").glob("*/__init__.py")}
    assert folders == set(registry.names()) == set(CLASSES)
    assert len(registry.names()) == len(set(registry.names()))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_entry_says_what_the_class_says(name: str) -> None:
    if name.startswith("mujoco") and NO_MUJOCO_4:
        pytest.skip("needs MuJoCo 4")
    module, cls = CLASSES[name].split(":")
    simulator, entry = getattr(import_module(module), cls), registry.get(name)
    assert simulator.name == entry.name
    assert simulator.swaps_objects == entry.swaps_objects
    assert entry.needs.startswith("It needs ") and entry.needs.endswith(".")
    # MuJoCo Warp's own flag depends on the device that it is on; the table's is that of the GPU.
    assert simulator.capturable == entry.capturable or (name == "mujoco_warp" and entry.on_gpu)


def test_settings_are_dataclasses_and_a_prefix_means_one_of_them() -> None:
    types = registry.settings_types()
    assert set(types) == {"physics", "physx", "isaac-gym"}
    for entry in registry.SIMULATORS:
        assert is_dataclass(entry.settings_type()) and entry.settings_type() is types[entry.prefix]
        assert fields(entry.settings_type()) and entry.settings_field.isidentifier()


def test_the_recipe_has_settings_of_its_own_for_isaac_gym_and_physx() -> None:
    recipe = registry.recipe_settings()
    assert set(recipe) == {"physx", "isaac_gym"}
    for field, settings in recipe.items():
        kind = registry.get(field).settings_type()
        assert registry.get(field).settings_field == field and type(settings) is kind
        assert (settings.position_iterations, settings.velocity_iterations) == (8, 0)
        assert settings.contact_offset == 0.002
    assert recipe["isaac_gym"].position_iterations < registry.get("isaac_gym").settings_type()().position_iterations


def test_physx_has_few_hands_without_a_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"mujoco_warp": False, "mujoco": True, "isaac_gym": False}
    for gpu in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        for name, few in {**expected, "physx": not gpu}.items():
            assert registry.get(name).has_few_hands() is few, name
            assert registry.get(name).runs_on_gpu() is not few, name


def test_auto_is_a_gpu_or_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpu, name in ((True, "mujoco_warp"), (False, "mujoco")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert registry.choose("auto").name == name
        assert registry.choose("isaac_gym").name == "isaac_gym"


def test_options_take_the_names_of_the_table() -> None:
    assert get_args(registry.SimulatorName) == ("auto", *registry.names())
    assert get_args(registry.SimulatorNameOrAll) == ("auto", *registry.names(), "all")


def test_all_are_those_that_run_here_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    can, cannot = registry.runnable()
    assert {entry.name for entry in can} | set(cannot) == set(registry.names())
    assert "NVIDIA GPU" in cannot["mujoco_warp"] or NO_MUJOCO_4
    assert cannot["isaac_gym"] == "it needs a process of its own"
    assert NO_MUJOCO_4 or "mujoco" in {entry.name for entry in can}


def test_an_unknown_name_is_an_error_that_lists_the_known() -> None:
    for find in (registry.get, registry.choose):
        with pytest.raises(SimulatorError, match="'bullet': choose from auto, mujoco_warp, mujoco, physx, isaac_gym"):
            find("bullet")


def test_settings_of_another_simulator_are_an_error() -> None:
    from tasks.simulators.isaac_gym.settings import IsaacGymCfg

    hand, objects = get_hand("shadow"), load_objects("primitives")
    with pytest.raises(SimulatorError, match=r"mujoco takes PhysicsCfg .*--physics.*not IsaacGymCfg"):
        registry.make_simulator("mujoco", hand, objects, 1, IsaacGymCfg())
    with pytest.raises(SimulatorError, match="0 environments"):
        registry.make_simulator("mujoco", hand, objects, 0)


def test_checks_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SimulatorError, match="NVIDIA GPU" if not NO_MUJOCO_4 else "Python 3.11"):
        registry.get("mujoco_warp").check()
    if not NO_MUJOCO_4:
        registry.get("mujoco").check()


def test_importing_the_table_imports_no_torch() -> None:
    code = (
        "import sys, tasks, tasks.simulators.registry as r; r.get('isaac_gym'); assert 'torch' not in sys.modules; "
        "from tasks import make_task; assert callable(make_task) and 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=str(ROOT), env={"PYTHONPATH": str(ROOT), "PATH": ""})
