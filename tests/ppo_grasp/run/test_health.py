"""Trainings that go wrong stop, say so, and never write or take up a network that is not finite."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from double_integrator import DoubleIntegrator

from ppo_grasp import ActorCriticCfg, CheckpointError, PPOCfg, Trainer, TrainerCfg, load_policy
from ppo_grasp.checkpoint import load_checkpoint
from ppo_grasp.run.health import LASTING, TrainingError
from ppo_grasp.vec_task import Step


def trainer(run_dir: Path, iterations: int = 60, task: Any = None) -> Trainer:
    torch.set_num_threads(1)
    cfg = TrainerCfg(
        total_timesteps=64 * iterations,
        eval_interval=64,
        checkpoint_interval=64,
        ppo=PPOCfg(num_steps=8, minibatch_size=32, normalize_reward=True),
        network=ActorCriticCfg(actor_hidden=(8,), critic_hidden=(8,)),
    )
    return Trainer(task or DoubleIntegrator(8, 5), cfg, run_dir, lambda policy: {"success_rate": 0.0})


def from_step(first: int, last: int, change: Callable[[Step], Step]) -> DoubleIntegrator:
    task, done = DoubleIntegrator(8, 5), [0]
    step = task.step

    def changed(action: torch.Tensor) -> Step:
        done[0] += 1
        result = step(action)
        return change(result) if first <= done[0] < last else result

    task.step = changed  # type: ignore[method-assign]
    return task


def with_nan_reward(step: Step) -> Step:
    return step._replace(reward=torch.full_like(step.reward, math.nan))


def with_nan_obs(step: Step) -> Step:
    return step._replace(obs=torch.full_like(step.obs, math.nan))


@pytest.mark.parametrize("where", ["actor.0.weight", "critic.2.bias", "std_logit"])
def test_a_weight_that_is_not_finite_stops_training_and_is_never_written(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = trainer(tmp_path)
    update = one.ppo.update
    one._learn.function = lambda: broken()  # type: ignore[method-assign]

    def broken() -> torch.Tensor:
        if one.iteration == 3:
            dict(one.policy.named_parameters())[where].data.view(-1)[0] = math.nan
        return update(one.buffer)

    with pytest.raises(TrainingError, match=r"a weight is not finite \(iteration 4, 256 steps"):
        one.run()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("training stopped: a weight is not finite") and "stopped.pt" in last
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        state = load_checkpoint(tmp_path / name)
        assert state["state"]["iteration"] == 3
        assert all(bool(torch.isfinite(x).all()) for x in state["model"].values())
    dump = torch.load(tmp_path / "stopped.pt", weights_only=True)
    assert not torch.isfinite(dump["model"][where]).all() and dump["state"]["iteration"] == 4
    with pytest.raises(CheckpointError, match=r"went wrong: go on from checkpoint_last\.pt"):
        load_policy(tmp_path / "stopped.pt")


@pytest.mark.parametrize("change", [with_nan_reward, with_nan_obs])
def test_lasting_trouble_stops_training(change: Callable[[Step], Step], tmp_path: Path) -> None:
    one = trainer(tmp_path, 100, from_step(50, 10**9, change))
    with pytest.raises(TrainingError, match=f"in {LASTING} iterations in a row"):
        one.run()
    assert 20 <= one.iteration < 40


@pytest.mark.parametrize("change", [with_nan_reward, with_nan_obs])
def test_a_moments_trouble_heals(change: Callable[[Step], Step], tmp_path: Path) -> None:
    """The normaliser of rewards learns again, too: a sum that was NaN once stayed NaN."""
    one = trainer(tmp_path, 20, from_step(50, 58, change))
    assert one.run()["iteration"] == 20
    assert torch.isfinite(one.ppo.discounted_return).all()
    assert float(one.ppo.reward_normalizer.count) > 64 * 15


def test_worlds_that_all_fail_stop_training(tmp_path: Path) -> None:
    task = DoubleIntegrator(8, 5)
    task.metric_names = ("failed_worlds", "never")
    step = task.step

    def failing(action: torch.Tensor) -> Step:
        result = step(action)
        task.metric_sums[0] = torch.tensor([9.0, 10.0])
        return result

    task.step = failing  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="more than 50 % of episodes ended because their world diverged"):
        trainer(tmp_path, 60, task).run()


def test_an_error_saves_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(step: Step) -> Step:
        raise ZeroDivisionError("of the task")

    one = trainer(tmp_path, 60, from_step(70, 71, broken))
    one.cfg.checkpoint_interval = 10**9
    with pytest.raises(ZeroDivisionError):
        one.run()
    told = f"training stopped: of the task; {one.env_steps} steps are in {tmp_path / 'checkpoint_last.pt'}"
    assert told in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "checkpoint_last.pt")["state"]["iteration"] == one.iteration > 5
