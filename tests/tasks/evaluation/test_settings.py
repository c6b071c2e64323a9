"""What a checkpoint's settings mean that was written before there was an option."""

from __future__ import annotations

from dataclasses import asdict

from tasks.evaluation.settings import TrainingSettings
from tasks.grasp.config import GraspCfg


def test_a_policy_from_before_the_bent_map_of_base_actions_keeps_its_straight_one() -> None:
    now = asdict(GraspCfg())
    before = {name: value for name, value in now.items() if name != "base_slope"}
    assert GraspCfg().base_slope != 1.0
    assert TrainingSettings.from_meta({"grasp": before}).grasp.base_slope == 1.0
    assert TrainingSettings.from_meta({"grasp": now}).grasp == GraspCfg()
    assert TrainingSettings.from_meta({}).grasp == GraspCfg()
