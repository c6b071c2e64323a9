"""MuJoCo C on the processor's threads: the default without a GPU, and what the other simulators are compared with."""

from __future__ import annotations

import warnings
from typing import Dict, List, Tuple

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from torch import Tensor

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.contract import TABLE_HEIGHT, DriveFactors, SimState, Simulator, Start, WorldChanges
from tasks.simulators.mujoco.scene import BODY_FIELDS, GEOM_FIELDS, OBJECT_BITS, PhysicsCfg, build_scene
from tasks.simulators.mujoco.state import PHYSICS_STATE, MujocoArrays, StateReader, check_shapes

_DIVERGED = [
    int(kind)
    for kind in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
    )
]
_FULL = [int(mujoco.mjtWarning.mjWARN_CONTACTFULL), int(mujoco.mjtWarning.mjWARN_CNSTRFULL)]


class MujocoSimulator(Simulator):
    """See `Simulator`.  `state` is float32 on the processor, the physics is float64."""

    name = "mujoco"
    pushes_objects = True
    varies_drives = True
    varies_worlds = True

    def __init__(
        self,
        hand: HandSpec,
        objects: ObjectSet,
        num_envs: int,
        physics: PhysicsCfg = PhysicsCfg(),  # noqa: B008 frozen
        num_threads: int = 0,
    ) -> None:
        """num_threads: of the processor; 0 takes every core."""
        self.num_envs, self.device = num_envs, torch.device("cpu")
        self.control_dt, self.substeps = physics.control_dt, physics.substeps
        self.scene = build_scene(hand, objects, physics, for_c=True)
        # The mid-phase has bounding volumes of the first object's parts only.
        self.scene.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
        self.batch = Batch(self.scene.model, num_envs, num_threads, persistent=True)
        self.state = SimState.zeros(hand, num_envs, self.device)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            arrays = MujocoArrays(
                **{name: torch.from_numpy(self.batch.bind(name)) for name in MujocoArrays.__dataclass_fields__}
            )
        self._reader = StateReader(self.scene, hand, arrays, self.state)
        self._nan_resets = 0
        self._diverged = self._warning_counts(_DIVERGED)
        self._reported_full = 0
        for name in (*GEOM_FIELDS, *BODY_FIELDS, "body_subtreemass", "dof_invweight0"):
            self.batch.expand(name)
        self._first_qpos = self.scene.model.qpos0.copy()

    def step(self, targets: Tensor) -> None:
        """See `Simulator.step`."""
        self.batch.bind("ctrl")[:, self._reader.actuators.numpy()] = targets.numpy()
        self.batch.step(nstep=self.substeps)
        self._reader.read_forces()
        self.batch.forward(stage=int(mujoco.mjtStage.mjSTAGE_VEL))
        self._reader.read_motion()
        # MuJoCo puts a diverged world back to its defaults and counts a warning.  To the task that world has failed.
        counts = self._warning_counts(_DIVERGED)
        diverged = (counts != self._diverged).any(axis=1)
        self._diverged = counts
        self.state.failed |= torch.from_numpy(diverged)

    def reset(self, mask: Tensor, start: Start) -> None:
        """See `Simulator.reset`."""
        ids = mask.nonzero()[:, 0].numpy()
        if len(ids) == 0:
            return
        self._nan_resets += int((mask & self.state.failed).sum())
        self.state.object_id[mask] = start.object_id[mask]
        self._set_objects(
            ids, start.object_id[mask].numpy(), start.mass_scale[mask].numpy(), start.friction[mask].numpy()
        )
        joints, scene = start.joint_pos[mask].numpy(), self.scene
        qpos = np.tile(self._first_qpos, (len(ids), 1))
        qpos[:, scene.drive_qpos] = joints
        qpos[:, scene.coupled_qpos] = joints[:, scene.coupled_source] * scene.coupled_ratio
        address = scene.object_qpos
        qpos[:, address : address + 3] = start.object_pos[mask].numpy()
        qpos[:, address + 3 : address + 7] = start.object_quat[mask].numpy()
        # A reset clears the worlds' counters of warnings.  What they had of overflows still counts as reported, and the fall of
        # the others to zero is no divergence.
        self._reported_full -= int(self._warning_counts(_FULL)[ids].sum())
        self.batch.reset(ids, stage=int(mujoco.mjtStage.mjSTAGE_NONE))
        self._diverged = self._warning_counts(_DIVERGED)
        self.batch.bind("qpos")[ids] = qpos
        ctrl = self.batch.bind("ctrl")
        ctrl[ids[:, None], self._reader.actuators.numpy()] = joints
        self.batch.forward(ids, stage=int(mujoco.mjtStage.mjSTAGE_VEL))
        self.state.drive_force[mask] = 0.0
        self.state.fingertip_wrench[mask] = 0.0
        self.state.hand_force[mask] = 0.0
        self._reader.read_motion()

    def push(self, force: Tensor) -> None:
        """See `Simulator.push`."""
        self.disturbed = True
        self.batch.bind("xfrc_applied")[:, self.scene.object_body, :3] = force.numpy()

    def vary_drives(self, mask: Tensor, factors: DriveFactors) -> None:
        """See `Simulator.vary_drives`."""
        self.disturbed = True
        ids, model = mask.nonzero()[:, 0].numpy(), self.scene.model
        at = ids[:, None], self._reader.actuators.numpy()[None, :]
        stiffness, damping, force = (
            of[mask].double().numpy() for of in (factors.stiffness, factors.damping, factors.force)
        )
        gain, bias = self.batch.expand("actuator_gainprm"), self.batch.expand("actuator_biasprm")
        gain[(*at, 0)] = model.actuator_gainprm[at[1], 0] * stiffness
        bias[(*at, 1)] = model.actuator_biasprm[at[1], 1] * stiffness
        bias[(*at, 2)] = model.actuator_biasprm[at[1], 2] * damping
        self.batch.expand("actuator_forcerange")[at] = model.actuator_forcerange[at[1]] * force[..., None]

    def vary_worlds(self, mask: Tensor, changes: WorldChanges) -> None:
        """See `Simulator.vary_worlds`."""
        self.disturbed = True
        ids, batch, scene = mask.nonzero()[:, 0].numpy(), self.batch, self.scene
        if changes.com_shift is not None:
            shift, item = changes.com_shift[mask].double().numpy(), self.state.object_id[mask].numpy()
            batch.expand("body_ipos")[ids, scene.object_body] = scene.body_rows["body_ipos"][item] + shift
        if changes.table_rise is not None:
            batch.expand("geom_pos")[ids, scene.table, 2] = TABLE_HEIGHT + changes.table_rise[mask].double().numpy()
        if changes.joint_friction is not None:
            own = scene.model.dof_frictionloss[scene.drive_dof]
            friction = own + changes.joint_friction[mask].double().numpy()
            batch.expand("dof_frictionloss")[ids[:, None], scene.drive_dof] = friction

    def _set_objects(
        self, ids: np.ndarray, object_id: np.ndarray, mass_scale: np.ndarray, friction: np.ndarray
    ) -> None:
        batch, scene = self.batch, self.scene
        geoms, body = np.arange(scene.object_geoms.start, scene.object_geoms.stop), scene.object_body
        at = ids[:, None], geoms[None, :]
        for name in GEOM_FIELDS:
            batch.expand(name)[at] = scene.geom_rows[name][object_id].reshape(
                len(ids), len(geoms), *batch.expand(name).shape[2:]
            )
        empty = scene.geom_rows["geom_dataid"][object_id] < 0
        batch.expand("geom_dataid")[at] = np.maximum(scene.geom_rows["geom_dataid"][object_id], 0)
        batch.expand("geom_contype")[at] = np.where(empty, 0, OBJECT_BITS[0])
        batch.expand("geom_conaffinity")[at] = np.where(empty, 0, OBJECT_BITS[1])
        batch.expand("geom_rgba")[(*at, 3)] = np.where(empty, 0.0, 1.0)
        batch.expand("geom_friction")[(*at, 0)] = friction[:, None]
        power = {"body_mass": 1, "body_inertia": 1, "body_invweight0": -1}
        for name in BODY_FIELDS:
            rows = scene.body_rows[name][object_id]
            factor = mass_scale ** power.get(name, 0)
            batch.expand(name)[ids, body] = rows * factor.reshape(-1, *[1] * (rows.ndim - 1))
        mass = scene.body_rows["body_mass"][object_id] * mass_scale
        batch.expand("body_subtreemass")[ids, body] = mass
        batch.expand("body_subtreemass")[ids, 0] = mass + scene.hand_mass
        dofs = np.arange(scene.object_dof, scene.object_dof + 6)
        batch.expand("dof_invweight0")[ids[:, None], dofs] = scene.dof_invweight0[object_id] / mass_scale[:, None]

    def _warning_counts(self, kinds: List[int]) -> np.ndarray:
        return self.batch.warning[:, kinds, 1].copy()  # each entry: last info, count

    def diagnostics(self) -> Dict[str, float]:
        """How many worlds diverged and were reset, and how many buffers of contacts or constraints ran over."""
        full = int(self._warning_counts(_FULL).sum())
        result = {
            "nan_resets": float(self._nan_resets),
            "contact_overflow_worlds": float(full - self._reported_full),
        }
        self._nan_resets, self._reported_full = 0, full
        return result

    def state_dict(self) -> Dict[str, Tensor]:
        """See `Simulator.state_dict`: float64, with the solver's last solution, from which the next one starts."""
        return {name: torch.from_numpy(self.batch.bind(name).copy()) for name in PHYSICS_STATE}

    def load_state_dict(self, state: Dict[str, Tensor]) -> None:
        """See `Simulator.load_state_dict`."""
        check_shapes(state, {name: self.batch.bind(name).shape for name in PHYSICS_STATE})
        for name in PHYSICS_STATE:
            self.batch.bind(name)[:] = state[name].numpy()
        self.batch.forward(stage=int(mujoco.mjtStage.mjSTAGE_VEL))
        self._reader.read_motion()
        self._diverged = self._warning_counts(_DIVERGED)

    def model_and_data(self, world: int) -> Tuple[mujoco.MjModel, mujoco.MjData]:
        """The model of one world, with the object that is in it, and its current data: to look at, or to draw."""
        model = self.batch.get_model(world)
        data = self.batch.get_data(world)
        mujoco.mj_kinematics(model, data)
        return model, data
