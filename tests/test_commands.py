"""The three commands as a user meets them: what they write, and what they say of wrong input."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import imageio.v2 as imageio
import mujoco
import numpy as np
import pytest
import torch
import trimesh
import tyro

from ppo_grasp import checkpoint, load_policy
from tasks.commands import evaluate as evaluate_command
from tasks.commands import loading
from tasks.commands.errors import INTERRUPTED
from tasks.commands.help import listed
from tasks.commands.loading import checkpoint_path
from tasks.commands.presets import TrainArgs, defaults
from tasks.evaluation.measure import Evaluation
from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.hands import get_hand
from tasks.objects import load_objects
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.mujoco.simulator import MujocoSimulator
from tasks.viewing import renderer as renderer_module
from tasks.viewing import window
from tasks.viewing.errors import RenderingError
from tasks.viewing.renderer import WorldRenderer
from tasks.viewing.watching import WatchedSimulator
from tasks.viewing.window import copy_world, furnished_model

ROOT = Path(__file__).resolve().parent.parent
NO_GPU = not torch.cuda.is_available()
COMMANDS = ("train.py", "evaluate_policy.py", "play.py")
EPISODE_STEPS = 25


Run = Callable[..., Any]
"""See `run` in conftest.py."""


def can_draw() -> bool:
    import mujoco

    try:
        WorldRenderer(mujoco.MjModel.from_xml_string("<mujoco/>"), (32, 32)).close()
    except RenderingError:
        return False
    return True


draws = pytest.mark.skipif(not can_draw(), reason="nothing can be drawn off screen here")

# --- what the commands do ----------------------------------------------------------------------------------------------


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
    }
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


def test_training_begins_with_a_policy(run: Run, tiny: Tuple[object, ...], policy: Path, tmp_path: Path) -> None:
    """Its networks are as large, whatever is asked; with --resume the run that is resumed goes before."""
    still = [word for name in ("", "min-", "max-") for word in (f"--ppo.{name}learning-rate", 1e-9)]
    words = (*tiny, *still, "--init-policy", policy, "--resume", "auto")
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
    from tasks.simulators.mujoco.simulator import MujocoSimulator

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


@draws
@pytest.mark.parametrize("name", ["film.gif", "film.mp4"])
def test_play_films_every_step(run: Run, policy: Path, tmp_path: Path, name: str) -> None:
    done = run("play.py", "--checkpoint", policy, "--episodes", 2, "--video", f"films/{name}")
    assert done.status == 0, done.err
    assert done.out.count("not brought to the goal") == 2
    frames = imageio.mimread(str(tmp_path / "films" / name), memtest=False)
    assert len(frames) == 2 * (EPISODE_STEPS + 1)
    assert np.std(frames[0][..., :3]) > 10, "an empty picture"
    assert np.abs(frames[0][..., :3].astype(int) - frames[EPISODE_STEPS][..., :3]).max() > 50, "nothing moves"


@draws
def test_play_without_a_display_writes_a_video(run: Run, policy: Path, tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    done = run("play.py", "--checkpoint", policy, "--episodes", 1)
    assert done.status == 0, done.err
    assert (tmp_path / "grasp.mp4").stat().st_size > 1000


@draws
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_triton_loads_after_a_picture() -> None:
    """It and a software renderer bring an LLVM each; the second one to be loaded may crash, and with it the process."""
    words = """
import mujoco
from tasks.viewing.renderer import WorldRenderer
WorldRenderer(mujoco.MjModel.from_xml_string("<mujoco/>"))
import triton
"""
    assert subprocess.run([sys.executable, "-c", words], cwd=ROOT, timeout=120).returncode == 0


@draws
def test_failures_are_drawn(run: Run, policy: Path, tmp_path: Path) -> None:
    done = run(
        "evaluate_policy.py", "--checkpoint", policy, "--num-episodes", 3, "--sim", "mujoco", "--failures", "f.png"
    )
    assert done.status == 0, done.err
    assert "3 of 3 failed episodes" in done.out and "held" not in done.out.splitlines()[-1]
    assert imageio.imread(str(tmp_path / "f.png")).shape == (262, 3 * 320, 3)  # a row of three


def judge(monkeypatch: pytest.MonkeyPatch, held: torch.Tensor) -> None:
    """Makes the evaluation find that these episodes were held."""
    measure = evaluate_command.measure

    def judged(*args: Any) -> Evaluation:
        found = measure(*args)
        found.episodes.held.copy_(held)
        return found

    monkeypatch.setattr(evaluate_command, "measure", judged)


@draws
def test_the_failed_episodes_themselves_are_drawn(
    run: Run, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures begin where failed episodes began: the same objects, places, turns and friction, two rounds of them."""
    began: List[Any] = []
    reset = MujocoSimulator.reset

    def noted(simulator: MujocoSimulator, mask: torch.Tensor, start: Any) -> None:
        if mask.all():
            began.append(start)
        reset(simulator, mask, start)

    monkeypatch.setattr(MujocoSimulator, "reset", noted)
    judge(monkeypatch, torch.arange(10) % 4 != 1)  # 1, 5 and 9 failed
    words = ("--num-episodes", 10, "--num-envs", 5, "--sim", "mujoco", "--failures", "f.png")
    done = run("evaluate_policy.py", "--checkpoint", policy, *words)
    assert done.status == 0, done.err
    assert "3 of 3 failed episodes" in done.out
    first, second, again = began[:6:2]  # after each there is one for the next episodes, which do not count
    for name in ("joint_pos", "object_pos", "object_quat", "friction", "mass_scale"):
        of_all = torch.cat([getattr(first, name), getattr(second, name)])
        assert torch.equal(getattr(again, name), of_all[[1, 5, 9]]), name


def test_nothing_is_drawn_where_all_is_held(
    run: Run, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(monkeypatch, torch.ones(2, dtype=torch.bool))
    words = ("--num-episodes", 2, "--sim", "mujoco", "--failures", "f.png")
    done = run("evaluate_policy.py", "--checkpoint", policy, *words)
    assert done.status == 0 and "no failures to draw" in done.out
    assert not (tmp_path / "f.png").exists()


@draws
def test_the_window_looks_like_the_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that the window draws by itself gives the picture that a video has of the same world."""
    hand, objects = get_hand("shadow"), load_objects("primitives", count=4)
    simulator = WatchedSimulator(hand, objects, 1)
    task = GraspTask(simulator, hand, objects, GraspCfg(), evaluation=True)
    task.reset()
    task.reset()  # another object than the scene was built with
    model, data = simulator.model_and_data(0)
    renderer = WorldRenderer(model, (320, 240))
    video = renderer.draw(model, data).astype(int)
    renderer.close()
    shown = furnished_model(hand, objects)
    shown_data = mujoco.MjData(shown)
    copy_world(model, data, shown, shown_data)
    renderer = WorldRenderer(shown, (320, 240))
    monkeypatch.setattr(renderer_module, "decorate", lambda scene, model: None)  # the viewer adds nothing either
    seen = renderer.draw(shown, shown_data).astype(int)
    renderer.close()
    assert video.mean() > 100, "nearly black"
    assert np.abs(seen - video).mean() < 3 and (np.abs(seen - video).max(-1) > 40).mean() < 0.02


def test_play_opens_a_window(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the viewer sees each step and the object of the episode."""
    shown: List[Tuple[float, int]] = []

    class Viewer:
        def __init__(self, model: Any, data: Any, **_: Any) -> None:
            import mujoco

            self.model, self.data, self.cam = model, data, mujoco.MjvCamera()
            self.user_scn = mujoco.MjvScene(model, 10)

        def lock(self) -> Any:
            import contextlib

            return contextlib.nullcontext()

        def sync(self) -> None:
            assert self.user_scn.ngeom == 1  # the goal
            body = self.model.body("object").id
            shown.append((float(self.data.xpos[body, 2]), int(self.model.geom_dataid[self.model.body_geomadr[body]])))

        def is_running(self) -> bool:
            return len(shown) < EPISODE_STEPS + 5  # closed early in the second episode

        def close(self) -> None:
            shown.append((0.0, -1))

    import glfw
    import mujoco.viewer

    monkeypatch.setattr(glfw, "init", lambda: True)
    monkeypatch.setattr(mujoco.viewer, "launch_passive", Viewer)
    monkeypatch.setattr(window, "has_display", lambda: True)
    done = run("play.py", "--checkpoint", policy, "--speed", 100)
    assert done.status == 0, done.err
    assert len(shown) == EPISODE_STEPS + 6
    assert shown[-1] == (0.0, -1)  # and the window is closed
    assert len({mesh for _, mesh in shown[:-1]}) == 2, "both episodes showed the same object"
    assert min(height for height, _ in shown[:-1]) > 0.05


# --- help, Ctrl-C, and the commands as processes ------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help(run: Run, command: str) -> None:
    done = run(command, "--help")
    assert (done.status, done.err) == (0, "")
    assert "--objects" in done.out
    assert "num-obs" not in done.out, "shows what the task decides"


def test_help_comes_in_pages(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of what people use; --help-all has every option that the parser knows, each with a text."""
    monkeypatch.setenv("COLUMNS", "200")
    page, everything = run("train.py", "--help"), run("train.py", "--help-all")
    assert (page.status, everything.status) == (0, 0)
    monkeypatch.setenv("COLUMNS", "80")
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        tyro.cli(TrainArgs, default=defaults([]), config=(tyro.conf.AvoidSubcommands,), args=["--help"])
    known = set(re.findall(r"(?m)^ +(?:-h, )?(--[a-z][a-z.-]*)", said.getvalue())) - {"--help"}
    switched = {name.replace("[no-]", "") for name in re.findall(r"(?m)^(--[a-z.\[\]-]*)", everything.out)}
    assert known and switched == known
    shown = [name.replace("[no-]", "") for name in re.findall(r"(?m)^(--[a-z.\[\]-]*)", page.out)]
    assert 20 <= len(shown) - 1 <= 30 and set(shown) - {"--help-all"} < known
    assert f"--help-all shows all {len(known)} options" in page.out
    assert page.out.count("\n") < 50
    without = [option.name for option in listed(TrainArgs, TrainArgs()) if not option.help]
    assert not [name for name in without if not name.startswith("--isaac-gym.")]


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_is_quiet(run: Run, policy: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "load_objects", interrupted)
    done = run(command, *(() if command == "train.py" else ("--checkpoint", policy)))
    assert done.status == INTERRUPTED
    assert done.err == ""


def test_ctrl_c_in_training_keeps_the_checkpoint(
    run: Run, tiny: Tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ppo_grasp.ppo import PPO

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PPO, "update", interrupted)
    done = run("train.py", *tiny, "--run-dir", "r")
    assert done.status == INTERRUPTED
    assert load_policy(tmp_path / "r" / "checkpoint_last.pt")[1]["iteration"] == 0


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
    from tasks.evaluation.settings import TrainingSettings

    cfg = GraspCfg(
        reward="recipe",
        hidden_inputs=("goal_pose",),
        base_reach=(0.1, 0.2, 0.3),
        start=replace(GraspCfg().start, clearance=0.07),
    )
    physics = PhysicsCfg(cone="pyramidal", substeps=7)
    values = json.loads(json.dumps({"grasp": asdict(cfg), "physics": asdict(physics), "sim": "mujoco", "num_envs": 3}))
    found = TrainingSettings.from_meta({"config": {"task": values}})  # with lists for tuples
    assert (found.grasp, found.physics) == (cfg, physics)
    assert TrainingSettings.from_meta({}).grasp == GraspCfg()
