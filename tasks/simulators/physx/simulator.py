"""PhysX 5 on a GPU or a processor, with the same hand and objects as the other simulators.

State and targets are torch tensors that PhysX reads and writes where they lie.  Nothing is copied to the host.  A reset is kept
in these tensors until the next step, so that torch and PhysX wait for each other twice a step, however many resets there were.
What torch computes before and after the physics is replayed as CUDA graphs.
"""

from __future__ import annotations

from typing import Dict, Optional, Sequence

import mujoco
import numpy as np
import torch
from torch import Tensor

from ppo_grasp.device.graphs import replayed
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators import streams
from tasks.simulators.contract import TABLE_HEIGHT, SimState, Simulator, Start
from tasks.simulators.fixed_objects import draw_properties, spread
from tasks.simulators.flat_hand import flatten, read_drives
from tasks.simulators.link_states import LinkStates, xyzw
from tasks.simulators.physx import worlds
from tasks.simulators.physx.contacts import FingertipTorques
from tasks.simulators.physx.library import load
from tasks.simulators.physx.lost_contacts import LostContacts
from tasks.simulators.physx.settings import PhysxCfg


class PhysxSimulator(Simulator):
    """See `Simulator`.  The object of world i is fixed when it is built: `state.object_id`."""

    name = "physx"
    capturable = False
    swaps_objects = False

    def __init__(
        self,
        hand: HandSpec,
        objects: ObjectSet,
        num_envs: int,
        cfg: PhysxCfg = PhysxCfg(),  # noqa: B008 frozen
        device: Optional[torch.device] = None,
        seed: int = 0,
        evaluation: bool = False,
        object_ids: Optional[Sequence[int]] = None,
    ) -> None:
        """device: by default torch's current GPU, or the processor if torch sees none.  seed: of masses and frictions.
        evaluation: see `spread`, unless object_ids (N,) has the object of each world.
        Raises SimulatorError if ovphysx cannot be used here.
        """
        library = load()
        if device is None:
            gpu = torch.cuda.is_available()
            device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
        self.hand, self.objects, self.num_envs, self.cfg, self.device = hand, objects, num_envs, cfg, device
        self.control_dt = cfg.control_dt
        ids = list(object_ids) if object_ids is not None else spread(objects, num_envs, evaluation)
        self.model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
        self.drives, links = read_drives(hand, self.model), flatten(self.model)
        self._lost = LostContacts(library)
        self.worlds = worlds.build(library, hand, links, self.drives, objects, ids, cfg, device)
        friction, mass_scale = draw_properties(objects, ids, cfg.friction, cfg.mass_scale, seed)
        self.worlds.physx.warmup()
        worlds.set_properties(library, self.worlds, friction, mass_scale)
        self.friction = torch.tensor(friction, dtype=torch.float32, device=device)
        self.mass_scale = torch.tensor(mass_scale, dtype=torch.float32, device=device)
        self.state = SimState.zeros(hand, num_envs, device)
        self.state.object_id.copy_(torch.as_tensor(ids, dtype=torch.int64))
        by_name = {link.name: link for link in links}
        link_com = np.array([by_name[name].com for name in (hand.palm_body, *hand.fingertip_bodies)])
        object_com = np.array([objects.objects[i].com for i in ids])
        self.links = LinkStates(hand, self.model, self.drives, link_com, object_com, cfg.max_speed, device)
        self._make_buffers()
        self._park()

    # ------------------------------------------------------------------------------------------------ construction

    def _make_buffers(self) -> None:
        """Makes the tensors that PhysX reads and writes, and the rows of worlds in them."""

        def index(values: np.ndarray) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.int64, device=self.device)

        built, n = self.worlds, self.num_envs
        self._hand_row, self._object_row = index(built.hand_rows), index(built.object_rows)
        self._hand_world, self._object_world = index(np.argsort(built.hand_rows)), index(np.argsort(built.object_rows))
        self._joint_column, self._link_column = index(built.joint_columns), index(built.link_columns)
        self._contact_row = index(built.contact_rows)
        self._shift = -torch.as_tensor(built.origins, device=self.device)
        """(N, 3) from PhysX's positions to those of a world."""
        sizes = {name: tuple(binding.shape) for name, binding in built.bindings.items()}
        self._output = {name: torch.zeros(size, device=self.device) for name, size in sizes.items()}
        """What PhysX writes after a step, by the binding's name."""
        self._input = {name: torch.zeros_like(self._output[name]) for name in ("joint_pos", "target", "object_pose")}
        """What PhysX reads before a step, by the binding's name."""
        self._input["object_pose"][:, 6] = 1.0
        self._zero_velocity = {name: torch.zeros_like(self._output[name]) for name in ("joint_vel", "object_vel")}
        """The velocities of what is reset."""
        self._hand_mask = torch.zeros(n, dtype=torch.bool, device=self.device)
        """(N,) whether the hand in each row was reset since the last step."""
        self._object_mask = torch.zeros_like(self._hand_mask)
        """(N,) whether the object in each row was reset since the last step."""
        sensors = built.contacts.sensor_count
        self._normal = torch.zeros(sensors, 3, device=self.device)
        self._rubbing = torch.zeros_like(self._normal)
        self._torques = None
        if built.tip_contacts is not None:
            self._torques = FingertipTorques(built.tip_contacts, built.tip_rows, self.device)
        self._nan_resets = torch.zeros((), dtype=torch.int64, device=self.device)

        # Inputs of the graphs, which stay where they are.
        self._targets = torch.zeros_like(self.state.joint_pos)
        self._mask = torch.zeros(n, dtype=torch.bool, device=self.device)
        self._start = Start(
            joint_pos=torch.zeros_like(self.state.joint_pos),
            object_pos=torch.zeros_like(self.state.object_pos),
            object_quat=torch.zeros_like(self.state.object_quat),
            object_id=self.state.object_id,
            mass_scale=self.mass_scale,
            friction=self.friction,
        )
        self._before = replayed(self._take_targets, self.device, "what is before the physics")
        self._after = replayed(self._read, self.device, "what is after the physics")
        self._begin = replayed(self._take_reset, self.device, "the reset")

    def _park(self) -> None:
        """Puts all worlds at rest: the hand is open above the table, the object on it."""
        joint_pos = torch.zeros_like(self.state.joint_pos)
        joint_pos[:, 2] = TABLE_HEIGHT + 0.4
        rest = [self.objects.objects[i] for i in self.state.object_id.tolist()]
        pos = torch.zeros(self.num_envs, 3)
        pos[:, 2] = torch.tensor([TABLE_HEIGHT + float(item.rest_height[0]) for item in rest])
        quat = torch.tensor(np.stack([item.rest_quat[0] for item in rest]), dtype=torch.float32)
        everywhere = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        ids, device = self.state.object_id, self.device
        begin = Start(joint_pos, pos.to(device), quat.to(device), ids, self.mass_scale, self.friction)
        self.reset(everywhere, begin)

    # --------------------------------------------------------------------------------------------------- the contract

    def step(self, targets: Tensor) -> None:
        """See `Simulator.step`."""
        self._targets.copy_(targets)
        self._before()
        streams.finish_torch(self.device)
        bindings = self.worlds.bindings
        for name, values, mask in (
            ("joint_pos", self._input["joint_pos"], self._hand_mask),
            ("joint_vel", self._zero_velocity["joint_vel"], self._hand_mask),
            ("object_pose", self._input["object_pose"], self._object_mask),
            ("object_vel", self._zero_velocity["object_vel"], self._object_mask),
        ):
            bindings[name].write(values, mask=mask)
        bindings["target"].write(self._input["target"])
        for _ in range(self.cfg.substeps):
            self.worlds.physx.step_sync(self.cfg.timestep)
        for name, values in self._output.items():
            if name != "target":
                bindings[name].read(values)
        self.worlds.contacts.read_net_normal_forces(self._normal)
        self.worlds.contacts.read_net_friction_forces(self._rubbing)
        if self._torques is not None:
            self._torques.fetch()
        streams.finish_all(self.device)
        self._after()

    def reset(self, mask: Tensor, start: Start) -> None:
        """See `Simulator.reset`.  Object, mass and friction of the start are ignored: each world keeps those it was built with."""
        self._mask.copy_(mask)
        for name in ("joint_pos", "object_pos", "object_quat"):
            getattr(self._start, name).copy_(getattr(start, name))
        self._begin()

    def diagnostics(self) -> Dict[str, float]:
        """How many worlds diverged and were reset, and how often PhysX said that a buffer was full."""
        resets = float(self._nan_resets.item())
        self._nan_resets.zero_()
        return {"nan_resets": resets, "contact_overflows": float(self._lost.count())}

    def close(self) -> None:
        """Frees PhysX's memory."""
        self.worlds.close()
        self._lost.close()

    # ------------------------------------------------- functions of tensors, which ask neither PhysX nor the host

    def _take_targets(self) -> None:
        limited = self.links.limited(self._targets)
        self._targets.copy_(limited)
        self._input["target"][self._hand_row[:, None], self._joint_column[: self.hand.num_drives]] = limited

    def _take_reset(self) -> None:
        mask = self._mask
        self._nan_resets += (self.state.failed & mask).sum()
        joints, quat = self.links.begin(self.state, mask, self._start)
        pose = torch.cat([self._start.object_pos - self._shift, xyzw(quat)], dim=1)
        hand_mask, object_mask = mask[self._hand_world], mask[self._object_world]
        rows = torch.zeros_like(joints)
        rows[:, :] = joints[self._hand_world]
        by_column = torch.zeros_like(self._input["joint_pos"])
        by_column[:, self._joint_column] = rows
        for into, values, where in (
            (self._input["joint_pos"], by_column, hand_mask),
            (self._input["object_pose"], pose[self._object_world], object_mask),
        ):
            into.copy_(torch.where(where[:, None], values, into))
        self._hand_mask.logical_or_(hand_mask)
        self._object_mask.logical_or_(object_mask)

    def _read(self) -> None:
        """Copies PhysX's tensors to `state`."""
        self._hand_mask.zero_()
        self._object_mask.zero_()
        now, hands, things = self._output, self._hand_row, self._object_row
        joints = now["joint_pos"][hands][:, self._joint_column]
        speeds = now["joint_vel"][hands][:, self._joint_column]
        links = torch.cat([now["link_pose"], now["link_vel"]], dim=-1)[hands][:, self._link_column]
        item = torch.cat([now["object_pose"], now["object_vel"]], dim=-1)[things]
        tips = slice(self.hand.num_fingertips)
        rubbing = self._rubbing[self._contact_row]
        force = self._normal[self._contact_row] + rubbing
        if self._torques is None:
            torque = torch.zeros_like(force[:, tips])
        else:
            torque = self._torques.about(self.links.sites(links)[:, 1:], rubbing[:, tips])
        wrench = torch.cat([force[:, tips], torque], dim=-1)
        self.links.read(self.state, self._targets, joints, speeds, links, wrench, force, item, self._shift)
