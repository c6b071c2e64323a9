"""A trained policy with all that is needed to play it: its settings and its hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ppo_grasp import ActorCritic, load_policy
from tasks.evaluation.settings import TrainingSettings, trained_with
from tasks.grasp.randomisation.config import RandomCfg
from tasks.hands import get_hand
from tasks.hands.spec import HandSpec


@dataclass(frozen=True)
class TrainedPolicy:
    """A policy on the CPU, the settings of its training without disturbances, and the hand that it moves."""

    path: Path
    policy: ActorCritic
    settings: TrainingSettings
    hand: HandSpec
    env_steps: Optional[int] = None
    """Environment steps of its training; None if the file does not say."""


def load_trained(path: Path, hand_name: Optional[str] = None) -> TrainedPolicy:
    """Reads a policy to be played.

    path: a checkpoint, or a file from `save_policy`.  hand_name: a hand, else the one that it was trained with.
    Raises CheckpointError if the file holds no policy, SettingsError if it was not trained for this hand, and ValueError if
    there is no such hand.
    """
    if hand_name is not None:
        get_hand(hand_name)
    policy, meta = load_policy(path)
    settings = trained_with(meta, path, policy.cfg.num_obs, policy.cfg.num_actions, hand_name)
    undisturbed = replace(settings.grasp, random=RandomCfg())
    settings = replace(settings, hand=hand_name or settings.hand, grasp=undisturbed)
    steps = meta.get("env_steps")
    return TrainedPolicy(path, policy, settings, get_hand(settings.hand), steps if isinstance(steps, int) else None)
