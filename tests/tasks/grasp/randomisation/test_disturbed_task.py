"""The task with disturbances: what the policy sees is one story, and all else is the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Tuple

import pytest
import torch
from scripted_simulator import ScriptedSimulator
from scripted_task import idle, scripted
from torch import Tensor
from views import NUM_OBS, SLICES

from tasks import rotations
from tasks.grasp.environment import GraspTask
from tasks.grasp.randomisation.config import RandomCfg

SENSORS = RandomCfg(
    joint_noise=0.05, joint_bias=0.05, joint_vel_noise=0.1, object_noise=0.01, object_bias=0.01, object_turn_noise=0.1,
    object_turn_bias=0.1, tip_noise=0.004, tip_bias=0.004, force_noise=0.2, force_bias=0.1, pose_every=2,
    occlusion_rate=1.0,
)  # fmt: skip
WORLD = RandomCfg(com=0.3, table_height=0.03, joint_friction=0.05)
ALL = replace(RandomCfg.sim2real(), widen=False, strength="full", com=0.3, table_height=0.03, joint_friction=0.05)
WORLDS = 6


def wander(sim: ScriptedSimulator) -> None:
    """The object rises and turns; its fingertips feel something.  Nothing is drawn: it is the same in each run."""
    sim.state.object_pos[:, 2] += 0.01
    sim.state.object_vel[:, 2] = 0.3
    sim.state.fingertip_wrench[..., 2] = 1.0 + 0.1 * sim.time
    half = torch.full((sim.num_envs,), 0.05)
    turn = torch.stack([torch.cos(half), torch.sin(half), 0 * half, 0 * half], dim=-1)
    sim.state.object_quat.copy_(rotations.multiply(turn, sim.state.object_quat))


def disturbed(random: RandomCfg, evaluation: bool = True, script: Any = wander, **cfg: Any) -> GraspTask:
    torch.manual_seed(0)
    return scripted(WORLDS, script, evaluation, random=random, **cfg)


def played(task: GraspTask, steps: int) -> List[Dict[str, Tensor]]:
    """What each step returns, after the reset; actions are random, and the same in each run."""
    actions = torch.Generator().manual_seed(1)
    obs, critic_obs = task.reset()
    seen = [{"obs": obs.clone(), "critic_obs": critic_obs.clone()}]
    for _ in range(steps):
        step = task.step(torch.rand(task.num_envs, task.num_actions, generator=actions) * 2 - 1)
        seen.append({name: value.clone() for name, value in step._asdict().items()})
    return seen


@pytest.mark.parametrize("random", [RandomCfg(), RandomCfg(strength="drawn", widen=True, bias_time=1.0)])
def test_magnitudes_of_zero_are_off_to_the_bit(random: RandomCfg) -> None:
    """Nothing is made, nothing is drawn: whole episodes, with their resets, are those of the plain task."""
    plain, zero = scripted(WORLDS, wander, False, episode_steps=4), disturbed(random, False, episode_steps=4)
    assert zero.disturbances is None and zero.metric_names == plain.metric_names
    torch.manual_seed(3)
    right = played(plain, 9)
    torch.manual_seed(3)
    for one, other in zip(right, played(zero, 9)):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_at_scale_zero_the_policy_sees_the_truth() -> None:
    """But for the object's velocity, which is that between two sights."""
    task = disturbed(replace(SENSORS, widen=True), False)
    told = torch.ones(NUM_OBS, dtype=torch.bool)
    told[SLICES["object_vel"]] = False
    for step in played(task, 5):
        assert torch.equal(step["obs"][:, told], step["critic_obs"][:, :NUM_OBS][:, told])
    assert task.metric_names[-1] == "disturbance_scale" and task.metric_sums[-1].tolist() == [0, 5]


def test_only_the_policys_view_is_disturbed() -> None:
    """Rewards, ends and all that the critic sees are those of the plain task, to the bit."""
    torch.manual_seed(0)
    right = played(scripted(WORLDS, wander), 20)
    for one, other in zip(right, played(disturbed(SENSORS), 20)):
        for name in set(one) - {"obs"}:
            assert torch.equal(one[name], other[name]), name
        different = (one["obs"] != other["obs"]).any(0)
        exact = [*range(6), *range(24, 30), *range(*SLICES["goal_pose"].indices(NUM_OBS))]
        assert not different[exact].any(), "the base's joints, and the goal, which hangs on them"
        assert not different[SLICES["previous_action"]].any()
        assert different[6:24].all() and different[SLICES["object_pose"]].all()
        assert different[SLICES["drive_force"]].all() and different[SLICES["fingertip_wrench"]].all()


def test_all_that_is_seen_of_the_object_comes_from_one_pose() -> None:
    """Fingertips, whose own errors are off, are where they are: seen from the object's seen pose, at each step."""
    random = replace(SENSORS, tip_noise=0.0, tip_bias=0.0)
    task, before = disturbed(random), None
    for count, step in enumerate(played(task, 20)):
        obs, truth = step["obs"], step["critic_obs"][:, :NUM_OBS]
        tips = [x[:, SLICES["fingertips_to_object"]].view(-1, 5, 3) + x[:, None, SLICES["object_pose"]][..., :3]
                for x in (obs, truth)]  # fmt: skip
        torch.testing.assert_close(*tips, atol=1e-6, rtol=0.0)
        off = (obs - truth)[:, SLICES["object_pose"]][:, :3].norm(dim=-1)
        assert count == 0 or off.max() > 0.002
        # The palm does not turn here, but moves: in the world's axes the seen object moves by its seen velocity.
        place = obs[:, SLICES["object_pose"]][:, :3] + obs[:, :3]
        if before is not None:
            moved = (place - before).norm(dim=-1) > 1e-6
            vel = obs[:, SLICES["object_vel"]][:, :3]
            cosine = torch.nn.functional.cosine_similarity(place - before, vel)
            assert (cosine[moved & (vel.norm(dim=-1) > 0)] > 0.999).all()
        before = place


def test_the_same_seed_is_the_same_run() -> None:
    runs = [played(disturbed(ALL, False, episode_steps=5), 12) for _ in range(2)]
    for one, other in zip(*runs):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_actions_are_late_and_the_policys_own_are_remembered() -> None:
    prompt, late = (disturbed(RandomCfg(action_delay=delay)) for delay in (0, 2))
    action = idle(prompt)
    waiting = [action.clone(), action.clone()]
    for task in (prompt, late):
        task.reset()
    for step in range(8):
        action = idle(prompt)
        action[:, :3] = 0.1 * step
        waiting.append(action)
        late.step(action)
        prompt.step(waiting.pop(0))
        torch.testing.assert_close(late.simulator.targets, prompt.simulator.targets)
        assert torch.equal(late.previous_action, action.clamp(-1, 1))


def test_objects_are_pushed_while_they_are_lifted() -> None:
    """By the acceleration of the settings, half of the time, and never on the table."""
    torch.manual_seed(0)
    task = scripted(400, lambda sim: None, random=RandomCfg(push=3.0, push_time=0.1, mass=(2.0, 2.0)))
    task.reset()
    sim = task.simulator
    assert isinstance(sim, ScriptedSimulator)
    mass = 2.0 * task.library.mass[sim.state.object_id]
    lifted = torch.arange(400) < 200
    sim.state.object_pos[lifted, 2] += 0.031
    sim.state.object_pos[~lifted, 2] += 0.029
    forces = []
    for _ in range(30):
        task.step(idle(task))
        forces.append(sim.force.clone())
    force = torch.stack(forces)
    assert not force[:, ~lifted].any()
    size = force[:, lifted].norm(dim=-1) / mass[lifted]
    pushed = size > 0
    torch.testing.assert_close(size[pushed], torch.full_like(size[pushed], 3.0))
    assert 0.4 < float(pushed[10:].float().mean()) < 0.6
    direction = (force[:, lifted] / mass[lifted][:, None] / 3)[pushed]
    assert direction.mean(0).abs().max() < 0.1 and (direction.square().mean(0) - 1 / 3).abs().max() < 0.05
    assert sim.friction.min() >= 0.5, "which is not disturbed"


def test_ranges_of_masses_frictions_and_drives() -> None:
    random = RandomCfg(mass=(0.5, 3.0), friction=(0.3, 0.6), stiffness=(0.5, 2.0), torque_limit=(0.8, 0.8))
    torch.manual_seed(0)
    task = scripted(2000, random=random)
    task.reset()
    sim = task.simulator
    assert isinstance(sim, ScriptedSimulator)
    for values, low, high in ((sim.mass_scale, 0.5, 3.0), (sim.friction, 0.3, 0.6), (sim.factors[0, :, 6:], 0.5, 2.0)):
        share = (values.log() - torch.tensor(low).log()) / (torch.tensor(high) / low).log()
        assert -1e-5 <= share.min() < 0.01 and 0.99 < share.max() <= 1 + 1e-5 and abs(share.mean() - 0.5) < 0.02
    assert (sim.factors[:, :, :6] == 1).all() and (sim.factors[1] == 1).all()
    torch.testing.assert_close(sim.factors[2, :, 6:], torch.full((2000, 18), 0.8))
    assert torch.equal(task.episodes.mass_scale, sim.mass_scale)
    GraspTask(sim, task.hand, task.objects)
    assert (sim.factors == 1).all(), "another task on the same simulator begins with the hand's own drives"


def test_tables_joints_and_centres_of_mass() -> None:
    """Each world has its own, uniform to both ends; hand, object and goal stand as they would on the usual table."""
    torch.manual_seed(0)
    task = scripted(2000, random=WORLD, episode_steps=3)
    task.reset()
    sim = task.simulator
    assert isinstance(sim, ScriptedSimulator)
    share = sim.com_shift / (0.3 * task.library.half_extents[sim.state.object_id])
    rise = sim.table_rise / 0.03
    for values in (*share.T, rise):
        assert -1 - 1e-5 <= values.min() < -0.99 and 0.99 < values.max() <= 1 + 1e-5 and abs(values.mean()) < 0.05
    friction = sim.joint_friction[:, 6:]
    assert friction.min() >= 0 and 0.0499 < friction.max() <= 0.05 and abs(friction.mean() - 0.025) < 1e-3
    assert not sim.joint_friction[:, :6].any()
    together = torch.corrcoef(torch.cat([share.T, rise[None], friction.T]))
    assert (together - torch.eye(len(together))).abs().max() < 0.15, "drawn apart"
    usual = task.first_start
    assert usual is not None
    for raised, plain in (
        (sim.state.object_pos[:, 2], usual.object_pos[:, 2]),
        (sim.state.joint_pos[:, 2], usual.joint_pos[:, 2]),
        (task.targets.position[:, 2], usual.targets[:, 2]),
        (task.episodes.goal.rest_height, usual.rest_pos[:, 2]),
        (task.episodes.goal.pos[:, 2], usual.rest_pos[:, 2] + 0.25),
    ):
        torch.testing.assert_close(raised, plain + sim.table_rise, atol=1e-6, rtol=0.0)
    before = {name: getattr(sim, name).clone() for name in ("com_shift", "table_rise", "joint_friction")}
    ends = torch.arange(2000) < 1000
    task.episodes.time.copy_(torch.where(ends, 2, 0))
    task.step(idle(task))
    for name, old in before.items():
        same = (getattr(sim, name) == old).view(2000, -1)[:, -1]
        assert torch.equal(same, ~ends), f"{name} is drawn anew where an episode begins, and nowhere else"
    GraspTask(sim, task.hand, task.objects)
    assert not sim.com_shift.any() and not sim.table_rise.any() and not sim.joint_friction.any()


def test_at_scale_zero_worlds_do_not_differ() -> None:
    task = scripted(50, evaluation=False, random=replace(WORLD, widen=True))
    task.reset()
    sim = task.simulator
    assert isinstance(sim, ScriptedSimulator)
    assert not sim.com_shift.any() and not sim.table_rise.any() and not sim.joint_friction.any()


@pytest.mark.parametrize(
    "lacks, random, message",
    [
        ("pushes_objects", {"push": 1.0}, "--random.push: scripted cannot"),
        ("varies_drives", {"damping": (0.5, 1.0)}, "--random.damping, "),
        ("varies_worlds", {"com": 0.1}, "--random.com, .*: scripted cannot"),
        ("varies_worlds", {"table_height": 0.1}, "--random.table-height, "),
        ("varies_worlds", {"joint_friction": 0.1}, "--random.joint-friction: "),
        ("swaps_objects", {"friction": (0.3, 0.3)}, "--random.friction: scripted keeps"),
    ],
)
def test_what_a_simulator_cannot_do_is_said(
    lacks: str, random: Dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptedSimulator, lacks, False)
    with pytest.raises(ValueError, match=message):
        disturbed(RandomCfg(**random))


def test_widening_follows_the_held_episodes_and_is_in_the_state() -> None:
    """Nothing is held here, so the scale falls; it comes back from a checkpoint."""
    task = disturbed(replace(ALL, widen=True), False, episode_steps=4)
    assert task.disturbances is not None
    levels = task.disturbances.levels
    played(task, 1)
    levels.scale.fill_(0.5)
    played(task, 9)
    assert float(levels.scale) < 0.5
    other = disturbed(replace(ALL, widen=True), False)
    other.load_state_dict({name: value.clone() for name, value in task.state_dict().items()})
    assert other.disturbances is not None and other.disturbances.levels.scale == levels.scale


def running(task: GraspTask) -> Dict[str, Tuple[int, Tensor]]:
    return {name: (value.data_ptr(), value.clone()) for name, value in task.carried().items()}


def test_running_state_is_listed_keeps_its_address_and_is_all_there_is() -> None:
    """A task that is given the listed state of another goes on as that one does, sensors and actions alike."""
    task = disturbed(ALL, history=2)
    played(task, 7)
    before = running(task)
    other = disturbed(ALL, history=2)
    played(other, 3)
    for name, value in other.carried().items():
        value.copy_(before[name][1])
    other.disturbances.replaced()  # type: ignore[union-attr]
    assert torch.equal(other.simulator.factors, task.simulator.factors)  # type: ignore[attr-defined]
    torch.manual_seed(5)
    task.step(idle(task))
    assert {name: at for name, (at, _) in running(task).items()} == {name: at for name, (at, _) in before.items()}
    torch.manual_seed(5)
    other.step(idle(other))
    for name, (_, value) in running(task).items():
        if name not in ("history", "random_pos", "random_quat", "random_vel"):  # which hang on the objects' poses, too
            assert torch.equal(value, running(other)[name][1]), name
