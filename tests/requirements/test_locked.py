"""requirements/locked.txt has what the program needs, in the versions of constraints.txt, from PyPI alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Dict

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "requirements"))

import lock  # noqa: E402

HERE_3_11 = {"python_version": "3.11", "python_full_version": "3.11.9", "sys_platform": "linux"}


def locked() -> Dict[str, str]:
    text = (ROOT / "requirements" / "locked.txt").read_text(encoding="utf-8")
    found = re.findall(r"^([a-z0-9-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert text.count("==") == text.count("--hash=") == len(found) > 50, "each line has one version and one hash"
    return dict(found)


def requirements(texts: Any) -> Dict[str, Any]:
    """Those for Python 3.11 on Linux, by name."""
    parse = pytest.importorskip("packaging.requirements").Requirement
    all_of = [parse(text.split("#")[0].strip()) for text in texts if text.split("#")[0].strip()]
    return {lock.normal(one.name): one for one in all_of if one.marker is None or one.marker.evaluate(HERE_3_11)}


def test_versions_are_those_that_were_tested_together() -> None:
    tested, found = requirements((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()), locked()
    both = tested.keys() & found.keys()
    assert {"torch", "mujoco", "warp-lang", "numpy"} <= both
    for name in both:
        assert tested[name].specifier.contains(found[name], prereleases=True), name


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads pyproject.toml")
def test_nothing_that_the_program_needs_is_missing() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = locked()
    for name, needed in requirements(project["project"]["dependencies"]).items():
        assert needed.specifier.contains(found[name], prereleases=True), name
    assert "setuptools" in found, "the program itself is built without a download"


def test_only_pypi_is_named() -> None:
    text = (ROOT / "requirements" / "locked.txt").read_text(encoding="utf-8")
    assert re.findall(r"https?://\S+|file:\S*|/\w+/\w+/\S*", text) == ["https://pypi.org/simple"]
    item = {"metadata": {"name": "A_b", "version": "1"}, "download_info": {"url": "file:///mirror/a.whl"}}
    where = {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.11"}
    report = {"environment": {**where, "platform_python_implementation": "CPython"}, "install": [item]}
    with pytest.raises(ValueError, match="a-b is not from PyPI"):
        lock.lines(report)
    info = {"url": lock.FILES + "a.whl", "archive_info": {"hashes": {"sha256": "0" * 64}}}
    report["install"] = [{**item, "download_info": info}]
    assert lock.lines(report)[-1] == f"a-b==1 \\\n    --hash=sha256:{'0' * 64}"
