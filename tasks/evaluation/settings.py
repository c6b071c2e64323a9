"""What a policy was trained with, read back from the plain values that its checkpoint keeps."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Dict, Literal, Mapping, Optional, Type, TypeVar, Union, get_type_hints

from tasks.grasp.config import GraspCfg
from tasks.grasp.observations import observation_sizes
from tasks.hands import get_hand
from tasks.simulators.mujoco.scene import PhysicsCfg

Cfg = TypeVar("Cfg")
MeasuredIn = Literal["fine", "trained"]


class SettingsError(ValueError):
    """Settings of another program or version; the message is one line."""


@dataclass(frozen=True)
class TrainingSettings:
    """What play and evaluation take over from training."""

    grasp: GraspCfg = GraspCfg()  # noqa: RUF009 frozen
    physics: PhysicsCfg = PhysicsCfg()  # noqa: RUF009 frozen
    hand: str = "shadow"
    objects: str = "mixed"
    object_count: Optional[int] = None
    object_scale: float = 1.0

    def measured_in(self, physics: MeasuredIn) -> PhysicsCfg:
        """What a policy is played in, at its own control rate.  Raises SettingsError where fine steps do not make that up."""
        if physics == "trained":
            return self.physics
        try:
            return PhysicsCfg.fine(self.physics.control_dt)
        except ValueError as error:
            raise SettingsError(f"this policy's {error}: give --physics trained") from error

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> TrainingSettings:
        """meta: of `load_policy`; what it does not tell has its default.  Raises SettingsError on what is not known here."""
        config = meta.get("config", meta)
        values = config.get("task", config) if isinstance(config, dict) else None
        if not isinstance(values, dict):
            raise SettingsError("its settings cannot be read")
        known = {f.name for f in fields(cls)}
        return rebuild(cls, {key: value for key, value in values.items() if key in known}, "settings")


def trained_with(meta: Mapping[str, Any], path: Path, num_obs: int, num_actions: int) -> TrainingSettings:
    """The settings of a loaded policy.  Raises SettingsError if they, or the sizes, are not those of a grasping policy."""
    try:
        settings = TrainingSettings.from_meta(meta)
        hand = get_hand(settings.hand)
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from error
    sizes = observation_sizes(hand)[0], hand.num_drives
    if (num_obs, num_actions) != sizes:
        raise SettingsError(
            f"{path} is a policy for {num_obs} observations and {num_actions} actions, the hand {hand.name} has "
            f"{sizes[0]} and {sizes[1]}: give a policy that this version trained"
        )
    return settings


def rebuild(cls: Type[Cfg], values: Any, name: str) -> Cfg:
    """The dataclass that `asdict` turned into values; tuples may be lists.  Raises SettingsError, naming the setting."""
    if not isinstance(values, dict):
        raise SettingsError(f"its {name} cannot be read")
    hints = get_type_hints(cls)
    result: Dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise SettingsError(
                f"its {name} has {key!r}, which this version does not know; use the version it was made by"
            )
        result[key] = _checked(hints[key], value, f"{name}.{key}")
    return cls(**result)


def _checked(kind: Any, value: Any, name: str) -> Any:
    if isinstance(kind, type) and is_dataclass(kind):
        return rebuild(kind, value, name)
    origin, inner = getattr(kind, "__origin__", None), tuple(getattr(kind, "__args__", ()))
    if origin is Literal:
        fits = value in inner
    elif origin is tuple:
        if inner[1:] == (...,) and isinstance(value, (list, tuple)):  # of any length
            inner = inner[:1] * len(value)
        fits = isinstance(value, (list, tuple)) and len(value) == len(inner)
        if fits:
            return tuple(_checked(k, v, name) for k, v in zip(inner, value))
    elif origin is dict:
        fits = isinstance(value, dict)
        if fits:
            return {_checked(inner[0], k, name): _checked(inner[1], v, f"{name}.{k}") for k, v in value.items()}
    elif origin is Union:
        fits = value is None or (any(k in (int, float) for k in inner) and isinstance(value, (int, float)))
    elif kind is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        raise SettingsError(
            f"its {name} is {value!r}, which this version does not know; use the version it was made by"
        )
    return value
