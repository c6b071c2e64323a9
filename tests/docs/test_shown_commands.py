"""Every command that a page shows is parsed by the command itself, without running it."""

from __future__ import annotations

import argparse
import os
import re
import runpy
import shlex
import sys
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, List, Set, Tuple

import pytest
import tyro

from tasks.commands import options
from tasks.commands.presets import TrainArgs
from tasks.commands.train import read
from tasks.simulators import registry

pytest.importorskip("mujoco.batch", reason="the benchmarks need MuJoCo 4")
pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")

ROOT = Path(__file__).resolve().parents[2]
of_docs = runpy.run_path(str(ROOT / "tests" / "test_docs.py"))
STAND_INS = {
    **{"S": "0", "N": "1000000", "M": "1000000", "STEPS": "1000000", "F": "0.5"},
    **{"OPTIONS": "", "POLICY": "checkpoints/shadow_grasp.pt", "runs/NAME/config.json": "", "runs/NAME": ""},
}
"""Words that stand for the reader's own, and what is parsed in their place.  Nothing: the word and its option are left out."""
NOT_PARSED = ("examples/control_loop.py", "examples/train_gymnasium.py")
"""They have no options."""


class Parsed(BaseException):
    """What the parser made of a command line; it ends the command.  Nothing that the commands catch is above it."""

    def __init__(self, args: Any) -> None:
        self.args_parsed = args


def filled(words: List[str]) -> List[str]:
    """A command line with the reader's own words replaced, and `[OPTION]` given."""
    result: List[str] = []
    for word in words:
        word = word.strip("[]") if word.startswith("[--") or word.endswith("]") else word
        ours = STAND_INS.get(word, "" if word == "..." else word)
        if word == "":
            result.append(word)
        elif not ours and result and result[-1].startswith("--") and word != "OPTIONS":
            if word == "...":
                result.append("checkpoints/shadow_grasp.pt")
            else:
                result.pop()
        elif ours:
            result.append(ours)
    return result


def commands() -> List[Tuple[str, List[str]]]:
    """(page, words from the script or `-m` on) of every command of this program that a page shows."""
    found = []
    for page, line in of_docs["SHOWN"]:
        if " task=" in line:  # of IsaacGymEnvs, whose users a page speaks to
            continue
        words = filled(shlex.split(line.replace("--sim still", "--sim mujoco"), comments=True))
        if words[0] == "torchrun":
            found.append((page, words))
        elif "train.py" in words and words[1] != "train.py" and words[1] != "-m" and not words[1].endswith(".py"):
            found.append((page, words[words.index("train.py") :]))
        else:
            found.append((page, words[1:]))
    whole = [words for _, words in found if words[0] not in NOT_PARSED]
    named_only = [
        words for words in whole if words[0] == "-m" and len(words) == 2
    ]  # a mention: its options are elsewhere
    kept = [(page, words) for page, words in found if words in whole and words not in named_only]
    return list({" ".join(words): (page, words) for page, words in kept}.values())


def parsed(words: List[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the command makes of these words.  Fails if it refuses them or goes past its parser."""

    def stop(parse: Callable[..., Any]) -> Callable[..., Any]:
        def parse_and_stop(*args: Any, **named: Any) -> Any:
            raise Parsed(parse(*args, **named))

        return parse_and_stop

    with monkeypatch.context() as patched:
        patched.setattr(tyro, "cli", stop(tyro.cli))
        patched.setattr(argparse.ArgumentParser, "parse_args", stop(argparse.ArgumentParser.parse_args))
        patched.setitem(sys.modules, "isaacgym.gymapi", ModuleType("gymapi"))  # else `--sim isaac_gym` needs it
        patched.setattr(sys, "path", list(sys.path))
        patched.setattr(os, "environ", dict(os.environ))
        module = words[1] if words[0] == "-m" else None
        patched.setattr(sys, "argv", [words[0], *(words[2:] if module else words[1:])])
        try:
            if module:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(str(ROOT / words[0]), run_name="__main__")
        except Parsed as done:
            return done.args_parsed
        except SystemExit as stopped:
            if stopped.code == 0 and any(word.startswith("--help") for word in words):
                return None
            pytest.fail(f"{' '.join(words)}: ended with {stopped.code}")
    pytest.fail(f"{' '.join(words)}: parses nothing")


@pytest.mark.parametrize("page, words", commands(), ids=lambda x: x if isinstance(x, str) else " ".join(x))
def test_a_shown_command_is_understood(page: str, words: List[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] == "torchrun":
        from torch.distributed.run import get_args_parser

        parsed_by_torchrun = get_args_parser().parse_args(words[1:])
        words = [parsed_by_torchrun.training_script, *parsed_by_torchrun.training_script_args]
    rest = words[words.index("--") + 1 :] if "--" in words else []
    args = parsed(words, monkeypatch)
    if rest:  # options of train.py, which a sweep hands on
        check(read(rest), rest)
    if is_dataclass(args) and words[0] in of_docs["COMMANDS"]:
        check(args, words)


def check(args: Any, words: List[str]) -> None:
    """What a command does next: asks whether numbers are in their range, and options are those of the simulator."""
    options.check_values(args)
    if isinstance(args, TrainArgs):
        options.check_simulator_options(words, registry.choose(args.sim))


def test_the_test_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for words in (
        ["train.py", "--frobnicate"],
        ["play.py", "--hands", "many"],
        ["-m", "tasks.hands"],
        ["-m", "ppo_grasp.export"],
        ["benchmarks/hulls.py", "--num-envs"],
    ):
        with pytest.raises(pytest.fail.Exception):
            parsed(words, monkeypatch)
    assert parsed(["train.py", "--seed", "3"], monkeypatch).trainer.seed == 3
    assert filled(
        ["--seed", "S", "OPTIONS", "--checkpoints", "...", "[--physics", "trained]", "--config", "runs/NAME"]
    ) == [*("--seed", "0", "--checkpoints", "checkpoints/shadow_grasp.pt", "--physics", "trained")]


def test_shown_extras_and_targets_exist() -> None:
    """`pip install '.[viewer]'` and `make check`."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in of_docs["PAGES"])
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras: Set[str] = set(re.findall(r"^([a-z]+) = \[", project.split("[project.optional-dependencies]")[1], re.M))
    asked = {name for names in re.findall(r"(?:\.|ppo-grasp)\[([a-z,]+)\]", text) for name in names.split(",")}
    assert {"test", "viewer", "wandb"} <= asked <= extras
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert {"check", "test"} <= set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", text, re.M)) <= targets
