"""Rewards: each term one function of what happened in a step, and the presets that add them up.

Lengths in metres, forces in newtons, all tensors (N,) unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Dict, Tuple

import torch
from torch import Tensor


@dataclass
class Situation:
    """How hand, object and goal stand to each other."""

    tip_distance: Tensor
    """(N, 5) from the fingertips' surfaces to the object's, not below 0."""
    palm_distance: Tensor
    """(N,) from the point before the palm to the object's surface, not below 0."""
    tip_force: Tensor
    """(N, 5) magnitude of the contact force on each fingertip."""
    height: Tensor
    """(N,) of the object's origin above the ground."""
    rise: Tensor
    """(N,) of the object's origin above where it rested."""
    goal_distance: Tensor
    """(N,) from the object's origin to the goal."""
    at_goal: Tensor
    """(N,) bool, within the success radius."""
    object_speed: Tensor
    """(N,) m/s"""


@dataclass
class StepOutcome(Situation):
    """What the terms may look at: the situation after a control step, and how it came about."""

    progress: Tensor
    """(N,) by how much the six distances fell below their smallest so far in the episode, summed."""
    dropped: Tensor
    """(N,) bool, off the table."""
    goal_height: Tensor
    """(N,) of the goal above the ground."""
    lift_height: float
    """Of the goal above where the object rested."""
    action: Tensor
    """(N, A), and in `previous_action` that of the step before."""
    previous_action: Tensor
    phase: Tensor
    """() from 0 to 1 over the first 10 M environment steps."""
    at_object: Tensor = field(init=False)
    """(N,) 1 where palm and fingertips are at the object, else 0; six terms ask for it."""

    def __post_init__(self) -> None:
        self.at_object = ((self.tip_distance.sum(-1) < 0.10) & (self.palm_distance < 0.05)).float()


Term = Callable[[StepOutcome], Tensor]

# The published recipe's terms.


def recipe_reach(o: StepOutcome) -> Tensor:
    """1 - tanh(5 d), d the mean distance of the fingertips."""
    return 1 - torch.tanh(5 * o.tip_distance.mean(-1))


def recipe_contact(o: StepOutcome) -> Tensor:
    """clamp(1 - |F - 5 N| / 10 N, 0, 1) where F > 0.5 N, F the mean force of the fingertips."""
    force = o.tip_force.mean(-1)
    return (1 - (force - 5).abs() / 10).clamp(0, 1) * (force > 0.5)


def recipe_stability(o: StepOutcome) -> Tensor:
    """10 clamp(z - 0.1, 0, 0.3) where the object is slower than 0.1 m/s."""
    return 10 * (o.height - 0.1).clamp(0, 0.3) * (o.object_speed < 0.1)


def recipe_lift(o: StepOutcome) -> Tensor:
    """exp(-5 |z - z_goal|) where z > 0.15 m."""
    return torch.exp(-5 * (o.height - o.goal_height).abs()) * (o.height > 0.15)


def action_rate(o: StepOutcome) -> Tensor:
    """|a - a_prev|"""
    return (o.action - o.previous_action).norm(dim=-1)


def action_size(o: StepOutcome) -> Tensor:
    """|a|"""
    return o.action.norm(dim=-1)


def recipe_dropped(o: StepOutcome) -> Tensor:
    """1 where z < 0.05 m or off the table."""
    return ((o.height < 0.05) | o.dropped).float()


# The default's terms.


def holding(o: StepOutcome) -> Tensor:
    """1 where palm and fingertips are at the object: the gate that keeps batting and flinging worthless."""
    return o.at_object


def reach_progress(o: StepOutcome) -> Tensor:
    """Latched approach: paid once per episode and millimetre, so that hovering near the object earns nothing."""
    return o.progress


def fingers_near(o: StepOutcome) -> Tensor:
    """mean(1 - tanh(10 d_i))"""
    return (1 - torch.tanh(10 * o.tip_distance)).mean(-1)


def palm_near(o: StepOutcome) -> Tensor:
    """1 - tanh(10 d_palm)"""
    return 1 - torch.tanh(10 * o.palm_distance)


def lifted(o: StepOutcome) -> Tensor:
    """Held, and how much of the way to the goal's height: paid from the first millimetre to the last.

    Capped at 0.1 m, hands stayed there: see docs/experiments.md.
    """
    return holding(o) * (o.rise / o.lift_height).clamp(0, 1)


def lifted_no_higher(o: StepOutcome) -> Tensor:
    """As `lifted` up to the goal's height; above it falls again, to nothing at twice that."""
    return holding(o) * (1 - (1 - o.rise / o.lift_height).abs()).clamp(min=0)


def goal_near(o: StepOutcome) -> Tensor:
    """Held, 1 - tanh(5 d_goal)"""
    return holding(o) * (1 - torch.tanh(5 * o.goal_distance))


def goal_exact(o: StepOutcome) -> Tensor:
    """Held, exp(-(d_goal / 3 cm)^2): pulls to the middle of the success radius, where a wobble does not leave it."""
    return holding(o) * torch.exp(o.goal_distance.square() / -(0.03**2))


def at_goal(o: StepOutcome) -> Tensor:
    """Held within the success radius."""
    return holding(o) * o.at_goal


def still_at_goal(o: StepOutcome) -> Tensor:
    """Held within the success radius, and how still, exp(-speed / 0.1 m/s)."""
    return at_goal(o) * torch.exp(o.object_speed / -0.1)


def action_rate_squared(o: StepOutcome) -> Tensor:
    """|a - a_prev|^2"""
    return (o.action - o.previous_action).square().sum(-1)


def dropped(o: StepOutcome) -> Tensor:
    """1 where the object left the table."""
    return o.dropped


def recipe(o: StepOutcome) -> Tensor:
    """The published four phases: weights (1 - p, 0.5, 2 p, 5 p), p the phase, and three penalties."""
    p = o.phase
    gain = (1 - p) * recipe_reach(o) + 0.5 * recipe_contact(o) + 2 * p * recipe_stability(o) + 5 * p * recipe_lift(o)
    return gain - 0.01 * action_rate(o) - 0.001 * action_size(o) - 5 * recipe_dropped(o)


DEFAULT_TERMS: Tuple[Tuple[float, Term], ...] = (
    (0.5, reach_progress),
    (0.03, fingers_near),
    (0.02, palm_near),
    (0.02, holding),
    (0.4, lifted),
    (0.2, goal_near),
    (0.1, goal_exact),
    (0.3, at_goal),
    (0.1, still_at_goal),
    (-0.0005, action_rate_squared),
    (-1.0, dropped),
)
APPROACH_TERMS = (reach_progress, fingers_near, palm_near)
LEVEL_TERMS = tuple((weight, lifted_no_higher if term is lifted else term) for weight, term in DEFAULT_TERMS)
LOOSE_TERMS = tuple((weight, term) for weight, term in DEFAULT_TERMS if term not in (goal_exact, still_at_goal))


def _sum(terms: Tuple[Tuple[float, Term], ...], o: StepOutcome) -> Tensor:
    total = torch.zeros_like(o.rise)
    for weight, term in terms:
        total = torch.add(total, term(o), alpha=weight)
    return total


def default(o: StepOutcome) -> Tensor:
    """What trains fastest to the highest success: see docs/experiments.md for what each term is worth."""
    return _sum(DEFAULT_TERMS, o)


def level(o: StepOutcome) -> Tensor:
    """The default, but lifting higher than the goal pays less: few hands learn to lift and then stay up there."""
    return _sum(LEVEL_TERMS, o)


def loose(o: StepOutcome) -> Tensor:
    """The default, but nothing for being in the middle of the success radius, or still there."""
    return _sum(LOOSE_TERMS, o)


def two_stage(o: StepOutcome) -> Tensor:
    """The default, its approach terms fading over the first 10 M steps: then only what is done with the object counts.

    ResDex (Huang et al. 2024) trains a second stage without them.
    """
    approach = tuple((weight, term) for weight, term in DEFAULT_TERMS if term in APPROACH_TERMS)
    return default(o) - o.phase * _sum(approach, o)


REWARDS: Dict[str, Term] = {
    "default": default,
    "recipe": recipe,
    "level": level,
    "loose": loose,
    "two_stage": two_stage,
}
