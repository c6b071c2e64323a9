"""Exports equal the module, are checked before they are kept, and bad input ends with one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
import torch
from torch import Tensor

from ppo_grasp import checkpoint, export
from ppo_grasp.actor_critic import ActorCritic, ActorCriticCfg
from ppo_grasp.checkpoint import load_policy, save_policy, shipped_policy
from ppo_grasp.export import export_onnx, export_torchscript, main


@pytest.fixture
def policy() -> ActorCritic:
    torch.manual_seed(0)
    policy = ActorCritic(ActorCriticCfg(11, 13, 3, (32, 16), (24,)))
    policy.obs_normalizer.update(5.0 + 3.0 * torch.randn(500, 11))
    policy.actor[-1].weight.data.mul_(100.0)  # type: ignore[operator,union-attr]
    return policy


def test_exports_equal_the_module_on_raw_observations(policy: ActorCritic, tmp_path: Path) -> None:
    obs = 5.0 + 3.0 * torch.randn(17, 11)
    obs[0, 0] = 1e4  # far beyond the clip
    expected = policy(obs).detach()
    export_torchscript(policy, tmp_path / "policy.ts")
    torch.testing.assert_close(torch.jit.load(str(tmp_path / "policy.ts"))(obs), expected)

    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    export_onnx(policy, tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "policy.onnx"), providers=["CPUExecutionProvider"])
    (action,) = session.run(["action"], {"obs": obs.numpy()})
    np.testing.assert_allclose(action, expected.numpy(), atol=1e-5)
    assert session.run(["action"], {"obs": obs[:1].numpy()})[0].shape == (1, 3)


def test_the_command_exports_the_policy_that_ships(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By default; the files give the program's actions for observations that the command did not check."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    for name in ("a.onnx", "a.pt"):
        main(["--out", str(tmp_path / "deep" / name)])
        assert "obs (batch, 211) to action (batch, 24)" in capsys.readouterr().out
    policy, _ = load_policy(shipped_policy())
    obs = torch.randn(5, 211)
    expected = policy(obs).detach()
    torch.testing.assert_close(torch.jit.load(str(tmp_path / "deep" / "a.pt"))(obs), expected)
    session = onnxruntime.InferenceSession(str(tmp_path / "deep" / "a.onnx"), providers=["CPUExecutionProvider"])
    assert [x.name for x in session.get_inputs()] == ["obs"]
    np.testing.assert_allclose(session.run(["action"], {"obs": obs.numpy()})[0], expected.numpy(), atol=1e-4)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.onnx", "a.pt"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--out"),
        (["--out", "a.txt"], "--out a.txt: the name must end in .onnx, .pt or .safetensors"),
        (["--out", "folder.pt"], "--out folder.pt: is a directory"),
        (["--out", "foreign.pt/a.onnx"], "--out foreign.pt/a.onnx: cannot be written"),
        (["--out", "a.pt", "--checkpoint", "gone.pt"], "no checkpoint at gone.pt"),
        (["--out", "a.pt", "--checkpoint", "foreign.pt"], "foreign.pt is not a checkpoint"),
        (["--out", "a.pt", "--frobnicate"], "--frobnicate"),
    ],
)
def test_bad_input_ends_with_one_line(
    words: List[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign.pt").write_text("no policy")
    (tmp_path / "folder.pt").mkdir()
    refused(words, said, capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.pt", "foreign.pt"]


def refused(words: List[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err


def test_without_a_policy_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "SHIPPED", (tmp_path / "nowhere",))
    refused(["--out", str(tmp_path / "a.pt")], "--checkpoint", capsys)


def test_without_onnxruntime(
    policy: ActorCritic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    save_policy(tmp_path / "p.pt", policy)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(["--checkpoint", str(tmp_path / "p.pt"), "--out", str(tmp_path / "a.onnx")], "pip install", capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["p.pt"]


def test_a_file_that_acts_otherwise_is_not_kept(
    policy: ActorCritic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exporter that loses the normaliser, which the check must notice."""
    save_policy(tmp_path / "p.pt", policy)
    load = torch.jit.load

    def spoilt(path: str, **named: Any) -> Any:
        module = load(path, **named)

        def without_normalizer(obs: Tensor) -> Tensor:
            return module((obs - policy.obs_normalizer.mean) * policy.obs_normalizer.inv_std)

        return without_normalizer

    monkeypatch.setattr(export.torch.jit, "load", spoilt)
    refused(["--checkpoint", str(tmp_path / "p.pt"), "--out", str(tmp_path / "a.pt")], "actions differ by", capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["p.pt"]
