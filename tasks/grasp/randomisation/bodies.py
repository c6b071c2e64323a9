"""Masses, frictions and drives that differ from world to world."""

from __future__ import annotations

import math
from typing import Tuple

import torch
from torch import Tensor

from tasks.grasp.actions import BASE
from tasks.grasp.randomisation.config import RandomCfg
from tasks.simulators.contract import DriveFactors, Start


def vary_object(cfg: RandomCfg, start: Start, scale: Tensor) -> None:
    """Gives the objects of a start other masses and frictions.  scale (): how wide their ranges are now."""
    mass, friction = torch.rand(2, len(start.friction), device=scale.device)
    if cfg.mass != (1.0, 1.0):
        start.mass_scale = start.mass_scale * _log_uniform(cfg.mass, mass, scale)
    if cfg.friction != (0.0, 0.0):
        low, high = cfg.friction
        drawn = low * torch.exp(friction * math.log(high / low))
        start.friction = torch.lerp(start.friction, drawn, scale)


def draw_drives(cfg: RandomCfg, num_envs: int, num_drives: int, scale: Tensor) -> DriveFactors:
    """Factors of all drives.  Those of the base are 1.  scale (): how wide the ranges are now."""
    fingers = torch.rand(3, num_envs, num_drives - BASE, device=scale.device)
    base = torch.ones(num_envs, BASE, device=scale.device)
    ranges = (cfg.stiffness, cfg.damping, cfg.torque_limit)
    drawn = (torch.cat([base, _log_uniform(r, u, scale)], dim=-1) for r, u in zip(ranges, fingers))
    return DriveFactors(*drawn)


def no_variation(num_envs: int, num_drives: int, device: torch.device) -> DriveFactors:
    """Factors of 1."""
    return DriveFactors(*torch.ones(3, num_envs, num_drives, device=device).unbind())


def _log_uniform(ends: Tuple[float, float], uniform: Tensor, scale: Tensor) -> Tensor:
    """Between the ends to the power of scale, for uniform numbers from 0 to 1."""
    low, high = math.log(ends[0]), math.log(ends[1])
    return torch.exp(scale * (low + (high - low) * uniform))
