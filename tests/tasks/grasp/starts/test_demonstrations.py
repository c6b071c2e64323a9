"""Starts inside grasps: they hold by themselves, have the goal of an episode from the table, and success is not flattered by them."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from scripted_simulator import ScriptedSimulator
from scripted_task import play, scripted

from tasks.grasp.build import make_task
from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.grasp.starts import EpisodeStart, StartCfg, demonstrations
from tasks.grasp.starts.demonstrations import SLOTS, STAGES, GraspStarts
from tasks.objects import load_objects
from tasks.simulators.mujoco.scene import PhysicsCfg

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="MuJoCo's simulators need Python 3.11")
WORLDS = 240
ALWAYS = StartCfg(grasp_fraction=1.0)


def built(start: StartCfg = ALWAYS, evaluation: bool = False) -> GraspTask:
    torch.manual_seed(3)
    physics = PhysicsCfg(timestep=1 / 120, substeps=4, integrator="implicitfast")
    objects, cfg = load_objects("primitives"), GraspCfg(start=start)
    return make_task("mujoco", objects, WORLDS, cfg, settings=physics, evaluation=evaluation)


@lru_cache(maxsize=None)
def found() -> GraspTask:
    task = built()
    task.reset()
    return task


def grasp_starts(task: GraspTask) -> GraspStarts:
    assert task.grasp_starts is not None
    return task.grasp_starts


def drawn(stage: int) -> EpisodeStart:
    """A start in each world, of this stage, where its object has one."""
    task = found()
    starts = GraspStarts(task.hand, WORLDS, len(task.objects), ALWAYS, task.device)
    starts.grasps = grasp_starts(task).grasps
    starts.success.fill_(1.0)
    starts.cfg = replace(ALWAYS, grasp_fraction=float(STAGES), grasp_floor=0.0)
    starts.success[stage - 1] = 0.0  # all of the share is this stage's
    return starts.mix(task.starts.draw(torch.arange(WORLDS) % len(task.objects)))


def test_most_objects_have_grasps() -> None:
    count = grasp_starts(found()).grasps.count
    assert count.shape == (60,) and (count > 0).float().mean() > 0.8 and count.max() <= SLOTS


@pytest.mark.parametrize("stage", range(4, STAGES + 1))
def test_what_is_lifted_stays_lifted_by_its_own_targets(stage: int) -> None:
    task, start = found(), drawn(stage)
    inside = start.stage == stage
    assert inside.float().mean() > 0.7 and (start.stage[~inside] == 0).all()
    rise = start.object_pos[:, 2] - start.rest_pos[:, 2]
    assert (rise[inside] > 0.005).all() and (rise[~inside] == 0).all()
    start.mass_scale, start.friction = torch.ones(WORLDS), torch.full((WORLDS,), 1.0)
    task.simulator.reset(torch.ones(WORLDS, dtype=torch.bool), start)
    for _ in range(20):
        task.simulator.step(start.targets)
    after = task.simulator.state.object_pos[:, 2] - start.rest_pos[:, 2]
    to_come = (start.targets - start.joint_pos)[:, 2]  # the hand goes on to its target
    assert (after - rise - to_come)[inside].abs().lt(0.02).float().mean() > 0.9


@pytest.mark.parametrize("stage", [1, 3])
def test_before_the_lift_the_object_is_on_the_table(stage: int) -> None:
    start = drawn(stage)
    inside = start.stage == stage
    moved = (start.object_pos - start.rest_pos)[inside]
    assert inside.float().mean() > 0.7 and moved[:, 2].abs().median() < 0.005
    assert moved[:, 2].abs().max() < 0.04 and moved[:, :2].norm(dim=-1).max() < 0.1


def test_the_goal_is_that_of_an_episode_from_the_table() -> None:
    task = found()
    task.reset()
    inside = task.episodes.stage > 0
    assert inside.float().mean() > 0.5 and (~inside).any(), "those without a grasp start as before"
    goal = task.episodes.goal
    rest_heights = task.library.rest_height[task.simulator.state.object_id] + 0.05
    off = (goal.rest_height[:, None] - rest_heights).abs().min(1).values
    assert off.max() < 2e-4
    torch.testing.assert_close(goal.pos[:, 2], goal.rest_height + task.cfg.lift_height)


def test_only_episodes_from_the_table_are_counted() -> None:
    task = found()
    task.reset()
    task.counts_from.zero_()
    task.metric_sums.zero_()
    task.episodes.time.fill_(task.cfg.episode_steps - 1)
    stage = task.episodes.stage.clone()
    task.step(torch.zeros(WORLDS, task.num_actions))
    row = task.metric_names.index("success_rate")
    assert task.metric_sums[row, 1] == (stage == 0).sum()


def test_stages_that_succeed_are_drawn_less() -> None:
    task = found()
    starts = GraspStarts(task.hand, 60_000, len(task.objects), replace(ALWAYS, grasp_fraction=0.6), task.device)
    starts.grasps = replace(grasp_starts(task).grasps, count=torch.full((60,), SLOTS))
    starts.success.copy_(torch.tensor([0.0, 0.5, 0.5, 0.9, 1.0, 1.0]))
    stage = starts.mix(task.starts.draw(torch.arange(60).repeat(1000))).stage
    share = torch.bincount(stage, minlength=STAGES + 1) / len(stage)
    expected = torch.tensor([1.0, 0.5, 0.5, 0.1, 0.1, 0.1]) * 0.1
    torch.testing.assert_close(share[1:], expected, atol=0.004, rtol=0)


def test_success_is_a_running_mean() -> None:
    task = found()
    starts = GraspStarts(task.hand, 5, len(task.objects), ALWAYS, task.device)
    stage = torch.tensor([1, 1, 2, 0, 2])
    ended = torch.tensor([True, True, True, True, False])
    starts.report(stage, ended, torch.tensor([True, False, True, True, True]))
    expected = torch.zeros(STAGES)
    expected[0], expected[1] = 0.5 * (1 - 0.998**2), 1 - 0.998
    torch.testing.assert_close(starts.success, expected)


def test_evaluation_and_none_draw_as_before() -> None:
    assert built(evaluation=True).grasp_starts is None and built(StartCfg(grasp_fraction=0.0)).grasp_starts is None


def test_a_resumed_run_finds_the_same_grasps() -> None:
    """Whatever else was drawn before."""
    torch.manual_seed(17)
    again = built()
    again.reset()
    before = torch.random.get_rng_state()
    for one, other in zip(vars(grasp_starts(again).grasps).values(), vars(grasp_starts(found()).grasps).values()):
        assert torch.equal(one, other)
    grasp_starts(again).find(again.simulator, again.starts)
    assert torch.equal(before, torch.random.get_rng_state()), "the script's draws are its own"


def test_what_falls_is_cut_off_with_the_value_of_what_would_follow() -> None:
    """Where it began in the air, and nowhere else."""
    task = found()
    task.reset()
    task.episodes.time.zero_()
    stage, fell = task.episodes.stage.clone(), torch.zeros(WORLDS, dtype=torch.bool)
    for _ in range(40):
        step = task.step(-torch.ones(WORLDS, task.num_actions))  # opens all fingers
        fell |= step.truncated
        assert not (step.terminated & step.truncated).any()
    air = stage >= demonstrations.IN_THE_AIR
    assert air.any() and fell[air].float().mean() > 0.8 and not fell[~air].any()


def test_worlds_that_keep_their_objects() -> None:
    """Each world's rank among those with the same object is its slot."""
    ids = torch.tensor([2, 0, 2, 1, 2, 0])
    assert demonstrations._rank_within(ids).tolist() == [0, 0, 1, 0, 2, 1]


@pytest.mark.parametrize("evaluation", [False, True])
def test_what_strays_ends_the_episode_in_training(evaluation: bool) -> None:
    """Sideways from its goal, at any height."""
    away = torch.tensor([[0.059, 0.0], [0.061, 0.0], [0.05, 0.05], [0.0, 0.0]])

    def push(simulator: ScriptedSimulator) -> None:
        simulator.state.object_pos[:, :2] = task.episodes.goal.pos[:, :2] + away
        simulator.state.object_pos[:, 2] = 0.3

    task = scripted(4, push, evaluation=evaluation, max_stray=0.06)
    task.reset()
    task.episodes.time.zero_()
    ends = [False, True, True, False] if not evaluation else [False] * 4
    assert play(task, 1)[0].terminated.tolist() == ends


def test_the_script_closes_as_the_hand_says() -> None:
    """With a closed pose fingers go there, whichever way their joints bend; without one, towards the upper limits."""
    task = found()
    start = task.starts.draw(torch.zeros(WORLDS, dtype=torch.int64), close=True)
    before = task.starts.pregrasp_pose
    bends = demonstrations.Script(task.hand, start, task.starts).closed - before
    assert (bends >= -1e-6).all()
    name = task.hand.finger_joints[3]
    at = task.hand.pregrasp_pose.get(name, 0.0)
    other = replace(task.hand, closed_pose={**task.hand.pregrasp_pose, name: at - 0.01})
    moved = demonstrations.Script(other, start, task.starts).closed - before
    assert moved[:, 3].min() >= -0.0161
    assert moved[:, 3].max() <= -0.0079
    moved[:, 3] = 0
    assert moved.abs().max() < 1e-5
