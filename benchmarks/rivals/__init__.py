"""One adapter per PPO engine: the same task, network, batch and hyper-parameters, each engine's own loop."""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional


class Engine(NamedTuple):
    """Where an engine's adapter is, and what it needs."""

    module: str
    """Has `run(env, settings, meter, directory)`, which trains until the meter ends it."""
    distribution: Optional[str]
    """What is installed with pip, or None if nothing."""


ENGINES: Dict[str, Engine] = {
    "ours": Engine("rivals.ours", None),
    "ours_amp": Engine("rivals.ours_amp", None),
    "ours_compiled": Engine("rivals.ours_compiled", None),
    "rl_games": Engine("rivals.with_rl_games", "rl-games"),
    "rsl_rl": Engine("rivals.with_rsl_rl", "rsl-rl-lib"),
    "skrl": Engine("rivals.with_skrl", "skrl"),
    "sb3": Engine("rivals.with_sb3", "stable-baselines3"),
    "cleanrl_style": Engine("rivals.cleanrl_style", None),
}
