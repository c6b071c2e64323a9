"""Hands by name, or from a user's file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Dict

from .allegro import ALLEGRO_HAND
from .errors import HandError
from .leap import LEAP_HAND
from .shadow import SHADOW_HAND
from .spec import HandSpec

__all__ = ["ALLEGRO_HAND", "HANDS", "LEAP_HAND", "SHADOW_HAND", "HandError", "HandSpec", "get_hand"]

HANDS: Dict[str, HandSpec] = {hand.name: hand for hand in (SHADOW_HAND, ALLEGRO_HAND, LEAP_HAND)}


@lru_cache(maxsize=None)
def get_hand(name: str) -> HandSpec:
    """The hand of this name, or the one that a file describes: an MJCF (.xml) or a URDF (.urdf), with a TOML beside it.

    Raises HandError, a ValueError of one line, for an unknown name and for a file that cannot be used.
    """
    if name in HANDS:
        return HANDS[name]
    from .reading.load import is_file_name, load

    if is_file_name(name):
        if not Path(name).is_file():
            raise HandError(f"there is no hand's description at {name}")
        return load(Path(name)).spec
    raise HandError(
        f"unknown hand {name!r}; there are: {', '.join(sorted(HANDS))}, or give the path of an MJCF (.xml) or a URDF"
    )
