"""benchmarks/ablations.py: what it starts, and what it makes of what came out."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
import torch
from rich.console import Console

from ppo_grasp import ActorCritic, ActorCriticCfg, save_policy
from tasks.grasp.episodes import EpisodeRecord
from tasks.grasp.starts import StartCfg
from tasks.objects import load_objects

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
pytest.importorskip("mujoco_warp", reason="needs MuJoCo Warp")
import ablations


def a_run(variant: str, seed: int, held: Optional[float], **more: Any) -> Dict[str, Any]:
    levels = {"50": {"wall_s": 9.0, "env_steps": 3_000_000}, "85": None}
    measured = {} if held is None else {"holdout": {"success_rate": held}}
    return {"variant": variant, "seed": seed, "levels": levels, "held": measured, **more}


def test_every_variant_is_a_command_line_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    from tasks.commands import train
    from tasks.commands.options import parse
    from tasks.commands.presets import TrainArgs

    found = ablations.trainings(replace(ablations.Args(), objects="mixed", options="--profile"), Path("runs/x"))
    assert len({run["run_dir"] for run in found}) == len(found) == 3 * len(ablations.VARIANTS)
    args = {}
    for run in found:
        monkeypatch.setattr(sys, "argv", run["command"])
        args[run["variant"], run["seed"]] = parsed = parse(TrainArgs)
        train.check(parsed)
        assert (parsed.objects, parsed.trainer.seed, parsed.trainer.profile) == ("mixed", run["seed"], True)
        assert (parsed.trainer.total_timesteps, parsed.trainer.eval_interval) == (12_000_000, 1_000_000)
    assert (args["few_shapes", 0].object_count, args["few_shapes", 0].eval_objects) == (60, "mixed")
    assert set(args["no_geometry", 2].task.hidden_inputs) == {
        "object_pose",
        "object_vel",
        "drive_force",
        "fingertip_quat",
        "fingertip_vel",
        "fingertip_wrench",
    }
    base = args["base", 1]
    assert all(
        args[name, 1] != replace(base, run_dir=args[name, 1].run_dir) for name in ablations.VARIANTS if name != "base"
    )


def test_summary_is_in_the_order_of_seeds_and_failures_have_no_figures() -> None:
    runs = [a_run("b", 1, 0.75), a_run("a", 0, None, failed="status 2: error: no [luck]"), a_run("b", 0, 0.5)]
    first, second = ablations.summarise(runs, ("holdout",))
    assert (first["variant"], first["seeds"], first["held"]["holdout"]) == ("b", [0, 1], [50.0, 75.0])
    assert (first["mean"]["holdout"], first["failed"]) == (62.5, [])
    assert first["steps"] == {"50": [3_000_000, 3_000_000], "85": [None, None]}
    assert (second["held"]["holdout"], second["mean"]["holdout"]) == ([None], None)
    console = Console(width=170, record=True, file=io.StringIO())
    console.print(ablations.table_of([first, second], ("holdout",), "title"))
    said = console.export_text()
    for text in ("50.0 / 75.0", "62.5", "3.0 / 3.0", "- / -", "seed 0: status 2: error: no [luck]"):
        assert text in said


def test_all_are_run_and_a_failure_is_the_last_line_of_its_log(tmp_path: Path) -> None:
    scripts = {
        "good": "print('training on the moon')",
        "bad": "print('so far so good'); raise SystemExit('error: fell')",
    }
    waiting = [
        {"variant": name, "seed": 0, "run_dir": str(tmp_path / name), "command": ["-c", script]}
        for name, script in scripts.items()
    ]
    found = {run["variant"]: run for run in ablations.run_all(waiting, 1, dict(os.environ))}
    assert "failed" not in found["good"] and found["good"]["where"] == "training on the moon"
    assert found["bad"]["failed"] == "status 1: error: fell"
    assert found["bad"]["levels"] == {"50": None, "85": None}


def test_policies_are_measured_within_their_own_limits_from_the_same_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A still hand holds nothing, of any kind; starts that a variant changed in training are the default's again."""
    runs: List[Dict[str, Any]] = []
    for yaw in (0.3, 1.6):
        folder = tmp_path / f"{yaw}"
        folder.mkdir()
        cfg = ActorCriticCfg(num_obs=211, num_critic_obs=232, num_actions=24, actor_hidden=(8,), critic_hidden=(8,))
        grasp = {"max_yaw": yaw, "episode_steps": 20, "start": {"friction_low": 0.1}}
        task = {"sim": "mujoco", "objects": "primitives", "grasp": grasp}
        save_policy(folder / "checkpoint_last.pt", ActorCritic(cfg), {"config": {"task": task}})
        runs.append({"run_dir": str(folder), "held": {}})
    made = []

    class Recorded(ablations.GraspTask):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            made.append(self.cfg)

    monkeypatch.setattr(ablations, "GraspTask", Recorded)
    assert [run["run_dir"] for run in ablations.measure(runs, "primitives", 6)] == [run["run_dir"] for run in runs]
    assert [cfg.max_yaw for cfg in made] == [0.3, 1.6] and {cfg.start for cfg in made} == {StartCfg()}
    for run in runs:
        found = run["held"]["primitives"]
        assert found["num_episodes"] == 6 and found["by_kind"] == {"sphere": 0.0, "cube": 0.0, "cylinder": 0.0}


def test_held_by_kind() -> None:
    objects = load_objects("primitives", count=3)
    assert objects.kinds == ("sphere", "cube", "cylinder")
    episodes = EpisodeRecord.zeros(5, torch.device("cpu"))
    episodes.object_id.copy_(torch.tensor([0, 1, 1, 0, 0]))
    episodes.held.copy_(torch.tensor([True, False, True, True, False]))
    assert ablations.by_kind(episodes, objects) == pytest.approx({"sphere": 2 / 3, "cube": 0.5})


def test_who_gives_up_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "pid").touch()
    sleep = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    waiting = [
        {"variant": name, "seed": 0, "run_dir": str(tmp_path / name), "command": ["-c", script]}
        for name, script in (("long", sleep), ("short", f"while not open({str(tmp_path / 'pid')!r}).read(): pass"))
    ]
    runs = ablations.run_all(waiting, 2, dict(os.environ))
    assert next(runs)["variant"] == "short"
    runs.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
