"""The task: starts, actions, ends, divergence; on MuJoCo C where physics matters, else on scripted positions."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import torch
from plain_mujoco import CUBE, HAND, PHYSICS, mujoco_simulator, some_objects
from scipy.spatial.transform import Rotation
from scripted_simulator import ScriptedSimulator
from scripted_task import EPISODE, LIFT, OPEN_FINGERS, Script, idle, play, scripted
from torch import Tensor
from views import NUM_OBS, SLICES, observe

from tasks.grasp.environment import GraspTask
from tasks.grasp.observations import CRITIC, Layout
from tasks.objects import ObjectSet
from tasks.simulators.contract import TABLE_HEIGHT, SimState

# ------------------------------------------------------------------------------------------------------------- the start


@pytest.fixture(scope="module")
def evaluation_start() -> GraspTask:
    """Four worlds of each object, at the evaluation start in MuJoCo."""
    torch.manual_seed(0)
    objects = some_objects()
    task = GraspTask(mujoco_simulator(HAND, objects, 4 * len(objects), PHYSICS, 1), HAND, objects, evaluation=True)
    task.reset()
    return task


def test_evaluation_start_is_the_one_claims_are_made_on(evaluation_start: GraspTask) -> None:
    """Hand open, palm down, 0.1 m above the object's top and at least 0.2 m above the table; the object within 5 cm."""
    task, state = evaluation_start, evaluation_start.simulator.state
    assert state.object_id.tolist() == list(range(5)) * 4
    for world in range(task.num_envs):
        item = task.objects.objects[int(state.object_id[world])]
        turn = Rotation.from_quat(state.object_quat[world].numpy()[[1, 2, 3, 0]])
        points = turn.apply(np.concatenate(item.parts)) + state.object_pos[world].double().numpy()
        assert points[:, 2].min() == pytest.approx(TABLE_HEIGHT, abs=1e-5), "on the table"
        up = turn.apply([0, 0, 1], inverse=True)
        rest_ups = [Rotation.from_quat(q[[1, 2, 3, 0]]).apply([0, 0, 1], inverse=True) for q in item.rest_quat]
        assert max(float(up @ other) for other in rest_ups) > 1 - 1e-6, "in a stable pose"
        palm = max(points[:, 2].max() + 0.1, TABLE_HEIGHT + 0.2)
        assert float(state.palm_pos[world, 2]) == pytest.approx(palm, abs=1e-5)
    assert (state.object_pos[:, :2].abs() <= 0.05).all()
    torch.testing.assert_close(state.palm_quat, torch.tensor([1.0, 0, 0, 0]).expand(task.num_envs, 4))
    assert (state.joint_pos[:, 3:] == 0).all(), "level, and open: all finger joints at zero"
    assert (state.joint_vel == 0).all() and (state.object_vel == 0).all()
    assert (task.episodes.mass_scale == 1).all() and (
        (task.episodes.friction >= 0.5) & (task.episodes.friction <= 1.2)
    ).all()
    torch.testing.assert_close(task.episodes.goal.pos, state.object_pos + torch.tensor([0.0, 0.0, LIFT]))
    torch.testing.assert_close(task.episodes.goal.quat, state.object_quat)


def test_evaluation_start_is_at_rest(evaluation_start: GraspTask) -> None:
    """A second without action: the object stays put, so does the hand, and nothing has touched it."""
    task, state = evaluation_start, evaluation_start.simulator.state
    place, quat, palm = state.object_pos.clone(), state.object_quat.clone(), state.palm_pos.clone()
    steps = play(task, 30)
    torch.testing.assert_close(state.object_pos, place, atol=2e-3, rtol=0.0)
    assert ((state.object_quat * quat).sum(-1).abs() > 1 - 1e-3).all()
    torch.testing.assert_close(state.palm_pos, palm, atol=3e-3, rtol=0.0)
    assert (state.object_vel[:, :3].norm(dim=-1) < 0.02).all() and (state.fingertip_wrench == 0).all()
    assert not any(step.terminated.any() or step.truncated.any() for step in steps)
    assert not task.episodes.touched.any() and not task.episodes.ever.any()


def test_starts_are_spread_evenly() -> None:
    torch.manual_seed(0)
    task = scripted(4000)
    task.reset()
    state = task.simulator.state
    xy = state.object_pos[:, :2]
    assert xy.abs().max() <= 0.05 and xy.abs().max() > 0.0495
    assert xy.mean(0).abs().max() < 0.003 and (xy.std(0) - 0.1 / 12**0.5).abs().max() < 0.002
    friction = task.episodes.friction
    assert friction.min() < 0.51 and friction.max() > 1.19 and abs(friction.mean() - 0.85) < 0.02
    assert torch.equal(task.simulator.friction, friction)
    # A turn about the vertical is uniform: it is what differs between two worlds with the object in the same stable pose.
    boxes = state.object_id == CUBE
    rest = torch.as_tensor(task.objects.objects[CUBE].rest_quat, dtype=torch.float32)
    up = Rotation.from_quat(state.object_quat[boxes].numpy()[:, [1, 2, 3, 0]]).apply([0, 0, 1], inverse=True)
    rest_up = Rotation.from_quat(rest.numpy()[:, [1, 2, 3, 0]]).apply([0, 0, 1], inverse=True)
    pose = (up @ rest_up.T).argmax(1)
    assert ((up * rest_up[pose]).sum(1) > 1 - 1e-6).all(), "in a stable pose"
    turn = Rotation.from_quat(state.object_quat[boxes].numpy()[:, [1, 2, 3, 0]])
    yaw = (turn * Rotation.from_quat(rest.numpy()[pose][:, [1, 2, 3, 0]]).inv()).as_rotvec()
    assert np.abs(yaw[:, :2]).max() < 1e-3, "turned about the vertical alone"
    quarter = np.histogram(np.mod(yaw[:, 2], 2 * np.pi), 4, (0, 2 * np.pi))[0]
    assert quarter.min() > 0.2 * len(yaw), quarter


def test_training_starts_at_random_times_with_random_masses() -> None:
    torch.manual_seed(0)
    task = scripted(2000, evaluation=False)
    task.reset()
    assert task.episodes.time.min() == 0 and task.episodes.time.max() == EPISODE - 1
    assert 0.5 <= task.episodes.mass_scale.min() < 0.52 and 1.95 < task.episodes.mass_scale.max() <= 2.0
    assert abs(task.episodes.mass_scale.log().mean()) < 0.05
    assert torch.equal(task.simulator.mass_scale, task.episodes.mass_scale)
    step = play(task, 1)[0]
    assert 5 < step.truncated.sum() < 50, "about one in a hundred ends in any step"


# ------------------------------------------------------------------------------------------------------------ the actions


def test_base_actions_are_fine_near_zero_and_full_at_their_ends() -> None:
    task = scripted(5, base_slope=0.2)
    task.reset()
    begin = task.targets.position.clone()
    action = idle(task)
    share = torch.tensor([0.0, 0.1, -0.5, 1.0, -1.0])
    action[:, :6] = share[:, None]
    task.step(action)
    moved = (task.simulator.targets - begin)[:, [0, 5]].double().numpy()
    right = [0.0, 0.1 * (0.2 + 0.8 * 0.01), -0.5 * (0.2 + 0.8 * 0.25), 1.0, -1.0]
    np.testing.assert_allclose(moved, np.outer(right, [0.03, 0.1]), atol=1e-6)


def test_base_targets_are_increments_on_a_leash() -> None:
    task = scripted(3, base_slope=1.0)
    task.reset()
    begin = task.targets.position.clone()
    task.simulator.follow = False  # the base does not move, so the leash tightens
    task.simulator.after_step = None
    action = idle(task)
    action[0, :6] = torch.tensor([0.5, -0.5, 1.0, -0.2, 0.4, 1.0])
    action[1, :6] = 7.0  # clamped to 1
    task.step(action)
    moved = task.simulator.targets[:, :6] - begin[:, :6]
    torch.testing.assert_close(moved[0], torch.tensor([0.015, -0.015, 0.03, -0.02, 0.04, 0.1]))
    torch.testing.assert_close(moved[1], torch.tensor([0.03, 0.03, 0.03, 0.1, 0.1, 0.1]))
    torch.testing.assert_close(moved[2], torch.zeros(6))
    assert (task.previous_action[1] <= 1).all(), "what is remembered is what was done"
    for _ in range(9):
        task.step(action)
    moved = task.simulator.targets[:, :6] - begin[:, :6]
    torch.testing.assert_close(moved[1], torch.tensor([0.04, 0.04, 0.04, 0.25, 0.25, 0.25]))
    action[1, :6] = -1.0
    task.step(action)
    moved = task.simulator.targets[:, :6] - begin[:, :6]
    torch.testing.assert_close(moved[1], torch.tensor([0.01, 0.01, 0.01, 0.15, 0.15, 0.15]))


def test_base_targets_stay_within_reach() -> None:
    task = scripted(2)
    task.reset()
    action = idle(task)
    action[0, :6], action[1, :6] = 1.0, -1.0
    for _ in range(60):
        task.step(action)
    torch.testing.assert_close(task.simulator.targets[0, :6], torch.tensor([0.3, 0.3, 0.8, 0.6, 0.6, 1.6]))
    torch.testing.assert_close(task.simulator.targets[1, :6], torch.tensor([-0.3, -0.3, 0.0, -0.6, -0.3, -1.6]))


def test_finger_targets_are_smoothed_over_the_joints_ranges() -> None:
    task = scripted(2)
    task.reset()
    action = torch.rand(2, 24, generator=torch.Generator().manual_seed(3)) * 2 - 1
    low, high = (torch.tensor(HAND.drive_ranges()[6:, i], dtype=torch.float32) for i in (0, 1))
    old = OPEN_FINGERS.expand(2, 18)
    for _ in range(3):
        task.step(action)
        old = 0.5 * old + 0.5 * (low + (action[:, 6:] + 1) / 2 * (high - low))
        torch.testing.assert_close(task.simulator.targets[:, 6:], old)
    for extreme, limit in ((1.0, high), (-1.0, low)):
        action[:] = extreme
        for _ in range(40):
            task.step(action)
        torch.testing.assert_close(task.simulator.targets[0, 6:], limit, atol=1e-5, rtol=0.0)


# --------------------------------------------------------------------------------------------------------------- the ends


def off_the_table(sim: ScriptedSimulator) -> None:
    if sim.time == 4:
        sim.state.object_pos[1, 0] = 0.41
        sim.state.object_pos[2, 1] = -0.41
        sim.state.object_pos[3, 2] = 1.01
        sim.state.object_pos[4, 0] = 0.39
    if sim.time == EPISODE:  # in the very step in which time runs out
        sim.state.object_pos[5, 0] = 0.5


def test_off_the_table_terminates_and_time_truncates() -> None:
    task = scripted(7, off_the_table)
    task.reset()
    steps = play(task, EPISODE)
    ended = torch.stack([s.terminated for s in steps]), torch.stack([s.truncated for s in steps])
    terminated, truncated = ended
    assert not (terminated & truncated).any()
    assert terminated.nonzero().tolist() == [[3, 1], [3, 2], [3, 3], [99, 5]]
    assert truncated.nonzero().tolist() == [[99, 0], [99, 4], [99, 6]]
    assert task.episodes.time.tolist() == [0, 96, 96, 96, 0, 0, 0]
    assert [mask.nonzero()[:, 0].tolist() for mask in task.simulator.masks[1:]][3] == [1, 2, 3]
    assert (steps[3].reward[1:4] < steps[2].reward[1:4]).all(), "leaving the table costs"


def test_final_observation_is_from_before_the_reset() -> None:
    """For bootstrapping; where no episode ended it is the observation."""
    before: Dict[str, Tensor] = {}

    def remember(sim: ScriptedSimulator) -> None:
        sim.state.object_pos[:, 2] += 0.001
        sim.state.object_vel.normal_()
        sim.state.fingertip_wrench.normal_()
        before.update({f.name: getattr(sim.state, f.name).clone() for f in fields(SimState)})

    task = scripted(4, remember, evaluation=False)
    task.reset()
    task.episodes.time.copy_(torch.tensor([0, 99, 50, 99]))
    goal_pos, goal_quat = task.episodes.goal.pos.clone(), task.episodes.goal.quat.clone()
    action = torch.rand(4, 24) * 2 - 1
    step = task.step(action)
    assert step.truncated.tolist() == [False, True, False, True]
    assert step.obs.shape == (4, NUM_OBS) and step.final_critic_obs.shape == (4, NUM_OBS + Layout(CRITIC, HAND).size)
    final = observe(SimState(**before), action, goal_pos, goal_quat)
    torch.testing.assert_close(step.final_critic_obs[:, :NUM_OBS], final)
    torch.testing.assert_close(step.critic_obs[:, :NUM_OBS], step.obs)
    assert torch.equal(step.final_critic_obs[[0, 2]], step.critic_obs[[0, 2]])
    assert (step.final_critic_obs[[1, 3], :NUM_OBS] != step.obs[[1, 3]]).any(-1).all()
    after = observe(task.simulator.state, task.previous_action, task.episodes.goal.pos, task.episodes.goal.quat)
    torch.testing.assert_close(step.obs, after)
    assert (task.previous_action[[1, 3]] == 0).all() and torch.equal(task.previous_action[[0, 2]], action[[0, 2]])


PROPRIOCEPTION_POSE = ("object_vel", "drive_force", "fingertip_wrench")


def shake(sim: ScriptedSimulator) -> None:
    for value in (sim.state.object_vel, sim.state.drive_force, sim.state.fingertip_wrench):
        value.fill_(0.5)


@pytest.mark.parametrize(
    "given, hidden",
    [
        (("object_pose", "goal_pose", "joint_pos"),) * 2,
        (("proprioception+pose",), PROPRIOCEPTION_POSE),
        (("proprioception", "goal_pose"), (*PROPRIOCEPTION_POSE, "object_pose", "fingertips_to_object", "goal_pose")),
    ],
)
def test_hidden_inputs_are_zero_to_the_policy_alone(given: Tuple[str, ...], hidden: Tuple[str, ...]) -> None:
    seen = []
    for names in ((), given):
        torch.manual_seed(0)
        task = scripted(4, shake, evaluation=False, hidden_inputs=names)
        begin = task.reset()
        step = play(task, 2)[-1]
        seen.append((*begin, step.obs, step.critic_obs, step.final_critic_obs))
    columns = torch.zeros(NUM_OBS, dtype=torch.bool)
    for name in hidden:
        columns[SLICES[name]] = True
    for index, (full, mine) in enumerate(zip(*seen)):
        policys = index in (0, 2)
        torch.testing.assert_close(mine, torch.where(columns, 0.0, full) if policys else full, atol=0, rtol=0)
        at_rest = index == 0 and given == ("proprioception+pose",)
        assert not policys or full[:, columns].any() or at_rest
    with pytest.raises(
        ValueError, match=r"nose: choose from joint_pos, .*fingertip_wrench, or name .* proprioception\+pose"
    ):
        scripted(1, hidden_inputs=("joint_pos", "nose"))


def test_critic_knows_the_object() -> None:
    task = scripted(5, evaluation=False)
    _, critic = task.reset()
    extra = critic[:, NUM_OBS:]
    items = [task.objects.objects[int(i)] for i in task.simulator.state.object_id]
    mass = torch.tensor([o.mass for o in items]) * task.episodes.mass_scale
    assert any(torch.allclose(column, mass) for column in extra.T)
    assert any(torch.equal(column, task.episodes.friction) for column in extra.T)
    for axis in range(3):
        half = torch.tensor([o.half_extents[axis] for o in items], dtype=torch.float32)
        assert any(torch.allclose(column, half) for column in extra.T)


# ------------------------------------------------------------------------------------------------------------------- NaN


def poison(value: float) -> Script:
    """World 1 is nonsense through and through after step 3, as a diverged world of MuJoCo Warp is."""

    def script(sim: ScriptedSimulator) -> None:
        if sim.time == 3:
            for f in fields(SimState):
                tensor = getattr(sim.state, f.name)
                if tensor.dtype == torch.float32:
                    tensor[1] = value
            sim.state.failed[1] = True

    return script


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("reward", ["default", "recipe"])
@pytest.mark.parametrize("evaluation", [True, False])
def test_diverged_world_ends_and_poisons_nothing(value: float, reward: str, evaluation: bool) -> None:
    ends: List[Any] = []
    for script in (None, poison(value)):
        torch.manual_seed(0)
        task = scripted(3, script, evaluation=evaluation, reward=reward)
        task.reset()
        task.episodes.time.zero_()
        task.counts_from.zero_()  # all episodes are whole
        ends.append((task, play(task, 5)))
    (_, healthy), (task, steps) = ends
    assert [s.terminated.tolist() for s in steps] == [[False, step == 2, False] for step in range(5)]
    assert not any(s.truncated.any() for s in steps)
    for mine, right in zip(steps, healthy):
        for name, tensor in mine._asdict().items():
            assert torch.isfinite(tensor.float()).all(), name
            assert torch.equal(tensor[[0, 2]], getattr(right, name)[[0, 2]]), name
    assert steps[2].reward[1] == 0
    assert task.episodes.time.tolist() == [5, 2, 5]
    sums = dict(zip(task.metric_names, task.metric_sums.tolist()))
    assert sums["failed_worlds"][0] == 1 and sums["success_rate"] == [0, 1]
    assert (task.metric_sums.abs() < 1e3).all() and torch.isfinite(task.curriculum.success).all()
    for f in fields(task.episodes.record):
        assert (getattr(task.episodes.record, f.name).float().abs() < 1e3).all(), f"record.{f.name}"
    for name in ("best_distance", "max_rise", "total_reward"):
        assert torch.isfinite(getattr(task.episodes, name)).all(), name
    assert torch.isfinite(task.targets.position).all() and torch.isfinite(task.episodes.goal.pos).all()


def test_real_nan_is_survived() -> None:
    """The same with MuJoCo C."""
    objects = some_objects()
    task = GraspTask(mujoco_simulator(HAND, objects, 3, PHYSICS, 1), HAND, objects)
    task.reset()
    task.episodes.time.zero_()
    play(task, 1)
    task.simulator.batch.bind("qpos")[1, 5] = math.nan
    steps = play(task, 3)
    assert [s.terminated.tolist() for s in steps] == [[False, True, False], [False] * 3, [False] * 3]
    assert all(torch.isfinite(s.obs).all() and torch.isfinite(s.final_critic_obs).all() for s in steps)
    assert task.diagnostics()["nan_resets"] == 1


def test_state_dict_round_trip() -> None:
    task, other = scripted(3, evaluation=False), scripted(3, evaluation=False)
    task.reset()
    play(task, 4)
    task.curriculum.success.uniform_()
    saved = {name: value.clone() for name, value in task.state_dict().items()}
    other.load_state_dict(saved)
    assert other.env_steps.item() == 12 and torch.equal(other.curriculum.success, task.curriculum.success)


def test_simulator_that_cannot_swap_keeps_its_objects() -> None:
    task = scripted(4, evaluation=False)
    task.simulator.swaps_objects = False
    task.simulator.state.object_id.copy_(torch.tensor([3, 1, 4, 1]))
    mass_scale, friction = torch.tensor([0.5, 1.0, 1.5, 2.0]), torch.tensor([0.6, 0.7, 0.8, 0.9])
    task.simulator.mass_scale, task.simulator.friction = mass_scale.clone(), friction.clone()
    task.reset()
    assert torch.equal(task.episodes.mass_scale, mass_scale) and torch.equal(task.episodes.friction, friction)
    assert task.simulator.state.object_id.tolist() == [3, 1, 4, 1]
    heights = [min(map(float, o.rest_height)) for o in ObjectSet.of("", task.objects.objects).objects]
    assert (task.episodes.goal.rest_height >= TABLE_HEIGHT + torch.tensor(heights)[[3, 1, 4, 1]] - 1e-6).all()
