"""A damaged checkpoint is refused in one line, or it is the one that was saved; one that was made up can be trained with."""

from __future__ import annotations

import contextlib
import copy
import io
import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
import torch
from fuzzing import budget, damaged, one_line
from hypothesis import given
from hypothesis import strategies as st
from small_trainer import trainer

from ppo_grasp import ActorCritic, CheckpointError, load_policy, save_policy
from ppo_grasp.actor_critic import ActorCriticCfg
from ppo_grasp.checkpoint import load_checkpoint
from ppo_grasp.run.contents import ContentError, digest
from tasks.evaluation.settings import SettingsError
from tasks.evaluation.trained import load_trained
from tasks.grasp.config import GraspCfg
from tasks.ranges import RANGES
from tasks.simulators.mujoco.scene import PhysicsCfg

FORMATS = Path(__file__).resolve().parents[1] / "formats"
Payload = Dict[str, Any]


WHOLE: Dict[str, bytes] = {}
"""What is damaged, by name, so that no failure prints it.  `made` fills it."""


@pytest.fixture(scope="module", autouse=True)
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A checkpoint of two iterations, old ones, and a policy for the grasping task with the settings of its training."""
    folder = tmp_path_factory.mktemp("whole")
    one = trainer(folder / "run", steps=2)
    one.run()
    WHOLE["checkpoint"] = (one.run_dir / "checkpoint_last.pt").read_bytes()
    WHOLE.update({f"format {n}": (FORMATS / f"checkpoint_{n}.pt").read_bytes() for n in (1, 2)})
    cfg = ActorCriticCfg(num_obs=211, num_critic_obs=211, num_actions=24, actor_hidden=(4,), critic_hidden=(4,))
    task = {"hand": "shadow", "objects": "mixed", "object_count": 9, "object_scale": 0.5, "sim": "mujoco"}
    config = {"task": {**task, "grasp": asdict(GraspCfg()), "physics": asdict(PhysicsCfg())}}
    save_policy(folder / "policy.pt", ActorCritic(cfg), {"config": config, "env_steps": 5})
    WHOLE["policy"] = (folder / "policy.pt").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


# --- bytes -------------------------------------------------------------------------------------------------------------


@budget(40)
@given(st.data(), st.sampled_from(("checkpoint", "format 1", "format 2")))
def test_damaged_bytes(data: st.DataObject, source: str) -> None:
    right = WHOLE[source]
    given_bytes = data.draw(damaged(source, WHOLE) | st.binary(max_size=100))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pt"
        path.write_bytes(right)
        expected = digest(load_checkpoint(path))
        path.write_bytes(given_bytes)
        try:
            found = load_checkpoint(path)
        except CheckpointError as error:
            assert one_line(str(error)) and str(path) in str(error)
            return
        assert digest(found) == expected


# --- content, with a checksum that fits --------------------------------------------------------------------------------

STRANGE: Tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3.5, -0.5, math.nan, math.inf, -math.inf, 10**30, 10**400, 1e-300, 1e300, "", "x", "\n", "tanh", [], {}, (),
    [1, 2], {"a": 1}, {1: 2}, torch.zeros(()), torch.zeros(2), torch.full((8, 2), math.nan), torch.zeros(3, dtype=torch.int64),
    torch.zeros(0), torch.zeros(2, dtype=torch.complex64), torch.ones(4, dtype=torch.bool), torch.zeros(2).to_sparse(),
    torch.zeros(5, dtype=torch.uint8), torch.zeros(2, dtype=torch.float16),
)  # fmt: skip


def places(value: Any, way: Tuple[Any, ...] = ()) -> List[Tuple[Any, ...]]:
    """The ways to everything in nested tables and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return [place for key, one in inner for place in [(*way, key), *places(one, (*way, key))]]


def put(value: Any, way: Tuple[Any, ...], new: Any, drop: bool) -> Any:
    """A copy of the nested value with something else, or nothing, in one place."""
    if not way:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    if len(way) == 1 and drop:
        del copied[way[0]]
    else:
        copied[way[0]] = put(copied[way[0]], way[1:], new, drop)
    return tuple(copied) if isinstance(value, tuple) else copied


def spoiled(draw: st.DrawFn, old: Any) -> Any:
    """Something else in place of a value: of another type, or of the same with another number."""
    if isinstance(old, torch.Tensor) and old.numel() and draw(st.booleans()):
        new = old.clone().reshape(-1)
        number = draw(st.sampled_from((math.nan, math.inf, -1.0, 0.0, 1e30))) if new.is_floating_point() else 7
        new[draw(st.integers(0, new.numel() - 1))] = number
        return new.reshape(old.shape)
    if isinstance(old, (int, float)) and not isinstance(old, bool) and draw(st.booleans()):
        factor = draw(st.sampled_from((-1, 0, 2, 1000, 10**12, -(10**300))))
        return old * factor if isinstance(old, int) else old * float(factor)
    return draw(st.sampled_from(STRANGE))


@dataclass(repr=False)
class Made:
    """Content, and what is new in it, which is all that a failure prints."""

    payload: Payload
    changes: List[str]

    def __repr__(self) -> str:
        return "; ".join(self.changes)


@st.composite
def made_up(draw: st.DrawFn, source: str) -> Made:
    """What a file holds with one or two things changed, and a checksum that fits, by somebody who knows the format."""
    payload: Payload = torch.load(io.BytesIO(WHOLE[source]), weights_only=True)
    payload.pop("digest")
    changes: List[str] = []
    for _ in range(draw(st.integers(1, 2))):
        ways = places(payload)
        top = draw(st.sampled_from(sorted({str(w[:2]) for w in ways})))  # or most would be in the largest table
        way = draw(st.sampled_from([w for w in ways if str(w[:2]) == top]))
        old: Any = payload
        for key in way:
            old = old[key]
        new, drop = spoiled(draw, copy.deepcopy(old)), draw(st.integers(0, 9)) == 0
        payload = put(payload, way, new, drop)
        changes.append(f"{way} is {'missing' if drop else repr(new)[:60]}, was {repr(old)[:60]}")
    with contextlib.suppress(ContentError):
        payload["digest"] = digest(payload)
    return Made(payload, changes)


def finite(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return bool(torch.isfinite(value).all())
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    return True


@budget(12)
@given(st.data())
def test_made_up_content(data: st.DataObject) -> None:
    payload = data.draw(made_up("checkpoint")).payload
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pt"
        torch.save(payload, path)
        one = trainer(Path(folder) / "run", steps=10**6)
        try:
            one.load(path)
        except CheckpointError as error:
            assert one_line(str(error)) and str(path) in str(error)
            return
        assert finite(one.policy.state_dict()) and finite(one.ppo.state_dict())
        assert 0 <= one.iteration <= 2**53 and 0 <= one.env_steps <= 2**53 and 0 <= one.wall_s < math.inf
        before = one.iteration
        one.cfg.total_timesteps = one.env_steps + 64
        one.run()
        assert one.iteration in (before, before + 1)
        assert finite(one.policy.state_dict())


@budget(25)
@given(st.data())
def test_made_up_settings(data: st.DataObject) -> None:
    payload = data.draw(made_up("policy")).payload
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pt"
        torch.save(payload, path)
        try:
            trained = load_trained(path)
        except ValueError as error:
            assert isinstance(error, (CheckpointError, SettingsError)) and str(path) in str(error)
            assert one_line(str(error))
            return
        assert finite(trained.policy.state_dict())
        action = trained.policy.act_deterministic(torch.zeros(1, 211))
        assert action.shape == (1, 24) and finite(action)
        grasp, physics = trained.settings.grasp, trained.settings.physics
        for name, value in (("--lift-height", grasp.lift_height), ("--episode-steps", grasp.episode_steps),
                            ("--physics.timestep", physics.timestep), ("--object-scale", trained.settings.object_scale)):  # fmt: skip
            limit = RANGES[name][0]
            assert limit.low <= value <= limit.high, (name, value)


def test_what_was_saved_loads(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(WHOLE["checkpoint"])
    (tmp_path / "b.pt").write_bytes(WHOLE["policy"])
    one = trainer(tmp_path / "run", steps=3)
    one.load(tmp_path / "a.pt")
    assert one.iteration == 2 and one.run()["iteration"] == 3
    assert load_policy(tmp_path / "b.pt")[1]["env_steps"] == 5
    assert load_trained(tmp_path / "b.pt").settings.object_scale == 0.5
