"""The published reward, from the simulator's raw state in float64, against what a step of the task pays."""

from __future__ import annotations

from typing import Dict, List

import numpy as np
import pytest
import torch
from scripted_simulator import ScriptedSimulator
from scripted_task import scripted

from tasks.grasp.environment import PHASE_STEPS
from tasks.grasp.rewards import RECIPE

COUNT, STEPS = 300, 3
READ = ("object_pos", "object_vel", "fingertip_pos", "fingertip_wrench")


def published(
    state: Dict[str, np.ndarray], goal: np.ndarray, a: np.ndarray, before: np.ndarray, p: float
) -> np.ndarray:
    """(N,) the formulas as published.  state: in the world's frame; goal (N,): its height above the ground, m."""
    z = state["object_pos"][:, 2]
    d = np.sqrt(((state["fingertip_pos"].mean(axis=1) - state["object_pos"]) ** 2).sum(axis=1))
    reach = 1 - np.tanh(5 * d)
    force = np.sqrt((state["fingertip_wrench"][:, :, :3] ** 2).sum(axis=2)).sum(axis=1)
    contact = np.where(force > 0.5, np.clip(1 - np.abs(force - 5) / 10, 0, 1), 0)
    speed = np.sqrt((state["object_vel"][:, :3] ** 2).sum(axis=1))
    stability = np.where(speed < 0.1, 10 * np.clip(z - 0.1, 0, 0.3), 0)
    lift = np.where(z > 0.15, np.exp(-5 * np.abs(z - goal)), 0)
    penalty = 0.01 * np.sqrt(((a - before) ** 2).sum(axis=1)) + 0.001 * np.sqrt((a**2).sum(axis=1)) + 5 * (z < 0.05)
    total = (1 - p) * reach + 0.5 * contact + 2 * p * stability + 5 * p * lift - penalty
    assert all((term > 0).any() and (term == 0).any() for term in (contact, stability, lift))
    return np.asarray(total)


@pytest.mark.parametrize("steps_before", [0, 3_000_000, 10_000_000, 40_000_000])
def test_a_step_pays_what_was_published(steps_before: int) -> None:
    """States are random: palm turned anyhow, fingertips all around, forces, heights and speeds on both sides of each limit."""
    random = np.random.default_rng(7)
    seen: List[Dict[str, np.ndarray]] = []

    def script(sim: ScriptedSimulator) -> None:
        place = random.uniform([-0.3, -0.3, 0.02], [0.3, 0.3, 0.6], (COUNT, 3))
        wrench = random.uniform(-1, 1, (COUNT, 5, 6)) * random.choice([0.05, 1.0, 5.0], (COUNT, 1, 1))
        values = {
            "object_pos": place,
            "object_vel": random.uniform(-0.15, 0.15, (COUNT, 6)),
            "fingertip_pos": place[:, None] + random.uniform(-0.15, 0.15, (COUNT, 5, 3)),
            "fingertip_wrench": wrench,
            "palm_pos": random.uniform(-0.5, 0.5, (COUNT, 3)),
            "palm_quat": random.normal(size=(COUNT, 4)),
        }
        values["palm_quat"] /= np.linalg.norm(values["palm_quat"], axis=1, keepdims=True)
        for name, value in values.items():
            getattr(sim.state, name).copy_(torch.as_tensor(value))
        seen.append({name: getattr(sim.state, name).double().numpy() for name in READ})

    task = scripted(COUNT, script, reward="recipe")
    task.reset()
    task.env_steps.fill_(steps_before)
    goal = task.simulator.state.object_pos[:, 2].double().numpy() + 0.25
    before = np.zeros((COUNT, 24))
    for step in range(STEPS):
        action = random.uniform(-1.0, 1.0, (COUNT, 24)).astype(np.float32)
        reward = task.step(torch.from_numpy(action)).reward.double().numpy()
        phase = min(1.0, (steps_before + COUNT * (step + 1)) / 1e7)
        right = published(seen[step], goal, action.astype(np.float64), before, phase)
        np.testing.assert_allclose(reward, right, rtol=1e-5, atol=1e-5)
        before = action.astype(np.float64)


def test_weights_are_the_published_ones() -> None:
    """(1 - p, 0.5, 2 p, 5 p), and the penalties, which do not change; the phase is 10 M steps."""
    weights = {t.name: (t.weight, t.weight + t.slope) for t in RECIPE}
    assert weights == {
        "reach": (1.0, 0.0),
        "contact": (0.5, 0.5),
        "stability": (0.0, 2.0),
        "lift": (0.0, 5.0),
        "action_rate": (-0.01, -0.01),
        "action_size": (-0.001, -0.001),
        "dropped": (-5.0, -5.0),
    }
    assert PHASE_STEPS == 10_000_000
