"""Checkpoints: written whole or not at all, read without running foreign code; and export of the policy."""

from __future__ import annotations

import os
import platform
import warnings
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Dict, Optional, Tuple, Union

import torch
from torch import Tensor

from ppo_grasp.actor_critic import ActorCritic, ActorCriticCfg

PathLike = Union[str, "os.PathLike[str]"]

FORMAT = "ppo_grasp"
FORMAT_VERSION = 1
LAST = "checkpoint_last.pt"
BEST = "checkpoint_best.pt"


class CheckpointError(ValueError):
    """A checkpoint that is missing, foreign, corrupt or made for another task; the message is one line."""


def save_checkpoint(path: PathLike, policy: ActorCritic, state: Dict[str, Any]) -> None:
    """Writes policy and training state to `path`; state: tensors, numbers, strings, None, and dicts, lists, tuples of them."""
    _write(path, {**_header("checkpoint", policy), "state": _plain(state, "state")})


def load_checkpoint(path: PathLike) -> Dict[str, Any]:
    """What `save_checkpoint` wrote, on the CPU: `network`, `model` and `state`.  Raises CheckpointError."""
    payload = _read(path)
    if payload["kind"] != "checkpoint":
        raise CheckpointError(f"{path} holds a policy alone, without the state that training needs to go on")
    return payload


def save_policy(path: PathLike, policy: ActorCritic, meta: Optional[Dict[str, Any]] = None) -> None:
    """Writes the weights and normalisers alone, and what `meta` tells about them (plain values)."""
    _write(path, {**_header("policy", policy), "meta": _plain(meta or {}, "meta")})


def load_policy(path: PathLike, device: Union[str, torch.device] = "cpu") -> Tuple[ActorCritic, Dict[str, Any]]:
    """The policy of a checkpoint or of a file from `save_policy`, and its meta data.  Raises CheckpointError."""
    payload = _read(path)
    known = {field.name for field in fields(ActorCriticCfg)}
    try:
        policy = ActorCritic(ActorCriticCfg(**{k: v for k, v in payload["network"].items() if k in known}))
        policy.load_state_dict(payload["model"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{path} holds no policy this version can read: {_first_line(error)}") from error
    meta = payload.get("meta")
    if meta is None:
        state = payload.get("state", {})
        meta = {k: state[k] for k in ("iteration", "env_steps", "wall_s", "best_score", "config") if k in state}
    return policy.to(device).eval(), {**meta, "versions": payload.get("versions", {})}


def find_last(run_dir: PathLike) -> Path:
    """The newest checkpoint under a run, or under a folder of runs.  Raises CheckpointError if there is none."""
    found = sorted(Path(run_dir).rglob(LAST), key=lambda p: p.stat().st_mtime)
    if not found:
        raise CheckpointError(f"no {LAST} found under {run_dir}")
    return found[-1]


def export_onnx(policy: ActorCritic, path: PathLike) -> None:
    """Writes the deterministic policy as ONNX: `obs` (batch, num_obs), raw, to `action` (batch, A)."""
    example = torch.zeros(1, policy.cfg.num_obs)
    axes = {"obs": {0: "batch"}, "action": {0: "batch"}}
    names: Dict[str, Any] = {"input_names": ["obs"], "output_names": ["action"], "dynamic_axes": axes}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter that needs no further package calls itself deprecated
        torch.onnx.export(_on_cpu(policy), (example,), str(path), dynamo=False, **names)


def export_torchscript(policy: ActorCritic, path: PathLike) -> None:
    """Writes the deterministic policy as TorchScript, for C++ or a Python without this package."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(_on_cpu(policy), torch.zeros(1, policy.cfg.num_obs)).save(str(path))


def _on_cpu(policy: ActorCritic) -> ActorCritic:
    copy = ActorCritic(policy.cfg)
    copy.load_state_dict(policy.state_dict())
    return copy.eval()


def _header(kind: str, policy: ActorCritic) -> Dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "versions": {"torch": str(torch.__version__), "python": platform.python_version()},
        "network": asdict(policy.cfg),
        "model": {name: x.detach().cpu() for name, x in policy.state_dict().items()},
    }


def _write(path: PathLike, payload: Dict[str, Any]) -> None:
    """A crash at any moment leaves the old file or the new one, never half of one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save(payload, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if temporary.exists():
            temporary.unlink()


def _read(path: PathLike) -> Dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a foreign file raises depends on its bytes
        raise CheckpointError(f"{path} is not a checkpoint of this program, or is damaged") from error
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this program")
    if payload.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(f"{path} has format {payload.get('format_version')}, this version reads {FORMAT_VERSION}")
    return payload


def _plain(value: Any, where: str) -> Any:
    """A copy on the CPU of nested plain values; raises TypeError on what `weights_only` would refuse to read back."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, dict):
        return {k: _plain(v, f"{where}[{k!r}]") for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(v, f"{where}[{i}]") for i, v in enumerate(value))
    raise TypeError(f"{where} is a {type(value).__name__}: checkpoints hold tensors and plain values only")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
