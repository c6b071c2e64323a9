"""The recipe's terms against its formulas written out, and what must hold of the default whatever its weights."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np
import pytest
import torch
from torch import Tensor
from views import changed, outcome

from tasks.grasp import rewards
from tasks.grasp.rewards import DEFAULT, PRESETS, Outcome, Reward, resolve

COUNT = 400


def paid(preset: str, o: Outcome, **weights: float) -> Tensor:
    """(N,) what a preset pays."""
    return Reward(resolve(preset, weights), torch.device("cpu"))(o)


def array(values: Tensor) -> np.ndarray:
    return values.double().numpy()


def check(mine: Tensor, right: np.ndarray) -> None:
    assert mine.shape == right.shape and mine.dtype == torch.float32
    np.testing.assert_allclose(mine.numpy(), right, rtol=1e-5, atol=1e-6)


def recipe_in_numpy(o: Outcome, p: float) -> np.ndarray:
    distance = np.linalg.norm(array(o.now.palm.tips_from_object).mean(1), axis=1)
    force = array(o.now.tip_force).sum(1)
    z, goal = array(o.now.height), array(o.goal_height)
    reach = 1 - np.tanh(5 * distance)
    contact = np.clip(1 - np.abs(force - 5) / 10, 0, 1) * (force > 0.5)
    stability = 10 * np.clip(z - 0.1, 0, 0.3) * (array(o.now.object_speed) < 0.1)
    lift = np.exp(-5 * np.abs(z - goal)) * (z > 0.15)
    a, b = array(o.action), array(o.previous_action)
    penalty = 0.01 * np.linalg.norm(a - b, axis=1) + 0.001 * np.linalg.norm(a, axis=1)
    off = (z < 0.05) | o.now.off_table.numpy()
    return (1 - p) * reach + 0.5 * contact + 2 * p * stability + 5 * p * lift - penalty - 5.0 * off


def test_recipe_reach() -> None:
    """The distance is that of the fingertips' centre: fingertips on two opposite sides of the object have none."""
    o = outcome()
    centre = array(o.now.palm.tips_from_object).sum(1) / 5
    check(rewards.recipe_reach(o), 1 - np.tanh(5 * np.sqrt((centre**2).sum(1))))
    around = torch.tensor([[0.1, 0, 0], [-0.1, 0, 0], [0, 0.1, 0], [0, -0.1, 0], [0, 0, 0]]).expand(COUNT, 5, 3)
    torch.testing.assert_close(rewards.recipe_reach(changed(o, tips_from_object=around)), torch.ones(COUNT))


def test_recipe_contact() -> None:
    force = torch.tensor([0.0, 0.4, 0.5, 0.51, 1.0, 5.0, 9.0, 15.0, 16.0, 200.0])
    o = outcome(count=len(force), tip_force=force[:, None].expand(-1, 5) / 5)
    right = np.array([0, 0, 0, 1 - 4.49 / 10, 0.6, 1.0, 0.6, 0.0, 0.0, 0.0])
    check(rewards.recipe_contact(o), right)
    uneven = torch.tensor([[2.0, 0, 3.0, 0, 0]])
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
    check(rewards.recipe_dropped(outcome(count=4, height=height, off_table=gone)), np.array([1.0, 0, 0, 1]))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_recipe_is_its_weighted_sum(p: float) -> None:
    o = outcome(seed=1, phase=torch.tensor(p))
    check(paid("recipe", o), recipe_in_numpy(o, p))


def test_recipe_weights_by_isolated_terms() -> None:
    """Where all but one term is silent the sum is that term's weight."""
    still: Dict[str, Any] = {
        "action": torch.zeros(1, 24),
        "previous_action": torch.zeros(1, 24),
        "off_table": torch.zeros(1) > 0,
    }
    none: Dict[str, Any] = {
        "tips_from_object": torch.full((1, 5, 3), 1e3),
        "tip_force": torch.zeros(1, 5),
        "object_speed": torch.ones(1),
    }
    none.update(height=torch.full((1,), 0.14), goal_height=torch.full((1,), 0.33))
    for p in (0.0, 0.3, 1.0):
        base = outcome(count=1, phase=torch.tensor(p), **still, **none)
        assert paid("recipe", base).item() == pytest.approx(0, abs=1e-6)
        cases = {
            1 - p: {"tips_from_object": torch.zeros(1, 5, 3)},
            0.5: {"tip_force": torch.full((1, 5), 1.0)},
            2 * p * 0.4: {"object_speed": torch.zeros(1)},
            5 * p: {"height": torch.full((1,), 0.33)},
            -5.0: {"off_table": torch.ones(1) > 0},
            -0.01 - 0.001: {"action": torch.nn.functional.one_hot(torch.tensor([3]), 24).float()},
            -0.01: {"previous_action": torch.nn.functional.one_hot(torch.tensor([3]), 24).float()},
        }
        for value, change in cases.items():
            assert paid("recipe", changed(base, **change)).item() == pytest.approx(value, abs=1e-6)


# The default.


def held(count: int, **given: Any) -> Outcome:
    """Palm and fingertips at the object, nothing moves."""
    zeros = torch.zeros(count)
    values = {
        "tip_distance": torch.zeros(count, 5), "palm_distance": zeros, "progress": zeros, "object_speed": zeros, "object_turn": zeros,
        "off_table": zeros > 0, "action": torch.zeros(count, 24), "previous_action": torch.zeros(count, 24),
    }  # fmt: skip
    return outcome(count=count, **{**values, **given})


def test_every_term_is_one_number_a_world_and_finite() -> None:
    for o in (outcome(), held(COUNT), outcome(progress=torch.zeros(COUNT), tip_distance=torch.full((COUNT, 5), 50.0))):
        for name, term, *_ in (*DEFAULT, *PRESETS["recipe"]):
            value = term(o)
            assert value.shape == (COUNT,) and torch.isfinite(value).all(), name


def test_default_is_the_sum_of_its_terms() -> None:
    o = outcome(seed=2)
    total = np.zeros(COUNT)
    for term in DEFAULT:
        total += term.weight * array(term.term(o))
    check(paid("default", o), total)


def test_level_pays_less_for_lifting_too_high() -> None:
    """A tent over the rise of a held object: nothing at rest, all at the goal's height, nothing from twice that on."""
    rise = torch.tensor([-0.1, 0.0, 0.1, 0.25, 0.3, 0.45, 0.5, 0.7])
    o = held(len(rise), rise=rise)
    tent = np.array([0, 0, 0.4, 1, 0.8, 0.2, 0, 0])
    check(rewards.lifted_no_higher(o) / rewards.holding(o), tent)
    plain = np.array([0, 0, 0.4, 1, 1, 1, 1, 1])
    check(paid("default", o) - paid("level", o), 0.4 * array(rewards.holding(o)) * (plain - tent))


def test_loose_lacks_what_is_paid_for_precision() -> None:
    o = held(COUNT, goal_distance=torch.full((COUNT,), 0.01), at_goal=torch.ones(COUNT) > 0)
    precision = 0.1 * rewards.goal_exact(o) + 0.1 * rewards.still_at_goal(o)
    assert (precision > 0).all()
    check(paid("loose", o), array(paid("default", o)) - array(precision))


@pytest.mark.parametrize("phase", [0.0, 0.4, 1.0])
def test_second_stage_pays_nothing_for_the_approach(phase: float) -> None:
    o = outcome(seed=3, phase=torch.tensor(phase))
    approach = 3.0 * rewards.reach_progress(o) + 0.03 * rewards.fingers_near(o) + 0.02 * rewards.palm_near(o)
    assert (approach > 0).all()
    check(paid("two_stage", o), array(paid("default", o)) - phase * array(approach))


def test_default_weights_have_the_right_signs() -> None:
    for name, term, weight, _ in DEFAULT:
        penalty = term in (rewards.action_rate_squared, rewards.dropped, rewards.action_rate, rewards.action_size)
        assert (weight < 0) == penalty, name


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
    limit = paid("default", best).item()
    positive = sum(term.weight for term in DEFAULT if term.weight > 0)
    assert 0 < limit <= positive
    for seed in range(5):
        wild = outcome(seed=seed, progress=torch.zeros(COUNT), rise=torch.full((COUNT,), 5.0))
        assert (paid("default", wild) <= limit + 1e-6).all()
    for name, term, weight, _ in DEFAULT:
        if weight > 0 and term is not rewards.reach_progress:
            assert (term(outcome(seed=7)) <= 1).all() and (term(outcome(seed=7)) >= 0).all(), name


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("phase", [0.0, 0.3, 1.0])
def test_given_weights_replace_a_presets(preset: str, phase: float) -> None:
    """Each term alone, twice its weight: the reward grows by what the term paid before."""
    o = outcome(seed=4, phase=torch.tensor(phase))
    own = paid(preset, o)
    for term in PRESETS[preset]:
        largest = term.weight or term.slope
        paid_by_term = (term.weight + term.slope * phase) * array(term.term(o))
        check(paid(preset, o, **{term.name: 2 * largest}), array(own) + paid_by_term)
        check(paid(preset, o, **{term.name: 0.0}), array(own) - paid_by_term)


@pytest.mark.parametrize("preset", ["default", "recipe"])
def test_a_scale_multiplies_the_whole_reward(preset: str) -> None:
    o = outcome(seed=5, phase=torch.tensor(0.3))
    scaled = Reward(resolve(preset, {"action_rate": -0.2}, 2.5), torch.device("cpu"))(o)
    check(scaled, 2.5 * array(paid(preset, o, action_rate=-0.2)))


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_spare_terms_can_be_added_to_any_preset(preset: str) -> None:
    """Pay for calm joints is the same in all phases; the price of torque grows from nothing.  A preset that has it keeps one."""
    for phase in (0.0, 0.4):
        o = at_the_goal(COUNT, phase=torch.tensor(phase))
        torque = np.mean(array(o.now.state.drive_force)[:, 6:] ** 2, axis=1)
        own = array(paid(preset, o, **({"torque": 0.0} if preset == "sim2real" else {})))
        assert torque.min() > 0.01
        check(paid(preset, o, calm=0.3, torque=-2.0), own + 0.3 - 2.0 * phase * torque)


def test_weights_of_unknown_terms_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"--reward-weights lifting: the terms of 'default' are reach, .*dropped; .* get calm and torque",
    ):
        resolve("default", {"lifting": 1.0})


def test_terms_mean_the_same_for_a_hand_of_four_fingertips() -> None:
    """A fingertip that is where another is changes no term but the recipe's sum of forces."""
    o = outcome(seed=5)
    four = changed(
        o,
        tip_distance=o.now.tip_distance[:, [0, 0, 1, 1]],
        tips_from_object=o.now.palm.tips_from_object[:, [0, 0, 1, 1]],
    )
    two = changed(
        o,
        tip_distance=o.now.tip_distance[:, :2],
        tips_from_object=o.now.palm.tips_from_object[:, :2],
    )
    for name, term, *_ in (*DEFAULT, *PRESETS["recipe"]):
        torch.testing.assert_close(term(four), term(two), msg=name)


# What is paid for steadiness.


def at_the_goal(count: int, **given: Any) -> Outcome:
    goal = {"rise": torch.full((count,), 0.25), "goal_distance": torch.zeros(count), "at_goal": torch.ones(count) > 0}
    return held(count, **goal, **given)


def test_steadiness_by_its_formulas() -> None:
    o = outcome(seed=4)
    o = changed(o, tip_distance=0.1 * o.now.tip_distance, palm_distance=0.1 * o.now.palm_distance)
    gate = (array(o.now.tip_distance).sum(1) < 0.10) & (array(o.now.palm_distance) < 0.05) & o.now.at_goal.numpy()
    assert 10 < gate.sum() < COUNT

    def by_orders(x: np.ndarray) -> np.ndarray:
        return np.maximum(1 - np.log(1 + x) / np.log(101), 0) * gate

    check(rewards.at_rest(o), by_orders(array(o.now.object_speed) / 0.01 + array(o.now.object_turn) / 0.1))
    excess = np.maximum(array(o.now.tip_force).sum(1) - 3 * array(o.weight) - 1, 0)
    check(rewards.gentle_grip(o), by_orders(excess))
    check(rewards.little_effort(o), by_orders(np.abs(array(o.now.state.drive_force)[:, 6:]).mean(1) / 0.01))
    o.now.state.joint_vel.normal_(generator=torch.Generator().manual_seed(0)).mul_(
        torch.logspace(-4, 0, COUNT)[:, None]
    )
    turning = np.sqrt(np.mean(array(o.now.state.joint_vel)[:, 3:] ** 2, axis=1))
    check(rewards.calm_joints(o), by_orders(turning / 0.001))


def test_no_grip_however_hard_is_worth_less_than_letting_go() -> None:
    """Steadiness is paid at the goal only, and is never negative: it cannot teach a hand not to touch."""
    wild = {"tip_force": torch.full((1, 5), 1e3), "object_speed": torch.full((1,), 9.0)}
    for term in (rewards.at_rest, rewards.gentle_grip, rewards.little_effort, rewards.calm_joints):
        assert term(at_the_goal(1, **wild)).item() >= 0
        away = changed(at_the_goal(1, **wild), at_goal=torch.zeros(1) > 0)
        assert term(away).item() == 0
