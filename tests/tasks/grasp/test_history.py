"""What the policy saw in its last steps, against an explicit list."""

from __future__ import annotations

from dataclasses import replace
from typing import List

import pytest
import torch
from plain_mujoco import HAND
from scripted_simulator import ScriptedSimulator
from scripted_task import scripted
from torch import Tensor
from views import NUM_OBS, SLICES

from tasks.grasp.observations import CRITIC, History, Layout, observation_sizes
from tasks.grasp.randomisation.config import RandomCfg

NAMES = ("object_pose", "previous_action")
COLUMNS = [*range(*SLICES["object_pose"].indices(NUM_OBS)), *range(*SLICES["previous_action"].indices(NUM_OBS))]
EXTRA = Layout(CRITIC, HAND).size


def climb(sim: ScriptedSimulator) -> None:
    sim.state.object_pos[:, 2] += 0.001


def test_history_is_what_was_seen_in_this_episode() -> None:
    """Also under noise; the critic gets the same one, and where no episode ended both of its views are the same."""
    random = RandomCfg(object_noise=0.01)
    torch.manual_seed(0)
    task = scripted(3, climb, False, history=3, history_inputs=NAMES, random=random, episode_steps=6)
    assert (task.num_obs, task.num_critic_obs) == (NUM_OBS + 3 * 31, NUM_OBS + 3 * 31 + EXTRA)
    obs, critic_obs = task.reset()
    task.episodes.time.copy_(torch.tensor([0, 2, 4]))
    seen: List[List[Tensor]] = [[] for _ in range(3)]
    ended = torch.ones(3, dtype=torch.bool)
    for _ in range(10):
        for world in range(3):
            now = obs[world, COLUMNS].clone()
            mine = seen[world] = [] if ended[world] else seen[world]
            past = (mine[::-1] + [mine[0] if mine else now] * 3)[:3]
            torch.testing.assert_close(obs[world, NUM_OBS:], torch.cat(past), atol=0, rtol=0)
            mine.append(now)
        assert torch.equal(critic_obs[:, NUM_OBS : task.num_obs], obs[:, NUM_OBS:])
        step = task.step(torch.rand(3, 24) * 2 - 1)
        ended = step.terminated | step.truncated
        obs, critic_obs = step.obs.clone(), step.critic_obs.clone()
        assert torch.equal(step.final_critic_obs[~ended], critic_obs[~ended])


def test_without_history_observations_have_their_sizes() -> None:
    assert observation_sizes(HAND) == observation_sizes(HAND, NAMES, 0) == (NUM_OBS, NUM_OBS + EXTRA)
    task = scripted(2)
    assert task.history is None and task.reset()[0].shape == (2, NUM_OBS)


def test_hidden_slices_are_hidden_in_the_past_too() -> None:
    task = scripted(2, climb, history=2, history_inputs=NAMES, hidden_inputs=("object_pose",))
    task.reset()
    for _ in range(3):
        obs = task.step(torch.ones(2, 24)).obs
    past = obs[:, NUM_OBS:].view(2, 2, 31)
    assert not past[..., :7].any() and past[..., 7:].any()


def test_unknown_inputs() -> None:
    with pytest.raises(ValueError, match="--history-inputs nose: choose from joint_pos"):
        History(HAND, ("joint_pos", "nose"), 1, 1)


def test_settings_of_a_history_come_back() -> None:
    from tasks.evaluation.settings import TrainingSettings, trained_with

    cfg = replace(TrainingSettings().grasp, history=2)
    meta = {"grasp": {"history": 2, "history_inputs": list(cfg.history_inputs)}}
    from pathlib import Path

    size = observation_sizes(HAND, cfg.history_inputs, 2)[0]
    assert trained_with(meta, Path("x.pt"), size, 24).grasp.history == 2
    with pytest.raises(ValueError, match="is a policy for 211 observations"):
        trained_with(meta, Path("x.pt"), NUM_OBS, 24)
