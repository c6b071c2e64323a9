"""Puts the policies that ship into the wheel.  Everything else about the package is in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPolicies(build_py):
    """Copies checkpoints/*.pt to tasks/checkpoints of a wheel.  An editable install finds them in the source tree."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "tasks", "checkpoints")
            target.mkdir(parents=True, exist_ok=True)
            for policy in Path("checkpoints").glob("*.pt"):
                shutil.copy(policy, target)


setup(cmdclass={"build_py": BuildWithPolicies})
