"""Every option that is a number has a range, which is checked, shown in --help, and asked of checkpoints."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any, Callable, Dict, List, Sequence, Tuple

import pytest
import torch

from tasks import ranges
from tasks.commands import options
from tasks.commands.evaluate import EvaluateArgs
from tasks.commands.help import listed
from tasks.commands.play import PlayArgs
from tasks.commands.presets import TrainArgs, check_together, defaults
from tasks.commands.sweep.__main__ import SweepArgs
from tasks.evaluation.settings import SettingsError, TrainingSettings
from tasks.ranges import RANGES, Range
from tasks.simulators import registry

Run = Callable[..., Any]
TYPES: Tuple[type, ...] = (TrainArgs, EvaluateArgs, PlayArgs, SweepArgs)
NUMBERS = re.compile(r"\b(INT|NUMBER)\b")
OF_OTHERS = {"--arch", "--workers", "--count"}
"""Of commands that need MuJoCo Warp, and of `python -m tasks.objects`."""


def test_every_number_has_a_range_and_no_range_is_left_over() -> None:
    found = {option.name for kind in TYPES for option in listed(kind, kind()) if NUMBERS.search(option.value)}
    assert found == set(RANGES) - OF_OTHERS
    for kind in TYPES:
        for option in listed(kind, kind()):
            several = len(RANGES.get(option.name, ()))
            assert several <= 1 or several == len(option.given), option.name


@pytest.mark.parametrize("preset", ["default", "recipe", "sim2real"])
@pytest.mark.parametrize("sim", registry.names())
@pytest.mark.parametrize("rate", [15, 30, 60])
def test_all_defaults_are_in_range(preset: str, sim: str, rate: int) -> None:
    args = defaults(["--preset", preset, "--sim", sim, "--control-hz", str(rate)])
    options.check_values(args)
    check_together(args, registry.get(sim))


@pytest.mark.parametrize(
    "interval, inside, outside",
    [
        ("[0, 1]", [0, 0.5, 1], [-1e-9, 1 + 1e-9, float("nan"), float("inf")]),
        ("(0, 1)", [1e-300, 1 - 1e-12], [0, 1, -5]),
        ("[1, 1e6]", [1, 1_000_000], [0, 1_000_001, 10**40, -(10**40)]),
    ],
)
def test_range(interval: str, inside: List[float], outside: List[float]) -> None:
    one = Range.parse(interval)
    assert not [x for x in inside if one.wrong(x)]
    assert not [x for x in outside if not one.wrong(x)]


def test_help_names_ranges(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    said = run("train.py", "--help-all").out
    for words in (
        "[0.98; 0 to 1]",
        "[0.5; 0 to below 1]",
        "[0.0003; above 0 to 1]",
        "1 to 1,000,000]",
        "[0.01 1; above 0 to 1, above 0 to 100]",
    ):
        assert words in said, words
    assert "above 0 to 1,000,000]" in run("evaluate_policy.py", "--help").out


NONSENSE: Sequence[Tuple[Dict[str, Any], str]] = [
    ({"num_envs": 99999999999}, "--num-envs 99999999999: must be at most 1,000,000"),
    ({"num_envs": 10**40}, "--num-envs 10000000000000000000...: must be at most"),
    ({"eval_envs": 100000000}, "--eval-envs 100000000: must be at most"),
    ({"task.episode_steps": 10**14}, "--episode-steps 100000000000000: must be at most 10,000"),
    ({"object_count": 10**12}, "--object-count 1000000000000: must be at most"),
    ({"physics.substeps": 10**9}, "--physics.substeps 1000000000: must be at most 100"),
    ({"physics.timestep": 1e-300}, "--physics.timestep 1e-300: must be at least 0.0001"),
    ({"physics.timestep": 1}, "--physics.timestep 1: must be at most 0.05"),
    ({"physics.timestep": 0.05, "physics.substeps": 100}, "--physics: a control step would be 5 s"),
    ({"trainer.ppo.gamma": 1.5}, "--ppo.gamma 1.5: must be at most 1"),
    ({"trainer.ppo.lam": 7}, "--ppo.lam 7: must be at most 1"),
    ({"trainer.ppo.clip": 0}, "--ppo.clip 0: must be greater than 0"),
    ({"trainer.ppo.max_grad_norm": 0}, "--ppo.max-grad-norm 0: must be greater"),
    ({"trainer.ppo.max_kl": 0}, "--ppo.max-kl 0: must be greater"),
    ({"trainer.ppo.desired_kl": 0}, "--ppo.desired-kl 0: must be greater"),
    ({"trainer.ppo.min_learning_rate": 0}, "--ppo.min-learning-rate 0: must be greater"),
    ({"trainer.ppo.min_learning_rate": 0.1}, "is above --ppo.max-learning-rate, 0.001"),
    ({"trainer.network.min_std": 0}, "--network.min-std 0: must be greater"),
    ({"trainer.network.init_std": 2}, "--network.init-std 2: must lie between --network.min-std, 0.1"),
    ({"trainer.network.actor_hidden": (8,) * 17}, "--network.actor-hidden: at most 16 layers"),
    ({"trainer.network.actor_hidden": (8, 9000)}, "--network.actor-hidden 9000: must be at most 8,192"),
    ({"trainer.network.obs_clip": 0}, "--network.obs-clip 0: must be greater"),
    ({"task.hold_time": 50}, "--hold-time 50: is longer than an episode, 3.33 s"),
    ({"task.hold_time": 0.001}, "--hold-time 0.001: must be at least a control step, 0.0333 s"),
    ({"task.success_radius": 0}, "--success-radius 0: must be greater"),
    ({"task.success_radius": 0.3}, "--success-radius 0.3: must be below --lift-height, 0.25"),
    ({"task.finger_smoothing": 5}, "--finger-smoothing 5: must be below 1"),
    ({"task.reward_weights": {"lift": math.inf}}, "--reward-weights inf: must be a finite number"),
    ({"task.start.pregrasp_fraction": 7}, "--start.pregrasp-fraction 7: must be at most 1"),
    ({"task.start.friction_low": 5}, "is above --start.friction-high, 1.2"),
    ({"task.start.object_spread": 0.5}, "must be below --table-half-side, 0.4"),
    ({"resume": ""}, "--resume: is empty"),
    ({"objects": ""}, "--objects: is empty"),
]


def put(args: Any, path: str, value: Any) -> Any:
    """The dataclass with another value."""
    name, _, rest = path.partition(".")
    return replace(args, **{name: put(getattr(args, name), rest, value) if rest else value})


@pytest.mark.parametrize("values, said", NONSENSE, ids=[str(values)[:40] for values, _ in NONSENSE])
def test_nonsense_is_refused(values: Dict[str, Any], said: str) -> None:
    args = defaults(["--sim", "mujoco"])
    for path, value in values.items():
        args = put(args, path, value)
    with pytest.raises(ValueError) as caught:
        options.check_values(args)
        check_together(args, registry.get("mujoco"))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words, said",
    [
        (["--speed", "1e-9"], "--speed 1e-09: must be at least 0.01"),
        (["--speed", "1e9", "--video", "a.mp4"], "--speed 1e+09: must be at most 100"),
        (["--video", "/proc/x.gif"], "--video /proc/x.gif: cannot be written"),
        (["--random.mass", 2, 1], "--random.mass 2 1: give the lower end first"),
    ],
)
def test_nonsense_of_play_is_refused(run: Run, policy: Any, words: Sequence[object], said: str) -> None:
    done = run("play.py", "--checkpoint", policy, *words)
    assert (done.status, done.err.count("\n")) == (2, 1), done
    assert said in done.err


@pytest.mark.parametrize(
    "values, said",
    [
        ({"physics": {"timestep": 0}}, r"physics.timestep.*must be at least 0.0001"),
        ({"physics": {"substeps": 10**9}}, r"physics.substeps.*must be at most 100"),
        ({"object_count": 10**9}, r"object_count.*must be at most"),
        (
            {"object_count": 10**5000},
            r"object_count.*of thousands of digits: must be at most",
        ),  # this was an OverflowError
        ({"object_scale": 10**400}, r"object_scale.*must be at most"),
        (
            {"physics": {"condim": torch.zeros(3)}},
            r"physics.condim is tensor.*use the version",
        ),  # this was a RuntimeError
        ({"objects": torch.zeros(30, 2)}, r"objects is tensor.*use the version"),  # in several lines
        ({"object_scale": float("nan")}, r"object_scale.*must be a finite number"),
        ({"grasp": {"episode_steps": 10**14}}, r"grasp.episode_steps.*must be at most"),
        ({"grasp": {"random": {"push": -1.0}}}, r"grasp.random.push.*must be at least 0"),
        ({"grasp": {"base_reach": [1.0, 1.0, -1.0]}}, r"grasp.base_reach.*must be greater than 0"),
        ({"physx": {"position_iterations": 10**6}}, r"physx.position_iterations.*must be at most 255"),
    ],
)
def test_settings_of_checkpoints_are_in_range(values: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        TrainingSettings.from_meta(values)
    assert "\n" not in str(caught.value)


def test_what_is_no_number_is_left_alone() -> None:
    for value in (None, True, "9", (), ("a", 1)):
        ranges.check("--objects", value)
    ranges.check("--num-envs", None)
    args = replace(EvaluateArgs(), num_envs=0)
    with pytest.raises(ValueError, match="--num-envs 0: must be at least 1"):
        options.check_values(args)
