"""Isaac Gym (PhysX on the GPU) with the same hand and objects as the other simulators.  docs/isaac_gym.md has its traps.

Isaac Gym's ground plane is the table's top, so its heights are lower by `TABLE_HEIGHT`.  Its tensors are flat; their rows are
looked up by name and actor.  `LinkStates` knows the rest of its conventions.

A reset is kept in buffers until the next step, because between two steps Isaac Gym takes one call of each setter and shows
nothing of what was set.
"""

from __future__ import annotations

import sys
from typing import Dict, List, Optional, Sequence, Union

import mujoco
import numpy as np
import torch
from torch import Tensor

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators import streams
from tasks.simulators.contract import TABLE_HEIGHT, SimState, Start
from tasks.simulators.errors import SimulatorError
from tasks.simulators.fixed_objects import spread
from tasks.simulators.flat_hand import read_drives
from tasks.simulators.isaac_gym import audit, scene
from tasks.simulators.isaac_gym.preload import load_gymtorch, preload
from tasks.simulators.isaac_gym.scene import IsaacWorlds
from tasks.simulators.isaac_gym.settings import IsaacGymCfg
from tasks.simulators.isaac_gym.stderr_watch import StderrWatch
from tasks.simulators.link_states import LinkStates, xyzw

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
        evaluation: bool = False,
    ) -> None:
        """device: by default the first GPU, or the processor if torch sees none.
        object_ids: (N,) the object of each world; by default `spread` chooses, and evaluation is an argument of it.
        gpu_pipeline: whether PhysX and its tensors are on a GPU; by default if `device` is one.
        Raises SimulatorError if Isaac Gym cannot run here, and for a second simulator in one process.
        """
        gymapi, gymtorch = preload(), load_gymtorch()
        if IsaacGymSimulator.built:
            raise SimulatorError(
                "Isaac Gym has one simulation in a process, and this process has had its own; start another process"
            )
        if device is None:
            device = "cuda:0" if torch.cuda.is_available() else "cpu"
            if device == "cpu":
                print(
                    "warning: torch sees no CUDA GPU, so Isaac Gym simulates on the processor, slowly.  A GPU needs a driver of "
                    "version 525 or newer for this torch",
                    file=sys.stderr,
                )
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
        ids = spread(objects, num_envs, evaluation) if object_ids is None else list(object_ids)

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
        """Makes what never changes: conventions, and the rows of things in Isaac Gym's tensors."""
        hand, rows = self.hand, self.scene.rows
        object_com = np.stack([self.objects.objects[i].com for i in self.scene.object_ids])
        self.links = LinkStates(
            hand, self.model, self.drives, self.scene.link_com, object_com, self.cfg.max_speed, self.device
        )
        self.kinematics = self.links.kinematics
        self._dof_rows, self._link_rows = rows.dofs.to(self.device), rows.links.to(self.device)
        self._all_link_rows = rows.all_links.to(self.device)
        self._drive_rows = self._dof_rows[:, : hand.num_drives]
        self._coupled_rows = self._dof_rows[:, hand.num_drives :]
        self._hand_actor, self._object_actor = rows.hand.to(self.device), rows.object.to(self.device)
        self._object_row = self._object_actor.long()

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
        targets = self.links.limited(targets)
        self._targets[self._drive_rows] = targets
        if self.cfg.coupling == "drive":
            self._targets[self._coupled_rows] = self.links.followed(self.state.joint_pos)
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
        self._nan_resets += self.state.failed[ids].sum()
        # Isaac Gym shows none of this before it simulates, so `state` gets what was asked for.
        joints, quat = self.links.begin(self.state, mask, start)
        self._dof_set[self._dof_rows[ids], 0] = joints[ids]
        self._dof_set[self._dof_rows[ids], 1] = 0.0
        rows = self._object_row[ids]
        self._root_set[rows, :3] = start.object_pos[ids] - self._shift[ids]
        self._root_set[rows, 3:7] = xyzw(quat[ids])
        self._root_set[rows, 7:] = 0.0
        self._pending.append(ids)

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
        """Copies Isaac Gym's tensors to `state`."""
        dof = self._dof[self._dof_rows]
        force, pressed = self._contact[self._link_rows[:, 1:]], self._contact[self._all_link_rows]
        # Isaac Gym sums the contacts' forces but not their torques, which stay 0.  That is right for forces through the centre
        # of the finger's round end, where its frame is.  Friction and contacts farther back on the pad do have torques.
        wrench = torch.cat([force, torch.zeros_like(force)], dim=-1)
        links, item = self._links[self._link_rows], self._root[self._object_row]
        self.links.read(self.state, targets, dof[..., 0], dof[..., 1], links, wrench, pressed, item, self._shift)

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
    """Raises SimulatorError on GPUs that this torch has no code for; warns on those that Isaac Gym is reported to crash on."""
    if device.type != "cuda":
        return
    if not torch.cuda.is_available():
        raise SimulatorError("this torch sees no CUDA GPU; Isaac Gym on the processor is --device cpu, and slow")
    major, minor = torch.cuda.get_device_capability(device)
    name = f"{torch.cuda.get_device_name(device)} (compute capability {major}.{minor})"
    known = [int(arch.split("_")[1].rstrip("af")) for arch in torch.cuda.get_arch_list() if arch.startswith("sm_")]
    if known and 10 * major > max(known):
        raise SimulatorError(
            f"torch {torch.__version__} has no code for this {name}: use --sim mujoco_warp or --sim physx with a newer Python, "
            "or build torch for Python 3.8 yourself"
        )
    if major == 9:
        print(
            f"warning: Isaac Gym is reported to crash on Hopper GPUs such as this {name}, and by one report to run; if it does "
            "crash, --sim physx has its engine and --sim mujoco_warp needs none",
            file=sys.stderr,
        )
