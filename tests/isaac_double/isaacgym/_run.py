"""The running half of the double's Gym: tensors, setters, simulation, pictures.

The truth is in the worlds; a buffer changes when it is refreshed and only then, and what a setter is given acts when it is
simulated and only then.
"""

from __future__ import annotations

import warnings
from typing import Any, List, Optional, Tuple

import numpy as np

from isaacgym._control import RefusedError, control
from isaacgym._records import SimData, actor_of
from isaacgym._rules import function
from isaacgym._types import ContactCollection, CoordinateSpace, DofDriveMode, ImageType, Tensor, Viewer

NATIVE = "cannot be used with the GPU pipeline after simulation starts. Please use the tensor API"
ROOT, DOF, BODY, CONTACT = "actor_root_state", "dof_state", "rigid_body_state", "net_contact_force"


class Submitted:
    """What one call of a setter gave: addresses, and a copy, to find out later whether they still hold the same."""

    def __init__(self, tensors: List[Tensor], ids: Optional[List[int]], extra: Any = None) -> None:
        self.tensors, self.ids, self.extra = tensors, ids, extra
        self.values = [t.array.copy() for t in tensors]

    def recheck(self, name: str) -> None:
        """T10: the memory must live, unchanged, until it is simulated."""
        for tensor, value in zip(self.tensors, self.values):
            if _dead(tensor):
                raise RefusedError("T10", f"a tensor given to {name} was freed before simulate")
            if not np.array_equal(tensor.array, value, equal_nan=True):
                raise RefusedError("T10", f"a tensor given to {name} was overwritten before simulate")


def _dead(tensor: Tensor) -> bool:
    return tensor.alive() is None


class Run:
    """Mixed into Gym."""

    # -------------------------------------------------------------------------------------------------- acquire, refresh

    def _acquire(self, sim: Any, name: str, shape: Tuple[int, ...]) -> Tensor:
        if not sim.data.prepared:
            raise RefusedError("T5", f"acquire {name} before prepare_sim")
        buffer = sim.data.buffers.setdefault(name, np.zeros(shape, np.float32))
        return Tensor(buffer, "float32", lambda: buffer, "cpu")

    @function("Sim")
    def acquire_actor_root_state_tensor(self, sim: Any) -> Any:
        return self._acquire(sim, ROOT, (len(sim.data.actors), 13))

    @function("Sim")
    def acquire_dof_state_tensor(self, sim: Any) -> Any:
        return self._acquire(sim, DOF, (sim.data.dofs, 2))

    @function("Sim")
    def acquire_rigid_body_state_tensor(self, sim: Any) -> Any:
        return self._acquire(sim, BODY, (sim.data.bodies, 13))

    @function("Sim")
    def acquire_net_contact_force_tensor(self, sim: Any) -> Any:
        return self._acquire(sim, CONTACT, (sim.data.bodies, 3))

    @function("Sim")
    def acquire_dof_force_tensor(self, sim: Any) -> Any:
        return self._acquire(sim, "dof_force", (sim.data.dofs,))

    @function("Sim")
    def acquire_force_sensor_tensor(self, sim: Any) -> Any:
        return self._acquire(sim, "force_sensor", (self.get_sim_force_sensor_count(sim), 6))

    def _refresh(self, sim: Any, name: str) -> bool:
        data: SimData = sim.data
        if name not in data.buffers:
            raise RefusedError("T5", f"refresh of {name} before it was acquired")
        if not data.gpu and not data.fetched:
            raise RefusedError("T13", "refresh without fetch_results after simulate, on the CPU pipeline")
        if name in data.refreshed:
            warnings.warn(f"T12: {name} was refreshed twice in one step", stacklevel=4)
        data.refreshed.add(name)
        data.buffers[name][:] = self._truth(data, name)
        return True

    def _truth(self, data: SimData, name: str) -> np.ndarray:
        if name == "force_sensor":
            return np.full(data.buffers[name].shape, np.nan)  # not modelled
        rows = []
        for env, handle in data.actors:
            actor, world = env.actors[handle], env.world
            origin = env.origin if control.frames == "global" else np.zeros(3)
            count = len(actor.asset.body_names)
            if name in (ROOT, BODY):
                part = np.stack([world.body_state(handle, b) for b in range(count if name == BODY else 1)])
                part[:, :3] += origin
            elif name == DOF:
                part = world.dof_state(handle)
            elif name == CONTACT:
                never = data.params.physx.contact_collection == ContactCollection.CC_NEVER  # T17
                part = world.contact[world.bodies[handle]] * (0 if never else 1)
            else:
                dofs = world.model.jnt_dofadr[world.joints[handle]]
                part = world.data.qfrc_actuator[dofs] * actor.force_sensing  # T17
            if actor.index in data.touched and (control.strict or name in (BODY, CONTACT)):
                part = np.full_like(part, np.nan)  # T11
            rows.append(part)
        return np.concatenate(rows) if rows else np.zeros(data.buffers[name].shape)

    @function("Sim")
    def refresh_actor_root_state_tensor(self, sim: Any) -> Any:
        return self._refresh(sim, ROOT)

    @function("Sim")
    def refresh_dof_state_tensor(self, sim: Any) -> Any:
        return self._refresh(sim, DOF)

    @function("Sim")
    def refresh_rigid_body_state_tensor(self, sim: Any) -> Any:
        return self._refresh(sim, BODY)

    @function("Sim")
    def refresh_net_contact_force_tensor(self, sim: Any) -> Any:
        return self._refresh(sim, CONTACT)

    @function("Sim")
    def refresh_dof_force_tensor(self, sim: Any) -> Any:
        return self._refresh(sim, "dof_force")

    @function("Sim")
    def refresh_force_sensor_tensor(self, sim: Any) -> Any:
        return self._refresh(sim, "force_sensor")

    # ----------------------------------------------------------------------------------------------------------- setters

    def _submit(
        self, sim: Any, name: str, tensor: Tensor, width: int, rows: int, index: Any = None, n: int = -1
    ) -> bool:
        data: SimData = sim.data
        if not data.prepared:
            raise RefusedError("T5", f"{name} before prepare_sim")
        tensors = [t for t in (tensor, index) if t is not None]
        if any(_dead(t) for t in tensors):
            raise RefusedError("T10", f"a tensor given to {name} is gone already")
        if tensor.dtype != "float32" or tensor.array.size != rows * width or tensor.device != "cpu":
            shape = tensor.array.shape
            raise RefusedError("T7", f"{name} takes {rows} x {width} float32, all actors; not {shape} {tensor.dtype}")
        ids = self._ids(data, name, index, n)
        if name in data.pending and control.strict:
            raise RefusedError("T9", f"{name} twice in one step: the second call drops what the first one set")
        used = list(range(len(data.actors))) if ids is None else ids
        for i in used:
            env, handle = data.actors[i]
            actor = env.actors[handle]
            if name.startswith("set_dof") and ids is not None and not actor.asset.dof_names:
                raise RefusedError("T8", f"{name} of actor {actor.name!r}, which has no joints")
            if name.startswith("set_actor_root"):
                self._check_root(actor, tensor.array.reshape(rows, width)[i])
        data.pending[name] = Submitted(tensors, ids)
        if "state" in name:
            data.touched.update(used)
        return True

    @staticmethod
    def _ids(data: SimData, name: str, index: Any, n: int) -> Optional[List[int]]:
        if index is None:
            return None
        values = index.array
        if index.dtype != "int32" or values.ndim != 1 or index.device != "cpu":
            raise RefusedError("T7", f"{name}: actor numbers are a vector of int32, not {index.dtype} {values.shape}")
        if n != len(values):
            raise RefusedError("T7", f"{name}: {n} actors announced, {len(values)} given")
        ids = [int(v) for v in values]
        if len(set(ids)) != len(ids) or any(not 0 <= i < len(data.actors) for i in ids):
            raise RefusedError("T7", f"{name}: actor numbers repeat or lie outside 0 .. {len(data.actors) - 1}")
        return ids

    @staticmethod
    def _check_root(actor: Any, row: np.ndarray) -> None:
        if not actor.asset.free:
            raise RefusedError("T15", f"root state of {actor.name!r}, whose base is fixed")
        if not np.isfinite(row).all() or abs(np.linalg.norm(row[3:7]) - 1) > 1e-3:
            raise RefusedError("T26", f"{row[3:7]} is no unit quaternion")
        if control.refuse_half_turns and np.array_equal(row[3:7], [1, 0, 0, 0]):
            raise RefusedError("T26", "(1, 0, 0, 0) is half a turn about x here; the identity is (0, 0, 0, 1)")

    @function("Sim", "Tensor")
    def set_actor_root_state_tensor(self, sim: Any, buffer: Any) -> Any:
        return self._submit(sim, "set_actor_root_state_tensor", buffer, 13, len(sim.data.actors))

    @function("Sim", "Tensor", "Tensor", "int")
    def set_actor_root_state_tensor_indexed(self, sim: Any, buffer: Any, index: Any, count: Any) -> Any:
        name = "set_actor_root_state_tensor_indexed"
        return self._submit(sim, name, buffer, 13, len(sim.data.actors), index, count)

    @function("Sim", "Tensor")
    def set_dof_state_tensor(self, sim: Any, buffer: Any) -> Any:
        return self._submit(sim, "set_dof_state_tensor", buffer, 2, sim.data.dofs)

    @function("Sim", "Tensor", "Tensor", "int")
    def set_dof_state_tensor_indexed(self, sim: Any, buffer: Any, index: Any, count: Any) -> Any:
        return self._submit(sim, "set_dof_state_tensor_indexed", buffer, 2, sim.data.dofs, index, count)

    @function("Sim", "Tensor")
    def set_dof_position_target_tensor(self, sim: Any, buffer: Any) -> Any:
        return self._submit(sim, "set_dof_position_target_tensor", buffer, 1, sim.data.dofs)

    @function("Sim", "Tensor", "Tensor", "int")
    def set_dof_position_target_tensor_indexed(self, sim: Any, buffer: Any, index: Any, count: Any) -> Any:
        return self._submit(sim, "set_dof_position_target_tensor_indexed", buffer, 1, sim.data.dofs, index, count)

    @function("Sim", "Tensor")
    def set_dof_velocity_target_tensor(self, sim: Any, buffer: Any) -> Any:
        return self._submit(sim, "set_dof_velocity_target_tensor", buffer, 1, sim.data.dofs)

    @function("Sim", "Tensor")
    def set_dof_actuation_force_tensor(self, sim: Any, buffer: Any) -> Any:
        return self._submit(sim, "set_dof_actuation_force_tensor", buffer, 1, sim.data.dofs)

    @function("Sim", "Tensor", "Tensor", "CoordinateSpace")
    def apply_rigid_body_force_tensors(
        self, sim: Any, forceTensor: Any = None, torqueTensor: Any = None, space: Any = CoordinateSpace.ENV_SPACE
    ) -> Any:
        name = "apply_rigid_body_force_tensors"
        if name in sim.data.pending and control.strict:
            raise RefusedError("T9", f"{name} twice in one step")
        if space != CoordinateSpace.ENV_SPACE:
            raise NotImplementedError("the double knows ENV_SPACE")
        for tensor in (forceTensor, torqueTensor):
            if tensor is not None:
                if _dead(tensor):
                    raise RefusedError("T10", f"a tensor given to {name} is gone already")
                if tensor.dtype != "float32" or tensor.array.size != sim.data.bodies * 3:
                    raise RefusedError("T7", f"{name} takes {sim.data.bodies} x 3 float32")
        tensors = [t for t in (forceTensor, torqueTensor) if t is not None]
        sim.data.pending[name] = Submitted(tensors, None, (forceTensor is not None, torqueTensor is not None))
        return True

    # ---------------------------------------------------------------------------------------------------------- simulate

    @function("Sim")
    def simulate(self, sim: Any) -> None:
        data: SimData = sim.data
        if not data.prepared:
            raise RefusedError("T5", "simulate before prepare_sim")
        for name, submitted in data.pending.items():
            submitted.recheck(name)
            self._apply(data, name, submitted)
        data.pending.clear()
        data.touched.clear()
        data.refreshed.clear()
        for env in data.envs:
            env.data.world.simulate()
        data.frames += 1
        data.fetched = data.stepped = False

    def _apply(self, data: SimData, name: str, submitted: Submitted) -> None:
        if name == "apply_rigid_body_force_tensors":
            self._apply_forces(data, submitted)
            return
        width = {"set_actor": 13, "set_dof_s": 2}.get(name[:9], 1)
        values = submitted.values[0].reshape(-1, width).astype(float)
        used = range(len(data.actors)) if submitted.ids is None else submitted.ids
        for i in used:
            env, handle = data.actors[i]
            actor = env.actors[handle]
            own = values[actor.first_dof : actor.first_dof + len(actor.asset.dof_names)]
            if width == 13:
                row = values[i].copy()
                row[:3] -= env.origin if control.frames == "global" else 0
                env.world.set_root(handle, row)
            elif width == 2:
                env.world.set_dofs(handle, own)
            elif name == "set_dof_actuation_force_tensor":
                env.world.set_efforts(handle, own[:, 0])
            else:
                position = "position" in name
                mode = DofDriveMode.DOF_MODE_POS if position else DofDriveMode.DOF_MODE_VEL
                env.world.set_targets(handle, own[:, 0], mode)

    @staticmethod
    def _apply_forces(data: SimData, submitted: Submitted) -> None:
        given = iter(submitted.values)
        force, torque = (
            next(given).reshape(-1, 3) if there else np.zeros((data.bodies, 3)) for there in submitted.extra
        )
        for env, handle in data.actors:
            first = env.actors[handle].first_body
            for number in range(len(env.actors[handle].asset.body_names)):
                env.world.apply(handle, number, force[first + number], torque[first + number])

    @function("Sim", "bool")
    def fetch_results(self, sim: Any, wait: Any) -> None:
        sim.data.fetched = True

    @function("Sim")
    def get_frame_count(self, sim: Any) -> Any:
        return sim.data.frames

    # ------------------------------------------------------------------------------------------- state on the processor

    @staticmethod
    def _processor(env: Any, name: str) -> None:
        if env.data.sim.gpu and env.data.sim.frames:
            raise RefusedError("T18", f"Function Gym{name} {NATIVE}")
        if not env.data.sim.prepared:
            raise RefusedError("T5", f"{name} before prepare_sim")

    @function("Env", "int", "int")
    def get_actor_dof_states(self, env: Any, actor: Any, flags: Any) -> Any:
        self._processor(env, "GetActorDofStates")
        actor_of(env, actor)
        return env.data.world.dof_state(actor)

    @function("Env", "int", "int")
    def get_actor_rigid_body_states(self, env: Any, actor: Any, flags: Any) -> Any:
        self._processor(env, "GetActorRigidBodyStates")
        count = len(actor_of(env, actor).asset.body_names)
        return np.stack([env.data.world.body_state(actor, b) for b in range(count)])

    # ---------------------------------------------------------------------------------------------------------- pictures

    @staticmethod
    def _graphics(data: SimData, what: str) -> None:
        if data.graphics < 0:
            raise RefusedError("T25", f"{what} without a graphics device")

    @function("Sim", "CameraProperties")
    def create_viewer(self, sim: Any, properties: Any) -> Any:
        self._graphics(sim.data, "a viewer")
        return Viewer(sim)

    @function("Env", "CameraProperties")
    def create_camera_sensor(self, env: Any, properties: Any) -> Any:
        self._graphics(env.data.sim, "a camera")
        env.data.sim.building("create_camera_sensor")
        env.data.sim.cameras.append(properties)
        return len(env.data.sim.cameras) - 1

    @function("Sim")
    def step_graphics(self, sim: Any) -> None:
        self._graphics(sim.data, "step_graphics")
        if not sim.data.fetched:
            raise RefusedError("T13", "step_graphics without fetch_results after simulate")
        sim.data.stepped = True

    @function("Sim")
    def render_all_camera_sensors(self, sim: Any) -> None:
        if sim.data.accessing:
            raise RefusedError("T25", "rendering between start and end of access to image tensors")
        if not sim.data.stepped:
            raise RefusedError("T13", "rendering without step_graphics")

    @function("Sim")
    def start_access_image_tensors(self, sim: Any) -> None:
        sim.data.accessing = True

    @function("Sim")
    def end_access_image_tensors(self, sim: Any) -> None:
        sim.data.accessing = False

    @function("Sim", "Env", "int", "ImageType")
    def get_camera_image_gpu_tensor(self, sim: Any, env: Any, camera: Any, kind: Any) -> Any:
        if not sim.data.cameras[camera].enable_tensors:
            raise RefusedError("T25", "the camera was made without enable_tensors")
        return self.get_camera_image(sim, env, camera, kind)

    @function("Sim", "Env", "int", "ImageType")
    def get_camera_image(self, sim: Any, env: Any, camera: Any, kind: Any) -> Any:
        properties = sim.data.cameras[camera]
        channels = 4 if kind == ImageType.IMAGE_COLOR else 1
        return np.zeros(properties.height * properties.width * channels, np.uint8)
