"""Writes locked.txt: every package that the program needs, with its version and the SHA-256 of its file on PyPI.

    python requirements/lock.py
    python requirements/lock.py REPORT.json

Run it with the Python and on the kind of machine that the file is for.  pip chooses the versions, within constraints.txt, from PyPI
alone: settings of this machine that name other sources are left aside.  pip downloads some 3 GB for that and installs nothing.
REPORT.json: what `pip install --dry-run --ignore-installed --report REPORT.json -c constraints.txt .` has written before.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

ROOT = Path(__file__).resolve().parents[1]
LOCKED = Path(__file__).resolve().with_name("locked.txt")
INDEX = "https://pypi.org/simple"
FILES = "https://files.pythonhosted.org/"
OWN = "ppo-grasp"


def resolve(report: Path) -> None:
    """Lets pip choose; its report goes to a file."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") or name == "PIP_CERT"}
    choose = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--only-binary", ":all:", "-q"]
    options = ["--index-url", INDEX, "--report", str(report), "-c", str(ROOT / "constraints.txt"), str(ROOT)]
    subprocess.run([*choose, *options], check=True, env={**kept, "PIP_CONFIG_FILE": os.devnull})


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lines(report: Dict[str, Any]) -> List[str]:
    """The content of locked.txt.  Raises ValueError for a file that is not PyPI's."""
    where = report["environment"]
    found: Dict[str, str] = {}
    for item in report["install"]:
        name, about = normal(item["metadata"]["name"]), item["download_info"]
        if name == OWN:
            continue
        if not about["url"].startswith(FILES):
            raise ValueError(f"{name} is not from PyPI but from {about['url']}")
        digest = about["archive_info"]["hashes"]["sha256"]
        found[name] = f"{name}=={item['metadata']['version']} \\\n    --hash=sha256:{digest}"
    head = [
        f"# For {where['sys_platform']} {where['platform_machine']}, {where['platform_python_implementation']} "
        f"{where['python_version']}, with CUDA: made by `python requirements/lock.py`.",
        "#     pip install --require-hashes -r requirements/locked.txt",
        "#     pip install --no-deps --no-build-isolation .",
        f"--index-url {INDEX}",
    ]
    return [*head, *(found[name] for name in sorted(found))]


def main() -> None:
    """Makes the file anew."""
    parser = argparse.ArgumentParser(prog="python requirements/lock.py", description="Writes locked.txt.")
    parser.add_argument(
        "report", type=Path, nargs="?", help="of `pip install --dry-run --report`; by default pip is run"
    )
    given = parser.parse_args().report
    with tempfile.TemporaryDirectory() as folder:
        report = given or Path(folder) / "report.json"
        if given is None:
            resolve(report)
        LOCKED.write_text("\n".join(lines(json.loads(report.read_text(encoding="utf-8")))) + "\n", encoding="utf-8")
    print(f"{LOCKED} has {LOCKED.read_text(encoding='utf-8').count('--hash')} packages")


if __name__ == "__main__":
    main()
