"""A training of the grasping task that is stopped and resumed equals one that never stopped, bit for bit."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest
import torch
from plain_mujoco import HAND, some_objects

from ppo_grasp import ActorCritic, ActorCriticCfg, PPOCfg, Trainer, TrainerCfg
from ppo_grasp.device.policy_runner import PolicyRunner
from ppo_grasp.metrics import TIMES
from tasks.evaluation.measure import evaluate
from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.grasp.randomisation.config import RandomCfg
from tasks.objects import ObjectSet

pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
from reliability.chaos import everything

from tasks.simulators.mujoco.simulator import MujocoSimulator

ENVS, STEPS = 6, 8
NEVER = 10**9


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks of this size gain nothing from more, and lose much where the processor is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer(
    run_dir: Path,
    iterations: int,
    seed: int = 0,
    envs: int = ENVS,
    objects: Optional[ObjectSet] = None,
    task: Optional[Dict[str, Any]] = None,
    **cfg: Any,
) -> Trainer:
    torch.manual_seed(seed)
    objects = objects or some_objects()
    grasp = GraspCfg(episode_steps=25, **(task or {}))
    training = GraspTask(MujocoSimulator(HAND, objects, envs), HAND, objects, grasp)
    eval_task = GraspTask(MujocoSimulator(HAND, objects, 2), HAND, objects, grasp, evaluation=True)

    def measure(policy: ActorCritic) -> Dict[str, float]:
        runner = PolicyRunner(eval_task, policy.act_deterministic)
        found = evaluate(eval_task, lambda: runner.play(grasp.episode_steps), 2).summary()
        return {key: found[key] for key in ("success_rate", "average_lift_height_m")}

    settings = TrainerCfg(
        total_timesteps=STEPS * ENVS * iterations,
        seed=seed,
        **{"eval_interval": 2 * STEPS * ENVS, "checkpoint_interval": 3 * STEPS * ENVS, **cfg},
        ppo=PPOCfg(num_steps=STEPS, num_epochs=2, minibatch_size=24, normalize_reward=True),
        network=ActorCriticCfg(actor_hidden=(32,), critic_hidden=(32,)),
    )
    return Trainer(training, settings, run_dir, measure, eval_task=eval_task)


def assert_same(a: Path, b: Path) -> None:
    """Last checkpoints and metrics are equal to the bit, but for the time that they took."""
    ours, theirs = (torch.load(run / "checkpoint_last.pt", weights_only=True) for run in (a, b))
    first, second = (everything({"model": x["model"], "state": x["state"]}) for x in (ours, theirs))
    assert first.keys() == second.keys() and len(first) > 60
    for name, value in first.items():
        if name == "/state/wall_s":
            continue
        same = torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        assert same or value != value, name
    timing = {"wall_s", "steps_per_s", *TIMES}
    rows = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (a, b)]
    for one, other in zip(*rows):
        assert {k: v for k, v in one.items() if k not in timing} == {k: v for k, v in other.items() if k not in timing}
    assert len(rows[0]) == len(rows[1])


def stop_after(trainer: Trainer, iterations: int) -> None:
    whole = trainer._finished
    trainer._finished = lambda: trainer.iteration >= iterations or whole()  # type: ignore[method-assign]


RANDOM = replace(RandomCfg.sim2real(), widen=False, com=0.3, table_height=0.03, joint_friction=0.05)
DISTURBED: Dict[str, Any] = {"random": RANDOM, "history": 2, "pose_filter": 0.3}


@pytest.mark.parametrize("of_task", [{}, DISTURBED], ids=["ideal", "disturbed"])
def test_a_resume_in_the_middle_of_episodes_is_exact(
    of_task: Dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven iterations of 8 steps, episodes of 25: killed after 5, goes on from the checkpoint after 3."""
    whole = trainer(tmp_path / "whole", 7, task=of_task)
    whole.run()
    first = trainer(tmp_path / "parts", 7, task=of_task)
    saves: List[str] = []
    save = first.save

    def killed(path: Any) -> None:
        saves.append(Path(path).name)
        if first.iteration >= 5:
            raise SystemExit(9)
        save(path)

    first.save = killed  # type: ignore[method-assign]
    monkeypatch.setattr("ppo_grasp.run.rescue.save_without_the_others", killed)
    stop_after(first, 5)
    with pytest.raises(SystemExit):
        first.run()
    second = trainer(tmp_path / "parts", 7, seed=5, task=of_task)
    second.config["trainer"]["seed"] = 0  # all else that the seed decided must come from the checkpoint
    second.load(tmp_path / "parts" / "checkpoint_last.pt")
    assert second.iteration == 3
    second.run()
    assert "new episodes" not in capsys.readouterr().out
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_evaluations_change_nothing_of_the_training(tmp_path: Path) -> None:
    often = trainer(tmp_path / "often", 4)
    often.run()
    never = trainer(tmp_path / "never", 4)
    never.evaluate = None
    never.run()
    for (name, a), b in zip(often.policy.state_dict().items(), never.policy.state_dict().values()):
        assert torch.equal(a, b), name


@pytest.mark.parametrize(
    "change, said",
    [
        ({"envs": 4}, "number of environments is 4, it was 6"),
        ({"objects": ObjectSet.of("one", some_objects().objects[:1])}, "the objects are others"),
    ],
)
def test_what_does_not_fit_begins_new_episodes_and_says_so(
    change: Dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(tmp_path, 2).run()
    resumed = trainer(tmp_path, 3, **change)
    resumed.load(tmp_path / "checkpoint_last.pt")
    assert resumed.run()["iteration"] > 2
    out = capsys.readouterr().out
    assert f"new episodes begin: {said}" in out
    assert "settings differ from the run's: trainer.total_timesteps: now 144, was 96" in out


def test_the_best_is_never_replaced_by_a_worse_one(tmp_path: Path) -> None:
    """The process dies after a better network was written and before the last: the file tells the score, not the last."""
    scores = iter([0.2, 0.9, 0.5, 0.4, 0.3])
    first = trainer(tmp_path, 4, checkpoint_interval=NEVER)
    first.evaluate = lambda policy: {"success_rate": next(scores)}
    stop_after(first, 2)
    first.run()
    best = (tmp_path / "checkpoint_best.pt").read_bytes()
    last = (tmp_path / "checkpoint_last.pt").read_bytes()
    second = trainer(tmp_path, 4, checkpoint_interval=NEVER)
    second.load(tmp_path / "checkpoint_last.pt")
    second.evaluate = lambda policy: {"success_rate": 0.9}
    second.run()
    assert (tmp_path / "checkpoint_best.pt").read_bytes() != best
    best = (tmp_path / "checkpoint_best.pt").read_bytes()
    (tmp_path / "checkpoint_last.pt").write_bytes(last)  # as if it had died before it wrote the last
    third = trainer(tmp_path, 4, checkpoint_interval=NEVER)
    third.load(tmp_path / "checkpoint_last.pt")
    third.evaluate = lambda policy: {"success_rate": 0.5}
    assert third.run()["best_score"] == 0.9
    assert (tmp_path / "checkpoint_best.pt").read_bytes() == best


def test_a_run_that_goes_on_elsewhere_keeps_a_best_there(tmp_path: Path) -> None:
    first = trainer(tmp_path / "a", 2)
    first.evaluate = lambda policy: {"success_rate": 0.9}
    first.run()
    second = trainer(tmp_path / "b", 4)
    second.load(tmp_path / "a" / "checkpoint_last.pt")
    second.evaluate = lambda policy: {"success_rate": 0.5}
    assert second.run()["best_score"] == 0.5
    assert (tmp_path / "b" / "checkpoint_best.pt").is_file()
