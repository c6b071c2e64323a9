"""The loop: it solves a problem with a known answer, resumes exactly, and keeps its run directory."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import torch
from double_integrator import DoubleIntegrator, measured_return, optimal_return, riccati
from torch import Tensor

from ppo_grasp import ActorCritic, ActorCriticCfg, CheckpointError, PPOCfg, Trainer, TrainerCfg, find_last, load_policy
from ppo_grasp.device.ranges import named_range
from ppo_grasp.metrics import TIMES
from ppo_grasp.vec_task import Step

GAMMA = 0.95
NEVER = 10**9
WORLDS = 128
"""Of the trainings that learn something."""


def cfg_for(iterations: int, num_envs: int, seed: int = 0, **ppo: Any) -> TrainerCfg:
    return TrainerCfg(
        total_timesteps=16 * num_envs * iterations,
        seed=seed,
        eval_interval=NEVER,
        checkpoint_interval=NEVER,
        ppo=PPOCfg(**{"num_steps": 16, "gamma": GAMMA, "minibatch_size": 4 * num_envs, **ppo}),
        network=ActorCriticCfg(actor_hidden=(32, 32), critic_hidden=(32, 32), init_std=0.3, min_std=0.05),
    )


def rows_of(run_dir: Path) -> List[Dict[str, float]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def train(run_dir: Path, seed: int) -> float:
    """The share of the optimal return (1 is best; costs, so the ratio is inverted) after 80 iterations."""
    trainer = Trainer(DoubleIntegrator(WORLDS, time_limit=5), cfg_for(80, WORLDS, seed, num_epochs=3), run_dir)
    trainer.run()
    return optimal_return(GAMMA) / measured_return(trainer.policy.act_deterministic, GAMMA)


def test_the_riccati_answer_is_the_return_of_its_own_gain() -> None:
    """The oracle agrees with a simulation of it, and no gain near it is better."""
    gain = torch.from_numpy(riccati(GAMMA)[1]).float()
    assert gain.abs().sum() * 0.5 < 0.7  # the bounds on actions do not matter
    best = measured_return(lambda state: -state @ gain.T, GAMMA)
    assert best == pytest.approx(optimal_return(GAMMA), rel=2e-3)
    for change in ((1.2, 1.0), (0.8, 1.0), (1.0, 1.2), (1.0, 0.8)):
        assert measured_return(lambda state, c=change: -state @ (gain * torch.tensor(c)).T, GAMMA) < best


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_training_reaches_the_optimal_return_in_spite_of_time_limits(seed: int, tmp_path: Path) -> None:
    assert train(tmp_path, seed) > 0.98


def test_without_the_value_at_time_limits_it_would_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the test above can fail: episodes of five steps teach a policy that does not care what comes after."""
    monkeypatch.setattr("ppo_grasp.ppo.bootstrap_time_limits", lambda rewards, truncated, values, gamma: rewards)
    assert train(tmp_path, seed=0) < 0.95


@pytest.mark.parametrize("normalize_at", ["update", "step"])
def test_resume_is_exact(normalize_at: str, tmp_path: Path) -> None:
    """N + M iterations equal N, save, load, M: bit by bit, on a task whose episodes all end with the rollout."""
    N, M = 3, 4

    def trainer(name: str, iterations: int, seed: int = 0) -> Trainer:
        torch.manual_seed(seed)
        task = DoubleIntegrator(32, time_limit=16, rest_every_limit=True)
        return Trainer(
            task, cfg_for(iterations, 32, seed, normalize_reward=True, normalize_at=normalize_at), tmp_path / name
        )

    whole = trainer("whole", N + M)
    whole.run()
    part = trainer("parts", N + M)
    part._finished = lambda: part.iteration >= N  # type: ignore[method-assign]  # cut off: it was to go on for as long
    part.run()
    resumed = trainer("parts", N + M, seed=99)  # the seed must not matter any more
    resumed.load(find_last(tmp_path / "parts"))
    assert resumed.iteration == N and resumed.wall_s > 0
    result = resumed.run()

    assert result["iteration"] == N + M and result["env_steps"] == whole.env_steps
    for (name, a), b in zip(whole.policy.state_dict().items(), resumed.policy.state_dict().values()):
        assert torch.equal(a, b), name
    for a, b in zip(
        whole.ppo.optimizer.state_dict()["state"].values(), resumed.ppo.optimizer.state_dict()["state"].values()
    ):
        assert all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(whole.ppo.learning_rate, resumed.ppo.learning_rate)

    timing = {"wall_s", "steps_per_s", *TIMES}
    expected, got = rows_of(tmp_path / "whole"), rows_of(tmp_path / "parts")
    assert [r["iteration"] for r in got] == list(range(1, N + M + 1))
    for a, b in zip(expected, got):
        assert {k: v for k, v in a.items() if k not in timing} == {k: v for k, v in b.items() if k not in timing}
    walls = [r["wall_s"] for r in got]
    assert walls == sorted(walls)


def test_evaluation_decides_the_best_checkpoint(tmp_path: Path) -> None:
    scores = iter([0.2, 0.9, 0.4, 0.9, 0.1])
    seen: List[Tuple[float, Tensor]] = []

    def evaluate(policy: ActorCritic) -> Dict[str, float]:
        assert not torch.is_grad_enabled()
        seen.append((next(scores), policy.std_logit.detach().clone()))
        return {"success_rate": seen[-1][0], "lift": 2.0}

    cfg = cfg_for(9, 8)
    cfg.eval_interval = 2 * 16 * 8
    trainer = Trainer(DoubleIntegrator(8, 5), cfg, tmp_path, evaluate, extra_config={"objects": "cube"})
    result = trainer.run()
    assert [score for score, _ in seen] == [0.2, 0.9, 0.4, 0.9, 0.1]  # four on the way and one at the end
    policy, meta = load_policy(tmp_path / "checkpoint_best.pt")
    assert torch.equal(policy.std_logit, seen[3][1]) and not torch.equal(policy.std_logit, trainer.policy.std_logit)
    assert result["best_score"] == meta["best_score"] == 0.9
    rows = rows_of(tmp_path)
    assert [r["iteration"] for r in rows if "eval_success_rate" in r] == [2, 4, 6, 8, 9]
    assert rows[3]["eval_success_rate"] == 0.9 and rows[3]["eval_lift"] == 2.0


def test_of_equal_scores_the_next_measure_decides(tmp_path: Path) -> None:
    """As long as no grasp is still, what is held decides."""
    scores = iter([(0.0, 0.2), (0.0, 0.9), (0.0, 0.4), (0.1, 0.3), (0.0, 1.0)])
    seen: List[Tensor] = []

    def evaluate(policy: ActorCritic) -> Dict[str, float]:
        seen.append(policy.std_logit.detach().clone())
        still, held = next(scores)
        return {"success_rate": held, "still": still}

    cfg = cfg_for(9, 8)
    cfg.eval_interval = 2 * 16 * 8
    best_after = []
    trainer = Trainer(DoubleIntegrator(8, 5), cfg, tmp_path, evaluate, best_by=("still", "success_rate"))
    save = trainer.save
    trainer.save = lambda path: (best_after.append(len(seen)) if "best" in str(path) else None, save(path))[1]  # type: ignore[method-assign, assignment, func-returns-value]
    result = trainer.run()
    assert best_after == [1, 2, 4] and result["best_score"] == 0.1
    assert torch.equal(load_policy(tmp_path / "checkpoint_best.pt")[0].std_logit, seen[3])
    again = Trainer(DoubleIntegrator(8, 5), cfg, tmp_path / "again", evaluate, best_by=("still", "success_rate"))
    again.load(tmp_path / "checkpoint_best.pt")
    assert again.best == (0.1, 0.3)


def test_run_directory_is_complete(tmp_path: Path) -> None:
    Trainer(DoubleIntegrator(8, 5), cfg_for(3, 8), tmp_path, extra_config={"objects": "cube"}).run()
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["trainer"]["amp"] is False, "what ran: a processor has no fast bfloat16"
    assert config["trainer"]["ppo"]["gamma"] == GAMMA and config["trainer"]["network"]["num_critic_obs"] == 3
    assert config["task"] == {"objects": "cube"}
    rows = rows_of(tmp_path)
    assert [r["env_steps"] for r in rows] == [128, 256, 384]
    assert all(r["steps_per_s"] > 0 and r["update_ms"] > 0 and r["policy_ms"] > 0 for r in rows)
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_physics_is_timed_apart_from_the_rest_of_the_task(tmp_path: Path) -> None:
    """16 steps of a task that takes 2 ms in its simulation and 1 ms outside of it."""
    task = DoubleIntegrator(8, 5)
    step = task.step

    def slow(action: Tensor) -> Step:
        with named_range("physics"):
            time.sleep(2e-3)
        time.sleep(1e-3)
        return step(action)

    task.step = slow  # type: ignore[method-assign]
    Trainer(task, cfg_for(3, 8), tmp_path).run()
    for row in rows_of(tmp_path):
        assert row["environment_ms"] == pytest.approx(row["physics_ms"] + row["task_ms"])
        assert 32 <= row["physics_ms"] < 60, "not the sleep outside"
        assert row["task_ms"] > 16
        rollout = row["environment_ms"] + row["policy_ms"]
        assert 1e3 * 16 * 8 / row["steps_per_s"] == pytest.approx(rollout + row["update_ms"], rel=0.2)


def test_physics_that_a_task_does_not_show_has_no_time(tmp_path: Path) -> None:
    Trainer(DoubleIntegrator(8, 5), cfg_for(2, 8), tmp_path).run()
    for row in rows_of(tmp_path):
        assert row["physics_ms"] is None and row["task_ms"] is None and row["environment_ms"] > 0


def test_profile_without_cuda_says_that_it_does_nothing(tmp_path: Path) -> None:
    cfg = cfg_for(1, 8)
    cfg.profile = True
    with pytest.warns(UserWarning, match="--profile marks ranges on NVIDIA GPUs only"):
        Trainer(DoubleIntegrator(8, 5), cfg, tmp_path)


def test_the_versions_of_a_run_are_kept(tmp_path: Path) -> None:
    """The git revision, as git tells it, in config.json and in the checkpoint."""
    Trainer(DoubleIntegrator(8, 5), cfg_for(1, 8), tmp_path).run()
    told = json.loads((tmp_path / "config.json").read_text())["versions"]
    assert told["torch"] == torch.__version__
    assert load_policy(tmp_path / "checkpoint_last.pt")[1]["versions"] == told
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        assert told["program"].replace("-changed", "") == head.stdout.strip()
    else:
        assert told["program"]


def test_metrics_are_sums_over_counts_since_the_last_iteration(tmp_path: Path) -> None:
    task = DoubleIntegrator(8, 5)
    distances: List[Tensor] = []
    step = task.step

    def watched(action: Tensor) -> Step:
        distances.append(task.state[:, 0].abs().clone())
        return step(action)

    task.step = watched  # type: ignore[method-assign]
    Trainer(task, cfg_for(3, 8), tmp_path).run()
    rows = rows_of(tmp_path)
    for i, row in enumerate(rows):
        # The first rollout warms up and is not counted.
        of_iteration = torch.stack(distances[16 * (i + 1) : 16 * (i + 2)])
        assert row["distance"] == pytest.approx(float(of_iteration.mean()), rel=1e-5)
        assert "never" not in row  # nothing was counted


def test_ctrl_c_saves_and_ends_cleanly(tmp_path: Path) -> None:
    task = DoubleIntegrator(8, 5)
    step, calls = task.step, []

    def interrupted(action: Tensor) -> Step:
        calls.append(1)
        if len(calls) == 16 * 4 + 3:
            raise KeyboardInterrupt
        return step(action)

    task.step = interrupted  # type: ignore[method-assign]
    result = Trainer(task, cfg_for(50, 8), tmp_path).run()
    assert result["interrupted"] == 1.0 and result["iteration"] == 3
    assert len(rows_of(tmp_path)) == 3
    resumed = Trainer(DoubleIntegrator(8, 5), cfg_for(5, 8), tmp_path)
    resumed.load(tmp_path / "checkpoint_last.pt")
    assert resumed.run()["iteration"] == 5 and len(rows_of(tmp_path)) == 5


def test_time_limit_ends_training(tmp_path: Path) -> None:
    cfg = cfg_for(1000, 8)
    cfg.max_minutes = 1e-9
    assert Trainer(DoubleIntegrator(8, 5), cfg, tmp_path).run()["iteration"] == 0


def test_start_up_is_no_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a minute of which the start-up took 40 s, 10 s of training are half: what is annealed by time begins there."""
    age = 40.0
    monkeypatch.setattr("ppo_grasp.trainer.process_age", lambda: age)
    cfg = cfg_for(10**6, 8)
    cfg.max_minutes = 1.0
    trainer = Trainer(DoubleIntegrator(8, 5), cfg, tmp_path)
    seen = []

    def told(progress: float) -> None:
        nonlocal age
        seen.append(progress)
        age += 5.0

    monkeypatch.setattr(trainer.ppo, "set_progress", told)
    trainer.run()
    assert seen == pytest.approx([0.0, 0.25, 0.5, 0.75], abs=1e-3)


def test_a_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    Trainer(DoubleIntegrator(8, 5), cfg_for(1, 8), tmp_path).run()
    other = DoubleIntegrator(8, 5)
    other.num_critic_obs = 7
    with pytest.raises(CheckpointError, match="num_critic_obs 3, here it is 7"):
        Trainer(other, cfg_for(1, 8), tmp_path).load(tmp_path / "checkpoint_last.pt")


def test_a_run_interrupted_before_its_first_iteration_resumes_as_a_new_one(tmp_path: Path) -> None:
    """Its normalisers have seen nothing yet: the first update must not be on raw observations."""
    Trainer(DoubleIntegrator(8, 5), cfg_for(1, 8), tmp_path / "cut_off").save(tmp_path / "nothing.pt")
    resumed = Trainer(DoubleIntegrator(8, 5), cfg_for(1, 8), tmp_path / "resumed")
    resumed.load(tmp_path / "nothing.pt")
    new = Trainer(DoubleIntegrator(8, 5), cfg_for(1, 8), tmp_path / "new")
    for trainer in (resumed, new):
        trainer.run()
        assert float(trainer.policy.obs_normalizer.count) == 2 * 16 * 8, "a rollout to warm up, and one to learn from"


def test_a_policy_to_begin_with_is_not_forgotten(tmp_path: Path) -> None:
    """Trained on, a policy that is nearly optimal stays so, where random networks are far from it; its normalisers go on."""
    Trainer(DoubleIntegrator(WORLDS, 5), cfg_for(80, WORLDS, num_epochs=3), tmp_path / "first").run()
    policy, _ = load_policy(tmp_path / "first" / "checkpoint_last.pt")
    count, returns = float(policy.obs_normalizer.count), []
    for name in ("again", "anew"):
        trainer = Trainer(DoubleIntegrator(WORLDS, 5), cfg_for(2, WORLDS), tmp_path / name)
        if name == "again":
            trainer.begin_with(policy)
        trainer.run()
        assert (trainer.iteration, trainer.env_steps) == (2, 2 * 16 * WORLDS)
        assert float(trainer.policy.obs_normalizer.count) - (count if name == "again" else 0) <= 3 * 16 * WORLDS
        returns.append(optimal_return(GAMMA) / measured_return(trainer.policy.act_deterministic, GAMMA))
    assert returns[0] > 0.9 > 2 * returns[1]
    rates = [rows_of(tmp_path / name)[0]["learning_rate"] for name in ("again", "anew")]
    assert rates[0] < 1e-4 < rates[1], "the first steps of a new Adam are as large as its learning rate"


def test_a_policy_of_other_sizes_is_refused(tmp_path: Path) -> None:
    other = ActorCritic(
        ActorCriticCfg(num_obs=2, num_critic_obs=3, num_actions=1, actor_hidden=(9,), critic_hidden=(32, 32))
    )
    trainer = Trainer(DoubleIntegrator(8, 5), cfg_for(1, 8), tmp_path)
    with pytest.raises(CheckpointError, match=r"has actor_hidden \(9,\), here it is \(32, 32\)"):
        trainer.begin_with(other)


def test_a_task_may_not_call_its_metric_like_one_of_the_engine(tmp_path: Path) -> None:
    task = DoubleIntegrator(8, 5)
    task.metric_names = ("reward", "never")
    with pytest.raises(ValueError, match="reward"):
        Trainer(task, cfg_for(1, 8), tmp_path)
