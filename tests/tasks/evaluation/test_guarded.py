"""Exported targets of the drives, against the numpy loop of examples/ and limits written out in float64."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, List

import mujoco
import numpy as np
import pytest
import torch
from plain_mujoco import HAND

from ppo_grasp import shipped_policy
from ppo_grasp.checkpoint import load_policy
from ppo_grasp.export import main as export
from ppo_grasp.export import run_torchscript
from tasks.evaluation.guarded import guarded
from tasks.grasp.config import GraspCfg

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples"))
import control_loop

RANGES = HAND.drive_ranges()
COUNT = 300


def cases() -> Dict[str, Any]:
    """Joints anywhere in their ranges and a little beyond, and targets not far from them."""
    random = np.random.default_rng(0)
    low, high = RANGES.T
    joints = random.uniform(low - 0.05, high + 0.05, (COUNT, 24))
    joints[:, :3] = random.uniform([-0.35, -0.35, 0.0], [0.35, 0.35, 0.85], (COUNT, 3))
    targets = joints + random.normal(0, 0.2, (COUNT, 24)) * np.r_[[0.1] * 3, [1.0] * 21]
    targets[:, 6:] = np.clip(targets, low, high)[:, 6:]
    return {"obs": random.normal(0, 1, (COUNT, 211)), "joint_pos": joints, "targets": targets}


def run(given: Dict[str, Any], module: Any) -> List[np.ndarray]:
    with torch.no_grad():
        return [x.double().numpy() for x in module(*(torch.tensor(x, dtype=torch.float32) for x in given.values()))]


def test_targets_are_those_of_the_loop() -> None:
    """Of the example's loop, for the actions of the policy, with and without a limit of the step."""
    policy, meta = load_policy(shipped_policy())
    given = cases()
    for most in (None, 0.05):
        action, targets = run(given, guarded(policy, meta, most_per_step=most))
        with torch.no_grad():
            own = policy(torch.tensor(given["obs"], dtype=torch.float32)).double().numpy()
        np.testing.assert_allclose(action, own, atol=1e-6)
        decided = iter(own[::10, None])
        policy_there = lambda obs, decided=decided: next(decided)  # noqa: E731
        loop = control_loop.Controller(policy_there, HAND, GraspCfg(), np.inf if most is None else most)
        loop.observe = lambda now: np.zeros(211)  # type: ignore[method-assign]
        for world in range(0, COUNT, 10):
            loop.past, loop.targets = [], given["targets"][world]
            now = control_loop.Measured(given["joint_pos"][world], *[np.zeros(3)] * 8)
            np.testing.assert_allclose(targets[world], loop.step(now), atol=2e-6)


def test_limits_hold_for_any_input() -> None:
    """The workspace's box, the range of every drive, the step, and the torque that MuJoCo's drives then exert at rest."""
    policy, meta = load_policy(shipped_policy())
    limits = {"workspace_low": [-0.1, -0.2, 0.1], "workspace_high": [0.1, 0.25, 0.5], "torque_share": 0.3}
    given = cases()
    _, targets = run(given, guarded(policy, meta, **limits))
    base = targets[:, :3]
    assert (base >= np.array(limits["workspace_low"]) - 1e-6).all()
    assert (base <= np.array(limits["workspace_high"]) + 1e-6).all()
    assert (np.abs(base - limits["workspace_low"]) < 1e-6).any(0).all(), "each wall is met"
    assert (targets >= RANGES[:, 0] - 1e-6).all() and (targets <= RANGES[:, 1] + 1e-6).all()
    model = mujoco.MjModel.from_xml_path(str(HAND.mjcf))
    data, drives = mujoco.MjData(model), [model.actuator(name).id for name in HAND.drives][6:]
    most = 0.3 * model.actuator_forcerange[drives, 1]
    joints = np.clip(given["joint_pos"], *RANGES.T)
    _, targets = run({**given, "joint_pos": joints}, guarded(policy, meta, **limits))
    shares = []
    for world in range(COUNT):
        control_loop_joints(model, data, joints[world])
        data.ctrl[[model.actuator(name).id for name in HAND.drives]] = targets[world]
        mujoco.mj_forward(model, data)
        shares.append(np.abs(data.actuator_force[drives]) / most)
    assert np.max(shares) < 1 + 1e-3 and np.mean(np.array(shares) > 0.999) > 0.1


def control_loop_joints(model: mujoco.MjModel, data: mujoco.MjData, joints: np.ndarray) -> None:
    for name, value in zip(HAND.drives, joints):
        data.qpos[model.joint(name).qposadr] = value


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["obs", "joint_pos", "targets"])
def test_what_is_not_finite_moves_nothing(where: str, bad: float) -> None:
    policy, meta = load_policy(shipped_policy())
    given = cases()
    given[where][7, 3] = bad
    action, targets = run(given, guarded(policy, meta))
    usual = run(cases(), guarded(policy, meta))[1]
    np.testing.assert_array_equal(targets[7], given["targets"][7].astype(np.float32))
    assert not action[7].any()
    np.testing.assert_array_equal(np.delete(targets, 7, 0), np.delete(usual, 7, 0))


def test_the_files_do_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ONNX and TorchScript, from the command; what is not finite, too, which the command does not try."""
    options = ["--workspace-low", "-0.1", "-0.2", "0.1", "--most-per-step", "0.1", "--torque-share", "0.5"]
    policy, meta = load_policy(shipped_policy())
    given = cases()
    given["obs"][3, 5] = np.nan
    limits = {"workspace_low": [-0.1, -0.2, 0.1], "most_per_step": 0.1, "torque_share": 0.5}
    right = run(given, guarded(policy, meta, **limits))
    export(["--out", str(tmp_path / "a.pt"), *options])
    assert "joint_pos and targets to new_targets" in capsys.readouterr().out
    for mine, expected in zip(run(given, run_torchscript(tmp_path / "a.pt")), right):
        np.testing.assert_allclose(mine, expected, atol=1e-5)
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    export(["--out", str(tmp_path / "a.onnx"), *options])
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    feed = {name: value.astype(np.float32) for name, value in given.items()}
    for mine, expected in zip(session.run(["action", "new_targets"], feed), right):
        np.testing.assert_allclose(mine, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workspace-low", "0.2", "0", "0", "--workspace-high", "0.1", "1", "1"], "leave nothing of x"),
        (["--workspace-low", "nan", "0", "0"], "--workspace-low"),
        (["--most-per-step", "0"], "must be greater than 0"),
        (["--torque-share", "-1"], "must be greater than 0"),
    ],
)
def test_limits_that_cannot_be_are_refused(
    words: List[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        export(["--out", str(tmp_path / "a.pt"), *words])
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and not out and err.startswith("error: ") and err.count("\n") == 1 and said in err
    assert not list(tmp_path.iterdir())
