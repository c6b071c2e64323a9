"""Wrong input: each ends with status 2 and one line that says what to do."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Sequence, Tuple

import pytest
import torch

from ppo_grasp import checkpoint
from tasks.commands.errors import sentence, suggestion
from tasks.commands.options import check_simulator_options
from tasks.simulators import registry
from tasks.viewing import renderer, window

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("train.py", "evaluate_policy.py", "play.py")
NO_GPU = not torch.cuda.is_available()
Run = Callable[..., Any]
"""See `run` in conftest.py."""
Tiny = Tuple[object, ...]
Maker = Callable[..., Path]


# --- what they refuse --------------------------------------------------------------------------------------------------


def assert_refused(done: Any, *words: str) -> None:
    assert done.status == 2, done
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in done.out
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--frobnicate", 3], ["unknown option --frobnicate", "--help"]),
        (["--sim", "foo"], ["--sim foo: choose from auto, mujoco"]),
        (["--objects"], ["--objects: needs a value"]),
        (["--seed", "many"], ["--seed many: must be a whole number"]),
        (["--seed", -1], ["--seed -1: must be at least 0"]),
        (["--seed", 10**30], ["--seed"]),
        (["--seed", "9" * 400], ["--seed 99999999999999999999...: must be at most"]),
        (["--object-scale", 0], ["--object-scale 0: must be greater than 0"]),
        (["--object-scale", "nan"], ["--object-scale nan: must be a finite number"]),
        (["--objects", "nothing"], ["--objects nothing: choose from primitives", "directory"]),
        (["--objects", "empty"], ["no .obj, .stl or .ply file in empty"]),
        (["--objects", "broken"], ["cup.obj", "not a readable .obj"]),
        (["--objects", "broken", "--skip-bad-objects"], ["none of the 1 meshes"]),
        (["--objects", "huge"], ["ball.stl", "--object-scale"]),
        (["--hand", "foot"], ["foot", "shadow"]),
    ],
)
def test_wrong_options_of_all_commands(
    run: Run, tiny: Tiny, policy: Path, tmp_path: Path, command: str, words: Sequence[object], said: Sequence[str]
) -> None:
    for name in ("empty", "broken", "huge"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "cup.obj").write_text("v 0 0 nowhere\n")
    corners = [(0, 0, 0), (900, 0, 0), (0, 900, 0), (0, 0, 900)]
    faces = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
    body = b"".join(struct.pack("<12fH", 0, 0, 0, *(x for c in face for x in corners[c]), 0) for face in faces)
    (tmp_path / "huge" / "ball.stl").write_bytes(b" " * 80 + struct.pack("<I", len(faces)) + body)
    mine = tiny if command == "train.py" else ("--checkpoint", policy)
    assert_refused(run(command, *mine, *words), *said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num-envs", 0], ["--num-envs 0: must be at least 1"]),
        (["--num-envs", -4], ["--num-envs -4: must be at least 1"]),
        (["--num-env", 4], ["did you mean --num-envs?"]),
        (["--total-timesteps", 0], ["--total-timesteps 0"]),
        (["--total-timesteps", "1e6"], ["--total-timesteps 1e6: must be a whole number"]),
        (["--max-minutes", 0], ["--max-minutes 0: must be greater than 0"]),
        (["--max-minutes", "-1"], ["--max-minutes -1"]),
        (["--max-minutes", "inf"], ["--max-minutes inf"]),
        (["--ppo.minibatch-size", 0], ["--ppo.minibatch-size 0"]),
        (["--network.actor-hidden", 0], ["--network.actor-hidden 0"]),
        (["--network.num-obs", 3], ["unknown option --network.num-obs"]),
        (["--lr", 3], ["unknown option --lr 3: did you mean --ppo.learning-rate?"]),
        (["--isaac-gym.substeps", 3], ["--isaac-gym.substeps: is an option of --sim isaac_gym", "this is mujoco"]),
        (["--isaac_gym.substeps=3"], ["--isaac_gym.substeps: is an option of --sim isaac_gym", "--physics."]),
        (["--physics.timestep", 0], ["--physics.timestep 0"]),
        (["--hold-time", 0], ["--hold-time 0"]),
        (["--eval-objects", "nothing"], ["--eval-objects nothing: choose from"]),
        (["--hidden-inputs", "goal_pose", "nose"], ["--hidden-inputs nose: choose from joint_pos"]),
        (["--history", 2, "--history-inputs", "nose"], ["--history-inputs nose: choose from joint_pos"]),
        (["--pose-filter", 1], ["--pose-filter 1: must be below 1"]),
        (["--random.mass", 2, 1], ["--random.mass 2 1: give the lower end first"]),
        (["--random.push", -1], ["--random.push -1: must be at least 0"]),
        (["--random.widen-above", 0.1], ["--random.widen-above 0.1: must be shares from 0 to 1"]),
        (["--control-hz", 50], ["--control-hz"]),
        (["--object-count", 0], ["--object-count 0: must be at least 1"]),
        (["--config", "gone"], ["--config gone", "runs/NAME/config.json"]),
        (["--config", "file"], ["--config file: is not JSON"]),
        (["--config"], ["--config: needs a value"]),
        (["--sim"], ["--sim: needs a value"]),
        (["--run-dir", "file"], ["--run-dir file: is a file"]),
        (["--run-dir", "file/deeper"], ["--run-dir file/deeper: cannot be written"]),
        (["--run-dir", "used"], ["--run-dir used: holds a run already", "give another", "--resume auto"]),
        (["--resume", "gone.pt"], ["--resume gone.pt", "leave --resume out"]),
        (["--resume", "file", "--run-dir", "new"], ["file is not a checkpoint"]),
        (["--init-policy", "gone.pt"], ["--init-policy gone.pt: no such file"]),
        (["--init-policy", "file"], ["file is not a checkpoint"]),
        (["--init-policy", "other.pt"], ["has num_obs 33, here it is 211"]),
        (["--resume", "policy.pt", "--run-dir", "new"], ["policy.pt holds a policy alone"]),
    ],
)
def test_wrong_options_of_train(
    run: Run,
    tiny: Tiny,
    policy: Path,
    policy_maker: Maker,
    tmp_path: Path,
    words: Sequence[object],
    said: Sequence[str],
) -> None:
    (tmp_path / "file").write_text("no checkpoint")
    policy_maker(tmp_path / "other.pt", num_obs=33)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "metrics.jsonl").write_text('{"iteration": 1}\n')
    assert_refused(run("train.py", *tiny, *words), *said)
    assert not (tmp_path / "runs").exists(), "a refused run left a directory"
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["metrics.jsonl"]
    assert (tmp_path / "used" / "metrics.jsonl").read_text() == '{"iteration": 1}\n'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--checkpoint", "gone.pt"], ["--checkpoint gone.pt: no such file"]),
        (["--checkpoint", "."], ["--checkpoint .: is a directory"]),
        (["--checkpoint", "foreign.pt"], ["foreign.pt is not a checkpoint of this program"]),
        (["--checkpoint", "corrupt.pt"], ["corrupt.pt is not a checkpoint of this program, or is damaged"]),
        (["--checkpoint", "other.pt"], ["other.pt is a policy for 33 observations", "211"]),
        (["--checkpoint", "future.pt"], ["future.pt", "'wings'", "use the version it was made by"]),
        (["--checkpoint", "odd.pt"], ["odd.pt", "episode_steps", "'ten'"]),
        (["--checkpoint", "elsewhere.pt"], ["/gone/meshes", "choose from"]),
        (["--checkpoint", "uneven.pt"], ["control steps of 0.02 s", "1/240 s", "give --physics trained"]),
    ],
)
@pytest.mark.parametrize("command", ["evaluate_policy.py", "play.py"])
def test_wrong_checkpoints(
    run: Run,
    policy_maker: Maker,
    policy: Path,
    tmp_path: Path,
    command: str,
    words: Sequence[object],
    said: Sequence[str],
) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "foreign.pt")
    (tmp_path / "corrupt.pt").write_bytes(policy.read_bytes()[:999])
    policy_maker(tmp_path / "other.pt", num_obs=33)
    policy_maker(tmp_path / "future.pt", grasp={"wings": 2})
    policy_maker(tmp_path / "odd.pt", grasp={"episode_steps": "ten"})
    policy_maker(tmp_path / "elsewhere.pt", objects="/gone/meshes")
    policy_maker(tmp_path / "uneven.pt", objects="primitives", physics={"timestep": 0.01, "substeps": 2})
    assert_refused(run(command, *words), *said)


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("evaluate_policy.py", ["--num_episodes", 0], ["--num-episodes 0: must be at least 1"]),
        ("evaluate_policy.py", ["--num-episodes", -5], ["--num-episodes -5"]),
        ("evaluate_policy.py", ["--num-envs", 0], ["--num-envs 0"]),
        ("evaluate_policy.py", ["--json", "."], ["--json .: is a directory"]),
        ("evaluate_policy.py", ["--json", "policy.pt/out.json"], ["--json policy.pt/out.json: cannot be written"]),
        ("evaluate_policy.py", ["--failures", "a.bmp"], ["--failures a.bmp: the name must end in .png"]),
        ("play.py", ["--video", "a.avi"], ["--video a.avi: the name must end in .mp4 or .gif"]),
        ("play.py", ["--video", "policy.pt/a.gif"], ["--video policy.pt/a.gif: cannot be written"]),
        ("play.py", ["--episodes", 0], ["--episodes 0"]),
        ("play.py", ["--speed", 0], ["--speed 0: must be at least 0.01"]),
        ("play.py", ["--viewer", "window", "--video", "a.mp4"], ["--viewer window: does not write --video a.mp4"]),
        ("play.py", ["--viewer", "window", "--hands", 2], ["--hands 2: a window shows one hand", "--viewer browser"]),
        ("play.py", ["--video", "a.mp4", "--hands", 99], ["--hands 99: at most 36 fit"]),
        ("play.py", ["--video", "a.mp4", "--follow"], ["--follow: a video shows one policy"]),
    ],
)
def test_wrong_options_of_evaluate_and_play(
    run: Run, policy: Path, command: str, words: Sequence[object], said: Sequence[str]
) -> None:
    assert_refused(run(command, "--checkpoint", policy, *words), *said)


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
@pytest.mark.parametrize("command", ["train.py", "evaluate_policy.py", "play.py"])
def test_a_gpu_that_is_not_there(run: Run, tiny: Tiny, policy: Path, command: str) -> None:
    mine = tiny if command == "train.py" else ("--checkpoint", policy)
    assert_refused(run(command, *mine, "--sim", "mujoco_warp"), "mujoco_warp needs an NVIDIA GPU", "--sim mujoco")


def test_a_window_that_does_not_open(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import glfw

    monkeypatch.setattr(glfw, "init", lambda: False)
    monkeypatch.setattr(window, "has_display", lambda: True)
    assert_refused(run("play.py", "--checkpoint", policy), "no window can be opened", "--video")


def test_following_nothing(run: Run, tmp_path: Path) -> None:
    assert_refused(run("play.py", "--viewer", "browser", "--follow"), "--follow: needs --checkpoint runs/NAME")
    words = ("--viewer", "browser", "--follow", "--checkpoint", "gone")
    assert_refused(run("play.py", *words), "--follow gone: no such directory")


def test_a_browser_without_its_extra(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    said = run("play.py", "--checkpoint", policy, "--viewer", "browser")
    assert_refused(said, "--viewer browser: needs the extra `viewer`", "pip install -c constraints.txt -e '.[viewer]'")


def test_nothing_to_draw_with(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> None:
        raise ImportError(f"there is no {name}")

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(renderer.importlib, "import_module", no_library)
    assert_refused(
        run("play.py", "--checkpoint", policy, "--video", "a.gif"), "cannot draw here: install", "mujoco.egl"
    )
    assert "MUJOCO_GL" not in os.environ


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_place_without_permission(run: Run, policy: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert_refused(run("evaluate_policy.py", "--checkpoint", policy, "--json", "closed/a.json"), "no permission")


def test_without_a_shipped_policy(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SHIPPED", (tmp_path / "checkpoints",))
    for command in ("evaluate_policy.py", "play.py"):
        assert_refused(run(command), "--checkpoint")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "╭─ Value error ─╮ │ Error parsing --n: no type matching {None}|INT could be instantiated from ['abc']. │ │ Got "
            "errors: │ ├──┤ │ Argument helptext: │ │ --n {None}|INT │ │ Hands. (default: None) │ ╰──╯",
            "--n abc: must be a whole number",
        ),
        ("╭─ New in tyro ─╮ │ words never seen before │ ╰──╯", "New in tyro words never seen before"),
        ("", "wrong arguments; --help lists them"),
        ("Unrecognized options: ,", "unknown option '': --help lists the options"),  # two empty words, found by fuzzing
    ],
)
def test_sentence(text: str, expected: str) -> None:
    assert sentence(text) == expected


def test_options_of_another_simulator() -> None:
    """Each simulator takes the options with its own prefix and refuses those of the others; no other word matters."""
    words = ["--physics.timestep", "0.01", "--num-envs", "8", "--ppo.gamma=0.9", "--objects", "isaac-gym.d"]
    for name in ("mujoco", "mujoco_warp"):
        check_simulator_options(words, registry.get(name))
    with pytest.raises(
        ValueError, match=r"--physics.timestep: is an option of --sim mujoco_warp and mujoco, and this is"
    ):
        check_simulator_options(words, registry.get("isaac_gym"))
    check_simulator_options(["--isaac-gym.substeps", "3"], registry.get("isaac_gym"))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--lr", "--ppo.learning-rate"),
        ("--learning-rate", "--ppo.learning-rate"),
        ("--num-env", "--num-envs"),
        ("--num_epoch=3", "--ppo.num-epochs"),
        ("--ppo.gama", "--ppo.gamma"),
        ("--frobnicate", ""),
        ("--x", ""),
    ],
)
def test_suggestion(word: str, expected: str) -> None:
    """The option that is meant, or none: never one that only looks a little alike."""
    options = ("--num-envs", "--objects", "--ppo.learning-rate", "--ppo.gamma", "--ppo.num-epochs", "--physics.solref")
    assert suggestion(word, options) == expected


@pytest.mark.parametrize(("command", "words"), [("train.py", ["--sim", "warp"]), ("play.py", ["--checkpoint", "gone"])])
def test_as_a_process(tmp_path: Path, command: str, words: Sequence[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / command), *words], cwd=str(tmp_path), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
