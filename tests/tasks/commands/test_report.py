"""The command that writes a report, and the episode that it plays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Callable, Tuple

import pytest
import torch

pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")

from ppo_grasp.device.policy_runner import PolicyRunner
from tasks.evaluation.measure import evaluate
from tasks.evaluation.page.episode import episode_charts, play
from tasks.evaluation.trained import load_trained
from tasks.grasp.environment import GraspTask
from tasks.objects import ObjectSet, load_objects
from tasks.simulators import registry

SHIPPED = Path(__file__).resolve().parents[3] / "checkpoints" / "shadow_grasp.pt"
Run = Callable[..., Any]
REPORT = "tasks/commands/report.py"


def test_of_runs_side_by_side(run: Run, tiny: Tuple[object, ...], policy: Path, tmp_path: Path) -> None:
    assert run("train.py", *tiny, "--total-timesteps", 64, "--run-dir", "runs/t0").status == 0
    shutil.copy(policy, tmp_path / "runs" / "t0" / "checkpoint_best.pt")
    shutil.copytree(str(tmp_path / "runs" / "t0"), str(tmp_path / "runs" / "t1"))
    settings = tmp_path / "runs" / "t1" / "config.json"
    settings.write_text(settings.read_text(encoding="utf-8").replace('"seed": 0', '"seed": 1'), encoding="utf-8")
    done = run(REPORT, "runs/t0", "runs/t1", "--episode", "--physics", "trained", "--out", "out/both.html")
    assert done.status == 0, done.err
    assert done.out.startswith("out/both.html: 2 runs, ")
    text = (tmp_path / "out" / "both.html").read_text(encoding="utf-8")
    assert "t (2 seeds)" in text and "Episode, t1, checkpoint_best.pt" in text and "base action" in text
    assert run(REPORT, "runs/t0").out.startswith("runs/t0/report.html: 1 run, ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which runs?"),
        (["nowhere"], "nowhere: is no directory"),
        (["bare", "--out", "page.pdf"], "page.pdf"),
        (["bare"], "holds no metrics.jsonl"),
        (["young", "--episode"], "no checkpoint"),
    ],
)
def test_what_it_refuses(run: Run, tmp_path: Path, words: Tuple[str, ...], said: str) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "young").mkdir()
    (tmp_path / "young" / "metrics.jsonl").write_text('{"iteration": 1, "env_steps": 1, "wall_s": 1}\n')
    done = run(REPORT, *words)
    assert done.status == 2 and done.err.startswith("error: ") and said in done.err and len(done.err.splitlines()) == 1


def test_an_episode_is_what_an_evaluation_measures() -> None:
    """The end of the curves has the means that the evaluation of the same episodes has."""
    trained = load_trained(SHIPPED)
    objects = ObjectSet.of("two", list(load_objects("primitives").objects[:2]))
    episode = play(trained, objects, "trained", worlds=2)
    entry = registry.choose("mujoco")
    settings = trained.settings.of_simulator(entry, "trained")
    simulator = entry.make(trained.hand, objects, 2, settings, evaluation=True)
    task = GraspTask(simulator, trained.hand, objects, trained.settings.grasp, evaluation=True)
    task.seed(0)
    runner = PolicyRunner(task, trained.policy.act_deterministic)
    record = evaluate(task, lambda: runner.play(task.cfg.episode_steps), 2).episodes
    world = int(record.held.int().argmax())
    assert episode.held == bool(record.held[world]) and episode.still == bool(record.still[world])
    last = slice(-round(episode.hold_time / simulator.control_dt), None)
    assert len(episode.time) == task.cfg.episode_steps
    right = {
        "object_speed": record.object_speed,
        "hand_force": record.grip_force,
        "fingertip_force": record.fingertip_force,
    }
    for name, values in right.items():
        assert getattr(episode, name)[last].mean() == pytest.approx(float(values[world]), rel=1e-4), name
    assert episode.hand_force[last].mean() / episode.weight == pytest.approx(
        float(record.grip_to_weight[world]), rel=1e-4
    )
    changes = (episode.base_action[1:] * episode.base_action[:-1] < 0)[last].mean()
    assert changes == pytest.approx(float(record.sign_changes[world]), abs=1e-6)
    assert "about z" in episode_charts(episode, 0.05) and torch.isfinite(record.grip_force).all()
    simulator.close()
