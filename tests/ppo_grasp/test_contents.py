"""Checkpoints of every format load, and none that is damaged or crafted is taken for a good one."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
from double_integrator import DoubleIntegrator

from ppo_grasp import ActorCriticCfg, CheckpointError, PPOCfg, Trainer, TrainerCfg, load_policy
from ppo_grasp.checkpoint import FORMAT_VERSION, load_checkpoint
from ppo_grasp.run.contents import digest

FORMATS = Path(__file__).resolve().parents[1] / "formats"
SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints" / "shadow_grasp.pt"
Payload = Dict[str, Any]


def trainer(run_dir: Path) -> Trainer:
    torch.set_num_threads(1)
    cfg = TrainerCfg(
        total_timesteps=64 * 4,
        eval_interval=10**9,
        checkpoint_interval=10**9,
        ppo=PPOCfg(num_steps=8, minibatch_size=32, normalize_reward=True),
        network=ActorCriticCfg(actor_hidden=(8,), critic_hidden=(8,)),
    )
    return Trainer(DoubleIntegrator(8, 5), cfg, run_dir)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    one = trainer(tmp_path_factory.mktemp("run"))
    one.run()
    return one.run_dir / "checkpoint_last.pt"


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_every_format_that_ever_shipped_goes_on(version: int, tmp_path: Path) -> None:
    path = FORMATS / f"checkpoint_{version}.pt"
    assert torch.load(path, weights_only=True)["format_version"] == version
    one = trainer(tmp_path)
    one.load(path)
    assert one.iteration == 3 and one.run()["iteration"] == 4
    policy, meta = load_policy(FORMATS / f"policy_{version}.pt")
    assert meta["a"] == 1 and torch.isfinite(policy(torch.zeros(1, 2))).all()


def test_the_policy_that_ships_loads() -> None:
    assert load_policy(SHIPPED)[0].cfg.num_actions == 24


@pytest.mark.parametrize("source", ["good", "format 1"])
def test_flipped_bits_are_found(source: str, good: Path, tmp_path: Path) -> None:
    """What is read in spite of a flip must be the same to the bit: the flip was in padding."""
    path = good if source == "good" else FORMATS / "checkpoint_1.pt"
    whole, rng, found = path.read_bytes(), random.Random(0), 0
    right = digest(load_checkpoint(path))
    broken = tmp_path / "broken.pt"
    for _ in range(150):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        broken.write_bytes(data)
        try:
            assert digest(load_checkpoint(broken)) == right
        except CheckpointError as error:
            assert "\n" not in str(error)
            found += 1
    assert found > 75


def put(*keys: Any, value: Any) -> Callable[[Payload], None]:
    def change(payload: Payload) -> None:
        inner = payload
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return change


NAN = float("nan")
CRAFTED: List[Tuple[str, Callable[[Payload], None]]] = [
    ("no network", put("network", value=None)),
    ("sizes", put("network", "num_obs", value=10**9)),
    ("bool size", put("network", "num_actions", value=True)),
    ("widths", put("network", "actor_hidden", value=8)),
    ("width", put("network", "actor_hidden", value=(2**40,))),
    ("std", put("network", "min_std", value=NAN)),
    ("no model", put("model", value=[1])),
    ("model of numbers", put("model", "std_logit", value=0.5)),
    ("nan weight", put("model", "actor.0.weight", value=torch.full((8, 8), NAN))),
    ("other shape", put("model", "actor.0.weight", value=torch.zeros(1))),
    ("negative variance", put("model", "obs_normalizer.moment_var", value=-torch.ones(2).double())),
    ("no state", put("state", value=None)),
    ("iteration", put("state", "iteration", value="3")),
    ("negative iteration", put("state", "iteration", value=-3)),
    ("env_steps", put("state", "env_steps", value=1e6)),
    ("wall_s", put("state", "wall_s", value=NAN)),
    ("best_score", put("state", "best_score", value=NAN)),
    ("best_score text", put("state", "best_score", value="high")),
    ("ppo", put("state", "ppo", value=None)),
    ("optimizer", put("state", "ppo", "optimizer", value={})),
    ("rate", put("state", "ppo", "optimizer", "param_groups", value=[{"lr": torch.tensor(NAN)}])),
    ("negative rate", put("state", "ppo", "optimizer", "param_groups", value=[{"lr": torch.tensor(-1.0)}])),
    ("moments", put("state", "ppo", "optimizer", "state", 0, "exp_avg", value=torch.zeros(()))),
    ("nan return", put("state", "ppo", "discounted_return", value=torch.full((8,), NAN))),
    ("task", put("state", "task", value=3)),
    ("task empty", put("state", "task", value={})),
    ("rng", put("state", "rng", value={"cpu": torch.zeros(5), "cuda": None})),
    ("no rng", put("state", "rng", value=None)),
    ("cuda rng", put("state", "rng", "cuda", value=torch.zeros(3, dtype=torch.uint8))),
    ("metrics", put("state", "task_metrics", value={"distance": "far"})),
    ("config", put("state", "config", value="none")),
    ("episodes", put("state", "episodes", value=[1])),
    ("unlogged", put("state", "unlogged", value=1)),
    ("unlogged row", put("state", "unlogged", value={})),  # this and the next were found by fuzzing
    ("versions", put("versions", value=True)),
    ("wall_s of 400 digits", put("state", "wall_s", value=10**400)),
    ("metric of 400 digits", put("state", "task_metrics", value={"distance": 10**400})),
    ("config of tensors", put("state", "config", "trainer", value=torch.zeros(2))),
    ("no episodes", lambda payload: payload["state"].pop("episodes")),
    ("evaluation", put("state", "evaluation", value={})),
    ("evaluation's rng", put("state", "evaluation", "rng_of_ranks", value=[{"cpu": 3, "cuda": None}])),
    ("no random states", put("state", "rng_of_ranks", value=[])),  # an IndexError, found by fuzzing
    ("random states", put("state", "rng_of_ranks", value=[1])),
    ("parts", put("state", "of_ranks", value=3)),
    ("part", put("state", "of_ranks", value=[{"task": {}, "episodes": 3, "seen": None}] * 2)),
    ("processes", put("state", "config", "processes", value="two")),
    ("format", put("format_version", value=True)),
    ("kind", put("kind", value="other")),
    ("format of several lines", put("format_version", value=torch.zeros(8, 2))),
]


@pytest.mark.parametrize("change", [c for _, c in CRAFTED], ids=[name for name, _ in CRAFTED])
def test_what_is_crafted_is_refused_in_one_line(change: Callable[[Payload], None], good: Path, tmp_path: Path) -> None:
    """With a checksum that fits, by somebody who knows the format."""
    payload = copy.deepcopy(torch.load(good, weights_only=True))
    payload.pop("digest")
    change(payload)
    torch.save({**payload, "digest": digest(payload)}, tmp_path / "crafted.pt")
    with pytest.raises(CheckpointError) as caught:
        trainer(tmp_path / "run").load(tmp_path / "crafted.pt")
    assert "\n" not in str(caught.value) and "crafted.pt" in str(caught.value)


@pytest.mark.parametrize("version", [1, FORMAT_VERSION])
@pytest.mark.parametrize("keys", [("model", "actor.0.bias"), ("state", "ppo", "discounted_return")])
def test_sparse_tensors_are_refused(keys: Tuple[str, ...], version: int, good: Path, tmp_path: Path) -> None:
    """Found by fuzzing: a checksum over one ended with a traceback.  Format 1 has no checksum."""
    payload = {**torch.load(good, weights_only=True), "format_version": version}
    put(*keys, value=torch.zeros(8).to_sparse())(payload)
    torch.save(payload, tmp_path / "sparse.pt")
    with pytest.raises(CheckpointError, match=r"sparse\.pt") as caught:
        trainer(tmp_path / "run").load(tmp_path / "sparse.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [10**30, torch.zeros(3), torch.full((8, 3), NAN), None])
def test_odd_last_observations_begin_new_episodes(
    value: Any, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found by fuzzing: the first two ended with a traceback, and the third was taken."""
    payload = torch.load(good, weights_only=True)
    payload.pop("digest")
    put("state", "seen", "critic_obs", value=value)(payload)
    torch.save({**payload, "digest": digest(payload)}, tmp_path / "odd.pt")
    one = trainer(tmp_path / "run")
    one.cfg.total_timesteps = 64 * 5
    one.load(tmp_path / "odd.pt")
    assert one.run()["iteration"] == 5
    assert "new episodes begin: seen.critic_obs " in capsys.readouterr().out
