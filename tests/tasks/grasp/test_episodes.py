"""What the task keeps of its episodes: success, records, metrics, progress; on scripted positions."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import fields
from typing import Any, Callable, Dict, Sequence, Tuple

import numpy as np
import pytest
import torch
from scripted_simulator import ScriptedSimulator
from scripted_task import EPISODE, HOLD, LIFT, Script, play, scripted
from torch import Tensor

from tasks.grasp.environment import GraspTask

STORIES: Sequence[Tuple[str, Callable[[int], float]]] = (
    # Name, and the object's distance from its goal after step 1 to 100.
    ("held for just long enough", lambda t: 0.0 if t > EPISODE - HOLD else 0.2),
    ("a step too late", lambda t: 0.0 if t > EPISODE - HOLD + 1 else 0.2),
    ("at the goal and lost again", lambda t: 0.0 if 40 < t < 95 else 0.2),
    ("a slip near the end", lambda t: 0.051 if t == 93 else 0.0),
    ("never moved", lambda t: LIFT),
    ("just within the radius", lambda t: 0.049),
    ("just outside the radius", lambda t: 0.051),
    ("at the goal, then off the table", lambda t: 0.0),
    ("all the time", lambda t: 0.0),
)
HELD = [True, False, False, False, False, True, False, False, True]
EVER = [True, True, True, True, False, True, False, True, True]
FORCE = torch.tensor([0.0, 1.0, 2.0, 3.0])


def act_out(task_goal: Callable[[], Tensor]) -> Script:
    def script(sim: ScriptedSimulator) -> None:
        for world, (_, distance) in enumerate(STORIES):
            t = (sim.time - 1) % EPISODE + 1
            sim.state.object_pos[world] = task_goal()[world]
            sim.state.object_pos[world, 2] -= distance(t)
        sim.state.fingertip_wrench.zero_()
        sim.state.fingertip_wrench[1, 0, 1] = 1.0  # a force in the air is not a touch
        sim.state.fingertip_pos[2, 3] = sim.state.object_pos[2]
        sim.state.fingertip_wrench[2, 3, 0] = -FORCE[sim.time % 4]
        sim.state.hand_force[2] = FORCE[sim.time % 4]
        if sim.time == EPISODE - 1:
            sim.state.object_pos[7, 0] = 1.0

    return script


@pytest.fixture(scope="module")
def told() -> GraspTask:
    task = scripted(len(STORIES))
    task.simulator.after_step = act_out(lambda: task.episodes.goal.pos)
    task.reset()
    return task


@pytest.fixture(scope="module")
def first_episodes(told: GraspTask) -> Dict[str, Tensor]:
    """Records and metrics after each world's first episode."""
    play(told, EPISODE)
    record = {f.name: getattr(told.episodes.record, f.name).clone() for f in fields(told.episodes.record)}
    return {**record, "metrics": told.metric_sums.clone()}


def test_held_and_ever(first_episodes: Dict[str, Tensor]) -> None:
    names = [name for name, _ in STORIES]
    assert dict(zip(names, first_episodes["held"].tolist())) == dict(zip(names, HELD))
    assert dict(zip(names, first_episodes["ever"].tolist())) == dict(zip(names, EVER))


def test_record(first_episodes: Dict[str, Tensor]) -> None:
    record = first_episodes
    assert record["object_id"].tolist() == [i % 5 for i in range(len(STORIES))]
    assert record["dropped"].tolist() == [i == 7 for i in range(len(STORIES))]
    assert record["touched"].tolist() == [i == 2 for i in range(len(STORIES))]
    nearest = torch.tensor([min(distance(t) for t in range(1, 101)) for _, distance in STORIES])
    last = torch.tensor([distance(EPISODE) for _, distance in STORIES])
    torch.testing.assert_close(record["max_rise"], LIFT - nearest, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(record["final_rise"], LIFT - last, atol=1e-5, rtol=0.0)
    window = torch.tensor([FORCE[t % 4] for t in range(EPISODE - HOLD + 1, EPISODE + 1)])
    assert record["force_std"][2].item() == pytest.approx(float(np.std(window.numpy(), ddof=1)), abs=1e-5)
    assert (record["force_std"][[0, 3, 4]] == 0).all()


def test_metric_sums(told: GraspTask, first_episodes: Dict[str, Tensor]) -> None:
    """Sums and counts whose quotient is what the name says."""
    sums = dict(zip(told.metric_names, first_episodes["metrics"].tolist()))
    worlds = len(STORIES)
    assert sums["success_rate"] == [sum(HELD), worlds]
    assert sums["ever_success_rate"] == [sum(EVER), worlds]
    assert sums["dropped_rate"] == [1, worlds] and sums["touched_rate"] == [1, worlds]
    assert sums["episode_steps"] == [EPISODE * worlds - 1, worlds]
    assert sums["failed_worlds"] == [0, worlds]
    assert sums["lift_height_m"][0] == pytest.approx(first_episodes["max_rise"].sum().item(), abs=1e-5)
    for number, kind in enumerate(told.objects.kinds):
        mine = [held for i, held in enumerate(HELD) if i % 5 == number]
        assert sums[f"success_rate/{kind}"] == [sum(mine), len(mine)], kind


def test_each_world_counts_its_first_episode_only(told: GraspTask, first_episodes: Dict[str, Tensor]) -> None:
    """A world that starts anew keeps its record and adds to no metric until the next reset; then objects go on in turn."""
    assert told.simulator.state.object_id.tolist() == [(len(STORIES) + i) % 5 for i in range(len(STORIES))]
    told.simulator.after_step = None
    play(told, EPISODE)
    for name, value in first_episodes.items():
        now = told.metric_sums if name == "metrics" else getattr(told.episodes.record, name)
        assert torch.equal(now, value), name
    told.reset()
    worlds = len(STORIES)
    assert told.simulator.state.object_id.tolist() == [(worlds + i) % 5 for i in range(worlds)]
    play(told, EPISODE)
    assert not told.episodes.record.held.any() and told.episodes.record.object_id.tolist() == [
        (worlds + i) % 5 for i in range(worlds)
    ]
    assert dict(zip(told.metric_names, told.metric_sums.tolist()))["success_rate"] == [sum(HELD), 2 * worlds]


def test_training_counts_every_episode() -> None:
    task = scripted(3, evaluation=False, episode_steps=10)
    task.reset()
    task.episodes.time.zero_()
    play(task, 30)
    assert dict(zip(task.metric_names, task.metric_sums.tolist()))["success_rate"] == [0, 9]
    assert task.env_steps.item() == 90


def test_episodes_that_began_in_their_middle_do_not_count() -> None:
    """After a reset, episodes of 20 steps begin at random times.  Whatever ends in the first 19 steps began in its middle."""
    task = scripted(40, evaluation=False, episode_steps=20)
    for _ in range(2):
        torch.manual_seed(0)
        task.reset()
        task.metric_sums.zero_()
        ended = [step.truncated.sum().item() for step in play(task, 19)]
        assert sum(ended) > 20 and not any(task.metric_sums[task.metric_names.index("success_rate")])
        last = play(task, 1)[0].truncated.sum().item()
        assert task.metric_sums[task.metric_names.index("success_rate")].tolist() == [0, last]
        sums = dict(zip(task.metric_names, task.metric_sums.tolist()))
        assert sums["episode_steps"][0] == 20 * sums["episode_steps"][1]


def test_progress_is_latched() -> None:
    """Swinging to and fro pays the approach once: an episode's progress is at most the distance at its start."""
    total = torch.zeros(2)

    def swing(sim: ScriptedSimulator) -> None:
        share = 0.5 - 0.5 * math.cos(sim.time / 3)
        sim.state.fingertip_pos[0] = sim.state.object_pos[0] + torch.tensor([0.0, 0.0, 0.4 * (1 - share)])
        sim.state.fingertip_pos[1] = sim.state.object_pos[1] + torch.tensor([0.0, 0.0, 0.4])

    task = scripted(2, swing)
    parts = task.reward.parts

    def spy(outcome: Any) -> Tensor:
        total.add_(outcome.progress)
        return parts(outcome)

    task.reward.parts = spy  # type: ignore[assignment]
    task.reset()
    first = task.episodes.best_distance.mean(-1).clone()
    play(task, EPISODE - 1)
    assert (total <= first + 1e-5).all()
    torch.testing.assert_close(total, first - task.episodes.best_distance.mean(-1), atol=1e-4, rtol=0.0)
    assert total[0] > 5 / 6 * 0.05 and total[1] < total[0] / 2


def test_a_step_is_marked_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """For Nsight Systems; the order is that of the contract."""
    names = []
    monkeypatch.setattr("tasks.grasp.environment.named_range", lambda name: names.append(name) or nullcontext())
    task = scripted(2)
    task.reset()
    task.step(torch.zeros(2, 24))
    assert names == ["physics", "reward", "reset", "observation"]
