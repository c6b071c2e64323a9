"""The safetensors files are those of the `safetensors` package, and a policy comes back from them as it was.  No pickle is read."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
import torch

from ppo_grasp.checkpoint import CheckpointError, load_checkpoint, load_policy, shipped_policy
from ppo_grasp.export import main
from ppo_grasp.formats import safetensors as ours
from tasks.evaluation.trained import load_trained

UNPICKLERS = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "policy.safetensors"
    main(["--out", str(path)])
    return path


def test_the_package_reads_what_we_write(exported: Path) -> None:
    package = pytest.importorskip("safetensors")
    from safetensors.torch import load_file

    policy, _ = load_policy(shipped_policy())
    expected, found = policy.state_dict(), load_file(str(exported))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert value.dtype == found[name].dtype and torch.equal(value, found[name]), name
    with package.safe_open(str(exported), "pt") as file:
        metadata = file.metadata()
    interface = json.loads(metadata["interface"])
    assert [part["name"] for part in interface["observation"]["slices"]] and interface["hand"]
    assert json.loads(metadata["ppo_grasp"])["network"]["num_obs"] == 211


def test_we_read_what_the_package_writes() -> None:
    pytest.importorskip("safetensors")
    from safetensors.torch import save

    tensors = {
        "b": torch.randn(3, 4, dtype=torch.float64),
        "a": torch.randn(5).bfloat16(),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "bools": torch.tensor([True, False, True]),
        "long": torch.arange(7),
    }
    found, metadata = ours.from_bytes(save(tensors, {"k": "v"}))
    again, _ = ours.from_bytes(ours.to_bytes(tensors, {}))
    assert metadata == {"k": "v"}
    for name, value in tensors.items():
        for read in (found[name], again[name]):
            assert read.dtype == value.dtype and read.shape == value.shape and torch.equal(read, value), name


def test_the_policy_comes_back_with_all_that_play_needs(exported: Path) -> None:
    shipped, back = load_trained(shipped_policy()), load_trained(exported)
    obs = torch.randn(9, 211)
    assert torch.equal(shipped.policy(obs), back.policy(obs))
    assert shipped.policy.cfg == back.policy.cfg
    assert shipped.settings == back.settings and shipped.env_steps == back.env_steps
    with pytest.raises(CheckpointError, match="holds a policy alone"):
        load_checkpoint(exported)


def test_a_file_that_was_written_anew_by_the_package_is_read(exported: Path, tmp_path: Path) -> None:
    """It may order the tensors otherwise."""
    package = pytest.importorskip("safetensors")
    from safetensors.torch import load_file, save_file

    with package.safe_open(str(exported), "pt") as file:
        save_file(dict(reversed(load_file(str(exported)).items())), str(tmp_path / "x.safetensors"), file.metadata())
    load_policy(tmp_path / "x.safetensors")


def test_damage_is_one_error(exported: Path, tmp_path: Path) -> None:
    content = exported.read_bytes()
    damaged = [b"", content[:5], content[:1000], content[:-4], content + b"\0" * 8, b"\xff" * 8 + content[8:]]
    for place in (9, 3000, len(content) // 2, len(content) - 3):
        flipped = bytearray(content)
        flipped[place] ^= 4
        damaged.append(bytes(flipped))
    for number, data in enumerate(damaged):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            load_policy(path)
        assert "\n" not in str(caught.value)


def test_nothing_unpickles() -> None:
    """No file of the program imports pickle or its like, or lets torch or numpy unpickle what it reads."""
    seen = 0
    for path in [p for room in ("ppo_grasp", "tasks", "examples", "benchmarks") for p in (ROOT / room).rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if not any(word in text for word in (*UNPICKLERS, ".load(")):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                for name in names:
                    assert name.split(".")[0] not in UNPICKLERS, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                options = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
                assert options.get("allow_pickle") is not True, path
                if isinstance(node.func.value, ast.Name) and node.func.value.id == "torch":
                    seen += 1
                    assert options.get("weights_only") is True, f"{path}:{node.lineno}"
    assert seen >= 3, "the test would not see them"
