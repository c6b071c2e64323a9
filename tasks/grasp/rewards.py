"""Rewards: each term is one function of what happened in a step; a preset is a table of terms and weights.

To add a term, write its function here and add one line to a preset's table.  Every term's weighted mean is logged under its
name, as `reward/lift`.  Weights can be set on the command line, as `--reward-weights lift 0.5`.

Lengths are in metres, forces in newtons.  All tensors are (N,) unless they say otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Callable, Dict, Mapping, NamedTuple, Tuple

import torch
from torch import Tensor

from tasks.grasp.actions import BASE
from tasks.grasp.situation import Situation
from tasks.grasp.steadiness import TURNING


@dataclass
class Outcome:
    """What the terms look at: the situation after a control step, and how it came about."""

    now: Situation
    progress: Tensor
    """(N,) by how much the distances of fingertips and palm fell below their smallest so far, mean over them."""
    goal_height: Tensor
    """(N,) of the goal above the ground."""
    lift_height: float
    """From where the object rested up to its goal."""
    weight: Tensor
    """(N,) N, of the object."""
    action: Tensor
    """(N, D)"""
    previous_action: Tensor
    """(N, D), of the step before."""
    phase: Tensor
    """() from 0 to 1 over the first 10 M environment steps."""
    holding: Tensor = field(init=False)
    """(N,) 1 where palm and fingertips are at the object, else 0.  It is a gate: batting and flinging earn nothing."""

    def __post_init__(self) -> None:
        self.holding = ((self.now.tip_distance.mean(-1) < 0.02) & (self.now.palm_distance < 0.05)).float()


Term = Callable[[Outcome], Tensor]

# The published recipe's terms.


def recipe_reach(o: Outcome) -> Tensor:
    """1 - tanh(5 d), d from the centre of the fingertips to the object's position."""
    return 1 - torch.tanh(5 * o.now.palm.tips_from_object.mean(1).norm(dim=-1))


def recipe_contact(o: Outcome) -> Tensor:
    """clamp(1 - |F - 5 N| / 10 N, 0, 1) where F > 0.5 N, F the sum of the fingers' contact forces."""
    force = o.now.tip_force.sum(-1)
    return (1 - (force - 5).abs() / 10).clamp(0, 1) * (force > 0.5)


def recipe_stability(o: Outcome) -> Tensor:
    """10 clamp(z - 0.1, 0, 0.3) where the object is slower than 0.1 m/s."""
    return 10 * (o.now.height - 0.1).clamp(0, 0.3) * (o.now.object_speed < 0.1)


def recipe_lift(o: Outcome) -> Tensor:
    """exp(-5 |z - z_goal|) where z > 0.15 m."""
    return torch.exp(-5 * (o.now.height - o.goal_height).abs()) * (o.now.height > 0.15)


def action_rate(o: Outcome) -> Tensor:
    """|a - a_prev|"""
    return (o.action - o.previous_action).norm(dim=-1)


def action_size(o: Outcome) -> Tensor:
    """|a|"""
    return o.action.norm(dim=-1)


def recipe_dropped(o: Outcome) -> Tensor:
    """1 where the object is below 0.05 m or off the table."""
    return ((o.now.height < 0.05) | o.now.off_table).float()


# The default's terms.


def holding(o: Outcome) -> Tensor:
    """1 where palm and fingertips are at the object."""
    return o.holding


def reach_progress(o: Outcome) -> Tensor:
    """Mean approach of fingertips and palm, m.  Each millimetre is paid once per episode: hovering earns nothing."""
    return o.progress


def fingers_near(o: Outcome) -> Tensor:
    """mean(1 - tanh(10 d_i))"""
    return (1 - torch.tanh(10 * o.now.tip_distance)).mean(-1)


def palm_near(o: Outcome) -> Tensor:
    """1 - tanh(10 d_palm)"""
    return 1 - torch.tanh(10 * o.now.palm_distance)


def lifted(o: Outcome) -> Tensor:
    """Held, and how much of the way to the goal's height.  It is paid from the first millimetre to the last.

    Capped at 0.1 m, hands stayed there: see docs/experiments.md.
    """
    return o.holding * (o.now.rise / o.lift_height).clamp(0, 1)


def lifted_no_higher(o: Outcome) -> Tensor:
    """As `lifted` up to the goal's height.  Above it falls again, to nothing at twice that height."""
    return o.holding * (1 - (1 - o.now.rise / o.lift_height).abs()).clamp(min=0)


def goal_near(o: Outcome) -> Tensor:
    """Held, 1 - tanh(5 d_goal)"""
    return o.holding * (1 - torch.tanh(5 * o.now.goal_distance))


def goal_exact(o: Outcome) -> Tensor:
    """Held, exp(-(d_goal / 3 cm)^2).  It pulls to the middle of the success radius, where a wobble does not leave it."""
    return o.holding * torch.exp(o.now.goal_distance.square() / -(0.03**2))


def at_goal(o: Outcome) -> Tensor:
    """Held within the success radius."""
    return o.holding * o.now.at_goal


def still_at_goal(o: Outcome) -> Tensor:
    """Held within the success radius, and how still, exp(-speed / 0.1 m/s)."""
    return at_goal(o) * torch.exp(o.now.object_speed / -0.1)


def by_orders(x: Tensor) -> Tensor:
    """From 1 at 0 to 0 at 100: 1 - log(1 + x) / log(101).

    Each halving of a large x pays the same.  So there is something to gain both far from the best and close to it.
    """
    return (1 - torch.log1p(x) / math.log(101)).clamp(min=0)


def at_rest(o: Outcome) -> Tensor:
    """At the goal, and how little the object moves, by orders of magnitude: in units of 1 cm/s and 0.1 rad/s."""
    return at_goal(o) * by_orders(o.now.object_speed / 0.01 + o.now.object_turn / 0.1)


def gentle_grip(o: Outcome) -> Tensor:
    """At the goal, and how little the fingertips press, by orders of magnitude: in N beyond three times the weight and 1 N.

    It is never negative, so pressing hard is no worse than letting go.
    """
    return at_goal(o) * by_orders((o.now.tip_force.sum(-1) - 3 * o.weight - 1).clamp(min=0))


def little_effort(o: Outcome) -> Tensor:
    """At the goal, and how little torque the fingers' drives exert, by orders of magnitude: mean size in 0.01 N m.

    A hand that is paid for gentle fingertips alone presses with its palm and the other links of its fingers.
    """
    return at_goal(o) * by_orders(o.now.state.drive_force[:, BASE:].abs().mean(-1) / 0.01)


def calm_joints(o: Outcome) -> Tensor:
    """At the goal, and how little hand and fingers turn, by orders of magnitude: root mean square in 1 mrad/s.

    It is paid against jerk.  A joint that trembles around a pose has a jerk in proportion to its speed, and its speed needs
    no memory of the steps before.
    """
    return at_goal(o) * by_orders(o.now.state.joint_vel[:, TURNING].square().mean(-1).sqrt() / 0.001)


def action_rate_squared(o: Outcome) -> Tensor:
    """|a - a_prev|^2"""
    return (o.action - o.previous_action).square().sum(-1)


def finger_torque(o: Outcome) -> Tensor:
    """Mean square of the torque of the fingers' drives, (N m)^2.  Unlike `little_effort`, it is paid for on the way, too."""
    return o.now.state.drive_force[:, BASE:].square().mean(-1)


def dropped(o: Outcome) -> Tensor:
    """1 where the object left the table."""
    return o.now.off_table.float()


class Weighted(NamedTuple):
    """A term of a preset.  Its weight at phase p is `weight + slope p`."""

    name: str
    """In logs, and for `--reward-weights`."""
    term: Term
    weight: float
    slope: float = 0.0

    def scaled(self, weight: float) -> Weighted:
        """The same course over the phase, with another weight; a term that grows from 0 gets it as its slope."""
        if self.weight == 0:
            return self._replace(slope=weight) if self.slope else self._replace(weight=weight)
        return self._replace(weight=weight, slope=self.slope * weight / self.weight)


def fading(name: str, term: Term, weight: float) -> Weighted:
    """A term whose weight falls to 0 over the phase."""
    return Weighted(name, term, weight, -weight)


def growing(name: str, term: Term, weight: float) -> Weighted:
    """A term whose weight rises from 0 over the phase."""
    return Weighted(name, term, 0.0, weight)


Preset = Tuple[Weighted, ...]

RECIPE: Preset = (
    fading("reach", recipe_reach, 1.0),
    Weighted("contact", recipe_contact, 0.5),
    growing("stability", recipe_stability, 2.0),
    growing("lift", recipe_lift, 5.0),
    Weighted("action_rate", action_rate, -0.01),
    Weighted("action_size", action_size, -0.001),
    Weighted("dropped", recipe_dropped, -5.0),
)
"""The published four phases."""

DEFAULT: Preset = (
    Weighted("reach", reach_progress, 3.0),
    Weighted("fingers", fingers_near, 0.03),
    Weighted("palm", palm_near, 0.02),
    Weighted("holding", holding, 0.02),
    Weighted("lift", lifted, 0.4),
    Weighted("goal", goal_near, 0.2),
    Weighted("exact", goal_exact, 0.1),
    Weighted("at_goal", at_goal, 0.3),
    Weighted("still", still_at_goal, 0.1),
    Weighted("rest", at_rest, 0.6),
    Weighted("gentle", gentle_grip, 0.3),
    Weighted("effort", little_effort, 1.0),
    Weighted("action_rate", action_rate_squared, -0.0005),
    Weighted("dropped", dropped, -1.0),
)
"""What trains fastest to the highest success.  docs/experiments.md says what each term is worth."""

LEVEL: Preset = tuple(t._replace(term=lifted_no_higher) if t.name == "lift" else t for t in DEFAULT)
"""As the default, but lifting higher than the goal pays less.  Few hands learn to lift, and then stay up there."""

LOOSE: Preset = tuple(t for t in DEFAULT if t.name not in ("exact", "still"))
"""As the default, but it pays nothing for being in the middle of the success radius, or slow there."""

TWO_STAGE: Preset = tuple(
    fading(t.name, t.term, t.weight) if t.name in ("reach", "fingers", "palm") else t for t in DEFAULT
)
"""As the default, but the terms of the approach fade out: then only what is done with the object counts.

ResDex (Huang et al. 2024) trains a second stage without them.
"""

SIM2REAL: Preset = (
    *(t._replace(weight=4 * t.weight) if t.name == "action_rate" else t for t in DEFAULT),
    growing("torque", finger_torque, -0.05),
)
"""As the default, but changes of the action cost four times as much, and torque costs everywhere.

The price of torque grows over the phase.  A high one from the first step on would teach hands not to close.
"""

SPARE: Preset = (
    Weighted("calm", calm_joints, 0.0),
    growing("torque", finger_torque, -0.05),
)
"""Terms that `--reward-weights` can add to any preset that has none of this name.  They cost nothing unless it does."""

PRESETS: Dict[str, Preset] = {
    "default": DEFAULT,
    "sim2real": SIM2REAL,
    "recipe": RECIPE,
    "level": LEVEL,
    "loose": LOOSE,
    "two_stage": TWO_STAGE,
}


def resolve(preset: str, weights: Mapping[str, float], scale: float = 1.0) -> Preset:
    """The preset's terms, with the weights that are given in place of its own, and those of `SPARE` that have one.

    scale: all weights are multiplied by it.  Raises ValueError for an unknown name.
    """
    terms = PRESETS[preset]
    names = [t.name for t in terms]
    spare = [t for t in SPARE if t.name not in names]
    unknown = [name for name in weights if name not in (*names, *(t.name for t in spare))]
    if unknown:
        raise ValueError(
            f"--reward-weights {' '.join(unknown)}: the terms of {preset!r} are {', '.join(names)}; it can also get "
            f"{' and '.join(t.name for t in spare)}"
        )
    terms = (*terms, *(t for t in spare if t.name in weights))
    chosen = (t.scaled(weights[t.name]) if t.name in weights else t for t in terms)
    return tuple(t._replace(weight=scale * t.weight, slope=scale * t.slope) for t in chosen)


class Reward:
    """The weighted sum of a preset's terms."""

    def __init__(self, terms: Preset, device: torch.device) -> None:
        self.terms = terms
        self._weight = torch.tensor([t.weight for t in terms], device=device)
        self._slope = torch.tensor([t.slope for t in terms], device=device)

    def parts(self, o: Outcome) -> Tensor:
        """(K, N) each term times its weight now."""
        values = torch.stack([t.term(o) for t in self.terms])
        return values * torch.addcmul(self._weight, self._slope, o.phase)[:, None]

    def __call__(self, o: Outcome) -> Tensor:
        """(N,) the reward."""
        return self.parts(o).sum(0)
