"""CUDA graphs: captured equals eager, random numbers are fresh, the host is not asked.  On a CPU: the fallback."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from double_integrator import DoubleIntegrator, measured_return, optimal_return
from torch import Tensor

from ppo_grasp import ActorCritic, ActorCriticCfg, PPOCfg, Trainer, TrainerCfg
from ppo_grasp.device.graphs import CapturedFunction, SecondStream, side_stream
from ppo_grasp.device.precision import tf32
from ppo_grasp.ppo import PPO
from ppo_grasp.rollout import RolloutBuffer

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = torch.device("cuda")


def trainer_on(device: str, run_dir: Path, iterations: int, graphs: bool = True, **options: Any) -> Trainer:
    settings: Dict[str, Any] = {"ppo": PPOCfg(num_steps=16, gamma=0.95, minibatch_size=1024), **options}
    cfg = TrainerCfg(
        total_timesteps=16 * 256 * iterations,
        eval_interval=10**9,
        checkpoint_interval=10**9,
        graphs=graphs,
        network=ActorCriticCfg(actor_hidden=(64, 64), critic_hidden=(64, 64), init_std=0.3, min_std=0.05),
        **settings,
    )
    return Trainer(DoubleIntegrator(256, 5, device), cfg, run_dir)


def test_disabled_is_a_plain_call() -> None:
    calls: List[int] = []

    def count() -> int:
        calls.append(1)
        return len(calls)

    function = CapturedFunction(count, enabled=False)
    assert [function(), function(), function()] == [1, 2, 3] and not function.will_capture


def test_tf32_is_on_inside_and_as_before_outside() -> None:
    setting = torch.backends.cuda.matmul
    for before in (False, True):
        setting.allow_tf32 = before
        with tf32():
            assert setting.allow_tf32
        assert setting.allow_tf32 == before
        with pytest.raises(RuntimeError), tf32():
            raise RuntimeError
        assert setting.allow_tf32 == before
    setting.allow_tf32 = False


@needs_cuda
def test_random_numbers_are_fresh_in_each_replay() -> None:
    with side_stream(CUDA):
        draw = CapturedFunction(lambda: torch.randn(1000, device=CUDA))
        draws = [draw().clone() for _ in range(5)]
    assert draw._graph is not None
    for i, a in enumerate(draws):
        assert all(not torch.equal(a, b) for b in draws[:i]) and 0.8 < float(a.std()) < 1.2


@needs_cuda
def test_what_cannot_be_captured_runs_eagerly_with_one_warning() -> None:
    x = torch.ones((), device=CUDA)

    def asks_the_host() -> float:
        return float(x.add_(1.0))

    with side_stream(CUDA):
        function = CapturedFunction(asks_the_host, name="the test")
        assert function() == 2.0
        with pytest.warns(UserWarning, match="the test cannot be captured"):
            assert function() == 3.0
        assert function() == 4.0
        fresh = CapturedFunction(lambda: torch.rand(8, device=CUDA))  # a failed capture must not spoil the next
        assert not torch.equal(fresh().clone(), fresh().clone()) and fresh._graph is not None


@needs_cuda
def test_work_on_the_second_stream_is_done_between_what_comes_before_and_the_join() -> None:
    """Long work on either side, so that a missing wait would show."""
    size, second = 1 << 22, SecondStream(CUDA)
    x, seen = torch.zeros(size, device=CUDA), torch.zeros(size, device=CUDA)

    def steps() -> None:
        for _ in range(3):
            for _ in range(20):
                x.add_(1.0)
            with second.fork():
                copy = x.clone()
                for _ in range(20):
                    copy.mul_(2.0).div_(2.0)
            second.join()
            seen.copy_(copy)

    with side_stream(CUDA):
        function = CapturedFunction(steps)
        for call in range(1, 4):
            function()
            assert seen.unique().tolist() == [60.0 * call]
    assert function._graph is not None


@needs_cuda
@pytest.mark.parametrize("options", [{}, {"amp": True}, {"compile_losses": True}])
def test_a_captured_update_equals_an_eager_one(options: Dict[str, Any]) -> None:
    """Same rollouts, same shuffles: after four updates parameters agree within 2e-3, statistics within 2 %."""
    results = []
    for captured in (False, True):
        torch.manual_seed(0)
        policy = ActorCritic(ActorCriticCfg(11, 13, 3, (64, 64), (64, 64))).to(CUDA)
        ppo = PPO(policy, PPOCfg(minibatch_size=512), 128, **options)
        rollout = RolloutBuffer(16, 128, 11, 13, 3, CUDA)
        with side_stream(CUDA):
            update: CapturedFunction[Tensor] = CapturedFunction(partial(ppo.update, rollout), enabled=captured)
            stats = []
            for i in range(4):
                torch.manual_seed(i)
                for x in (rollout.obs, rollout.critic_obs, rollout.actions, rollout.rewards, rollout.final_critic_obs):
                    x.normal_()
                rollout.truncated.copy_(torch.rand(16, 128, device=CUDA) < 0.1)
                stats.append(update().clone())
        assert (update._graph is not None) == captured
        results.append((torch.stack(stats), [p.detach() for p in policy.parameters()], policy.value_normalizer.mean))
    (eager_stats, eager_params, eager_mean), (stats_, params, mean) = results
    torch.testing.assert_close(stats_, eager_stats, atol=2e-3, rtol=2e-2)
    for a, b in zip(eager_params, params):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-2)
    torch.testing.assert_close(mean, eager_mean, atol=1e-4, rtol=1e-3)


@needs_cuda
def test_captured_training_reaches_the_optimal_return(tmp_path: Path) -> None:
    trainer = trainer_on("cuda", tmp_path, iterations=80)
    trainer.run()
    assert trainer._collect._graph is not None and trainer._learn._graph is not None
    policy = trainer.policy.cpu()
    assert optimal_return(0.95) / measured_return(policy.act_deterministic, 0.95) > 0.98


@needs_cuda
def test_statistics_that_change_in_every_step_are_captured(tmp_path: Path) -> None:
    """Replays count the observations of the reset and of every step."""
    recipe = replace(PPOCfg.recipe(), minibatch_size=1024)
    trainer = trainer_on("cuda", tmp_path, iterations=5, ppo=recipe, privileged_critic=False)
    trainer.run()
    assert trainer._collect._graph is not None and trainer._learn._graph is not None
    normalizers = (trainer.policy.obs_normalizer, trainer.policy.critic_obs_normalizer)
    assert [float(x.count) for x in normalizers] == [pytest.approx(256 * (1 + 5 * 16) + 1e-4, rel=1e-9)] * 2
    assert float(trainer.ppo.reward_normalizer.count) == pytest.approx(256 * 5 * 16 + 1e-4, rel=1e-9)


@needs_cuda
def test_rollouts_of_a_graph_differ_and_go_on_from_each_other(tmp_path: Path) -> None:
    trainer = trainer_on("cuda", tmp_path, iterations=1)
    with side_stream(CUDA):
        obs, critic_obs = trainer.task.reset()
        trainer.buffer.restart(obs, critic_obs)
        ends, starts, actions = [], [], []
        for _ in range(4):
            ends.append(trainer.buffer.obs[-1].clone())
            trainer._collect()
            starts.append(trainer.buffer.obs[0].clone())
            actions.append(trainer.buffer.actions.clone())
    assert all(torch.equal(a, b) for a, b in zip(ends, starts))
    assert not torch.equal(actions[2], actions[3])


@needs_cuda
def test_an_iteration_asks_the_host_for_nothing(tmp_path: Path) -> None:
    class Silent:
        def stage(self, message: str) -> None: ...

        def log(self, row: Dict[str, float]) -> None: ...

    log: Any = Silent()
    trainer = trainer_on("cuda", tmp_path, iterations=10)
    with side_stream(CUDA):
        trainer._start(log)
        for _ in range(3):
            issued = trainer._iterate(log)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            issued = trainer._iterate(log)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert trainer._report(issued)["iteration"] == 4


@needs_cuda
@pytest.mark.parametrize("graphs", [False, True])
def test_resume_on_cuda_keeps_counters_and_learning_rate(tmp_path: Path, graphs: bool) -> None:
    first = trainer_on("cuda", tmp_path, iterations=4, graphs=graphs)
    first.run()
    second = trainer_on("cuda", tmp_path, iterations=8, graphs=graphs)
    second.load(tmp_path / "checkpoint_last.pt")
    assert torch.equal(second.ppo.learning_rate, first.ppo.learning_rate) and second.ppo.learning_rate.is_cuda
    assert second.run()["iteration"] == 8
