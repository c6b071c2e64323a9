"""Checks of what a checkpoint holds, before anything of it is used."""

from __future__ import annotations

import hashlib
import math
import zipfile
from pathlib import Path
from typing import Any, Dict, Tuple

import torch
from torch import Tensor

LARGEST_WIDTH = 65536
"""Of a layer."""
LARGEST_COUNT = 2**53
LARGEST_NUMBER = 1e30


class ContentError(ValueError):
    """Something in a checkpoint is not what it must be.  The message names it, and has no file name."""


def digest(value: Any) -> str:
    """A checksum of nested plain values and tensors: of every name, type, shape, number and byte.

    Raises ContentError for a tensor that is not dense.
    """
    whole = hashlib.sha256()

    def feed(item: Any) -> None:
        if isinstance(item, Tensor):
            if item.layout != torch.strided:
                raise ContentError("it holds a sparse tensor")
            whole.update(f"{item.dtype}{tuple(item.shape)}".encode())
            whole.update(item.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(item, dict):
            whole.update(f"dict{len(item)}".encode())
            for key, inner in item.items():
                feed(key)
                feed(inner)
        elif isinstance(item, (list, tuple)):
            whole.update(f"{type(item).__name__}{len(item)}".encode())
            for inner in item:
                feed(inner)
        else:
            text = repr(item)
            whole.update(f"{type(item).__name__}{len(text)}{text}".encode())

    feed(value)
    return whole.hexdigest()


def check_versions(versions: Any) -> None:
    """Raises ContentError unless it is a table of words."""
    if not isinstance(versions, dict) or not all(isinstance(word, str) for pair in versions.items() for word in pair):
        raise ContentError("versions is no table of words")


def check_bytes(path: Path) -> None:
    """Raises ContentError if a part of the file differs from the checksum that the file's format has for it."""
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except Exception as error:  # whatever a damaged file may raise
        raise ContentError("it is damaged") from error
    if damaged is not None:
        raise ContentError(f"{damaged} is damaged")


def check_network(network: Any) -> None:
    """Raises ContentError unless the sizes and ranges of networks can be built."""
    if not isinstance(network, dict):
        raise ContentError("network is no table")
    for name in ("num_obs", "num_critic_obs", "num_actions"):
        _whole(network.get(name), f"network.{name}", 1, LARGEST_WIDTH)
    for name in ("actor_hidden", "critic_hidden"):
        widths = network.get(name)
        if not isinstance(widths, (list, tuple)) or len(widths) > 64:
            raise ContentError(f"network.{name} is no list of widths")
        for width in widths:
            _whole(width, f"network.{name}", 1, LARGEST_WIDTH)
    for name in ("init_std", "min_std", "max_std", "obs_clip"):
        if name in network:
            _number(network[name], f"network.{name}", 0.0)
            if network[name] == 0:
                raise ContentError(f"network.{name} is 0")


def check_model(model: Any) -> None:
    """Raises ContentError unless it is tensors by name whose numbers are finite, with variances and counts not below 0."""
    if not isinstance(model, dict) or not all(isinstance(v, Tensor) for v in model.values()):
        raise ContentError("model is no table of tensors")
    for name, tensor in model.items():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise ContentError(f"model.{name} is not finite")
        if name.rpartition(".")[2] in ("moment_var", "count", "inv_std") and bool((tensor < 0).any()):
            raise ContentError(f"model.{name} is below 0")


def check_state(state: Any) -> None:
    """Raises ContentError unless counters, scores and the random state are what they must be."""
    if not isinstance(state, dict):
        raise ContentError("state is no table")
    for name in ("ppo", "task", "rng", "task_metrics", "config"):
        if not isinstance(state.get(name), dict):
            raise ContentError(f"state.{name} is {type(state.get(name)).__name__}")
    for name in ("episodes", "seen", "evaluation", "unlogged"):
        if name not in state:
            raise ContentError(f"state.{name} is missing")
        if not isinstance(state[name], (dict, type(None))):
            raise ContentError(f"state.{name} is {type(state[name]).__name__}")
    for name in ("iteration", "env_steps"):
        _whole(state.get(name), f"state.{name}", 0, LARGEST_COUNT)
    _number(state.get("wall_s"), "state.wall_s", 0.0)
    scores = state.get("best", ())
    for score in (state.get("best_score"), *(scores if isinstance(scores, (tuple, list)) else (scores,))):
        if isinstance(score, bool) or not isinstance(score, (int, float)) or score != score or score == math.inf:
            raise ContentError(f"state.best_score is {score!r}")
    for table in ("task_metrics", "unlogged"):
        for name, value in (state[table] or {}).items():
            if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ContentError(f"state.{table}.{str(name)[:40]} is no number")
            if isinstance(value, int) and abs(value) > LARGEST_COUNT:
                raise ContentError(f"state.{table}.{name} is out of range")
    if state["unlogged"] is not None and not {"iteration", "env_steps", "wall_s"} <= set(state["unlogged"]):
        raise ContentError("state.unlogged is no row of an iteration")
    _plain(state["config"], "state.config")
    check_random_state(state["rng"], "state.rng")
    _random_states(state.get("rng_of_ranks", [state["rng"]]), "state.rng_of_ranks")
    _parts(state.get("of_ranks"))
    if state.get("evaluation") is not None:
        _random_states(state["evaluation"].get("rng_of_ranks"), "state.evaluation.rng_of_ranks")


def _parts(of_ranks: Any) -> None:
    """Raises ContentError unless it is None, or what each of several processes had for itself."""
    if not isinstance(of_ranks, (list, tuple, type(None))):
        raise ContentError("state.of_ranks is no list")
    for rank, part in enumerate(of_ranks or ()):
        kinds: Dict[str, Any] = {
            "task": dict,
            "episodes": (dict, type(None)),
            "seen": (dict, type(None)),
            "discounted_return": Tensor,
        }
        for name, kind in kinds.items():
            if not isinstance(part, dict) or not isinstance(part.get(name), kind):
                raise ContentError(f"state.of_ranks[{rank}].{name} is not what it must be")


def _random_states(of_ranks: Any, name: str) -> None:
    if not isinstance(of_ranks, (list, tuple)) or not of_ranks:
        raise ContentError(f"{name} is no list of random states")
    for rank, rng in enumerate(of_ranks):
        check_random_state(rng, f"{name}[{rank}]")


def check_random_state(rng: Any, name: str) -> None:
    """Raises ContentError unless torch takes it as a random state."""
    try:
        torch.Generator().set_state(rng["cpu"])
        cuda = rng["cuda"]
        fits = cuda is None or (cuda.dtype == torch.uint8 and cuda.shape == (16,))
    except Exception as error:  # of whatever type it may be
        raise ContentError(f"{name} is no random state") from error
    if not fits:
        raise ContentError(f"{name} is no random state")


def check_like(value: Any, own: Any, name: str, any_shape: Tuple[str, ...] = ()) -> None:
    """Raises ContentError unless `value` has what `own` has: names, types, shapes, and finite numbers.

    any_shape: names of tensors whose shape may differ.
    """
    if isinstance(own, dict):
        if not isinstance(value, dict):
            raise ContentError(f"{name} is no table")
        for key, inner in own.items():
            if key not in value:
                raise ContentError(f"{name}.{key} is missing")
            check_like(value[key], inner, f"{name}.{key}", any_shape)
    elif isinstance(own, (list, tuple)):
        if not isinstance(value, (list, tuple)) or len(value) != len(own):
            raise ContentError(f"{name} is no list of {len(own)}")
        for i, inner in enumerate(own):
            check_like(value[i], inner, f"{name}[{i}]", any_shape)
    elif isinstance(own, Tensor):
        if not isinstance(value, Tensor) or value.dtype != own.dtype:
            raise ContentError(f"{name} is no tensor of {own.dtype}")
        if value.shape != own.shape and name.rpartition(".")[2] not in any_shape:
            raise ContentError(f"{name} has shape {tuple(value.shape)}, here it is {tuple(own.shape)}")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ContentError(f"{name} is not finite")


def check_rates(ppo: Dict[str, Any]) -> None:
    """Raises ContentError unless the optimiser's rate is above 0 and its squares and steps are not below."""
    optimizer = ppo["optimizer"]
    if not 0 < float(optimizer["param_groups"][0]["lr"]) < 1e3:
        raise ContentError("the learning rate is out of range")
    for slot in optimizer["state"].values():
        if bool((slot["exp_avg_sq"] < 0).any()) or bool((slot["step"] < 0).any()):
            raise ContentError("the optimiser's squares or steps are below 0")


def _plain(value: Any, name: str) -> None:
    """Raises ContentError for tensors in nested settings, and for whole numbers that are no setting's."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _plain(inner, f"{name}.{str(key)[:40]}")
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            _plain(inner, f"{name}[{i}]")
    elif not isinstance(value, (int, float, str, type(None))):
        raise ContentError(f"{name} is a {type(value).__name__}")
    elif isinstance(value, int) and abs(value) > LARGEST_COUNT:
        raise ContentError(f"{name} is out of range")


def _whole(value: Any, name: str, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ContentError(f"{name} is {str(value)[:40]}")


def _number(value: Any, name: str, low: float) -> None:
    fits = not isinstance(value, bool) and isinstance(value, (int, float)) and low <= value <= LARGEST_NUMBER
    if not fits:
        raise ContentError(f"{name} is {str(value)[:40]}")
