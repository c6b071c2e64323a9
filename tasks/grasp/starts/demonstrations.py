"""Training starts inside grasps: a scripted hand finds them, before training begins, in the training's own simulator.

Hands that have never grasped anything find it by chance, and some runs wait long for that.  So in some worlds episodes begin
inside a grasp: with the hand lowered around the object, closing, lifting, or at the goal.  What to do from there is learnt first,
and then what leads there.  An episode that began in the air is cut off when the object is back on the table, so that these
worlds spend their time in the air.  To the value estimate that is a time limit.  The reward is not touched.

The script knows where the object is and nothing of its shape: it comes down, closes all fingers, and lifts.  It fails on half
of the everyday objects, which then have no such starts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Dict, List, Tuple

import torch
from torch import Tensor

from ppo_grasp.device.graphs import replayed
from tasks.grasp.actions import BASE
from tasks.grasp.starts.sampler import EpisodeStart, StartCfg, StartSampler
from tasks.hands.spec import HandSpec
from tasks.simulators.contract import TABLE_HEIGHT, Simulator, Start

SLOTS = 4
"""At most so many grasps are kept of an object."""
TRIES = 2
"""Each object is tried at least as often, unless worlds are so few that it would take more than MOST_ROUNDS."""
MOST_ROUNDS = 4
SEED = 20_261_125
"""Of what the script draws.  So a resumed run finds the same grasps."""
LEAST_HEIGHT = 0.07
"""m of the palm above the table, at least, while the fingers close."""
DESCENT = (0.047, 0.077)
"""m, from and to, by which the hand comes down before they do."""
BENDING = (0.4, 1.0)
"""Shares of the way to a joint's upper limit that it bends, from and to."""
CLOSING = (0.8, 1.6)
"""Shares of the way to `HandSpec.closed_pose`, if the hand has one.  More presses harder."""
ROOM = 0.05
"""m, a grasp counts if the object ends nearer to its goal than this."""
STEADY = 0.1
"""m/s, and slower than this."""


@dataclass(frozen=True)
class Timing:
    """Seconds of the script, and when its states are kept."""

    lower: float = 0.5
    close: Tuple[float, float] = (0.6, 1.0)
    lift: Tuple[float, float] = (1.2, 2.0)
    end: float = 2.6
    kept: Tuple[float, ...] = (0.55, 0.8, 1.15, 1.45, 1.7, 2.2)
    """One for each of STAGE_NAMES."""


TIMING = Timing()
STAGE_NAMES = ("lowered", "closing", "closed", "lifting", "rising", "at_goal")
STAGES = len(STAGE_NAMES)
IN_THE_AIR = 4
"""The first stage whose object has left the table."""
FALLEN = 0.005
"""m, an object that began in the air and is no higher than this has been dropped."""
"""An episode's stage is 0 if it starts on the table, and k if it starts in the k-th of the states that are kept."""


@dataclass
class Grasps:
    """States of grasps that the script found, (V, SLOTS, STAGES, ...) for V objects."""

    rows: Tensor
    """(V SLOTS STAGES, C) joint positions, drive targets, object pose, and its pose at rest before: see `_split`."""
    count: Tensor
    """(V,) int64, how many were found of each object; they are in its first slots."""


class GraspStarts:
    """Lets training episodes in some worlds start inside a grasp, in each stage the fewer the more of them succeed.

    Worlds have a share of the stages, and not episodes, since those that begin in the air are short at first.
    """

    def __init__(self, hand: HandSpec, num_envs: int, num_objects: int, cfg: StartCfg, device: torch.device) -> None:
        self.hand, self.cfg, self.num_objects, self.device = hand, cfg, num_objects, device
        width = 2 * hand.num_drives + 14
        self._widths = [hand.num_drives, hand.num_drives, 3, 4, 3, 4]
        self.grasps = Grasps(
            torch.zeros(num_objects * SLOTS * STAGES, width, device=device),
            torch.zeros(num_objects, dtype=torch.int64, device=device),
        )
        self.success = torch.zeros(STAGES, device=device)
        """(STAGES,) running share of the episodes of each stage that were held."""
        self._place = (torch.arange(num_envs, device=device) + 0.5) * 0.6180339887 % 1
        """(N,) evenly between 0 and 1, in an order that has nothing to do with the objects."""
        self.ready = False
        """Whether the script has run."""

    def find(self, simulator: Simulator, sampler: StartSampler) -> None:
        """Runs the script in all worlds, and keeps the states of grasps that held.  It leaves the worlds as they then are."""
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), torch.no_grad():
            torch.manual_seed(SEED)
            worlds = torch.arange(simulator.num_envs, device=self.device)
            there = torch.zeros(self.num_objects, SLOTS, dtype=torch.bool, device=self.device)
            rounds = -(-self.num_objects * TRIES // simulator.num_envs) if simulator.swaps_objects else 1
            self._targets = torch.zeros(simulator.num_envs, self.hand.num_drives, device=self.device)
            step = self._step_of(simulator)
            for turn in range(min(rounds, MOST_ROUNDS)):
                if simulator.swaps_objects:
                    number = worlds + turn * simulator.num_envs
                    object_id, slot = number % self.num_objects, number // self.num_objects
                else:
                    object_id = simulator.state.object_id.clone()
                    slot = _rank_within(object_id)
                self._try(simulator, step, sampler, object_id, slot, there)
            filled_first = torch.argsort(there.int(), dim=1, descending=True, stable=True)
            rows = self.grasps.rows.view(self.num_objects, SLOTS, -1)
            rows.copy_(rows.gather(1, filled_first[..., None].expand_as(rows)))
            self.grasps.count.copy_(there.sum(1))
        self.ready = True

    def _step_of(self, simulator: Simulator) -> Callable[[], None]:
        """Steps the simulator towards `_targets`; replayed as a CUDA graph where that is possible."""

        def step() -> None:
            simulator.step(self._targets)

        if not simulator.capturable:
            return step
        return replayed(step, self.device, "the scripted grasp", simulator.capture)

    def _try(
        self,
        simulator: Simulator,
        step: Callable[[], None],
        sampler: StartSampler,
        object_id: Tensor,
        slot: Tensor,
        there: Tensor,
    ) -> None:
        """One grasp in each world.  Those that hold go to the slot (N,) of their object, and are marked in there (V, SLOTS).

        Slots beyond SLOTS are not kept.
        """
        start = sampler.draw(object_id, close=True)
        if not simulator.swaps_objects:
            start.mass_scale, start.friction = simulator.mass_scale, simulator.friction
        simulator.reset(torch.ones_like(object_id, dtype=torch.bool), start)
        script = Script(self.hand, start, sampler)
        kept: List[Tensor] = []
        for number in range(1, round(TIMING.end / simulator.control_dt) + 1):
            now = number * simulator.control_dt
            self._targets.copy_(script.targets(now))
            step()
            if len(kept) < STAGES and now >= TIMING.kept[len(kept)] - 1e-6:
                state = simulator.state
                places = [state.joint_pos, self._targets, state.object_pos, state.object_quat]
                kept.append(torch.cat([*places, start.object_pos, start.object_quat], dim=-1))
        state = simulator.state
        goal = start.object_pos + torch.tensor([0.0, 0.0, sampler.lift_height], device=self.device)
        held = (state.object_pos - goal).norm(dim=-1) < ROOM
        held &= (state.object_vel[:, :3].norm(dim=-1) < STEADY) & ~state.failed & (slot < SLOTS)
        rows = torch.stack(kept, dim=1)[held]
        self.grasps.rows.view(self.num_objects, SLOTS, STAGES, -1)[object_id[held], slot[held]] = rows
        there[object_id[held], slot[held]] = True

    def mix(self, start: Start) -> EpisodeStart:
        """Puts starts inside grasps in place of some of these, one for each world."""
        wanted = (1 - self.success).clamp(min=self.cfg.grasp_floor)
        edges = (wanted * (self.cfg.grasp_fraction / STAGES)).cumsum(0)
        stage = torch.searchsorted(edges, self._place)  # STAGES where it is none
        count = self.grasps.count[start.object_id]
        slot = (torch.rand(len(count), device=self.device) * count).long().clamp(max=SLOTS - 1)
        inside = (stage < STAGES) & (count > 0)
        at = (start.object_id * SLOTS + slot) * STAGES + stage.clamp(max=STAGES - 1)
        found = self.grasps.rows[at].split(self._widths, dim=-1)
        table = (start.joint_pos, start.joint_pos, *(2 * (start.object_pos, start.object_quat)))
        chosen = [torch.where(inside[:, None], a, b) for a, b in zip(found, table)]
        return EpisodeStart(
            joint_pos=chosen[0],
            object_pos=chosen[2],
            object_quat=chosen[3],
            object_id=start.object_id,
            mass_scale=start.mass_scale,
            friction=start.friction,
            targets=chosen[1],
            rest_pos=chosen[4],
            rest_quat=chosen[5],
            stage=torch.where(inside, stage + 1, 0),
        )

    def report(self, stage: Tensor, ended: Tensor, held: Tensor) -> None:
        """Learns from episodes that ended; all (N,).  Success is averaged over about the last 500 of a stage."""
        episodes = torch.stack([ended, ended & held]).float()
        count, wins = self.success.new_zeros(2, STAGES + 1).index_add_(1, stage, episodes)[:, 1:]
        self.success.lerp_(wins / count.clamp(min=1), 1 - 0.998**count)

    def state_dict(self) -> Dict[str, Tensor]:
        """The success of each stage.  The grasps are found anew, by the same draws."""
        return {"start_success": self.success}

    def load_state_dict(self, state: Dict[str, Tensor]) -> None:
        """Restores `state_dict`; a run from before there were such starts has none."""
        self.success.copy_(state.get("start_success", self.success))


@dataclass
class Script:
    """The drives' targets of a scripted grasp: down, close, up."""

    hand: HandSpec
    start: Start
    sampler: StartSampler
    low_height: Tensor = field(init=False)
    """(N,) m of the palm while the fingers close."""
    closed: Tensor = field(init=False)
    """(N, D - 6) rad, where the fingers' targets end."""

    def __post_init__(self) -> None:
        start, device = self.start, self.start.joint_pos.device
        count, fingers = len(start.object_id), self.hand.num_drives - BASE
        ranges = torch.as_tensor(self.hand.drive_ranges(), dtype=torch.float32, device=device)
        low, high = ranges[BASE:].unbind(-1)
        least, most = DESCENT
        by = least + (most - least) * torch.rand(count, device=device)
        self.low_height = (start.joint_pos[:, 2] - by).clamp(min=TABLE_HEIGHT + LEAST_HEIGHT)
        if self.hand.closed_pose:
            before = self.hand.pregrasp_pose
            joints = [
                (self.hand.closed_pose.get(j, before.get(j, 0.0)), before.get(j, 0.0)) for j in self.hand.finger_joints
            ]
            bend = torch.tensor([end - start for end, start in joints], device=device)
            least, most = CLOSING
        else:
            # A joint that goes as far one way as the other spreads the fingers and does not bend them.
            sideways = (low + high).abs() < 0.3 * (high - low)
            bend = torch.where(sideways, torch.zeros_like(low), high - self.sampler.pregrasp_pose)
            least, most = BENDING
        share = least + (most - least) * torch.rand(count, fingers, device=device)
        self.closed = torch.minimum(torch.maximum(self.sampler.pregrasp_pose + share * bend, low), high)

    def targets(self, now: float) -> Tensor:
        """(N, D) after so many seconds."""
        down = _ramp(now, 0.0, TIMING.lower)
        closing, up = _ramp(now, *TIMING.close), _ramp(now, *TIMING.lift)
        targets = self.start.joint_pos.clone()
        height = targets[:, 2]
        targets[:, 2] = height + down * (self.low_height - height) + up * self.sampler.lift_height
        targets[:, BASE:] = torch.lerp(targets[:, BASE:], self.closed, closing)
        return targets


def _ramp(now: float, begin: float, end: float) -> float:
    return min(1.0, max(0.0, (now - begin) / (end - begin)))


def _rank_within(object_id: Tensor) -> Tensor:
    """(N,) which of the worlds with the same object each one is."""
    order = torch.argsort(object_id, stable=True)
    same = object_id[order]
    first = torch.searchsorted(same, same)
    rank = torch.empty_like(object_id)
    rank[order] = torch.arange(len(object_id), device=object_id.device) - first
    return rank
