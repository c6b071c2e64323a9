"""Every block of Python that a page shows compiles, and its names and the arguments of its calls exist."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import runpy
import textwrap
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES: List[Path] = runpy.run_path(str(ROOT / "tests" / "test_docs.py"))["PAGES"]
SLOW = ("rsl_rl", "rl_games", "skrl", "stable_baselines3")
"""Libraries that take seconds to import.  tests/ppo_grasp/test_adapters.py trains with them; here the adapters' names count."""
READERS_OWN = {"cfg", "params", "models", "memory"}
"""What a page leaves to the reader: the settings of another library."""


class Block:
    """Some lines of Python on a page."""

    def __init__(self, page: Path, line: int, code: str, module: Optional[str]) -> None:
        """module: the file that the block is to be written into, if the page says so."""
        self.where, self.code, self.module = f"{page.relative_to(ROOT)}:{line}", code, module

    def tree(self) -> ast.Module:
        """Its syntax.  A block may be a part of a table that is not closed."""
        code = textwrap.dedent("\n".join(line for line in self.code.split("\n") if not line.startswith("#")))
        closed = (code + end for end in ("", ")", "]", "}"))
        return ast.parse(next(filter(_compiles, closed), code))


def _compiles(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def blocks(page: Path) -> List[Block]:
    """All of a page.  The module is the last `path.py` before a block, or in the comment of its first line."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S):
        code = match.group(1)
        first = code.split("\n")[0] if code.startswith("#") else ""
        section = text[: match.start()].rpartition("\n## ")[2]
        files = re.findall(r"(?:tasks|ppo_grasp)/[\w/]+\.py", section + first)
        name = files[-1][: -len(".py")].replace("/", ".") if files else None
        found.append(Block(page, text[: match.start()].count("\n") + 1, code, name))
    return found


def assigned(tree: ast.AST) -> Set[str]:
    """Every name that is given a value anywhere in it."""
    names: Set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
    return names


def imports(tree: ast.AST) -> Dict[str, Any]:
    """What it imports, by name; None for what is of a package that is not installed here."""
    found: Dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[(alias.asname or alias.name).split(".")[0]] = _module(alias.name.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
            module = _module(node.module)
            for alias in node.names:
                found[alias.asname or alias.name] = None if module is None else getattr(module, alias.name)
                if node.module.startswith("ppo_grasp.") and module is None:
                    path = ROOT / (node.module.replace(".", "/") + ".py")
                    assert alias.name in assigned(ast.parse(path.read_text(encoding="utf-8"))), f"{path}: {alias.name}"
    return found


def _module(name: str) -> Any:
    if any(part in SLOW for part in name.split(".")):
        return None
    try:
        return importlib.import_module(name)
    except ImportError:
        if name.startswith(("tasks", "ppo_grasp")) and not name.startswith("ppo_grasp.adapters"):
            raise
        return None


def wrong_calls(tree: ast.AST, known: Dict[str, Any]) -> List[str]:
    """Calls of what is known whose arguments do not fit."""
    wrong = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(isinstance(arg, ast.Starred) for arg in node.args):
            continue
        called = _value(node.func, known)
        if called is None or None in [keyword.arg for keyword in node.keywords]:
            continue
        try:
            inspect.signature(called).bind(*node.args, **{k.arg: k.value for k in node.keywords if k.arg})
        except TypeError as error:
            wrong.append(f"line {node.lineno} of it: {error}")
        except ValueError:  # a builtin without a signature
            pass
    return wrong


def _value(node: ast.AST, known: Dict[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, known)
        return None if owner is None else getattr(owner, node.attr)
    return None


def problems(page_blocks: List[Block]) -> List[str]:
    """What is wrong with blocks that are read one after the other."""
    found: List[str] = []
    so_far: Set[str] = set()
    known: Dict[str, Any] = {}
    for block in page_blocks:
        tree = block.tree()
        known.update(imports(tree))
        around = {} if block.module is None else vars(_module(block.module) or object) if _exists(block.module) else {}
        so_far |= assigned(tree)
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        strange = names - so_far - set(known) - set(around) - set(vars(builtins)) - READERS_OWN
        found += [f"{block.where}: {name} is not defined" for name in sorted(strange)]
        mine = {**around, **known}
        found += [f"{block.where}: {text}" for text in wrong_calls(tree, {n: mine[n] for n in mine if n not in so_far})]
    return found


def _exists(module: str) -> bool:
    return (ROOT / (module.replace(".", "/") + ".py")).is_file()


WITH_PYTHON = [page for page in PAGES if blocks(page)]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_shown_python_is_right(page: Path) -> None:
    assert problems(blocks(page)) == []


def test_pages_with_python_are_found() -> None:
    assert {"docs/how_to.md", "docs/interfaces.md"} <= {str(page.relative_to(ROOT)) for page in WITH_PYTHON}


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("from tasks import make_task\nmake_task('auto', objects, 3)", "objects is not defined"),
        ("from ppo_grasp import PPOCfg\nPPOCfg(nmu_steps=3)", "unexpected keyword argument 'nmu_steps'"),
        ("from ppo_grasp import Trainer\nTrainer()", "missing a required argument: 'task'"),
        ("import math\nmath.sqrt(2)\nx = [", ""),
    ],
)
def test_the_test_sees_what_is_wrong(code: str, wrong: str) -> None:
    found = problems([Block(ROOT / "README.md", 1, code, None)])
    assert (len(found), wrong in "".join(found)) == (int(bool(wrong)), True), found


def test_an_import_that_is_gone_is_an_error() -> None:
    with pytest.raises(AttributeError, match="make_game"):
        problems([Block(ROOT / "README.md", 1, "from tasks import make_game", None)])
    with pytest.raises(SyntaxError):
        problems([Block(ROOT / "README.md", 1, "f(a=1, 2)", None)])
