"""Hands by name."""

from __future__ import annotations

from typing import Dict

from .allegro import ALLEGRO_HAND
from .leap import LEAP_HAND
from .shadow import SHADOW_HAND
from .spec import HandSpec

__all__ = ["ALLEGRO_HAND", "HANDS", "LEAP_HAND", "SHADOW_HAND", "HandSpec", "get_hand"]

HANDS: Dict[str, HandSpec] = {hand.name: hand for hand in (SHADOW_HAND, ALLEGRO_HAND, LEAP_HAND)}


def get_hand(name: str) -> HandSpec:
    """The hand of this name.  Raises ValueError, with the names that exist, if there is none."""
    try:
        return HANDS[name]
    except KeyError:
        raise ValueError(f"unknown hand {name!r}: choose from {', '.join(sorted(HANDS))}") from None
