"""Isaac Gym (PhysX on the GPU) with the same hand and objects as the other simulators.  docs/isaac_gym.md has its traps.

This file and scene.py convert between Isaac Gym's numbers and `SimState`.  Isaac Gym's ground plane is the table's top, so
its heights are lower by `TABLE_HEIGHT`.  Its quaternions are (x, y, z, w).  Its velocities are those of centres of mass.  Its
tensors are flat; their rows are looked up by name and actor.

A reset is kept in buffers until the next step, because between two steps Isaac Gym takes one call of each setter and shows
nothing of what was set.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Union

import mujoco
import numpy as np
import torch
from torch import Tensor

from tasks import rotations
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.contract import TABLE_HEIGHT, SimState, Start
from tasks.simulators.errors import SimulatorError
from tasks.simulators.isaac_gym import audit, scene, streams
from tasks.simulators.isaac_gym.assets import read_drives
from tasks.simulators.isaac_gym.preload import load_gymtorch, preload
from tasks.simulators.isaac_gym.scene import IsaacWorlds
from tasks.simulators.isaac_gym.settings import IsaacGymCfg
from tasks.simulators.isaac_gym.stderr_watch import StderrWatch
from tasks.simulators.kinematics import hand_kinematics

FRAME_TOLERANCE = 0.1
"""m, between where an object was made and where Isaac Gym shows it."""


class IsaacGymSimulator(IsaacWorlds):
    """See `Simulator`.  The object of world i is fixed when it is built: `state.object_id`."""

    name = "isaac_gym"
    capturable = False
    swaps_objects = False
    built = False
    """Whether this process has had its one simulation."""

    def __init__(
        self,
        hand: HandSpec,
        objects: ObjectSet,
        num_envs: int,
        device: Union[str, torch.device, None] = None,
        seed: int = 0,
        control_dt: float = 1 / 30,
        cfg: IsaacGymCfg = IsaacGymCfg(),  # noqa: B008 frozen
        object_ids: Optional[Sequence[int]] = None,
        gpu_pipeline: Optional[bool] = None,
    ) -> None:
        """device: by default the first GPU, or the processor if torch sees none.  object_ids: (N,) the object of each world;
        by default they take turns.  gpu_pipeline: whether PhysX and its tensors are on a GPU; by default if `device` is one.
        Raises SimulatorError if Isaac Gym cannot run here, and for a second simulator in one process.
        """
        gymapi, gymtorch = preload(), load_gymtorch()
        if IsaacGymSimulator.built:
            raise SimulatorError(
                "Isaac Gym has one simulation in a process, and this process has had its own; start another process"
            )
        if device is None:
            device = "cuda:0" if torch.cuda.is_available() else "cpu"
        self.num_envs, self.device, self.cfg = num_envs, torch.device(device), cfg
        self.hand, self.objects = hand, objects
        self.control_dt = control_dt
        self.simulations = round(control_dt / cfg.sim_dt)
        if self.simulations < 1 or abs(self.simulations * cfg.sim_dt - control_dt) > 1e-6:
            raise SimulatorError(
                f"a control step of {control_dt} s is no multiple of Isaac Gym's step of {cfg.sim_dt} s (--isaac-gym.sim-dt)"
            )
        if cfg.coupling not in ("tendon", "drive"):
            raise SimulatorError(f"coupling {cfg.coupling!r}: choose from tendon, drive")
        check_gpu(self.device)
        self.gpu_pipeline = self.device.type == "cuda" if gpu_pipeline is None else gpu_pipeline
        ids = [i % len(objects.objects) for i in range(num_envs)] if object_ids is None else list(object_ids)

        self.model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
        self.drives = read_drives(hand, self.model)
        self._watch = StderrWatch() if cfg.watch_errors else None
        self.gym = gymapi.acquire_gym()
        IsaacGymSimulator.built = True
        self.scene = scene.build(self.gym, gymapi, self, ids, seed)
        self.sim = self.scene.sim
        self.friction = torch.tensor(self.scene.friction, dtype=torch.float32, device=self.device)
        self.mass_scale = torch.tensor(self.scene.mass_scale, dtype=torch.float32, device=self.device)
        """(N,) factor of each world's mass, as built."""
        self._make_constants()
        self._make_buffers(gymtorch)
        self.state = SimState.zeros(hand, num_envs, self.device)
        self.state.object_id.copy_(torch.as_tensor(ids, dtype=torch.int64))
        self._find_frame()
        self._pending: List[Tensor] = []
        self._nan_resets = torch.zeros((), dtype=torch.int64, device=self.device)
        self._park()
        if cfg.audit:
            audit.require_audit(self)
            self._stop_if_contacts_were_lost()
            self._park()

    # ------------------------------------------------------------------------------------------------ construction

    def _make_constants(self) -> None:
        """Makes the tensors that never change: drives, frames of palm and fingertips in their links, rows."""
        hand, model, drives = self.hand, self.model, self.drives
        driven = slice(hand.num_drives)

        def floats(values: object) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=self.device)

        self._stiffness, self._damping = floats(drives.stiffness[driven]), floats(drives.damping[driven])
        self._effort = floats(drives.effort[driven])
        self._target_lower, self._target_upper = floats(drives.target_lower), floats(drives.target_upper)
        order = list(hand.drives)
        self._source = torch.tensor(
            [order.index(name) for name in hand.coupled_joints.values()], dtype=torch.int64, device=self.device
        )
        """Column of the drive that each coupled joint follows, times `_ratio`."""
        self._ratio = floats([hand.coupling(name) for name in hand.coupled_joints])
        sites = [model.site(name).id for name in (hand.palm_site, *hand.fingertip_sites)]
        self._site_pos, self._site_quat = floats(model.site_pos[sites]), floats(model.site_quat[sites])
        self._link_com = floats(self.scene.link_com)
        """(F + 1, 3) centres of mass of the palm's and fingertips' links, as Isaac Gym has them."""
        self._object_com = floats([self.objects.objects[i].com for i in self.scene.object_ids])
        rows = self.scene.rows
        self._dof_rows, self._link_rows = rows.dofs.to(self.device), rows.links.to(self.device)
        self._all_link_rows = rows.all_links.to(self.device)
        self._drive_rows, self._coupled_rows = self._dof_rows[:, driven], self._dof_rows[:, hand.num_drives :]
        self._hand_actor, self._object_actor = rows.hand.to(self.device), rows.object.to(self.device)
        self._object_row = self._object_actor.long()
        self.kinematics = hand_kinematics(hand, self.device)

    def _make_buffers(self, gymtorch: object) -> None:
        """Makes Isaac Gym's tensors, which `refresh` fills, and ours, which its setters read.

        All of them live as long as this object, because Isaac Gym knows only their addresses.
        """

        def wrap(what: str, width: int) -> Tensor:
            tensor = gymtorch.wrap_tensor(getattr(self.gym, f"acquire_{what}_tensor")(self.sim))  # type: ignore[attr-defined]
            if tensor is None:
                raise SimulatorError(f"Isaac Gym has no {what.replace('_', ' ')} tensor")
            return tensor.view(-1, width)

        self._root, self._dof = wrap("actor_root_state", 13), wrap("dof_state", 2)
        self._links, self._contact = wrap("rigid_body_state", 13), wrap("net_contact_force", 3)
        if self._root.device.type != self.device.type:
            raise SimulatorError(f"Isaac Gym's tensors are on {self._root.device}, not on {self.device}")
        self._root_set, self._dof_set = torch.zeros_like(self._root), torch.zeros_like(self._dof)
        self._root_set[:, 6] = 1.0
        self._targets = torch.zeros(len(self._dof), dtype=torch.float32, device=self.device)
        self._unwrap = gymtorch.unwrap_tensor  # type: ignore[attr-defined]
        self._root_desc, self._dof_desc = self._unwrap(self._root_set), self._unwrap(self._dof_set)
        self._targets_desc = self._unwrap(self._targets)

    def _find_frame(self) -> None:
        """Finds out whether positions are relative to each world's origin, as its users report, or to one origin.

        Preparing the simulation may have let objects fall for a step, so they need only be near where they were made.
        """
        self._refresh(("actor_root_state",))
        local = torch.as_tensor(self.scene.object_start, dtype=torch.float32, device=self.device)
        origins = torch.as_tensor(self.scene.origins, dtype=torch.float32, device=self.device)
        offset = self._root[self._object_row, :3] - local
        self._shift = torch.tensor([0.0, 0.0, TABLE_HEIGHT], device=self.device).repeat(self.num_envs, 1)
        """(N, 3) from Isaac Gym's positions to ours."""
        if offset.abs().max() < FRAME_TOLERANCE:
            self.frame = "local"
        elif (offset - origins).abs().max() < FRAME_TOLERANCE:
            self.frame = "global"
            self._shift -= origins
        else:
            raise SimulatorError(
                "Isaac Gym shows objects neither relative to their own world nor to one origin: the first of "
                f"{self.num_envs} was made at {local[0].tolist()} and is at {self._root[self._object_row[0], :3].tolist()}"
            )

    def _park(self) -> None:
        """Puts all worlds at rest: the hand is open above the table, the object on it."""
        joint_pos = torch.zeros((self.num_envs, self.hand.num_drives), device=self.device)
        joint_pos[:, 2] = TABLE_HEIGHT + 0.4
        ids = self.state.object_id.tolist()
        rest = [self.objects.objects[i] for i in ids]
        object_pos = torch.zeros((self.num_envs, 3), device=self.device)
        object_pos[:, 2] = torch.tensor([TABLE_HEIGHT + float(item.rest_height[0]) for item in rest]).to(self.device)
        object_quat = torch.tensor([item.rest_quat[0].tolist() for item in rest]).to(self.device)
        everywhere = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self.reset(
            everywhere,
            Start(joint_pos, object_pos, object_quat, self.state.object_id, self.mass_scale, self.friction),
        )

    # --------------------------------------------------------------------------------------------------- the contract

    def step(self, targets: Tensor) -> None:
        """See `Simulator.step`."""
        targets = targets.clamp(self._target_lower, self._target_upper)
        self._targets[self._drive_rows] = targets
        if self.cfg.coupling == "drive":
            followed = self.state.joint_pos[:, self._source] * self._ratio
            self._targets[self._coupled_rows] = followed
        self._submit_resets()
        streams.finish_torch(self.device)
        self._require(self.gym.set_dof_position_target_tensor(self.sim, self._targets_desc), "position targets")
        for _ in range(self.simulations):
            self.gym.simulate(self.sim)
            if not self.gpu_pipeline:
                self.gym.fetch_results(self.sim, True)
        self._refresh(("actor_root_state", "dof_state", "rigid_body_state", "net_contact_force"))
        self._read(targets)

    def reset(self, mask: Tensor, start: Start) -> None:
        """See `Simulator.reset`.  Object, mass and friction of the start are ignored: each world keeps those it was built with."""
        ids = mask.nonzero()[:, 0]
        if len(ids) == 0:
            return
        state, joints = self.state, start.joint_pos[ids].float()
        self._nan_resets += state.failed[ids].sum()
        all_joints = torch.cat([joints, joints[:, self._source] * self._ratio], dim=1)
        quat = start.object_quat[ids] / start.object_quat[ids].norm(dim=-1, keepdim=True)

        self._dof_set[self._dof_rows[ids], 0] = all_joints
        self._dof_set[self._dof_rows[ids], 1] = 0.0
        rows = self._object_row[ids]
        self._root_set[rows, :3] = start.object_pos[ids] - self._shift[ids]
        self._root_set[rows, 3:7] = quat[:, [1, 2, 3, 0]]
        self._root_set[rows, 7:] = 0.0
        self._pending.append(ids)

        # Isaac Gym shows none of this before it simulates, so `state` gets what was asked for.
        pos, site_quat = self.kinematics(all_joints)
        state.joint_pos[ids], state.joint_vel[ids] = joints, 0.0
        state.drive_force[ids] = 0.0
        state.palm_pos[ids], state.palm_quat[ids] = pos[:, 0], site_quat[:, 0]
        state.fingertip_pos[ids], state.fingertip_quat[ids] = pos[:, 1:], site_quat[:, 1:]
        state.fingertip_vel[ids] = 0.0
        state.fingertip_wrench[ids] = 0.0
        state.hand_force[ids] = 0.0
        state.object_pos[ids], state.object_quat[ids] = start.object_pos[ids].float(), quat
        state.object_vel[ids] = 0.0
        state.failed[ids] = False

    def diagnostics(self) -> Dict[str, float]:
        """How many worlds diverged and were reset.  Raises SimulatorError if PhysX has lost contacts."""
        self._stop_if_contacts_were_lost()
        count = float(self._nan_resets.item())
        self._nan_resets.zero_()
        return {"nan_resets": count}

    def joint_angles(self) -> Tensor:
        """See `IsaacWorlds`."""
        return self._dof[self._dof_rows, 0]

    def close(self) -> None:
        """Ends the simulation.  There cannot be another one in this process."""
        if self.sim is not None:
            self.gym.destroy_sim(self.sim)
            self.sim = None
        if self._watch is not None:
            self._watch.close()

    # -------------------------------------------------------------------------------------------------------- insides

    def _submit_resets(self) -> None:
        """Calls each setter once, for all worlds that were reset since the last step, each world once."""
        if not self._pending:
            return
        ids = self._pending[0] if len(self._pending) == 1 else torch.unique(torch.cat(self._pending))
        # They are kept because Isaac Gym has only their addresses, and reads them when it simulates.
        self._hand_ids, self._object_ids = self._hand_actor[ids].contiguous(), self._object_actor[ids].contiguous()
        streams.finish_torch(self.device)
        count = len(ids)
        set_root, set_dof = self.gym.set_actor_root_state_tensor_indexed, self.gym.set_dof_state_tensor_indexed
        self._require(set_root(self.sim, self._root_desc, self._unwrap(self._object_ids), count), "object states")
        self._require(set_dof(self.sim, self._dof_desc, self._unwrap(self._hand_ids), count), "joint states")
        self._pending = []

    def _read(self, targets: Tensor) -> None:
        """Copies Isaac Gym's tensors to `state`.  A world that diverged keeps its last sane values."""
        state = self.state
        dof, root = self._dof[self._drive_rows], self._root[self._object_row]
        links = self._links[self._link_rows]
        force, pressed = self._contact[self._link_rows[:, 1:]], self._contact[self._all_link_rows]
        joints, speeds = dof[..., 0], dof[..., 1]
        everything = torch.cat([dof.flatten(1), root, links.flatten(1), pressed.flatten(1)], dim=1)
        fast = (speeds.abs() > self.cfg.max_speed).any(-1) | (root[:, 7:].abs() > self.cfg.max_speed).any(-1)
        failed = ~torch.isfinite(everything).all(-1) | fast

        def put(into: Tensor, values: Tensor) -> None:
            into.copy_(torch.where(failed.view(-1, *[1] * (into.dim() - 1)), into, values))

        put(state.joint_pos, joints)
        put(state.joint_vel, speeds)
        drive = self._stiffness * (targets - joints) - self._damping * speeds
        put(state.drive_force, torch.minimum(torch.maximum(drive, -self._effort), self._effort))

        quat = links[..., [6, 3, 4, 5]]
        site = links[..., :3] + rotations.rotate(quat, self._site_pos) + self._shift[:, None]
        site_quat = rotations.multiply(quat, self._site_quat.expand_as(quat))
        put(state.palm_pos, site[:, 0])
        put(state.palm_quat, site_quat[:, 0])
        put(state.fingertip_pos, site[:, 1:])
        put(state.fingertip_quat, site_quat[:, 1:])
        arm = rotations.rotate(quat, self._site_pos - self._link_com)
        linear = links[..., 7:10] + torch.linalg.cross(links[..., 10:], arm)
        put(state.fingertip_vel, torch.cat([linear, links[..., 10:]], dim=-1)[:, 1:])
        # Isaac Gym sums the contacts' forces but not their torques, which stay 0.  That is right for forces through the centre
        # of the finger's round end, where its frame is.  Friction and contacts farther back on the pad do have torques.
        put(state.fingertip_wrench, torch.cat([force, torch.zeros_like(force)], dim=-1))

        put(state.hand_force, pressed.norm(dim=-1).sum(-1))

        object_quat = root[:, [6, 3, 4, 5]]
        arm = rotations.rotate(object_quat, self._object_com)
        put(state.object_pos, root[:, :3] + self._shift)
        put(state.object_quat, object_quat)
        put(state.object_vel, torch.cat([root[:, 7:10] - torch.linalg.cross(root[:, 10:], arm), root[:, 10:]], dim=-1))
        state.failed.copy_(failed)

    def _refresh(self, tensors: Sequence[str]) -> None:
        for name in tensors:
            if getattr(self.gym, f"refresh_{name}_tensor")(self.sim) is False:
                raise SimulatorError(f"Isaac Gym could not read its {name.replace('_', ' ')}")
        streams.finish_all(self.device)

    def _stop_if_contacts_were_lost(self) -> None:
        lost = self._watch.lost() if self._watch is not None else []
        if lost:
            raise SimulatorError(
                f"PhysX lost contacts, so its motions are wrong; it said {lost[0].strip()!r} ({len(lost)} such lines): give "
                "a larger --isaac-gym.max-contact-pairs or --isaac-gym.buffer-multiplier, or fewer --num-envs"
            )

    def _require(self, done: object, what: str) -> None:
        if not done:
            raise SimulatorError(f"Isaac Gym did not take the {what}")


def check_gpu(device: torch.device) -> None:
    """Raises SimulatorError on GPUs that Isaac Gym is known to crash on."""
    if device.type != "cuda":
        return
    if not torch.cuda.is_available():
        raise SimulatorError("this torch sees no CUDA GPU; Isaac Gym on the processor is --device cpu, and slow")
    major, minor = torch.cuda.get_device_capability(device)
    if major == 9:
        raise SimulatorError(
            f"Isaac Gym crashes on Hopper GPUs such as this {torch.cuda.get_device_name(device)} (compute capability "
            f"{major}.{minor}): use --sim mujoco_warp here, or a GPU of the Turing, Ampere or Ada generation"
        )
