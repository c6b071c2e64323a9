"""Any words after a command are values in their ranges, or one line says what is wrong with them, with status 2."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import dataclass
from typing import Any, Callable, Iterator, List, Optional

import pytest
from fuzzing import budget, one_line
from hypothesis import given
from hypothesis import strategies as st

from tasks.commands import errors, evaluate, options, play, train
from tasks.commands.help import listed
from tasks.grasp.randomisation.config import check as check_random
from tasks.ranges import RANGES


@dataclass(frozen=True)
class Command:
    """A command up to where it would build a simulator."""

    args_type: type
    read: Callable[[List[str]], Any]


def read_train(words: List[str]) -> Any:
    args = train.read(words)
    train.check(args)
    return args


def read_evaluate(words: List[str]) -> Any:
    args = options.parse(evaluate.EvaluateArgs, evaluate.defaults(words), words=words)
    options.check_values(args)
    check_random(args.random)
    return args


def read_play(words: List[str]) -> Any:
    args = options.parse(play.PlayArgs, words=words)
    play.check(args, play.choose_viewer(args)[0])
    return args


TRAIN = Command(train.TrainArgs, read_train)
EVALUATE = Command(evaluate.EvaluateArgs, read_evaluate)
PLAY = Command(play.PlayArgs, read_play)


def outcome(command: Command, words: List[str]) -> Optional[Any]:
    """The arguments, None if the words were refused or asked for help.  Fails for any other end."""
    found: List[Any] = []
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            errors.run(lambda: found.append(command.read(words)))
    except SystemExit as stop:
        if stop.code == 0:
            assert {"-h", "--help", "--help-all"} & set(words) and out.getvalue()
            return None
        assert stop.code == 2
        said = err.getvalue()
        assert said.startswith("error: ") and said.endswith("\n") and one_line(said[:-1]), said
        return None
    assert err.getvalue() == ""
    return found[0]


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    for one in value if isinstance(value, (tuple, list)) else [value]:
        if isinstance(one, (int, float)) and not isinstance(one, bool):
            yield one


def make_sense(command: Command, args: Any) -> None:
    """Compares with the table's limits by itself."""
    found = listed(command.args_type, args)
    values = {option.name: option.given for option in found}
    choices = {option.name: option.value.split("|") for option in found if "|" in option.value}
    for name, value in values.items():
        for i, number in enumerate(numbers(value)):
            if str(number) in choices.get(name, ()):
                continue
            assert name in RANGES, name
            limit = RANGES[name][min(i, len(RANGES[name]) - 1)]
            assert math.isfinite(number) and limit.low <= number <= limit.high, (name, number)
            assert not (limit.without_low and number == limit.low), (name, number)
            assert not (limit.without_high and number == limit.high), (name, number)
        assert value != "", name
    if command is TRAIN:
        assert values["--ppo.min-learning-rate"] <= values["--ppo.max-learning-rate"]
        assert values["--start.friction-low"] <= values["--start.friction-high"]


WORDS = st.text(st.characters(exclude_categories=(), exclude_characters="\0", max_codepoint=0x2FFFF), max_size=10)
"""All that an operating system can hand over: no zeros."""
ODD = st.sampled_from(
    ("", "-", "--", "-1", "0", "nan", "inf", "-inf", "1e400", "1e-400", "9" * 30, "9" * 400, "9" * 5000, "0x10", "1_000", "1e3",
     "None", "True", "[1]", "٣", "/", "/dev/null", "a" * 5000, "\n", "\udc80", "=", "--help-me", "@a")
)  # fmt: skip


@st.composite
def option_words(draw: st.DrawFn, command: Command) -> List[str]:
    """An option with values that may be in its range, at its ends or anywhere."""
    option = draw(st.sampled_from(LISTED[command.args_type]))
    limits = RANGES.get(option.name)
    value = ODD | WORDS
    if limits:
        low, high = limits[0].low, limits[0].high
        floats = st.sampled_from((low, high, 0.0, math.nextafter(high, math.inf), 2 * high, -low)) | st.floats(
            low, high
        )
        whole = st.integers(math.ceil(low), math.floor(high)) if math.ceil(low) <= high else st.integers()
        value = (
            floats.map(lambda x: f"{x:.17g}") | whole.map(str) | st.floats().map(repr) | st.integers().map(str) | ODD
        )
    elif "|" in option.value:
        value = st.sampled_from(option.value.split("|")) | ODD
    wanted = len(option.value.split())
    count = draw(st.sampled_from((wanted, wanted, wanted, wanted, wanted, 0, 1, 2, 5)))
    given_values = [draw(value) for _ in range(count)]
    name = option.name if draw(st.integers(0, 9)) else option.name.replace("-", "_").replace("__", "--", 1)
    return [f"{name}={given_values[0]}"] if given_values and draw(st.integers(0, 9)) == 0 else [name, *given_values]


def lines(command: Command) -> st.SearchStrategy[List[str]]:
    pieces = option_words(command) | option_words(command) | option_words(command) | st.lists(ODD | WORDS, max_size=2)
    return st.lists(pieces, max_size=3).map(lambda many: [word for one in many for word in one])


LISTED = {command.args_type: listed(command.args_type, command.args_type()) for command in (TRAIN, EVALUATE, PLAY)}


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        yield


@budget(8)
@given(lines(TRAIN))
def test_train(words: List[str]) -> None:
    args = outcome(TRAIN, words)
    if args is not None:
        make_sense(TRAIN, args)


@budget(12)
@given(st.sampled_from((EVALUATE, PLAY)), st.data())
def test_evaluate_and_play(command: Command, data: st.DataObject) -> None:
    args = outcome(command, data.draw(lines(command)))
    if args is not None:
        make_sense(command, args)


def test_what_is_right_is_taken() -> None:
    args = outcome(TRAIN, ["--num-envs", "8", "--ppo.gamma", "0.5"])
    assert args is not None and args.num_envs == 8
    assert outcome(PLAY, ["--speed", "2", "--video", "a.mp4"]).speed == 2.0
