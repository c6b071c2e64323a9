"""The commands as a user meets them: what training and evaluation write, and with which settings."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
import trimesh

from ppo_grasp import checkpoint, load_policy
from tasks.commands.loading import checkpoint_path
from tasks.commands.presets import TrainArgs, defaults
from tasks.commands.train import describe, task_config
from tasks.evaluation.settings import TrainingSettings
from tasks.grasp.config import GraspCfg
from tasks.grasp.randomisation.config import RandomCfg
from tasks.simulators import registry
from tasks.simulators.isaac_gym.settings import IsaacGymCfg
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.mujoco.simulator import MujocoSimulator

ROOT = Path(__file__).resolve().parent.parent
NO_GPU = not torch.cuda.is_available()
COMMANDS = ("train.py", "evaluate_policy.py", "play.py")
EPISODE_STEPS = 25
Run = Callable[..., Any]
"""See `run` in conftest.py."""


def rows(run_dir: Path) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("where", [(), ("--run-dir", "runs/new")])
def test_resume_auto_starts_anew_where_nothing_is(
    run: Run, tiny: Tuple[object, ...], tmp_path: Path, where: Tuple[str, ...]
) -> None:
    """The same command line starts a job and goes on with it; and it says which of the two it does."""
    first = run("train.py", *tiny, "--total-timesteps", 32, "--resume", "auto", *where)
    assert first.status == 0, first.err
    assert "nothing to resume" in first.out
    (folder,) = (tmp_path / "runs").iterdir()
    assert [row["env_steps"] for row in rows(folder)] == [32]
    again = run("train.py", *tiny, "--total-timesteps", 64, "--resume", "auto", *where)
    assert again.status == 0 and "nothing to resume" not in again.out
    assert [row["env_steps"] for row in rows(folder)] == [32, 64]


def test_train_resume_and_evaluate(run: Run, tiny: Tuple[object, ...], tmp_path: Path) -> None:
    first = run("train.py", *tiny, "--total-timesteps", 64, "--run-dir", "runs/a")
    assert first.status == 0, first.err
    assert "MuJoCo C, 4 environments" in first.out
    folder = tmp_path / "runs" / "a"
    assert {p.name for p in folder.iterdir()} >= {
        "config.json",
        "metrics.jsonl",
        "checkpoint_last.pt",
        "checkpoint_best.pt",
        "environment.json",
        "report.html",
    }
    assert "report in runs/a/report.html" in first.out
    assert [row["env_steps"] for row in rows(folder)] == [32, 64]
    assert "eval_success_rate" in rows(folder)[-1]

    again = run("train.py", *tiny, "--total-timesteps", 96, "--resume", "auto")  # finds the newest run
    assert again.status == 0, again.err
    assert [row["iteration"] for row in rows(folder)] == [1, 2, 3]

    by_folder = run("train.py", *tiny, "--total-timesteps", 128, "--resume", "runs/a", "--run-dir", "runs/b")
    assert by_folder.status == 0, by_folder.err
    assert [row["iteration"] for row in rows(tmp_path / "runs" / "b")] == [4]

    done = run("evaluate_policy.py", "--model", folder / "checkpoint_last.pt", "--num_episodes", 10, "--num-envs", 4,
               "--sim", "mujoco", "--json", "figures/out.json")  # fmt: skip
    assert done.status == 0, done.err
    figures = json.loads((tmp_path / "figures" / "out.json").read_text())
    assert figures["objects"] == "primitives"  # what it was trained on
    assert figures["num_envs"] == 4
    assert figures["physics"] == "fine"
    assert_consistent(figures, 10)


def test_training_says_how_far_it_is_while_nothing_is_held(run: Run, tiny: Tuple[object, ...]) -> None:
    done = run("train.py", *tiny, "--total-timesteps", 32, "--run-dir", "r")
    assert re.search(r"nothing held yet: \d+ % of episodes touch the object, \d+ % bring it to the goal", done.out)
    assert "first grasps usually come before 0.5 M steps" in done.out
    assert "kernel" not in done.out, "none are compiled on a processor"
    row = {
        "success_rate": 0.0,
        "touched_rate": 0.5,
        "ever_success_rate": 0.02,
        "lift_height_m": 0.034,
        "env_steps": 7e6,
    }
    assert "50 % of episodes touch the object, 2 % bring it to the goal, and it rises by 3.4 cm" in describe(row, False)
    assert "before 5 M steps: this one is late" in describe(row, False)
    assert describe({**row, "success_rate": 0.01}, False) == "" == describe({**row, "eval_success_rate": 0.2}, False)


def test_what_is_said_while_nothing_is_held_follows_what_is_trained() -> None:
    row = {"success_rate": 0.0, "touched_rate": 0.5, "ever_success_rate": 0.0, "lift_height_m": 0.01, "env_steps": 2e5}
    assert "before 0.5 M steps, in 3 min" in describe({**row, "steps_per_s": 1.5e3}, True)  # 0.3 M steps are 200 s
    assert "before 5 M steps, in 12 s" in describe({**row, "steps_per_s": 4e5}, False)
    assert "a few grasps were held before, none now: 50 %" in describe(row, True, held_before=True)
    recipe = describe(row, True, "recipe")
    assert "pays for lifting in full only after 10 M steps" in recipe and "usually" not in recipe
    practice = {"start_success/lowered": 0.0, "start_success/rising": 0.4, "start_success/at_goal": 0.82}
    assert "start inside a grasp: at goal 82 %, rising 40 %, lowered 0 %; first" in describe({**row, **practice}, True)
    none = dict.fromkeys(practice, 0.0)
    assert "none is held after a start inside a grasp either; first" in describe({**row, **none}, True)


def test_settings_of_a_training_are_written_down(run: Run, tiny: Tuple[object, ...], tmp_path: Path) -> None:
    """The weights that were used, with those of the command line, and the revision of the program."""
    words = ("--total-timesteps", 32, "--run-dir", "r", "--reward-weights", "lift", 0.125)
    assert run("train.py", *tiny, *words).status == 0
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    weights = config["task"]["reward_weights"]
    assert weights["lift"]["start"] == 0.125 and len(weights) > 5
    assert config["task"]["grasp"]["reward_weights"] == {"lift": 0.125}
    assert config["versions"]["program"] == checkpoint.program_version()


@pytest.mark.parametrize("preset", ["default", "recipe"])
def test_training_begins_with_a_policy(
    preset: str, run: Run, tiny: Tuple[object, ...], policy: Path, tmp_path: Path
) -> None:
    """Its networks are as large, whatever is asked; with --resume the run that is resumed goes before."""
    still = [word for name in ("", "min-", "max-") for word in (f"--ppo.{name}learning-rate", 1e-9)]
    words = (*tiny, *still, "--preset", preset, "--init-policy", policy, "--resume", "auto")
    done = run("train.py", *words, "--total-timesteps", 32)
    assert done.status == 0, done.err
    (folder,) = (tmp_path / "runs").iterdir()
    before, after = (load_policy(path)[0] for path in (policy, folder / "checkpoint_last.pt"))
    for name, value in before.actor.state_dict().items():
        torch.testing.assert_close(after.actor.state_dict()[name], value, rtol=0, atol=1e-6)
    assert json.loads((folder / "config.json").read_text())["task"]["init_policy"] == str(policy)
    again = run("train.py", *words, "--total-timesteps", 64)
    assert again.status == 0, again.err
    assert [row["env_steps"] for row in rows(folder)] == [32, 64]


def test_a_directory_without_a_run_can_be_trained_into(run: Run, tiny: Tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "notes.txt").write_text("what this run is for")
    words = (*tiny, "--total-timesteps", 32, "--run-dir", "r")
    first = run("train.py", *words)
    assert first.status == 0, first.err
    again = run("train.py", *words)
    assert again.status == 2 and "--run-dir r: holds a run already" in again.err
    assert [row["env_steps"] for row in rows(tmp_path / "r")] == [32]


@pytest.mark.parametrize("other", [False, True])
def test_kernels_are_compiled_before_the_simulators_are_built(
    run: Run, tiny: Tuple[object, ...], monkeypatch: pytest.MonkeyPatch, other: bool
) -> None:
    pytest.importorskip("mujoco_warp", reason="needs MuJoCo Warp")
    from tasks.commands import compile_kernels
    from tasks.grasp import build
    from tasks.simulators.errors import SimulatorError

    asked: List[Tuple[Any, ...]] = []

    def enough(*_: Any, **__: Any) -> None:
        raise SimulatorError("the simulators are built next")

    def noted(objects: Any, *rest: Any) -> None:
        asked.append((objects.name, *rest))

    monkeypatch.setattr(compile_kernels, "compile_missing", noted)
    monkeypatch.setattr(build, "make_task", enough)
    words = ("--sim", "mujoco_warp", "--physics.iterations", 7, *(("--eval-objects", "convex") if other else ()))
    done = run("train.py", *tiny, *words)
    assert "built next" in done.err
    rest = (PhysicsCfg(iterations=7), "shadow")
    assert asked == ([("primitives", 4, *rest), ("convex", 3, *rest)] if other else [("primitives", (4, 3), *rest)])


@pytest.mark.parametrize(("physics", "expected"), [("fine", PhysicsCfg.fine()), ("trained", PhysicsCfg(substeps=3))])
def test_evaluation_and_play_take_fine_physics_unless_told(
    run: Run,
    policy_maker: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    physics: str,
    expected: Any,
) -> None:
    """What plays has the control rate of the training, in steps four times finer, or in its own."""
    trained = PhysicsCfg(substeps=3)
    expected = replace(expected, substeps=12) if physics == "fine" else expected
    built: List[PhysicsCfg] = []

    def noted(_self: Any, *args: Any) -> None:
        built.append(args[3])
        raise ValueError("enough")

    monkeypatch.setattr(MujocoSimulator, "__init__", noted)
    path = policy_maker(tmp_path / "p.pt", objects="primitives", physics=asdict(trained))
    for command in ("evaluate_policy.py", "play.py"):
        words = ("--sim", "mujoco", *(() if physics == "fine" else ("--physics", physics)))
        words += ("--video", "a.gif") if command == "play.py" else ()
        assert "enough" in run(command, "--checkpoint", path, *words).err
    assert built == [expected, expected]
    assert expected.control_dt == pytest.approx(trained.control_dt)


def test_physics_of_a_training(run: Run, tiny: Tuple[object, ...], tmp_path: Path) -> None:
    """Without a GPU in finer steps, which the command line overrides one by one."""
    words = ("--total-timesteps", 32, "--run-dir", "r", "--physics.timestep", 1 / 60, "--physics.substeps", 2)
    assert run("train.py", *tiny, *words).status == 0
    found = json.loads((tmp_path / "r" / "config.json").read_text())["task"]["physics"]
    assert found["integrator"] == "implicitfast" and found["timestep"] * found["substeps"] == pytest.approx(1 / 30)
    assert found["timestep"] == 1 / 60


def test_reward_and_starts_go_with_the_simulator_and_the_preset() -> None:
    def found(*words: str) -> Tuple[str, float]:
        task = defaults(words).task
        return task.reward, task.start.pregrasp_fraction

    assert found("--sim", "mujoco") == ("level", 0.8)
    assert found("--sim", "mujoco_warp") == ("default", 0.5)
    assert found("--sim", "mujoco", "--preset", "recipe") == ("recipe", 0.5)
    assert defaults(["--sim", "isaac_gym", "--preset", "recipe"]).isaac_gym.position_iterations == 8
    assert defaults(["--sim", "isaac_gym"]).isaac_gym.position_iterations == 32


def test_preset_sim2real() -> None:
    """All disturbances, the inputs of a robot, and three times the steps; also for few hands."""
    for sim, steps in (("mujoco_warp", 150_000_000), ("mujoco", 3_000_000)):
        args = defaults(["--sim", sim, "--preset", "sim2real"])
        assert args.task.random == RandomCfg.sim2real() and args.task.reward == "sim2real"
        assert args.task.history == 4
        assert args.task.hidden_inputs == ("proprioception+pose",) and args.trainer.total_timesteps == steps
    assert not defaults(["--sim", "mujoco_warp"]).task.random.active
    fixed = defaults(["--sim", "isaac_gym", "--preset", "sim2real"]).task.random
    assert fixed.active and not fixed.varies_bodies and not fixed.varies_drives and fixed.push == 0
    assert fixed.object_noise == RandomCfg.sim2real().object_noise


@pytest.mark.parametrize("sim", ["mujoco_warp", "mujoco", "isaac_gym"])
@pytest.mark.parametrize("hz", [15, 60])
def test_control_rates_mean_the_same_in_seconds(sim: str, hz: int) -> None:
    slow, fast = (defaults(["--sim", sim, "--preset", "sim2real", *words]) for words in ((), (f"--control-hz={hz}",)))
    share = 30 / hz
    assert fast.physics.control_dt == pytest.approx(1 / hz) and slow.physics.control_dt == pytest.approx(1 / 30)
    assert fast.isaac_gym.control_dt == pytest.approx(1 / hz) and fast.physx.control_dt == pytest.approx(1 / hz)
    assert fast.task.episode_steps / hz == pytest.approx(slow.task.episode_steps / 30)
    assert fast.task.base_step * hz == pytest.approx(slow.task.base_step * 30)
    assert fast.task.base_turn * hz == pytest.approx(slow.task.base_turn * 30)
    for name in ("gamma", "lam"):
        assert getattr(fast.trainer.ppo, name) ** hz == pytest.approx(getattr(slow.trainer.ppo, name) ** 30)
    assert fast.task.finger_smoothing**hz == pytest.approx(slow.task.finger_smoothing**30)
    assert fast.task.random.action_delay == round(2 / share) and fast.task.random.pose_every == round(3 / share)
    PhysicsCfg.fine(fast.physics.control_dt)


def test_training_with_all_disturbances_and_measuring_with_some(
    run: Run, tiny: Tuple[object, ...], tmp_path: Path
) -> None:
    """The scale is in the rows, the display and the checkpoint.  A policy is measured undisturbed, unless told otherwise."""
    done = run("train.py", *tiny, "--preset", "sim2real", "--total-timesteps", 64, "--run-dir", "r")
    assert done.status == 0 and "disturbances at 0 %" in done.out, done.err
    assert [row["disturbance_scale"] for row in rows(tmp_path / "r")] == [0.0, 0.0]
    state = torch.load(tmp_path / "r" / "checkpoint_last.pt", weights_only=True)["state"]["task"]
    assert float(state["disturbance_scale"]) == 0.0
    for words, given in (
        ((), {}),
        (("--random.action-delay", 2, "--random.friction", 0.3, 0.3), {"action_delay": 2, "friction": [0.3, 0.3]}),
        (("--preset", "sim2real", "--random.push", 3), {**asdict(RandomCfg.sim2real()), "push": 3.0}),
    ):
        measured = ("--checkpoint", "r/checkpoint_last.pt", "--num_episodes", 3, "--sim", "mujoco", "--json", "x.json")
        done = run("evaluate_policy.py", *measured, *words)
        assert done.status == 0, done.err
        found = json.loads((tmp_path / "x.json").read_text())["random"]
        right = {key: value for key, value in json.loads(json.dumps(given)).items() if key in found or not words}
        assert found == right and len(found) >= min(2, len(given))


def test_fine_physics() -> None:
    assert PhysicsCfg.fine().control_dt == pytest.approx(PhysicsCfg().control_dt) == pytest.approx(1 / 30)
    assert PhysicsCfg.fine().timestep == PhysicsCfg().timestep / 4
    assert PhysicsCfg.fine(7 / 120).substeps == 14
    for odd in (1 / 100, 1e-9, 0.0):
        with pytest.raises(ValueError, match="no whole number of 1/240 s"):
            PhysicsCfg.fine(odd)


def assert_consistent(figures: Dict[str, Any], episodes: int) -> None:
    for name in ("success_rate", "ever_success_rate", "average_lift_height_m", "contact_force_std_n", "inference_ms"):
        assert type(figures[name]) is float, name
    assert type(figures["num_episodes"]) is int
    assert figures["num_episodes"] == episodes
    assert figures["sim"] == "mujoco"
    low, high = figures["success_ci95"]
    assert 0 <= low <= figures["success_rate"] <= high <= 1
    assert low < high
    assert figures["ever_success_rate"] >= figures["success_rate"]
    assert 0 < figures["inference_ms"] < 100
    per_object = figures["per_object"]
    assert sum(row["episodes"] for row in per_object.values()) == episodes
    for key in ("success_rate", "ever_success_rate"):
        mean = sum(row["episodes"] * row[key] for row in per_object.values()) / episodes
        assert mean == pytest.approx(figures[key])
    wins = figures["success_rate"] * episodes
    assert sum(figures["failures"].values()) == pytest.approx(episodes - wins)


def test_evaluation_repeats_itself(run: Run, policy: Path, tmp_path: Path) -> None:
    found: List[Dict[str, Any]] = []
    for seed in (3, 3, 4):
        done = run("evaluate_policy.py", "--checkpoint", policy, "--num-episodes", 6, "--sim", "mujoco", "--seed", seed,
                   "--json", f"{len(found)}.json")  # fmt: skip
        assert done.status == 0, done.err
        found.append(json.loads((tmp_path / f"{len(found)}.json").read_text()))
    assert found[0]["average_lift_height_m"] == found[1]["average_lift_height_m"] != found[2]["average_lift_height_m"]
    assert found[0]["per_object"] == found[1]["per_object"]
    assert "95 % interval" in done.out
    assert "for one observation" in done.out
    assert "sphere_0000" in done.out


def test_long_tables_are_cut(run: Run, policy: Path) -> None:
    done = run("evaluate_policy.py", "--checkpoint", policy, "--num-episodes", 22, "--sim", "mujoco")
    assert done.status == 0, done.err
    assert sum("│" in line for line in done.out.splitlines()) == 20
    assert "and 2 objects more" in done.out


@pytest.mark.parametrize(
    ("meta", "steps"),
    [
        ({"grasp": {"episode_steps": 20}}, 20),
        ({"config": {"task": {"grasp": {"episode_steps": 30, "start": {"clearance": 0.2}}}}}, 30),
    ],
)
def test_the_policys_own_settings_are_used(
    run: Run, policy_maker: Callable[..., Path], tmp_path: Path, meta: Dict[str, Any], steps: int
) -> None:
    path = policy_maker(tmp_path / "own.pt", **meta)
    words = ("--num-episodes", 2, "--objects", "primitives", "--sim", "mujoco", "--json", "x.json")
    done = run("evaluate_policy.py", "--checkpoint", path, *words)
    assert done.status == 0, done.err
    figures = json.loads((tmp_path / "x.json").read_text())
    assert figures["steps_per_s"] * figures["wall_s"] == pytest.approx(2 * steps)


def test_a_skipped_mesh_is_named(run: Run, policy: Path, tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "cup.obj").write_text("v 0 0 nowhere\n")
    trimesh.creation.box((0.05, 0.06, 0.07)).export(str(tmp_path / "meshes" / "box.ply"))
    words = ("--checkpoint", policy, "--objects", "meshes", "--num-episodes", 2, "--sim", "mujoco", "--json", "x.json")
    done = run("evaluate_policy.py", *words, "--skip-bad-objects")
    assert (done.status, done.err) == (0, "")
    assert "warning: skipped: meshes/cup.obj" in done.out
    assert list(json.loads((tmp_path / "x.json").read_text())["per_object"]) == ["box"]


def test_the_newest_shipped_policy_is_the_default(
    policy_maker: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHIPPED", (tmp_path,))
    for name in ("a", "c", "b"):
        policy_maker(tmp_path / f"{name}.pt")
    assert checkpoint_path(None) == tmp_path / "c.pt"


def test_settings_survive_a_checkpoint() -> None:
    cfg = GraspCfg(
        reward="recipe",
        hidden_inputs=("goal_pose",),
        random=RandomCfg.sim2real(),
        base_reach=(0.1, 0.2, 0.3),
        start=replace(GraspCfg().start, clearance=0.07),
    )
    physics = PhysicsCfg(cone="pyramidal", substeps=7)
    values = json.loads(json.dumps({"grasp": asdict(cfg), "physics": asdict(physics), "sim": "mujoco", "num_envs": 3}))
    found = TrainingSettings.from_meta({"config": {"task": values}})  # with lists for tuples
    assert (found.grasp, found.physics) == (cfg, physics)
    assert TrainingSettings.from_meta({}).grasp == GraspCfg()


def test_isaac_gyms_settings_come_back() -> None:
    """Each simulator's settings are kept under its own name, and a policy is measured with those it was trained with."""
    args = TrainArgs(isaac_gym=IsaacGymCfg(substeps=3, cache=Path("elsewhere")), sim="isaac_gym")  # type: ignore[call-arg]
    isaac = registry.get("isaac_gym")
    values = json.loads(json.dumps(task_config(args, isaac)))
    assert "physics" not in values
    found = TrainingSettings.from_meta({"config": {"task": values}})
    assert found.of_simulator(isaac, "fine") == args.isaac_gym  # type: ignore[attr-defined]
    assert found.of_simulator(registry.get("mujoco"), "fine") == PhysicsCfg.fine()
    assert TrainingSettings.from_meta({}).of_simulator(isaac, "trained") is None
