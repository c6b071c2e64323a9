"""Which hand a policy was trained for, so that it is not played with another one of the same size."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from tasks.hands import HandSpec, get_hand


def identity(hand: HandSpec) -> Dict[str, List[str]]:
    """What a checkpoint keeps of its hand: the names of drives and fingertips, in their order."""
    return {"drives": list(hand.drives), "fingertips": list(hand.fingertips)}


def mismatch(meta: Mapping[str, Any], trained_name: str, hand: HandSpec) -> Optional[str]:
    """Why a policy cannot move this hand, as a sentence; None if it can.

    meta: of `load_policy`.  trained_name: the hand that its settings name; a checkpoint that keeps no names of drives was
    trained with the drives which that hand has now.
    """
    config = meta.get("config", meta)
    values = config.get("task", config) if isinstance(config, dict) else {}
    kept = values.get("hand_names") if isinstance(values, dict) else None
    if not isinstance(kept, dict):
        try:
            kept = identity(get_hand(trained_name))
        except ValueError:
            return None
    if kept == identity(hand):
        return None
    return (
        f"is a policy for the hand {trained_name}, which has other drives or fingertips than {hand.name}: "
        f"leave --hand out, or train one with --hand {hand.name}"
    )
