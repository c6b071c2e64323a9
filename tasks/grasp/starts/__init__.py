"""Where episodes start: on the table with the hand above the object, and in training also inside a grasp."""

from .sampler import EpisodeStart, StartCfg, StartSampler

__all__ = ["EpisodeStart", "StartCfg", "StartSampler"]
