"""What an export tells of its numbers, and the example that grasps with nothing else."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")

import onnxruntime
from plain_mujoco import FINE, HAND, PlainWorld, closing, grasping, mujoco_simulator, some_objects
from views import observe

from ppo_grasp import load_policy
from ppo_grasp.actor_critic import ActorCritic, ActorCriticCfg
from ppo_grasp.export import describe, export
from tasks.evaluation.interface import SLICES
from tasks.grasp.actions import DriveTargets
from tasks.grasp.config import GraspCfg
from tasks.grasp.observations import ACTOR, History, Layout, observation_sizes
from tasks.hands import get_hand

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "run_onnx.py"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Shadow Hand's policy as ONNX."""
    path = tmp_path_factory.mktemp("onnx") / "policy.onnx"
    policy, meta = load_policy(ROOT / "checkpoints" / "shadow_grasp.pt")
    export(policy, path, describe(policy, meta))
    return path


@pytest.fixture(scope="module")
def interface(exported: Path) -> Dict[str, Any]:
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    return json.loads(session.get_modelmeta().custom_metadata_map["interface"])


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("run_onnx", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_onnx"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["shadow", "allegro", "leap"])
def test_every_number_has_a_name(name: str) -> None:
    policy, meta = load_policy(ROOT / "checkpoints" / f"{name}_grasp.pt")
    told = describe(policy, meta)
    hand, slices = get_hand(name), told["observation"]["slices"]
    assert [(s["name"], s["start"], s["stop"]) for s in slices] == [
        (name, where.start, where.stop) for name, where in Layout(ACTOR, hand).slices.items()
    ]
    for part in slices:
        assert len(part["components"]) == len(set(part["components"])) == part["stop"] - part["start"], part["name"]
        assert part["unit"] and part["meaning"] and not part["always_zero"]
    assert slices[-1]["stop"] == told["observation"]["size"] == policy.cfg.num_obs
    assert told["action"]["components"] == list(hand.drives) == [drive["name"] for drive in told["hand"]["drives"]]
    np.testing.assert_allclose([(d["low"], d["high"]) for d in told["hand"]["drives"]], hand.drive_ranges())
    assert told["rates"]["control_hz"] == pytest.approx(30) and told["physics"]["timestep"] == pytest.approx(1 / 240)
    assert set(SLICES) == {part.name for part in ACTOR}


def test_torchscript_has_it_too(tmp_path: Path, interface: Dict[str, Any]) -> None:
    policy, meta = load_policy(ROOT / "checkpoints" / "shadow_grasp.pt")
    export(policy, tmp_path / "policy.pt", describe(policy, meta))
    extra = {"interface": ""}
    torch.jit.load(str(tmp_path / "policy.pt"), _extra_files=extra)
    assert json.loads(extra["interface"]) == interface


def test_of_another_task_nothing_is_told() -> None:
    assert describe(ActorCritic(ActorCriticCfg(3, 3, 1, (4,), (4,))), {"config": {"task": {}}}) == {}


def test_the_example_sees_what_the_policy_saw(example: Any, interface: Dict[str, Any]) -> None:
    """In a world that moves as the program's does, through impacts and a grasp: every number of the observation."""
    start = grasping(some_objects(), torch.tensor([1]))
    sim = mujoco_simulator(HAND, some_objects(), 1, FINE)
    start.into(sim)
    plain = PlainWorld(start, 0, FINE)
    world = example.World(interface, plain.model)
    pose = torch.cat([start.object_pos, start.object_quat], dim=-1)
    world.start(start.joint_pos[0].double().numpy(), pose[0].double().numpy())
    goal = pose.clone()
    goal[:, 2] += 0.25
    random = torch.Generator().manual_seed(0)
    felt = 0.0
    for step in range(20):
        action = torch.rand(1, 24, generator=random) * 2 - 1
        right = observe(sim.state, action, goal[:, :3], goal[:, 3:])[0]
        mine = world.observe(action[0].numpy(), goal[0].double().numpy())
        for part in interface["observation"]["slices"]:
            where = slice(part["start"], part["stop"])
            np.testing.assert_allclose(mine[where], right[where].numpy(), atol=3e-4, rtol=1e-4, err_msg=part["name"])
        felt += float(right[181:].abs().sum())
        targets = closing(start, step)
        sim.step(targets)
        world.step(targets[0].double().numpy())
    assert felt > 10, "fingers press"


def test_the_example_remembers_what_a_history_shows(example: Any) -> None:
    """As the task's own `History`, of the world's own observations; hidden slices are zero in it, too."""
    cfg = GraspCfg(history=2, history_inputs=("previous_action", "object_vel"), hidden_inputs=("proprioception+pose",))
    sizes = observation_sizes(HAND, cfg.history_inputs, cfg.history)
    policy = ActorCritic(ActorCriticCfg(*sizes, HAND.num_drives, (4,), (4,)))
    told = describe(policy, {"config": {"task": {"hand": "shadow", "grasp": asdict(cfg)}}})
    assert told["observation"]["slices"][-1]["stop"] == told["observation"]["size"] == sizes[0]
    start = grasping(some_objects(), torch.tensor([1]))
    world = example.World(told, PlainWorld(start, 0, FINE).model)
    pose = torch.cat([start.object_pos, start.object_quat], dim=-1)[0].double().numpy()
    history = History(HAND, cfg.history_inputs, cfg.history, 1)
    random = np.random.default_rng(0)
    now = Layout(ACTOR, HAND).size
    for episode in range(2):
        world.start(start.joint_pos[0].double().numpy(), pose)
        for step in range(4):
            obs = torch.as_tensor(world.observe(random.uniform(-1, 1, 24), pose))[None].float()
            past = history.add(torch.tensor([step == 0]), obs[:, :now])
            assert torch.equal(obs[:, now:], past), (episode, step)
            assert (obs[:, now:] != 0).any() and (obs[:, Layout(ACTOR, HAND).slices["object_vel"]] == 0).all()
            world.step(closing(start, step)[0].double().numpy())


def test_the_example_moves_targets_as_the_task_does(example: Any, interface: Dict[str, Any]) -> None:
    random = torch.Generator().manual_seed(1)
    joints = torch.rand(1, 24, generator=random) * 0.2
    mine, right = (
        example.Targets(interface, joints[0].double().numpy()),
        DriveTargets(HAND, GraspCfg(), 1, joints.device),
    )
    right.begin(torch.ones(1, dtype=torch.bool), joints)
    for _ in range(30):
        action = torch.rand(1, 24, generator=random) * 2 - 1
        joints = joints + 0.1 * (torch.rand(1, 24, generator=random) - 0.5)
        right.move(action, joints)
        found = mine.move(action[0].double().numpy(), joints[0].double().numpy())
        np.testing.assert_allclose(found, right.position[0].numpy(), atol=1e-5)


def test_the_example_grasps_without_torch(exported: Path, tmp_path: Path) -> None:
    """In a process of its own, in another directory, where neither torch nor this program is ever imported."""
    code = (
        f"import runpy, sys; sys.argv = ['run_onnx.py', {str(exported)!r}, '--episodes', '5']\n"
        f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'tasks', 'ppo_grasp'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=str(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, result, loaded = done.stdout.replace("\r", "\n").strip().splitlines()
    assert loaded == "[]"
    held = int(result.split()[2])
    assert held >= 4, result  # 98 % of 200 are held
