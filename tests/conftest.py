"""Lets tests import what they share from support/, and runs commands for them."""

from __future__ import annotations

import gc
import os
import runpy
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Tuple

import pytest

# pytest -n N: each of the N processes, and what it starts, computes with its share of the cores.  This comes before torch.
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _workers)))

import torch  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent / "support"))

from ppo_grasp import ActorCritic, save_policy  # noqa: E402
from ppo_grasp.actor_critic import ActorCriticCfg  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
EPISODE_STEPS = 25


class Ran(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """What a test runs may set the number of threads, as rl_games does.  With more than a worker's share, later tests wait for each other."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, tmpdir: Any) -> Iterator[Run]:
    """Runs a command in this process, in an empty directory."""

    def call(command: str, *words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", [command, *map(str, words)])
        capfd.readouterr()
        status = 0
        try:
            runpy.run_path(str(ROOT / command), run_name="__main__")
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        said = capfd.readouterr()
        return Ran(status, said.out, said.err)

    with tmpdir.as_cwd():
        yield call


def make_policy(path: Path, num_obs: int = 211, **meta: Any) -> Path:
    """Saves a policy that moves its hand down on the object, if it is for the grasping task."""
    torch.manual_seed(0)
    cfg = ActorCriticCfg(
        num_obs=num_obs, num_critic_obs=232, num_actions=24, actor_hidden=(32, 32), critic_hidden=(32, 32)
    )
    policy = ActorCritic(cfg)
    policy.actor[-1].bias.data[2] = -2.0  # type: ignore[operator,union-attr,index]
    save_policy(path, policy, meta)
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy for short episodes."""
    grasp = {"episode_steps": EPISODE_STEPS}
    return make_policy(tmp_path / "policy.pt", objects="primitives", grasp=grasp)


@pytest.fixture
def policy_maker() -> Callable[..., Path]:
    """`make_policy`."""
    return make_policy


@pytest.fixture
def tiny() -> Tuple[object, ...]:
    """Options of a training run of a second; 32 steps to an iteration."""
    return (
        *("--sim", "mujoco", "--objects", "primitives", "--num-envs", 4, "--eval-envs", 3),
        *("--episode-steps", EPISODE_STEPS, "--ppo.num-steps", 8, "--ppo.num-epochs", 1),
        *("--network.actor-hidden", 16, "--network.critic-hidden", 16),
    )


def pytest_collection_finish() -> None:
    """Saves time that tests nothing."""
    # MuJoCo Warp calls this small function from Python 80 times a step.  Warp takes 0.1 ms for each such call.
    for name in ("mujoco_warp._src.collision_convex", "mujoco_warp._src.collision_primitive"):
        if name in sys.modules:
            module: Any = sys.modules[name]
            module.upper_trid_index = lru_cache(maxsize=None)(module.upper_trid_index)
    # What is imported never becomes garbage, so the collector need not look at it again.
    gc.collect()
    gc.freeze()
