"""What a policy was trained with, read back from the plain values that its checkpoint keeps."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Dict, Literal, Mapping, Optional, Type, TypeVar, Union

from typing_extensions import get_type_hints

from tasks import ranges
from tasks.evaluation.trained_for import mismatch
from tasks.grasp.config import GraspCfg
from tasks.grasp.config import check as check_task
from tasks.grasp.observations import observation_sizes
from tasks.hands import get_hand
from tasks.objects import DENSITY, MAX_PARTS
from tasks.simulators import registry
from tasks.simulators.mujoco.scene import PhysicsCfg

Cfg = TypeVar("Cfg")
MeasuredIn = Literal["fine", "trained"]


FOR_OLD_CHECKPOINTS: Dict[str, Any] = {"base_slope": 1.0}
"""Settings of the task that old checkpoints lack, with the values that they were trained with."""


class SettingsError(ValueError):
    """Settings of another program or version; the message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # values in it may have several


@dataclass(frozen=True)
class TrainingSettings:
    """What playing and measuring a policy must know of its training."""

    grasp: GraspCfg = GraspCfg()  # noqa: RUF009 frozen
    physics: PhysicsCfg = PhysicsCfg()  # noqa: RUF009 frozen
    hand: str = "shadow"
    objects: str = "mixed"
    object_count: Optional[int] = None
    object_scale: float = 1.0
    object_density: float = DENSITY
    object_parts: int = MAX_PARTS
    simulators: Dict[str, Any] = field(default_factory=dict)
    """Settings of simulators that do not share `physics`, by `SimulatorEntry.settings_field`."""

    def of_simulator(self, entry: registry.SimulatorEntry, physics: MeasuredIn) -> Any:
        """The settings to measure the policy with on a simulator; None for the simulator's defaults.  Raises SettingsError."""
        if entry.settings_type() is PhysicsCfg:
            return self.measured_in(physics)
        if entry.has_fine_settings() and physics == "fine":
            return self._fine(entry.settings_type())
        return self.simulators.get(entry.settings_field) or self._at_rate(entry.settings_type())

    def _at_rate(self, kind: Any) -> Any:
        """A simulator's defaults at the policy's control rate; None if they have it."""
        settings = kind()
        longer = self.control_dt / settings.control_dt
        if abs(longer - 1) < 1e-6:
            return None
        if "control_dt" in {f.name for f in fields(kind)}:
            return replace(settings, control_dt=self.control_dt)
        return replace(settings, substeps=max(1, round(settings.substeps * longer)))

    @property
    def control_dt(self) -> float:
        """Seconds of a control step of the policy's training, in whichever simulator that was."""
        for settings in self.simulators.values():
            if hasattr(settings, "control_dt"):
                return float(settings.control_dt)
        return self.physics.control_dt

    def _fine(self, kind: Any) -> Any:
        try:
            settings = kind.fine(self.control_dt)
        except ValueError as error:
            raise SettingsError(f"this policy's {error}: give --physics trained") from error
        return replace(settings, self_collision=self.physics.self_collision) if kind is PhysicsCfg else settings

    def measured_in(self, physics: MeasuredIn) -> PhysicsCfg:
        """MuJoCo's settings to play a policy with, at the policy's control rate.

        fine: in steps of 1/240 s; raises SettingsError if the control step is not made of whole ones.  trained: as in training.
        """
        if physics == "fine":
            return self._fine(PhysicsCfg)
        return self.physics

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> TrainingSettings:
        """meta: from `load_policy`; what it does not tell has its default.  Raises SettingsError for an unknown setting."""
        config = meta.get("config", meta)
        values = config.get("task", config) if isinstance(config, dict) else None
        if not isinstance(values, dict):
            raise SettingsError("its settings cannot be read")
        if isinstance(values.get("grasp"), dict):
            values = {**values, "grasp": {**FOR_OLD_CHECKPOINTS, **values["grasp"]}}
        known = {f.name for f in fields(cls)} - {"simulators"}
        settings = rebuild(cls, {key: value for key, value in values.items() if key in known}, "settings")
        for entry in registry.SIMULATORS:
            name = entry.settings_field
            if name in values and name not in known:
                settings.simulators[name] = rebuild(entry.settings_type(), values[name], f"settings.{name}")
        return settings


def trained_with(
    meta: Mapping[str, Any], path: Path, num_obs: int, num_actions: int, hand_name: Optional[str] = None
) -> TrainingSettings:
    """The settings of a loaded policy.

    hand_name: the hand that it is to move, if not the one that it was trained with.  Raises SettingsError if the settings
    cannot be read, and if the policy's sizes, or the names of its drives, are not those of the hand.
    """
    try:
        settings = TrainingSettings.from_meta(meta)
        hand = get_hand(hand_name or settings.hand)
        check_task(settings.grasp, settings.control_dt)
        grasp = settings.grasp
        sizes = observation_sizes(hand, grasp.history_inputs, grasp.history)[0], hand.num_drives
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from error
    if (num_obs, num_actions) != sizes:
        raise SettingsError(
            f"{path} is a policy for {num_obs} observations and {num_actions} actions, the hand {hand.name} has "
            f"{sizes[0]} and {sizes[1]}: give a policy that this version trained"
        )
    other = mismatch(meta, settings.hand, hand)
    if other:
        raise SettingsError(f"{path} {other}")
    return settings


def rebuild(cls: Type[Cfg], values: Any, name: str, base: Optional[Cfg] = None) -> Cfg:
    """The dataclass that `asdict` turned into values; tuples may be lists.  Raises SettingsError, naming the setting.

    base: has what the values do not tell, in place of the defaults.
    """
    if not isinstance(values, dict):
        raise SettingsError(f"its {name} cannot be read")
    hints = get_type_hints(cls)
    result: Dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise SettingsError(
                f"its {name} has {key!r}, which this version does not know; use the version it was made by"
            )
        result[key] = _checked(hints[key], value, f"{name}.{key}", getattr(base, key, None))
        try:
            ranges.check(_option(f"{name}.{key}"), result[key])
        except ValueError as error:
            raise SettingsError(f"its {name}.{key} is out of range: {error}") from error
    return cls(**result) if base is None else replace(base, **result)  # type: ignore[type-var]


def _option(name: str) -> str:
    """The option of train.py that decides a setting: of `settings.grasp.lift_height` --lift-height."""
    parts = [part for part in name.split(".") if part not in ("settings", "grasp")]
    return "--" + ".".join(parts).replace("_", "-")


def _checked(kind: Any, value: Any, name: str, base: Any = None) -> Any:
    if isinstance(kind, type) and is_dataclass(kind):
        return rebuild(kind, value, name, base)
    origin, inner = getattr(kind, "__origin__", None), tuple(getattr(kind, "__args__", ()))
    if origin is Literal:
        fits = isinstance(value, (int, float, str, type(None))) and value in inner
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
        for each in inner:
            with contextlib.suppress(SettingsError):
                return _checked(each, value, name)
        fits = False
    elif kind is Path:
        fits = isinstance(value, str)
        if fits:
            return Path(value)
    elif kind is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        raise SettingsError(
            f"its {name} is {_shown(value)}, which this version does not know; use the version it was made by"
        )
    return value


def _shown(value: Any) -> str:
    """What a value looks like, in a part of a line."""
    return " ".join(repr(value)[:200].split())[:60]
