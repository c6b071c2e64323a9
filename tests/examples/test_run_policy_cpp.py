"""examples/cpp/run_policy.cpp, built by the command that it shows: its action is the policy's.

The build takes half a minute of a processor, so it is done on request only: PPO_GRASP_CPP=1 pytest tests/examples.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from ppo_grasp import load_policy, shipped_policy
from ppo_grasp.export import describe, export

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "cpp" / "run_policy.cpp"


def build_command() -> str:
    """The command in the comment at the top of the file."""
    comment = "\n".join(re.findall(r"^// ?(.*)$", SOURCE.read_text(encoding="utf-8"), re.M))
    (command,) = re.findall(r"^    (g\+\+ (?:.*\\\n)*.*)", comment, re.M)
    return command.replace("\\\n", " ")


def test_the_file_shows_how_to_build_it() -> None:
    command = build_command()
    assert command.split()[2] == "examples/cpp/run_policy.cpp" and "$T/include" in command and "-ltorch_cpu" in command


@pytest.mark.skipif(not os.environ.get("PPO_GRASP_CPP"), reason="builds for half a minute: set PPO_GRASP_CPP=1")
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_cpp_gives_the_policys_action(tmp_path: Path) -> None:
    policy, meta = load_policy(shipped_policy())
    export(policy, tmp_path / "policy.pt", describe(policy, meta))
    program = str(tmp_path / "run_policy")
    command = build_command().replace("-o run_policy", f"-o {program}").replace("$T", torch.__path__[0])
    subprocess.run(command.split(), cwd=str(SOURCE.parents[2]), check=True, capture_output=True)
    done = subprocess.run([program, str(tmp_path / "policy.pt")], check=True, capture_output=True, text=True)
    action = torch.tensor([float(line) for line in done.stdout.split()])
    with torch.no_grad():
        expected = policy(torch.zeros(1, policy.cfg.num_obs))[0]
    torch.testing.assert_close(action, expected, rtol=0, atol=1e-6)
    (tmp_path / "other.pt").write_bytes(b"no policy")
    for words in ([], [str(tmp_path / "other.pt")]):
        wrong = subprocess.run([program, *words], capture_output=True, text=True)
        assert wrong.returncode == 2 and wrong.stderr.startswith("error: ") and wrong.stderr.count("\n") == 1
