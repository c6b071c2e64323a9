"""A hand of another size than the Shadow Hand in every simulator: the contract's sizes are the hand's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict

import claw
import conformance
import physx_support
import pytest
import torch
from conformance import Bench
from physx_support import WHY_NOT
from three_fingers import TESTED, THREE_FINGERS, without_coupling

from tasks.grasp.environment import GraspCfg, GraspTask
from tasks.hands import HandSpec, get_hand
from tasks.objects import ObjectSet
from tasks.simulators.contract import SimState, Simulator
from tasks.simulators.isaac_gym.settings import IsaacGymCfg

Make = Callable[[ObjectSet, int], Simulator]


def mujoco_c(objects: ObjectSet, num_envs: int, hand: HandSpec, fine: bool) -> Simulator:
    pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
    from tasks.simulators.mujoco.scene import PhysicsCfg
    from tasks.simulators.mujoco.simulator import MujocoSimulator

    physics = PhysicsCfg.fine() if fine else PhysicsCfg()
    return MujocoSimulator(hand, objects, num_envs, physics, num_threads=1)


def mujoco_warp(objects: ObjectSet, num_envs: int, hand: HandSpec, fine: bool) -> Simulator:
    pytest.importorskip("mujoco_warp", reason="needs MuJoCo Warp")
    from tasks.simulators.mujoco.scene import PhysicsCfg
    from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator

    physics = PhysicsCfg.fine() if fine else PhysicsCfg()
    return MujocoWarpSimulator(hand, objects, num_envs, torch.device("cpu"), physics)


def physx(objects: ObjectSet, num_envs: int, hand: HandSpec, fine: bool) -> Simulator:
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    return physx_support.make(objects, num_envs, hand, fine)


def isaac_gym(hand: HandSpec, cache: Path) -> Make:
    from tasks.simulators.isaac_gym.simulator import IsaacGymSimulator

    def make(objects: ObjectSet, num_envs: int) -> Simulator:
        IsaacGymSimulator.built = False
        cfg = IsaacGymCfg(cache=cache, mass_scale=1.0, watch_errors=False)
        return IsaacGymSimulator(hand, objects, num_envs, "cpu", cfg=cfg, gpu_pipeline=True)

    return make


SIMULATORS = ("mujoco", "mujoco_warp", "physx", "isaac_gym")
CHECKS = [check for check in conformance.CONFORMANCE if check not in conformance.OF_OBJECTS]
"""How an object moves does not depend on the hand's size."""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SIMULATORS)
def test_the_contract_holds_for_another_hand(
    name: str, check: Callable[[Bench], None], isaac: Any, tmp_path: Path
) -> None:
    """Isaac Gym is audited as well, before each check."""
    if name == "mujoco_warp" and check is conformance.same_path_as_plain_mujoco:
        pytest.skip("slow on the processor, and nothing in it depends on the hand's size that the others do not see")
    make = maker(name, THREE_FINGERS, tmp_path, fine=check in conformance.ACCURACY)
    check(Bench(make, tested=TESTED))


@pytest.mark.parametrize("name", SIMULATORS)
def test_a_hand_without_coupled_joints(name: str, isaac: Any, tmp_path: Path) -> None:
    hand = without_coupling(tmp_path)
    conformance.current_after_reset(Bench(maker(name, hand, tmp_path, fine=False), tested=replace(TESTED, spec=hand)))


@pytest.mark.parametrize("check", (conformance.current_after_reset, conformance.drives_follow))
@pytest.mark.parametrize("name", SIMULATORS)
def test_joints_that_follow_by_a_ratio(
    name: str, check: Callable[[Bench], None], isaac: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's hand, read from a URDF: its last joints follow by 0.8."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "claw.toml").write_text("[palm]\ncentre = [0, 0, -0.05]\ngrip_yaw = 0\n[pregrasp]\n")
    hand = get_hand(str(claw.written(tmp_path)))
    tested = replace(TESTED, spec=hand, bent={"left_spread": -0.2, "right_flex": 0.5, "thumb_flex": 0.4})
    check(Bench(maker(name, hand, tmp_path, fine=False), tested=tested))


@pytest.mark.parametrize("name", SIMULATORS)
def test_the_task_runs_with_another_hand(name: str, isaac: Any, tmp_path: Path) -> None:
    """Episodes of random actions: sizes are the hand's, and nothing is ever not a number."""
    objects = ObjectSet.of("two", [conformance.CUBE, conformance.LOADED])
    sim = maker(name, THREE_FINGERS, tmp_path, fine=False)(objects, 4)
    task = GraspTask(sim, THREE_FINGERS, objects, GraspCfg(episode_steps=8))
    assert task.num_actions == 13
    torch.manual_seed(0)
    obs, critic_obs = task.reset()
    for _ in range(12):
        step = task.step(torch.rand(4, 13) * 2 - 1)
        assert obs.shape == step.obs.shape == (4, task.num_obs)
        assert critic_obs.shape == step.critic_obs.shape == (4, task.num_critic_obs)
        assert torch.isfinite(torch.cat([step.obs, step.critic_obs, step.reward[:, None]], dim=-1)).all()
    sim.close()


def maker(name: str, hand: HandSpec, cache: Path, fine: bool) -> Make:
    makers: Dict[str, Make] = {
        "mujoco": partial(mujoco_c, hand=hand, fine=fine),
        "mujoco_warp": partial(mujoco_warp, hand=hand, fine=fine),
        "physx": partial(physx, hand=hand, fine=fine),
        "isaac_gym": isaac_gym(hand, cache),
    }
    return makers[name]


def test_sizes_of_a_state_are_the_hands() -> None:
    state = SimState.zeros(THREE_FINGERS, 2, torch.device("cpu"))
    assert (THREE_FINGERS.num_drives, THREE_FINGERS.num_fingertips) == (13, 3)
    for name in ("joint_pos", "joint_vel", "drive_force"):
        assert getattr(state, name).shape == (2, 13)
    sizes = {"fingertip_pos": 3, "fingertip_quat": 4, "fingertip_vel": 6, "fingertip_wrench": 6}
    for name, size in sizes.items():
        assert getattr(state, name).shape == (2, 3, size)
