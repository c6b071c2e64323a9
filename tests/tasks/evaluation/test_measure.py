"""Intervals against scipy, classes of failure and sums over objects on made-up records, rounds of episodes."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any, Optional, cast

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from tasks.evaluation.measure import LIFTED, Evaluation, evaluate, wilson
from tasks.grasp.environment import GraspTask
from tasks.grasp.episodes import EpisodeRecord
from tasks.simulators.contract import Start

NAMES = ("ball", "box", "never met", "mug")


def record(count: int, **given: Any) -> EpisodeRecord:
    empty = EpisodeRecord.zeros(count, torch.device("cpu"))
    for name, values in given.items():
        old = getattr(empty, name)
        setattr(empty, name, torch.as_tensor(values).to(old.dtype).expand(count).clone())
    return empty


@pytest.mark.parametrize("trials", [1, 5, 100, 4096])
def test_wilson(trials: int) -> None:
    for successes in sorted({0, 1, trials // 3, trials // 2, trials - 1, trials}):
        right = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
        low, high = wilson(successes, trials)
        assert (low, high) == pytest.approx((right.low, right.high), abs=1e-5)
        assert -1e-9 < low <= successes / trials + 1e-9 and successes / trials - 1e-9 <= high <= 1


def test_wilson_without_trials_and_by_hand() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(95, 100)
    assert (round(low, 4), round(high, 4)) == (0.8882, 0.9785)


def test_failure_classes() -> None:
    """Each failed episode is in the first class that fits, and held ones in none."""
    table = [
        # held, dropped, touched, max_rise, final_rise, class
        (True, False, True, 0.25, 0.25, None),
        (False, True, True, 0.30, -0.05, "off_table"),
        (False, True, False, 0.0, 0.0, "off_table"),
        (False, False, False, 0.0, 0.0, "never_touched"),
        (False, False, True, LIFTED - 1e-3, 0.0, "touched_not_lifted"),
        (False, False, True, LIFTED + 1e-3, 0.0, "lifted_and_lost"),
        (False, False, True, 0.4, LIFTED - 1e-3, "lifted_and_lost"),
        (False, False, True, 0.4, 0.3, "lifted_not_held"),
        (False, False, True, 0.2, 0.2, "lifted_not_held"),
    ]
    columns = list(zip(*table))
    names = ("held", "dropped", "touched", "max_rise", "final_rise")
    episodes = record(len(table), **{name: torch.tensor(columns[i]) for i, name in enumerate(names)})
    failures = Evaluation(episodes, NAMES).failures()
    expected = {name: columns[5].count(name) for name in failures}
    assert failures == expected
    assert list(failures) == ["off_table", "never_touched", "touched_not_lifted", "lifted_and_lost", "lifted_not_held"]
    assert sum(failures.values()) == int((~episodes.held).sum())


def some() -> Evaluation:
    return Evaluation(
        record(
            6,
            object_id=torch.tensor([0, 0, 1, 3, 3, 3]),
            held=torch.tensor([True, False, False, True, True, False]),
            ever=torch.tensor([True, True, False, True, True, True]),
            touched=torch.ones(6),
            max_rise=0.3,
            final_rise=torch.tensor([0.25, 0.1, 0.0, 0.24, 0.26, 0.05]),
            force_std=torch.tensor([1.0, 50.0, 50.0, 2.0, 3.0, 50.0]),
            still=torch.tensor([True, False, False, True, False, False]),
            grip_force=torch.tensor([4.0, 90.0, 90.0, 6.0, 11.0, 90.0]),
            grip_to_weight=torch.tensor([3.0, 90.0, 90.0, 2.0, 9.0, 90.0]),
            fingertip_force=torch.tensor([1.0, 90.0, 90.0, 0.5, 2.0, 90.0]),
            object_speed=torch.tensor([0.01, 9.0, 9.0, 0.03, 0.02, 9.0]),
            sign_changes=torch.tensor([0.0, 1.0, 1.0, 0.3, 0.0, 1.0]),
        ),
        NAMES,
    )


def test_per_object() -> None:
    per_object = some().per_object()
    assert list(per_object) == ["ball", "box", "mug"], "in the set's order, those that were met"
    assert per_object["ball"] == {
        "episodes": 2,
        "success_rate": 0.5,
        "still_success_rate": 0.5,
        "ever_success_rate": 1.0,
    }
    assert per_object["box"] == {
        "episodes": 1,
        "success_rate": 0.0,
        "still_success_rate": 0.0,
        "ever_success_rate": 0.0,
    }
    assert per_object["mug"]["episodes"] == 3
    assert per_object["mug"]["success_rate"] == pytest.approx(2 / 3)
    assert per_object["mug"]["ever_success_rate"] == 1.0


def test_summary() -> None:
    """What --json promises."""
    summary = some().summary()
    assert summary["num_episodes"] == 6
    assert summary["success_rate"] == pytest.approx(0.5) and summary["ever_success_rate"] == pytest.approx(5 / 6)
    assert summary["success_ci95"] == pytest.approx(list(wilson(3, 6)))
    assert summary["ever_success_ci95"] == pytest.approx(list(wilson(5, 6)))
    assert summary["average_lift_height_m"] == pytest.approx(0.15)
    assert summary["contact_force_std_n"] == pytest.approx(2.0), "of the held ones"
    assert sum(e["episodes"] for e in summary["per_object"].values()) == 6
    assert summary["still_success_rate"] == pytest.approx(1 / 3)
    assert summary["still_ci95"] == pytest.approx(list(wilson(2, 6)))
    of_held = {"grip_force_n": 6.0, "grip_to_weight": 3.0, "object_speed_m_s": 0.02, "sign_changes": 0.1}
    of_held["fingertip_force_n"] = 1.0
    assert {key: summary[key] for key in of_held} == pytest.approx(of_held)
    assert summary["grip_force_p95_n"] == pytest.approx(float(np.percentile([4.0, 6.0, 11.0], 95)))
    assert summary["grip_force_spread_n"] == pytest.approx(float(np.std([4.0, 6.0, 11.0])))
    none = Evaluation(record(3), NAMES).summary()
    assert none["success_rate"] == 0 and none["contact_force_std_n"] == 0


def test_failed_episodes_of_the_worst_objects_come_first() -> None:
    """Objects fail in 1/2, 1/1 and 1/3 of their episodes, so the order is box, ball, mug; and each with its own start."""
    found = some()
    number = torch.arange(6.0)
    found.starts = Start(*(number.clone() for _ in fields(Start)))
    assert found.failed(12).tolist() == [2, 1, 5]
    assert found.failed(2).tolist() == [2, 1]
    assert found.starts_of(found.failed(12)).friction.tolist() == [2, 1, 5]
    assert len(Evaluation(record(3, held=torch.ones(3)), NAMES).failed(12)) == 0


class Rounds:
    """A task whose episodes are told beforehand: of round r, world w, held if w < r."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.round = num_envs, 0
        self.objects = SimpleNamespace(objects=[SimpleNamespace(name=name) for name in NAMES])
        self.episodes = SimpleNamespace(record=EpisodeRecord.zeros(num_envs, torch.device("cpu")))
        self.first_start: Optional[Start] = None

    def run_episode(self) -> None:
        self.round += 1
        self.episodes.record.held.copy_(torch.arange(self.num_envs) < self.round)
        self.episodes.record.max_rise.fill_(0.1 * self.round)
        number = 100.0 * self.round + torch.arange(self.num_envs)
        self.first_start = Start(*(number.clone() for _ in fields(Start)))


@pytest.mark.parametrize("wanted, rounds, held", [(4, 1, 1), (8, 2, 3), (10, 3, 5), (1, 1, 1), (3, 1, 1)])
def test_rounds_go_on_until_there_are_enough(wanted: int, rounds: int, held: int) -> None:
    """Each round counts its own worlds, the last one only as many as are missing."""
    task, told = Rounds(4), []
    result = evaluate(cast(GraspTask, task), task.run_episode, wanted, lambda *said: told.append(said))
    assert task.round == rounds and result.num_episodes == wanted
    assert int(result.episodes.held.sum()) == held
    by_round = [0.1 * (i // 4 + 1) for i in range(wanted)]
    assert result.episodes.max_rise.tolist() == pytest.approx(by_round), "each round as it was, not as the last one was"
    assert result.starts is not None
    assert result.starts.friction.tolist() == [100 * (i // 4 + 1) + i % 4 for i in range(wanted)]
    assert len(told) == rounds and told[-1][:2] == (wanted, wanted) and told[-1][2] == pytest.approx(held / wanted)
    assert all(len(getattr(result.episodes, f.name)) == wanted for f in fields(EpisodeRecord))
    assert result.object_names == NAMES
