"""Adapters that run other PPO engines on the task: the same network, batch and hyper-parameters, each engine's own loop."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional


class Engine(NamedTuple):
    """An engine: where its adapter is and what it needs."""

    module: str
    """The module has `run(env, settings, meter, directory, **options)`, which trains until the meter ends it."""
    distribution: Optional[str] = None
    """The name of the package on PyPI; None if nothing has to be installed."""
    options: Mapping[str, Any] = {}
    """Further arguments of `run`."""


ENGINES: Mapping[str, Engine] = {
    "ours": Engine("rivals.ours"),
    "ours_amp": Engine("rivals.ours", options={"amp": True}),
    "ours_compiled": Engine("rivals.ours", options={"amp": True, "compile": True}),
    "rl_games": Engine("rivals.with_rl_games", "rl-games"),
    "rsl_rl": Engine("rivals.with_rsl_rl", "rsl-rl-lib"),
    "skrl": Engine("rivals.with_skrl", "skrl"),
    "sb3": Engine("rivals.with_sb3", "stable-baselines3"),
    "cleanrl_style": Engine("rivals.cleanrl_style"),
}
