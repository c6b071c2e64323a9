"""Situations, views and outcomes that a test writes by hand."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from tasks.grasp.observations import ACTOR, Layout, View
from tasks.grasp.observations import observe as observe_view
from tasks.grasp.rewards import Outcome
from tasks.grasp.situation import Goal, PalmFrame, Situation, palm_frame
from tasks.hands import SHADOW_HAND
from tasks.simulators.contract import SimState

LAYOUT = Layout(ACTOR, SHADOW_HAND)
SLICES, NUM_OBS = LAYOUT.slices, LAYOUT.size


def situation(state: SimState, palm: PalmFrame, **given: Tensor) -> Situation:
    """Zero but for what is given."""
    count, tips = state.fingertip_pos.shape[:2]
    zeros = torch.zeros(count)
    values = {
        "gaps": torch.zeros(count, tips + 1), "tip_force": torch.zeros(count, tips), "hand_force": zeros, "height": zeros, "rise": zeros,
        "goal_distance": zeros, "at_goal": zeros > 0, "object_speed": zeros, "object_turn": zeros, "off_table": zeros > 0,
    }  # fmt: skip
    return Situation(state=state, palm=palm, **{**values, **given})


def observe(state: SimState, previous_action: Tensor, goal_pos: Tensor, goal_quat: Tensor) -> Tensor:
    """(N, O) what the actor sees."""
    zeros = torch.zeros(len(goal_pos))
    now = situation(state, palm_frame(state, Goal(goal_pos, goal_quat, zeros)))
    return observe_view(View(now, previous_action, zeros, zeros, zeros, zeros, torch.zeros(len(goal_pos), 3)))[0]


OF_SITUATION = {f.name for f in fields(Situation)} | {"tip_distance", "palm_distance", "tips_from_object"}


def changed(o: Outcome, **given: Any) -> Outcome:
    """The outcome with other values; fields of the situation may be named directly."""
    now = {name: value for name, value in given.items() if name in OF_SITUATION}
    rest = {name: value for name, value in given.items() if name not in OF_SITUATION}
    if "tips_from_object" in now:
        now["palm"] = replace(o.now.palm, tips_from_object=now.pop("tips_from_object"))
    tips, palm = now.pop("tip_distance", o.now.tip_distance), now.pop("palm_distance", o.now.palm_distance)
    now["gaps"] = torch.cat([tips, palm[:, None]], dim=-1)
    values = {f.name: getattr(o, f.name) for f in fields(Outcome) if f.init}
    return Outcome(**{**values, **rest, "now": replace(o.now, **now)})


def outcome(seed: int = 0, count: int = 400, **given: Any) -> Outcome:
    """Random, consistent in itself; `given` overrides fields."""
    random = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=random)

    device = torch.device("cpu")
    state = SimState.zeros(SHADOW_HAND, count, device)
    zeros = torch.zeros(count)
    state.drive_force.copy_(uniform(-0.9, 0.9, 24))
    palm = palm_frame(state, Goal(torch.zeros(count, 3), state.object_quat, zeros))
    rise, rest = uniform(-0.06, 0.4), uniform(0.06, 0.12)
    goal_distance = uniform(0.0, 0.4)
    base = Outcome(
        now=situation(state, palm),
        progress=uniform(0.0, 0.02),
        goal_height=rest + 0.25,
        lift_height=0.25,
        weight=uniform(0.1, 10.0),
        action=uniform(-1.0, 1.0, 24),
        previous_action=uniform(-1.0, 1.0, 24),
        phase=torch.tensor(0.3),
    )
    drawn = {
        "tip_distance": uniform(0.0, 0.3, 5) * (uniform(0, 1, 5) > 0.2),
        "palm_distance": uniform(0.0, 0.3) * (uniform(0, 1) > 0.2),
        "tips_from_object": uniform(-0.2, 0.2, 5, 3),
        "tip_force": uniform(0.0, 6.0, 5) * (uniform(0, 1, 5) > 0.3),
        "hand_force": uniform(0.0, 60.0) * (uniform(0, 1) > 0.1),
        "height": rest + rise,
        "rise": rise,
        "goal_distance": goal_distance,
        "at_goal": goal_distance < 0.05,
        "object_speed": uniform(0.0, 0.4),
        "object_turn": uniform(0.0, 4.0),
        "off_table": uniform(0, 1) < 0.1,
    }
    return changed(base, **{**drawn, **given})
