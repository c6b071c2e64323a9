"""What a checkpoint's settings mean, also of one that was written before there was an option."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from tasks.evaluation.settings import TrainingSettings
from tasks.grasp.config import GraspCfg
from tasks.simulators import registry
from tasks.simulators.mujoco.scene import PhysicsCfg


def test_a_policy_from_before_the_bent_map_of_base_actions_keeps_its_straight_one() -> None:
    now = asdict(GraspCfg())
    before = {name: value for name, value in now.items() if name != "base_slope"}
    assert GraspCfg().base_slope != 1.0
    assert TrainingSettings.from_meta({"grasp": before}).grasp.base_slope == 1.0
    assert TrainingSettings.from_meta({"grasp": now}).grasp == GraspCfg()
    assert TrainingSettings.from_meta({}).grasp == GraspCfg()


@pytest.mark.parametrize("name", ["isaac_gym", "physx"])
@pytest.mark.parametrize("substeps, control_dt", [(4, 1 / 30), (8, 1 / 15)])
def test_every_simulator_has_the_control_steps_of_the_training(name: str, substeps: int, control_dt: float) -> None:
    settings = TrainingSettings(physics=replace(PhysicsCfg(), timestep=1 / 120, substeps=substeps))
    entry = registry.get(name)
    for physics in ("fine", "trained"):
        found = settings.of_simulator(entry, physics) or entry.settings_type()()  # type: ignore[arg-type]
        assert found.control_dt == pytest.approx(control_dt)


def test_fingers_that_met_in_training_meet_when_measured() -> None:
    for meet in (True, False):
        settings = TrainingSettings(physics=PhysicsCfg(self_collision=meet))
        assert all(settings.measured_in(physics).self_collision == meet for physics in ("fine", "trained"))
