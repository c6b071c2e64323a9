"""MuJoCo Warp: all worlds on one GPU, a step recorded in CUDA graphs; its slow CPU device serves tests."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import Dict, Iterator

import mujoco_warp as mjw
import torch
import warp as wp
from torch import Tensor

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.contract import COMPILE_OPTIONS, NUM_DRIVES, SimState, Simulator, Start
from tasks.simulators.mujoco_state import Places
from tasks.simulators.mujoco_warp_reader import WarpStateReader
from tasks.simulators.scene import BODY_FIELDS, GEOM_FIELDS, PhysicsCfg, build_scene

CONTACTS_PER_WORLD = 48
"""Mean over the worlds, which share one pool; a grasp has 8 to 22, a candidate pair takes a place too."""
CONSTRAINTS_PER_WORLD = 224
"""A multiple of 16: with another, mujoco_warp 4.0 and `discrete` read past the rows of a world in which they ran over."""
CONVEX_PAIRS_PER_WORLD = 16
"""Mean; each has 5 to 10 kB of scratch memory."""

_MASS_POWER = {"body_mass": 1, "body_inertia": 1, "body_invweight0": -1, "dof_invweight0": -1}
"""Power of the mass that a field goes with, where that is not 0."""
_BATCHED = (*GEOM_FIELDS, *BODY_FIELDS, "geom_friction", "body_subtreemass", "dof_invweight0")


class MujocoWarpSimulator(Simulator):
    """See `Simulator`.  Every array keeps its address for life, so that recorded graphs stay valid."""

    name = "mujoco_warp"

    def __init__(
        self,
        hand: HandSpec,
        objects: ObjectSet,
        num_envs: int,
        device: torch.device,
        physics: PhysicsCfg = PhysicsCfg(),  # noqa: B008 frozen
    ) -> None:
        self.num_envs, self.device = num_envs, torch.empty(0, device=device).device  # with its index, which Warp needs
        self.control_dt, self.substeps = physics.control_dt, physics.substeps
        self.capturable = self.device.type == "cuda"
        self.scene = build_scene(hand, objects, physics)
        wp.config.log_level = wp.LOG_WARNING
        wp.config.cuda_output = "cubin"  # else a newer driver looks for PTX, which `compile_kernels` does not write
        wp.init()
        self._streams: Dict[int, wp.Stream] = {}
        self._wp_device = wp.device_from_torch(self.device)
        with self._on_stream():
            self.model = mjw.put_model(self.scene.model, batch_sizes=dict.fromkeys(_BATCHED, num_envs))
            self.model.opt.warn_overflow = 0  # polled in `diagnostics`; printing from kernels would drown the display
            self.data = mjw.make_data(
                self.scene.model,
                nworld=num_envs,
                naconmax=max(CONTACTS_PER_WORLD * num_envs, 512),
                naccdmax=max(CONVEX_PAIRS_PER_WORLD * num_envs, 256),
                njmax=CONSTRAINTS_PER_WORLD,
            )
        self.state = SimState.zeros(num_envs, self.device)
        self._nan_resets = torch.zeros((), dtype=torch.int64, device=self.device)
        self._link_memory(hand)

    def _link_memory(self, hand: HandSpec) -> None:
        d, m = self.data, self.model
        view = wp.to_torch
        self._reader = WarpStateReader(self.scene, hand, d, self.state)
        self._qpos, self._qvel = view(d.qpos), view(d.qvel)
        self._ctrl, self._warmstart = view(d.ctrl), view(d.qacc_warmstart)
        self._overflow = view(d.overflow)
        self._fields = {name: view(getattr(m, name)) for name in _BATCHED}

        def rows(values: object, like: Tensor) -> Tensor:
            tensor = torch.as_tensor(values, device=self.device).to(like.dtype)
            return tensor.reshape(tensor.shape[0], *like.shape[1:])

        # What changes with a world's object: the fields of floats lie side by side, so that one look-up gets them all.
        body, geoms, dof = self.scene.object_body, self.scene.object_geoms, self.scene.object_dof
        targets = {name: self._fields[name][:, geoms] for name in GEOM_FIELDS}
        targets.update({name: self._fields[name][:, body] for name in BODY_FIELDS})
        targets["dof_invweight0"] = self._fields["dof_invweight0"][:, dof : dof + 6]
        library = {**self.scene.geom_rows, **self.scene.body_rows, "dof_invweight0": self.scene.dof_invweight0}
        self._meshes = targets.pop("geom_dataid")
        self._mesh_rows = rows(library["geom_dataid"], self._meshes)
        self._targets = list(targets.values())
        self._rows = torch.cat([_flat(rows(library[name], target)) for name, target in targets.items()], dim=1)
        self._widths = [target[0].numel() for target in self._targets]
        powers = [_MASS_POWER.get(name, 0) for name in targets]
        self._mass_power = torch.repeat_interleave(torch.tensor(powers), torch.tensor(self._widths)).to(self.device)
        # Which column of drives, object position and object quaternion each coordinate gets.
        source = torch.empty(self._qpos.shape[1], dtype=torch.int64)
        source[self.scene.drive_qpos] = torch.arange(NUM_DRIVES)
        source[self.scene.coupled_qpos] = torch.as_tensor(self.scene.coupled_source)
        source[self.scene.object_qpos : self.scene.object_qpos + 7] = NUM_DRIVES + torch.arange(7)
        self._qpos_source = source.to(self.device)
        self._drive_of_actuator = torch.tensor(Places.of(self.scene, hand).actuators).argsort().to(self.device)

    def _torch_stream(self) -> wp.Stream:
        """Torch's current stream as Warp's, always the same object: Warp finds a recording by the object, not by its handle."""
        stream = torch.cuda.current_stream(self.device)
        if stream.cuda_stream not in self._streams:
            self._streams[stream.cuda_stream] = wp.stream_from_torch(stream)
        return self._streams[stream.cuda_stream]

    @contextmanager
    def _on_stream(self) -> Iterator[None]:
        """Warp works on torch's current stream, so that order needs no synchronising and graphs hold both."""
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
        self._ctrl.copy_(targets[:, self._drive_of_actuator])
        with self._on_stream():
            for _ in range(self.substeps):
                mjw.step(self.model, self.data)
            mjw.rne_postconstraint(self.model, self.data)
            self._reader.read_forces()
            self._refresh_motion()

    def reset(self, mask: Tensor, start: Start) -> None:
        """See `Simulator.reset`."""
        self._write_start(mask, start)
        with self._on_stream():
            self._refresh_motion()

    def compile(self) -> None:
        """See `Simulator.compile`."""
        self._write_start = torch.compile(self._write_start, **COMPILE_OPTIONS)  # type: ignore[method-assign]

    def _write_start(self, mask: Tensor, start: Start) -> None:
        """Model rows, coordinates and targets of the masked worlds."""
        self._nan_resets += (mask & self.state.failed).sum()
        self._set_objects(mask, start)
        qpos = torch.cat([start.joint_pos, start.object_pos, start.object_quat], dim=-1)[:, self._qpos_source]
        _put(mask, self._qpos, qpos)
        _put(mask, self._qvel, 0.0)
        _put(mask, self._warmstart, 0.0)  # a world gone to NaN stays dead with the solver's old guess
        _put(mask, self._ctrl, start.joint_pos[:, self._drive_of_actuator])
        _put(mask, self.state.drive_force, 0.0)
        _put(mask, self.state.fingertip_wrench, 0.0)

    def _set_objects(self, mask: Tensor, start: Start) -> None:
        _put(mask, self.state.object_id, start.object_id)
        object_id = self.state.object_id  # rows outside the mask may hold anything, and these index the library
        _put(mask, self._meshes, self._mesh_rows[object_id])
        rows = self._rows[object_id] * start.mass_scale[:, None] ** self._mass_power
        for target, row in zip(self._targets, rows.split(self._widths, dim=1)):
            _put(mask, target, row.view_as(target))
        mass = self._fields["body_mass"][:, self.scene.object_body]
        _put(mask, self._fields["body_subtreemass"][:, self.scene.object_body], mass)
        _put(mask, self._fields["body_subtreemass"][:, 0], mass + self.scene.hand_mass)
        _put(mask, self._fields["geom_friction"][:, self.scene.object_geoms, 0], start.friction[:, None])

    def _refresh_motion(self) -> None:
        mjw.kinematics(self.model, self.data)
        mjw.com_pos(self.model, self.data)
        mjw.com_vel(self.model, self.data)
        self._reader.read_motion()

    def diagnostics(self) -> Dict[str, float]:
        """Diverged worlds that were reset, and worlds in which a contact or constraint buffer ran over."""
        bits = mjw.OverflowType
        lost = bits.NEFC | bits.BROADPHASE | bits.NARROWPHASE | bits.CCD | bits.NJMAX_NNZ
        result = {
            "nan_resets": float(self._nan_resets),
            "contact_overflow_worlds": float(((self._overflow & int(lost)) != 0).sum()),
        }
        self._nan_resets.zero_()
        self._overflow.zero_()
        return result

    def close(self) -> None:
        """Drops Warp's arrays now: a finaliser that runs inside a later capture would break it."""
        self.data = self.model = None
        gc.collect()


def _flat(rows: Tensor) -> Tensor:
    return rows.reshape(len(rows), -1)


def _like(values: Tensor, rows: Tensor) -> Tensor:
    return values.view(-1, *[1] * (rows.dim() - 1))


def _put(mask: Tensor, target: Tensor, values: Tensor | float) -> None:
    """Writes the masked worlds' rows in place; no shape depends on how many there are."""
    if not isinstance(values, Tensor):
        target.masked_fill_(_like(mask, target), values)
    elif torch.compiler.is_compiling():  # it knows no `out` with gaps, and makes one kernel of this
        target.copy_(torch.where(_like(mask, target), values, target))
    else:
        torch.where(_like(mask, target), values, target, out=target)
