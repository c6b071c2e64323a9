"""The changes that benchmarks/robustness.py makes to a policy's world."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Callable

import pytest
import torch
from views import NUM_OBS, SLICES

from ppo_grasp import ActorCritic, ActorCriticCfg
from tasks.grasp.randomisation.config import RandomCfg

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
import robustness
import steadiness


def test_a_masked_slice_is_at_its_mean_and_nothing_else_changes() -> None:
    policy = ActorCritic(ActorCriticCfg(num_obs=NUM_OBS, num_critic_obs=NUM_OBS, num_actions=24))
    policy.obs_normalizer.update(3 + 2 * torch.randn(1000, NUM_OBS))
    obs = 3 + 2 * torch.randn(7, NUM_OBS)
    at_mean = obs.clone()
    at_mean[:, SLICES["goal_pose"]] = policy.obs_normalizer.mean[SLICES["goal_pose"]]
    blind = robustness.seen_through(policy, robustness.masked("goal_pose"))
    torch.testing.assert_close(blind(obs), policy.act_deterministic(at_mean))
    assert not torch.equal(blind(obs), policy.act_deterministic(obs))


def test_a_late_policy_fit_for_a_graph_does_the_same() -> None:
    late = steadiness.Late(lambda obs: 10 * obs, 2)
    for _ in range(2):
        late.restart()
        assert [float(late(torch.tensor([float(t)]))) for t in range(7, 13)] == [70, 70, 70, 80, 90, 100]


def test_rows_are_what_they_are_called() -> None:
    rows = robustness.ROWS
    assert not rows["undisturbed"].active
    assert rows["actions two steps late"] == RandomCfg(action_delay=2)
    assert all(cfg.active for name, cfg in rows.items() if name != "undisturbed")
    assert list(robustness.chosen_rows(("late", "friction"))) == [
        *(f"actions {by} late" for by in ("one step", "two steps", "none to three steps")),
        "friction 0.3",
        "friction 0.2",
        "dry friction in the joints, up to 0.05 N m",
    ]
    with pytest.raises(ValueError, match="--rows fog: is in none"):
        robustness.chosen_rows(("fog",))


def test_a_table_of_two_policies(
    policy_maker: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Every row ends with the hand's own drives and no push, so that the rows after it are not disturbed by it."""
    grasp = {"episode_steps": 20, "base_slope": 1.0}
    policies = tuple(policy_maker(tmp_path / f"{name}.pt", grasp=grasp, objects="primitives") for name in "ab")
    args = robustness.Args(
        checkpoints=policies, objects=("primitives",), rows=("undisturbed", "drives", "pushes of 3", "objects x"), sim="mujoco",
        episodes=4, json=tmp_path / "rows.json",
    )  # fmt: skip
    robustness.main(args)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["row"], Path(row["checkpoint"]).stem) for row in rows] == [
        (name, policy)
        for name in ("undisturbed", "pushes of 3 m/s2", "drives x 0.5 to 2", "objects x 0.9 to 1.1")
        for policy in "ab"
    ]
    assert all(row["num_episodes"] == 4 and row["sim"] == "mujoco" for row in rows)
    assert "primitives, 4 episodes each, MuJoCo C" in capsys.readouterr().out
