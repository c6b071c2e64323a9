"""Checkpoints: a file is written whole or not at all, and reading one runs no foreign code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import subprocess
from dataclasses import asdict, fields
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Optional, Tuple, Union

import torch
from torch import Tensor

from ppo_grasp.actor_critic import ActorCritic, ActorCriticCfg
from ppo_grasp.formats import safetensors
from ppo_grasp.run.contents import (
    ContentError,
    check_bytes,
    check_model,
    check_network,
    check_state,
    check_versions,
    digest,
)
from ppo_grasp.run.health import TrainingError, first_non_finite

PathLike = Union[str, "os.PathLike[str]"]

FORMAT = "ppo_grasp"
FORMAT_VERSION = 3
"""2 has no running episodes and nothing of the evaluation.  1 has no checksum over the content either."""
SAFETENSORS = ".safetensors"
"""The end of the name of a policy's file in that format."""
LAST = "checkpoint_last.pt"
BEST = "checkpoint_best.pt"
DUMP = "stopped.pt"
"""What a training that went wrong leaves for a debugger."""
_ROOT = Path(__file__).resolve().parents[1]
SHIPPED = (_ROOT / "tasks" / "checkpoints", _ROOT / "checkpoints")
"""Where the policies that ship are: in what a wheel installs, and in a source tree."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, of another program or for another task.  The message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # values in it may have several


def save_checkpoint(path: PathLike, policy: ActorCritic, state: Dict[str, Any]) -> None:
    """Writes policy and training state.  state: tensors, numbers, strings, None, and dicts, lists and tuples of them.

    Raises TrainingError, and writes nothing, if the network or the optimiser is not finite."""
    payload = {**_header("checkpoint", policy), "state": _plain(state, "state")}
    bad = first_non_finite({"model": payload["model"], "ppo": payload["state"].get("ppo", {})})
    if bad is not None:
        raise TrainingError(f"{bad} is not finite, so {path} is not written")
    _write(path, payload)


def save_dump(path: PathLike, policy: ActorCritic, state: Dict[str, Any]) -> None:
    """Writes a training that went wrong, as it is.  Nothing but `torch.load` reads that."""
    _write(path, {**_header("dump", policy), "state": _plain(state, "state")})


def load_checkpoint(path: PathLike) -> Dict[str, Any]:
    """Reads what `save_checkpoint` wrote, to the CPU: `network`, `model` and `state`.  Raises CheckpointError."""
    payload = _read(path)
    if payload.get("kind") != "checkpoint":
        raise CheckpointError(f"{path} holds a policy alone, without the state that training needs to go on")
    try:
        check_state(payload.get("state"))
    except Exception as error:  # as in `_read`
        raise CheckpointError(f"{path} cannot be used: {_first_line(error)}") from error
    return payload


def save_policy(path: PathLike, policy: ActorCritic, meta: Optional[Dict[str, Any]] = None) -> None:
    """Writes only the weights and normalisers, and `meta`, plain values about them."""
    _write(path, {**_header("policy", policy), "meta": _plain(meta or {}, "meta")})


def save_safetensors(path: PathLike, policy: ActorCritic, meta: Dict[str, Any], **texts: str) -> None:
    """Writes what `save_policy` writes as safetensors: the tensors, and all else as JSON.  texts: further metadata."""
    payload = {**_header("policy", policy), "meta": {k: v for k, v in meta.items() if k != "versions"}}
    payload["versions"] = meta.get("versions", payload["versions"])
    tensors = payload.pop("model")
    plain = json.loads(json.dumps(payload))  # as it will be read: tuples are lists
    plain["digest"] = digest({**plain, "model": _by_name(tensors)})
    metadata = {FORMAT: json.dumps(plain), **texts}
    _replace(Path(path), safetensors.to_bytes(tensors, metadata))


def load_policy(path: PathLike, device: Union[str, torch.device] = "cpu") -> Tuple[ActorCritic, Dict[str, Any]]:
    """Reads the policy, and what is known about it, from a checkpoint or a policy's file.  Raises CheckpointError."""
    payload = _read(path)
    known = {field.name for field in fields(ActorCriticCfg)}
    try:
        network: Dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in payload["network"].items() if k in known
        }
        policy = ActorCritic(ActorCriticCfg(**network))
        policy.load_state_dict(payload["model"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{path} holds no policy this version can read: {_first_line(error)}") from error
    meta = payload.get("meta")
    if meta is None:
        state = payload.get("state", {})
        meta = {k: state[k] for k in ("iteration", "env_steps", "wall_s", "best_score", "config") if k in state}
    return policy.to(device).eval(), {**meta, "versions": payload.get("versions", {})}


def find_last(run_dir: PathLike) -> Path:
    """The newest last checkpoint of a run, or of a folder of runs.  Raises CheckpointError if there is none."""
    found = sorted(Path(run_dir).rglob(LAST), key=lambda p: p.stat().st_mtime)
    if not found:
        raise CheckpointError(f"no {LAST} found under {run_dir}")
    return found[-1]


def shipped_policy() -> Path:
    """The policy that ships with the program; of several the last by name.  Raises CheckpointError if there is none."""
    for folder in SHIPPED:
        found = sorted(folder.glob("*.pt"))
        if found:
            return found[-1]
    raise CheckpointError(
        f"there is no policy in {SHIPPED[-1]}: train one and give its file with --checkpoint runs/NAME/{BEST}"
    )


def versions() -> Dict[str, str]:
    """The versions of this program, of torch and of Python, to be kept with what they made."""
    return {"program": program_version(), "torch": str(torch.__version__), "python": platform.python_version()}


@lru_cache(maxsize=None)
def program_version() -> str:
    """The git revision of the source tree, with `-changed` if files differ from it; without git the package's version."""
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        top, revision = git("rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top).resolve() == root:  # and not a repository around the place where the package is installed
            return revision + ("-changed" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, ValueError, subprocess.SubprocessError):
        pass
    try:
        return metadata.version("ppo-grasp")
    except metadata.PackageNotFoundError:
        return "unknown"


def _header(kind: str, policy: ActorCritic) -> Dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "versions": versions(),
        "network": asdict(policy.cfg),
        "model": {name: x.detach().cpu() for name, x in policy.state_dict().items()},
    }


def _write(path: PathLike, payload: Dict[str, Any]) -> None:
    content = io.BytesIO()  # of what torch says of a full disk, little can be understood
    torch.save({**payload, "digest": digest(payload)}, content)
    _replace(Path(path), content.getbuffer())


def _replace(path: Path, content: Union[bytes, memoryview]) -> None:
    """Writes to another name first: a crash leaves the old file or the new one, never half of one.

    Raises OSError with the file's name, for example if the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _read(path: PathLike) -> Dict[str, Any]:
    """What a file holds, once its checksums, names, types, ranges and numbers are found to be right.  Raises CheckpointError."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}: give a file such as runs/NAME/{BEST}")
    try:
        if path.suffix.lower() == SAFETENSORS:
            tensors, metadata = safetensors.from_bytes(path.read_bytes())
            payload = {**json.loads(metadata[FORMAT]), "model": _by_name(tensors)}
        else:
            check_bytes(path)
            payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a foreign file raises depends on its bytes
        raise CheckpointError(f"{path} is not a checkpoint of this program, or is damaged") from error
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this program")
    version = payload.get("format_version")
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise CheckpointError(f"{path} has format {version}, this version reads 1 to {FORMAT_VERSION}")
    if payload.get("kind") == "dump":
        raise CheckpointError(f"{path} holds a training that went wrong: go on from {LAST} beside it")
    try:
        if version > 1 and payload.pop("digest", None) != digest(payload):
            raise ContentError("its content differs from its checksum")
        check_versions(payload.get("versions", {}))
        check_network(payload.get("network"))
        check_model(payload.get("model"))
        if payload.get("kind") == "policy" and not isinstance(payload.get("meta"), dict):
            raise ContentError("its meta is no table")
        _migrate(payload, version)
    except Exception as error:  # a ContentError, or what a check raises that has met what nobody foresaw
        raise CheckpointError(f"{path} cannot be used: {_first_line(error)}") from error
    return payload


def _by_name(tensors: Dict[str, Any]) -> Dict[str, Any]:
    """In the order of their names, whoever wrote the file: the checksum depends on it."""
    return dict(sorted(tensors.items()))


def _migrate(payload: Dict[str, Any], version: int) -> None:
    """Makes the content of an older format look like that of the newest."""
    state = payload.get("state")
    if version < 3 and isinstance(state, dict):
        state.update(episodes=None, seen=None, evaluation=None, unlogged=None)


def _plain(value: Any, where: str) -> Any:
    """A copy of nested plain values on the CPU.  Raises TypeError for what could not be read back with `weights_only`."""
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
    return " ".join(str(error).split())[:200] or type(error).__name__
