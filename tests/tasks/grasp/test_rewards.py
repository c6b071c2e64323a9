"""The recipe's terms against its formulas written out, and what must hold of the default whatever its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.grasp import rewards
from tasks.grasp.rewards import REWARDS, StepOutcome

COUNT = 400


def outcome(seed: int = 0, count: int = COUNT, **given: Any) -> StepOutcome:
    """Random, consistent in itself; `given` overrides fields."""
    random = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=random)

    rise = uniform(-0.06, 0.4)
    rest = uniform(0.06, 0.12)
    goal_distance = uniform(0.0, 0.4)
    values = {
        "tip_distance": uniform(0.0, 0.3, 5) * (uniform(0, 1, 5) > 0.2),
        "palm_distance": uniform(0.0, 0.3) * (uniform(0, 1) > 0.2),
        "progress": uniform(0.0, 0.1),
        "tip_force": uniform(0.0, 30.0, 5) * (uniform(0, 1, 5) > 0.3),
        "height": rest + rise,
        "rise": rise,
        "goal_height": rest + 0.25,
        "lift_height": 0.25,
        "goal_distance": goal_distance,
        "at_goal": goal_distance < 0.05,
        "object_speed": uniform(0.0, 0.4),
        "dropped": uniform(0, 1) < 0.1,
        "action": uniform(-1.0, 1.0, 24),
        "previous_action": uniform(-1.0, 1.0, 24),
        "phase": torch.tensor(0.3),
    }
    return StepOutcome(**{**values, **given})


def array(values: Tensor) -> np.ndarray:
    return values.double().numpy()


def check(mine: Tensor, right: np.ndarray) -> None:
    assert mine.shape == right.shape and mine.dtype == torch.float32
    np.testing.assert_allclose(mine.numpy(), right, rtol=1e-5, atol=1e-6)


def recipe_in_numpy(o: StepOutcome, p: float) -> np.ndarray:
    distance, force = array(o.tip_distance).mean(1), array(o.tip_force).mean(1)
    z, goal = array(o.height), array(o.goal_height)
    reach = 1 - np.tanh(5 * distance)
    contact = np.clip(1 - np.abs(force - 5) / 10, 0, 1) * (force > 0.5)
    stability = 10 * np.clip(z - 0.1, 0, 0.3) * (array(o.object_speed) < 0.1)
    lift = np.exp(-5 * np.abs(z - goal)) * (z > 0.15)
    a, b = array(o.action), array(o.previous_action)
    penalty = 0.01 * np.linalg.norm(a - b, axis=1) + 0.001 * np.linalg.norm(a, axis=1)
    off = (z < 0.05) | o.dropped.numpy()
    return (1 - p) * reach + 0.5 * contact + 2 * p * stability + 5 * p * lift - penalty - 5.0 * off


def test_recipe_reach() -> None:
    o = outcome()
    check(rewards.recipe_reach(o), 1 - np.tanh(5 * array(o.tip_distance).mean(1)))
    assert (rewards.recipe_reach(replace(o, tip_distance=torch.zeros(COUNT, 5))) == 1).all()


def test_recipe_contact() -> None:
    force = torch.tensor([0.0, 0.4, 0.5, 0.51, 1.0, 5.0, 9.0, 15.0, 16.0, 200.0])
    o = outcome(count=len(force), tip_force=force[:, None].expand(-1, 5))
    right = np.array([0, 0, 0, 1 - 4.49 / 10, 0.6, 1.0, 0.6, 0.0, 0.0, 0.0])
    check(rewards.recipe_contact(o), right)
    uneven = torch.tensor([[25.0, 0, 0, 0, 0]])
    check(rewards.recipe_contact(outcome(count=1, tip_force=uneven)), np.array([1.0]))


def test_recipe_stability() -> None:
    height = torch.tensor([0.0, 0.1, 0.2, 0.4, 0.6, 0.3, 0.3])
    speed = torch.tensor([0.0, 0.0, 0.05, 0.099, 0.0, 0.1, 0.5])
    o = outcome(count=7, height=height, object_speed=speed)
    check(rewards.recipe_stability(o), np.array([0, 0, 1.0, 3.0, 3.0, 0, 0]))


def test_recipe_lift() -> None:
    height = torch.tensor([0.05, 0.15, 0.1501, 0.33, 0.43])
    o = outcome(count=5, height=height, goal_height=torch.full((5,), 0.33))
    right = np.array([0, 0, np.exp(-5 * 0.1799), 1.0, np.exp(-0.5)])
    check(rewards.recipe_lift(o), right)


def test_recipe_penalties() -> None:
    o = outcome()
    a, b = array(o.action), array(o.previous_action)
    check(rewards.action_rate(o), np.sqrt(((a - b) ** 2).sum(1)))
    check(rewards.action_size(o), np.sqrt((a**2).sum(1)))
    height = torch.tensor([0.049, 0.05, 0.2, 0.2])
    gone = torch.tensor([False, False, False, True])
    check(rewards.recipe_dropped(outcome(count=4, height=height, dropped=gone)), np.array([1.0, 0, 0, 1]))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_recipe_is_its_weighted_sum(p: float) -> None:
    o = outcome(seed=1, phase=torch.tensor(p))
    check(REWARDS["recipe"](o), recipe_in_numpy(o, p))


def test_recipe_weights_by_isolated_terms() -> None:
    """Where all but one term is silent the sum is that term's weight."""
    still = {"action": torch.zeros(1, 24), "previous_action": torch.zeros(1, 24), "dropped": torch.zeros(1) > 0}
    none = {"tip_distance": torch.full((1, 5), 1e3), "tip_force": torch.zeros(1, 5), "object_speed": torch.ones(1)}
    none.update(height=torch.full((1,), 0.14), goal_height=torch.full((1,), 0.33))
    for p in (0.0, 0.3, 1.0):
        base = outcome(count=1, phase=torch.tensor(p), **still, **none)
        assert REWARDS["recipe"](base).item() == pytest.approx(0, abs=1e-6)
        cases = {
            1 - p: {"tip_distance": torch.zeros(1, 5)},
            0.5: {"tip_force": torch.full((1, 5), 5.0)},
            2 * p * 0.4: {"object_speed": torch.zeros(1)},
            5 * p: {"height": torch.full((1,), 0.33)},
            -5.0: {"dropped": torch.ones(1) > 0},
            -0.01 - 0.001: {"action": torch.nn.functional.one_hot(torch.tensor([3]), 24).float()},
            -0.01: {"previous_action": torch.nn.functional.one_hot(torch.tensor([3]), 24).float()},
        }
        for value, change in cases.items():
            assert REWARDS["recipe"](replace(base, **change)).item() == pytest.approx(value, abs=1e-6)


# The default.


def held(count: int, **given: Any) -> StepOutcome:
    """Palm and fingertips at the object, nothing moves."""
    zeros = torch.zeros(count)
    values = {
        "tip_distance": torch.zeros(count, 5), "palm_distance": zeros, "progress": zeros, "object_speed": zeros,
        "dropped": zeros > 0, "action": torch.zeros(count, 24), "previous_action": torch.zeros(count, 24),
    }  # fmt: skip
    return outcome(count=count, **{**values, **given})


def test_every_term_is_one_number_a_world_and_finite() -> None:
    for o in (outcome(), held(COUNT), outcome(progress=torch.zeros(COUNT), tip_distance=torch.full((COUNT, 5), 50.0))):
        for _, term in rewards.DEFAULT_TERMS:
            value = term(o)
            assert value.shape == (COUNT,) and torch.isfinite(value).all(), term.__name__


def test_default_is_the_sum_of_its_terms() -> None:
    o = outcome(seed=2)
    total = np.zeros(COUNT)
    for weight, term in rewards.DEFAULT_TERMS:
        total += weight * array(term(o))
    check(REWARDS["default"](o), total)


def test_level_pays_less_for_lifting_too_high() -> None:
    """A tent over the rise of a held object: nothing at rest, all at the goal's height, nothing from twice that on."""
    rise = torch.tensor([-0.1, 0.0, 0.1, 0.25, 0.3, 0.45, 0.5, 0.7])
    o = held(len(rise), rise=rise)
    tent = np.array([0, 0, 0.4, 1, 0.8, 0.2, 0, 0])
    check(rewards.lifted_no_higher(o) / rewards.holding(o), tent)
    plain = np.array([0, 0, 0.4, 1, 1, 1, 1, 1])
    check(REWARDS["default"](o) - REWARDS["level"](o), 0.4 * array(rewards.holding(o)) * (plain - tent))


def test_loose_lacks_what_is_paid_for_precision() -> None:
    o = held(COUNT, goal_distance=torch.full((COUNT,), 0.01), at_goal=torch.ones(COUNT) > 0)
    precision = 0.1 * rewards.goal_exact(o) + 0.1 * rewards.still_at_goal(o)
    assert (precision > 0).all()
    check(REWARDS["loose"](o), array(REWARDS["default"](o)) - array(precision))


@pytest.mark.parametrize("phase", [0.0, 0.4, 1.0])
def test_second_stage_pays_nothing_for_the_approach(phase: float) -> None:
    o = outcome(seed=3, phase=torch.tensor(phase))
    approach = 0.5 * rewards.reach_progress(o) + 0.03 * rewards.fingers_near(o) + 0.02 * rewards.palm_near(o)
    assert (approach > 0).all()
    check(REWARDS["two_stage"](o), array(REWARDS["default"](o)) - phase * array(approach))


def test_default_weights_have_the_right_signs() -> None:
    for weight, term in rewards.DEFAULT_TERMS:
        penalty = term in (rewards.action_rate_squared, rewards.dropped, rewards.action_rate, rewards.action_size)
        assert (weight < 0) == penalty, term.__name__


def test_holding_gate_closes() -> None:
    """Fingers away or palm away: nothing that is paid for holding is paid."""
    gated = [rewards.holding, rewards.lifted, rewards.goal_near, rewards.goal_exact]
    gated += [rewards.at_goal, rewards.still_at_goal]
    good = {"rise": torch.full((3,), 0.25), "goal_distance": torch.zeros(3), "at_goal": torch.ones(3) > 0}
    tips = torch.zeros(3, 5)
    tips[1] = 0.05
    palm = torch.tensor([0.0, 0.0, 0.2])
    o = held(3, tip_distance=tips, palm_distance=palm, **good)
    for term in gated:
        value = term(o)
        assert value[0] > 0 and (value[1:] == 0).all(), term.__name__


def test_lift_is_paid_monotonically() -> None:
    """From the first millimetre to the goal, and no more above it."""
    rise = torch.linspace(-0.05, 0.5, 300)
    o = held(300, rise=rise, height=0.08 + rise, goal_height=torch.full((300,), 0.33))
    value = rewards.lifted(o)
    assert (value.diff() >= -1e-6).all()
    assert (value[rise <= 0] == 0).all() and (value[rise > 0.001] > 0).all()
    torch.testing.assert_close(value[rise >= 0.25], torch.ones(int((rise >= 0.25).sum())))


def test_nearer_to_the_goal_is_never_worse() -> None:
    distance = torch.linspace(0.4, 0, 400)
    o = held(400, goal_distance=distance, at_goal=distance < 0.05)
    for term in (rewards.goal_near, rewards.goal_exact, rewards.at_goal, rewards.still_at_goal):
        assert (term(o).diff() >= 0).all(), term.__name__


def test_default_is_bounded() -> None:
    """A step pays at most a little more than a step at the goal, and a fling earns nothing above that."""
    best = held(1, rise=torch.full((1,), 0.25), goal_distance=torch.zeros(1), at_goal=torch.ones(1) > 0)
    limit = REWARDS["default"](best).item()
    positive = sum(weight for weight, _ in rewards.DEFAULT_TERMS if weight > 0)
    assert 0 < limit <= positive
    for seed in range(5):
        wild = outcome(seed=seed, progress=torch.zeros(COUNT), rise=torch.full((COUNT,), 5.0))
        assert (REWARDS["default"](wild) <= limit + 1e-6).all()
    for weight, term in rewards.DEFAULT_TERMS:
        if weight > 0 and term is not rewards.reach_progress:
            assert (term(outcome(seed=7)) <= 1).all() and (term(outcome(seed=7)) >= 0).all(), term.__name__
