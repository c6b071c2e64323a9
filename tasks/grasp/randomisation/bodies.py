"""Objects, drives, joints and tables that differ from world to world."""

from __future__ import annotations

import math
from typing import Optional, Tuple, Union

import torch
from torch import Tensor

from tasks.grasp.actions import BASE
from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.starts import EpisodeStart
from tasks.simulators.contract import DriveFactors, WorldChanges


def vary_start(cfg: RandomCfg, start: EpisodeStart, scale: Tensor) -> EpisodeStart:
    """A start with other masses and frictions of the objects, on another table.  scale (): how wide their ranges are now."""
    if cfg.varies_bodies:
        _vary_object(cfg, start, scale)
    if cfg.table_height > 0:
        start = start.raised(cfg.table_height * scale * _either_way(len(start.friction), scale))
    return start


def _vary_object(cfg: RandomCfg, start: EpisodeStart, scale: Tensor) -> None:
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


def draw_world(cfg: RandomCfg, start: EpisodeStart, half_extents: Tensor, scale: Tensor) -> WorldChanges:
    """What else differs in the worlds of a start.  half_extents (N, 3) m, of the objects; scale (): as above."""
    changes = WorldChanges(table_rise=start.table_rise)
    worlds, drives = start.joint_pos.shape
    if cfg.com > 0:
        changes.com_shift = cfg.com * scale * half_extents * _either_way((worlds, 3), scale)
    if cfg.joint_friction > 0:
        friction = torch.rand(worlds, drives, device=scale.device) * (cfg.joint_friction * scale)
        friction[:, :BASE] = 0.0
        changes.joint_friction = friction
    return changes


def no_change(cfg: Optional[RandomCfg], num_envs: int, num_drives: int, device: torch.device) -> WorldChanges:
    """Zeros for what these settings change, or for all."""
    return WorldChanges(
        com_shift=torch.zeros(num_envs, 3, device=device) if cfg is None or cfg.com > 0 else None,
        table_rise=torch.zeros(num_envs, device=device) if cfg is None or cfg.table_height > 0 else None,
        joint_friction=torch.zeros(num_envs, num_drives, device=device)
        if cfg is None or cfg.joint_friction > 0
        else None,
    )


def no_variation(num_envs: int, num_drives: int, device: torch.device) -> DriveFactors:
    """Factors of 1."""
    return DriveFactors(*torch.ones(3, num_envs, num_drives, device=device).unbind())


def _either_way(shape: Union[int, Tuple[int, ...]], like: Tensor) -> Tensor:
    """Uniform between -1 and 1."""
    return torch.rand(shape, device=like.device) * 2 - 1


def _log_uniform(ends: Tuple[float, float], uniform: Tensor, scale: Tensor) -> Tensor:
    """Between the ends to the power of scale, for uniform numbers from 0 to 1."""
    low, high = math.log(ends[0]), math.log(ends[1])
    return torch.exp(scale * (low + (high - low) * uniform))
