"""README and docs name commands, options, files and headings that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Set, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("checkpoints/*.md")])
COMMANDS = ("train.py", "play.py", "evaluate_policy.py")


def shown(page: Path) -> List[str]:
    """The command lines of a page: in code blocks, indented blocks and backticks; continued lines are joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^(?:[A-Z_]+=\S+ )*(?: *)((?:python|torchrun) [^\n`]+)", text, flags=re.M)
    return lines + re.findall(r"`(python [^`]+)`", text)


def options(command: str) -> Set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][\w.-]*[a-z0-9]", command.split("#")[0]))


def headings(page: Path) -> Set[str]:
    """The anchors that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


SHOWN: List[Tuple[str, str]] = [(str(page.relative_to(ROOT)), command) for page in PAGES for command in shown(page)]


def test_pages_show_commands() -> None:
    """The search for commands works at all."""
    assert len(SHOWN) > 40
    assert ("README.md", "python train.py") in SHOWN
    assert options("python train.py --objects DIR --ppo.gamma 0.9  # and --not-this") == {"--objects", "--ppo.gamma"}


@pytest.mark.parametrize("page, command", SHOWN)
def test_shown_commands_exist(page: str, command: str) -> None:
    words = command.split()
    if words[1] == "-m":
        found = importlib.util.find_spec(words[2])
        assert found is not None, f"{page}: {command}"
        if found.submodule_search_locations:
            assert importlib.util.find_spec(words[2] + ".__main__") is not None, f"{page}: {command}"
        return
    script = next(word for word in words if word.endswith(".py"))
    assert (ROOT / script).is_file(), f"{page}: {command}"
    if script.startswith("benchmarks/"):  # options are fields of a dataclass in the script
        text = (ROOT / script).read_text(encoding="utf-8")
        for option in options(command) - options(quoted(command)):
            field = option[2:].split(".")[0].replace("-", "_")
            assert re.search(rf"^    {field}:", text, re.M), f"{page}: {script} has no option {option}"


def quoted(command: str) -> str:
    """What a command has in double quotes: options that a benchmark hands to train.py."""
    return " ".join(re.findall(r'"([^"]*)"', command))


def test_shown_options_exist(run: Callable[..., Any]) -> None:
    """Every option of the three commands on any page is in their help; `--no-amp` counts as `--amp`."""
    used: Dict[str, Dict[str, str]] = {name: {} for name in COMMANDS}
    for page, command in SHOWN:
        name = next((name for name in COMMANDS if f" {name}" in command), "train.py")
        # What stands before the script is torchrun's.
        own = command.partition(f" {name}")[2] if command.startswith("torchrun") else command
        mine = options(own) if f" {name}" in command else options(quoted(command))
        used[name].update(dict.fromkeys(mine, page))
    for name, found in used.items():
        done = run(name, "--help-all")
        listed = (done.out or run(name, "--help").out).replace("[no-]", "")
        known = {"--help", "--help-all", "--model", "--num_episodes", *options(listed)}
        unknown = {o: page for o, page in found.items() if not {o, re.sub(r"(^--|\.)no-", r"\1", o)} & known}
        assert not unknown, f"{name} has no such options: {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), f"{target} is not there"
        assert not anchor or anchor in headings(other), f"{target}: no such heading"
    for path in re.findall(r"`((?:tasks|ppo_grasp|benchmarks|tests|docs|checkpoints)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), f"`{path}` is not there"
