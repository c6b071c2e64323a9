"""MuJoCo Warp: all worlds on one GPU, with steps that CUDA graphs can record.  Warp's slow CPU device is for tests."""

from __future__ import annotations

import gc
import math
from contextlib import contextmanager
from typing import Dict, Iterator, Optional

import mujoco_warp as mjw
import torch
import warp as wp
from torch import Tensor

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.contract import DriveFactors, SimState, Simulator, Start, WorldChanges
from tasks.simulators.mujoco.scene import BODY_FIELDS, GEOM_FIELDS, PhysicsCfg, build_scene
from tasks.simulators.mujoco.state import PHYSICS_STATE, Places, check_shapes
from tasks.simulators.mujoco_warp.distance import signed_distance
from tasks.simulators.mujoco_warp.drives import WarpDrives
from tasks.simulators.mujoco_warp.reader import WarpStateReader
from tasks.simulators.mujoco_warp.worlds import WarpWorlds
from tasks.simulators.mujoco_warp.writer import WarpStartWriter

CONTACTS_PER_WORLD = 48
"""Mean of the worlds, which share one pool.  A grasp has 8 to 22 contacts, and a candidate pair takes a place, too."""
CONSTRAINTS_PER_WORLD = 224
"""It must be a multiple of 16.  If not, mujoco_warp 4.0 with the integrator `discrete` reads past the rows of a world in which
they ran over."""
CONVEX_PAIRS_PER_WORLD = 16
"""Mean of the worlds.  Each pair has 5 to 10 kB of scratch memory."""

SELF_COLLISION = (24, 48, 8)
"""How much more there is room for if the hand meets itself: contacts, constraints, convex pairs of a world."""

_BATCHED = (*GEOM_FIELDS, *BODY_FIELDS, "geom_friction", "body_subtreemass", "dof_invweight0")
"""Fields of the model that differ between worlds.  `WarpStartWriter` writes all of them."""


class MujocoWarpSimulator(Simulator):
    """See `Simulator`.  No array ever changes its address, so that recorded graphs stay valid."""

    name = "mujoco_warp"
    pushes_objects = True
    varies_drives = True
    varies_worlds = True

    def __init__(
        self,
        hand: HandSpec,
        objects: ObjectSet,
        num_envs: int,
        device: torch.device,
        physics: PhysicsCfg = PhysicsCfg(),  # noqa: B008 frozen
    ) -> None:
        self.num_envs, self.device = num_envs, torch.empty(0, device=device).device  # with an index, which Warp needs
        self.control_dt, self.substeps = physics.control_dt, physics.substeps
        self.capturable = self.device.type == "cuda"
        self.scene = build_scene(hand, objects, physics)
        wp.config.log_level = wp.LOG_WARNING
        wp.config.cuda_output = "cubin"  # a newer driver would look for PTX, which `compile_kernels` does not write
        wp.init()
        self._streams: Dict[int, wp.Stream] = {}
        self._wp_device = wp.device_from_torch(self.device)
        with self._on_stream():
            self.model = mjw.put_model(self.scene.model, batch_sizes=dict.fromkeys(_BATCHED, num_envs))
            self.model.opt.warn_overflow = 0  # `diagnostics` tells it; kernels that print would drown the display
            more = SELF_COLLISION if physics.self_collision else (0, 0, 0)
            self.data = mjw.make_data(
                self.scene.model,
                nworld=num_envs,
                naconmax=max(round(physics.buffers * (CONTACTS_PER_WORLD + more[0]) * num_envs), 512),
                naccdmax=max(round(physics.buffers * (CONVEX_PAIRS_PER_WORLD + more[2]) * num_envs), 256),
                njmax=16 * math.ceil(physics.buffers * (CONSTRAINTS_PER_WORLD + more[1]) / 16),
            )
        self.state = SimState.zeros(hand, num_envs, self.device)
        self._nan_resets = torch.zeros((), dtype=torch.int64, device=self.device)
        self._reader = WarpStateReader(self.scene, hand, self.data, self.state)
        self._writer = WarpStartWriter(self.scene, hand, self.model, self.data, self.state, self._nan_resets)
        self._ctrl, self._overflow = wp.to_torch(self.data.ctrl), wp.to_torch(self.data.overflow)
        self._drive_of_actuator = torch.tensor(Places.of(self.scene, hand).actuators).argsort().to(self.device)
        self._object_force = wp.to_torch(self.data.xfrc_applied)[:, self.scene.object_body, :3]
        self._drives: Optional[WarpDrives] = None
        self._worlds: Optional[WarpWorlds] = None

    def _torch_stream(self) -> wp.Stream:
        """Torch's current stream as a Warp stream.  It is the same object each time, because Warp finds a recording by the object."""
        stream = torch.cuda.current_stream(self.device)
        if stream.cuda_stream not in self._streams:
            self._streams[stream.cuda_stream] = wp.stream_from_torch(stream)
        return self._streams[stream.cuda_stream]

    @contextmanager
    def _on_stream(self) -> Iterator[None]:
        """Lets Warp work on torch's current stream, so that nothing must be synchronised and a graph holds the work of both."""
        if self.device.type != "cuda":
            with wp.ScopedDevice(self._wp_device):
                yield
        else:
            with wp.ScopedStream(self._torch_stream(), sync_enter=False):
                yield

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Tells Warp that torch is recording its stream."""
        stream = self._torch_stream()
        wp.capture_begin(stream=stream, external=True, force_module_load=False)
        try:
            yield
        finally:
            wp.capture_end(stream=stream)

    def step(self, targets: Tensor) -> None:
        """See `Simulator.step`."""
        torch.index_select(targets, 1, self._drive_of_actuator, out=self._ctrl)
        with self._on_stream():
            for _ in range(self.substeps):
                mjw.step(self.model, self.data)
            mjw.rne_postconstraint(self.model, self.data)
            self._reader.read_forces()
            self._refresh_motion()

    def reset(self, mask: Tensor, start: Start) -> None:
        """See `Simulator.reset`."""
        with self._on_stream():
            self._writer.write(mask, start)
            self._refresh_motion()

    def push(self, force: Tensor) -> None:
        """See `Simulator.push`."""
        self.disturbed = True
        self._object_force.copy_(force)

    def vary_drives(self, mask: Tensor, factors: DriveFactors) -> None:
        """See `Simulator.vary_drives`."""
        self.disturbed = True
        if self._drives is None:  # worlds share their drives until some are to differ
            with self._on_stream():
                self._drives = WarpDrives(self.model, self.num_envs)
        self._drives.vary(mask, factors, self._drive_of_actuator)

    def vary_worlds(self, mask: Tensor, changes: WorldChanges) -> None:
        """See `Simulator.vary_worlds`."""
        self.disturbed = True
        if self._worlds is None:
            self._worlds = WarpWorlds(self.scene, self.model, self.data)
        with self._on_stream():
            self._worlds.vary(mask, changes, self.state.object_id)

    def distances(self, faces: Tensor, points: Tensor) -> Tensor:
        """See `Simulator.distances`."""
        if torch.compiler.is_compiling():  # it cannot see into a launch of Warp, but fuses torch's code
            return super().distances(faces, points)
        with self._on_stream():
            return signed_distance(faces, self.state.object_id, points)

    def _refresh_motion(self) -> None:
        mjw.kinematics(self.model, self.data)
        mjw.com_pos(self.model, self.data)
        mjw.com_vel(self.model, self.data)
        self._reader.read_motion()

    def diagnostics(self) -> Dict[str, float]:
        """How many worlds diverged and were reset, and in how many a buffer of contacts or constraints ran over."""
        bits = mjw.OverflowType
        lost = bits.NEFC | bits.BROADPHASE | bits.NARROWPHASE | bits.CCD | bits.NJMAX_NNZ
        result = {
            "nan_resets": float(self._nan_resets),
            "contact_overflow_worlds": float(((self._overflow & int(lost)) != 0).sum()),
        }
        self._nan_resets.zero_()
        self._overflow.zero_()
        return result

    def state_dict(self) -> Dict[str, Tensor]:
        """See `Simulator.state_dict`."""
        return {name: wp.to_torch(getattr(self.data, name)).cpu().clone() for name in PHYSICS_STATE}

    def load_state_dict(self, state: Dict[str, Tensor]) -> None:
        """See `Simulator.load_state_dict`.  The arrays keep their addresses."""
        arrays = {name: wp.to_torch(getattr(self.data, name)) for name in PHYSICS_STATE}
        check_shapes(state, {name: tuple(array.shape) for name, array in arrays.items()})
        for name, array in arrays.items():
            array.copy_(state[name])
        with self._on_stream():
            self._refresh_motion()

    def close(self) -> None:
        """Frees Warp's arrays now.  If they were freed while a later graph is recorded, that recording would break."""
        arrays = ("data", "model", "_reader", "_writer", "_ctrl", "_overflow", "_object_force", "_drives", "_worlds")
        for name in arrays:
            setattr(self, name, None)
        gc.collect()
