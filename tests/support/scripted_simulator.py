"""A simulator without physics: joints are at their targets, and everything else is where the test puts it."""

from __future__ import annotations

from dataclasses import fields
from typing import Callable, List, Optional

import torch
from torch import Tensor

from tasks.hands import HandSpec, get_hand
from tasks.simulators.contract import DriveFactors, SimState, Simulator, Start, WorldChanges


class ScriptedSimulator(Simulator):
    """`after_step` is called with the simulator after each step, to write into `state`; `time` counts the steps."""

    name = "scripted"
    pushes_objects = True
    varies_drives = True
    varies_worlds = True

    def __init__(
        self,
        num_envs: int,
        after_step: Optional[Callable[[ScriptedSimulator], None]] = None,
        hand: Optional[HandSpec] = None,
    ) -> None:
        """hand: by default the Shadow Hand."""
        self.hand = hand or get_hand("shadow")
        self.num_envs, self.device, self.control_dt = num_envs, torch.device("cpu"), 1 / 30
        self.state = SimState.zeros(self.hand, num_envs, self.device)
        self.after_step = after_step
        self.follow = True
        self.time = 0
        self.targets = torch.zeros(num_envs, self.hand.num_drives)
        self.masks: List[Tensor] = []
        self.force = torch.zeros(num_envs, 3)
        self.factors = torch.ones(3, num_envs, self.hand.num_drives)
        self.com_shift, self.table_rise = torch.zeros(num_envs, 3), torch.zeros(num_envs)
        self.joint_friction = torch.zeros(num_envs, self.hand.num_drives)
        self.mass_scale, self.friction = torch.zeros(num_envs), torch.zeros(num_envs)

    def step(self, targets: Tensor) -> None:
        self.time += 1
        self.targets.copy_(targets)
        if self.follow:
            self.state.joint_vel.copy_((targets - self.state.joint_pos) / self.control_dt)
            self.state.joint_pos.copy_(targets)
            self._place_hand()
        if self.after_step is not None:
            self.after_step(self)

    def reset(self, mask: Tensor, start: Start) -> None:
        self.masks.append(mask.clone())
        new = {name: getattr(start, name) for name in ("joint_pos", "object_pos", "object_quat", "object_id")}
        for f in fields(SimState):
            old = getattr(self.state, f.name)
            level = torch.eye(4)[0] if f.name.endswith("_quat") else torch.zeros((), dtype=old.dtype)
            value = new.get(f.name, level)
            old.copy_(torch.where(mask.view(-1, *[1] * (old.dim() - 1)), value, old))
        self.mass_scale.copy_(torch.where(mask, start.mass_scale, self.mass_scale))
        self.friction.copy_(torch.where(mask, start.friction, self.friction))
        self._place_hand()

    def push(self, force: Tensor) -> None:
        self.disturbed = True
        self.force.copy_(force)

    def vary_drives(self, mask: Tensor, factors: DriveFactors) -> None:
        self.disturbed = True
        new = torch.stack([factors.stiffness, factors.damping, factors.force])
        self.factors.copy_(torch.where(mask[:, None], new, self.factors))

    def vary_worlds(self, mask: Tensor, changes: WorldChanges) -> None:
        self.disturbed = True
        for name, new in vars(changes).items():
            old = getattr(self, name)
            if new is not None:
                old.copy_(torch.where(mask.view(-1, *[1] * (old.dim() - 1)), new, old))

    def _place_hand(self) -> None:
        """Puts the palm where the slides are, and the fingertips in a row 10 cm before it."""
        self.state.palm_pos.copy_(self.state.joint_pos[:, :3])
        tips = self.hand.num_fingertips
        row = torch.stack([torch.full((tips,), 0.1), torch.linspace(-0.04, 0.04, tips), torch.zeros(tips)], dim=-1)
        self.state.fingertip_pos.copy_(self.state.palm_pos[:, None] + row)
