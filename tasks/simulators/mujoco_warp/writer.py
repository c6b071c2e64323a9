"""Writes a `Start` to MuJoCo Warp's arrays: model fields, coordinates and targets of the worlds in a mask, in one kernel."""

from __future__ import annotations

from typing import Any, List, no_type_check

import mujoco_warp as mjw
import torch
import warp as wp
from torch import Tensor

from tasks.hands.spec import HandSpec
from tasks.simulators.contract import SimState, Start
from tasks.simulators.mujoco.scene import Scene
from tasks.simulators.mujoco.state import Places

wp.set_module_options({"enable_backward": False, "default_grid_stride": False})


@wp.kernel
@no_type_check  # Warp's language, not Python's
def _write_start(
    # Where things are.
    actuators: wp.array[int],
    drive_qpos: wp.array[int],
    coupled_qpos: wp.array[int],
    coupled_source: wp.array[int],
    coupled_ratio: wp.array[float],
    object_qpos: int,
    object_dof: int,
    object_body: int,
    first_geom: int,
    hand_mass: float,
    # The set's objects, whose mass is their own.
    dataid_of: wp.array2d[int],
    size_of: wp.array2d[wp.vec3],
    aabb_of: wp.array3d[wp.vec3],
    rbound_of: wp.array2d[float],
    pos_of: wp.array2d[wp.vec3],
    quat_of: wp.array2d[wp.quat],
    mass_of: wp.array[float],
    inertia_of: wp.array[wp.vec3],
    ipos_of: wp.array[wp.vec3],
    iquat_of: wp.array[wp.quat],
    invweight0_of: wp.array[wp.vec2],
    dof_invweight0_of: wp.array2d[float],
    # Written to: the model, the data and the task's view of them.
    geom_dataid: wp.array2d[int],
    geom_size: wp.array2d[wp.vec3],
    geom_aabb: wp.array3d[wp.vec3],
    geom_rbound: wp.array2d[float],
    geom_pos: wp.array2d[wp.vec3],
    geom_quat: wp.array2d[wp.quat],
    geom_friction: wp.array2d[wp.vec3],
    body_mass: wp.array2d[float],
    body_inertia: wp.array2d[wp.vec3],
    body_ipos: wp.array2d[wp.vec3],
    body_iquat: wp.array2d[wp.quat],
    body_invweight0: wp.array2d[wp.vec2],
    body_subtreemass: wp.array2d[float],
    dof_invweight0: wp.array2d[float],
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    qacc_warmstart: wp.array2d[float],
    ctrl: wp.array2d[float],
    drive_force: wp.array2d[float],
    fingertip_wrench: wp.array2d[wp.spatial_vector],
    hand_force: wp.array[float],
    object_id: wp.array[wp.int64],
    failed: wp.array[wp.bool],
    nan_resets: wp.array[wp.int64],
    # The start.
    mask: wp.array[wp.bool],
    start_joint_pos: wp.array2d[float],
    start_object_pos: wp.array2d[float],
    start_object_quat: wp.array2d[float],
    start_object_id: wp.array[wp.int64],
    start_mass_scale: wp.array[float],
    start_friction: wp.array[float],
):
    world, lane = wp.tid()
    if not mask[world]:
        return  # outside the mask the start may hold anything, so nothing of it is read
    item = int(start_object_id[world])
    scale = start_mass_scale[world]
    coupled = lane - drive_qpos.shape[0]
    dof = coupled - coupled_qpos.shape[0]
    tip = dof - qvel.shape[1]
    slot = tip - fingertip_wrench.shape[1]
    if coupled < 0:
        position = start_joint_pos[world, lane]
        qpos[world, drive_qpos[lane]] = position
        ctrl[world, actuators[lane]] = position
        drive_force[world, lane] = 0.0
    elif dof < 0:
        qpos[world, coupled_qpos[coupled]] = coupled_ratio[coupled] * start_joint_pos[world, coupled_source[coupled]]
    elif tip < 0:
        qvel[world, dof] = 0.0
        qacc_warmstart[world, dof] = 0.0  # with its old guess the solver would never leave NaN
    elif slot < 0:
        fingertip_wrench[world, tip] = wp.spatial_vector()
    elif slot < dataid_of.shape[1]:
        geom = first_geom + slot
        geom_dataid[world, geom] = dataid_of[item, slot]
        geom_size[world, geom] = size_of[item, slot]
        geom_aabb[world, geom, 0] = aabb_of[item, slot, 0]
        geom_aabb[world, geom, 1] = aabb_of[item, slot, 1]
        geom_rbound[world, geom] = rbound_of[item, slot]
        geom_pos[world, geom] = pos_of[item, slot]
        geom_quat[world, geom] = quat_of[item, slot]
        friction = geom_friction[world, geom]
        geom_friction[world, geom] = wp.vec3(start_friction[world], friction[1], friction[2])
    else:
        mass = scale * mass_of[item]
        body_mass[world, object_body] = mass
        body_subtreemass[world, object_body] = mass
        body_subtreemass[world, 0] = mass + hand_mass
        body_inertia[world, object_body] = scale * inertia_of[item]
        body_ipos[world, object_body] = ipos_of[item]
        body_iquat[world, object_body] = iquat_of[item]
        body_invweight0[world, object_body] = invweight0_of[item] / scale
        for i in range(6):
            dof_invweight0[world, object_dof + i] = dof_invweight0_of[item, i] / scale
        for i in range(3):
            qpos[world, object_qpos + i] = start_object_pos[world, i]
        for i in range(4):
            qpos[world, object_qpos + 3 + i] = start_object_quat[world, i]
        hand_force[world] = 0.0
        object_id[world] = start_object_id[world]
        if failed[world]:
            wp.atomic_add(nan_resets, 0, wp.int64(1))


class WarpStartWriter:
    """Writes starts, each with one launch on Warp's current stream."""

    def __init__(
        self, scene: Scene, hand: HandSpec, model: mjw.Model, data: mjw.Data, state: SimState, nan_resets: Tensor
    ) -> None:
        """nan_resets: () int64, a counter of worlds that failed and were reset."""
        device = state.joint_pos.device
        self._device = wp.device_from_torch(device)
        geoms, bodies = scene.geom_rows, scene.body_rows
        objects, slots = geoms["geom_dataid"].shape
        # One thread a drive, coupled joint, velocity, fingertip and geom of the object; the last one is for its body and pose,
        # and for what there is one of.
        coupled, velocities = len(scene.coupled_qpos), data.qvel.shape[1]
        lanes = hand.num_drives + coupled + velocities + hand.num_fingertips + slots + 1
        self._threads = len(state.joint_pos), lanes

        def view(tensor: Tensor, dtype: Any = None) -> Any:
            return wp.from_torch(tensor, dtype)

        def index(values: object) -> Any:
            return view(torch.as_tensor(values, dtype=torch.int32, device=device))

        def rows(values: object, dtype: Any = None) -> Any:
            return view(torch.as_tensor(values, dtype=torch.float32, device=device), dtype)

        self._arguments: List[Any] = [
            index(Places.of(scene, hand).actuators),
            index(scene.drive_qpos),
            index(scene.coupled_qpos),
            index(scene.coupled_source),
            rows(scene.coupled_ratio),
            scene.object_qpos,
            scene.object_dof,
            scene.object_body,
            scene.object_geoms.start,
            scene.hand_mass,
            index(geoms["geom_dataid"]),
            rows(geoms["geom_size"], wp.vec3),
            rows(geoms["geom_aabb"].reshape(objects, slots, 2, 3), wp.vec3),
            rows(geoms["geom_rbound"]),
            rows(geoms["geom_pos"], wp.vec3),
            rows(geoms["geom_quat"], wp.quat),
            rows(bodies["body_mass"]),
            rows(bodies["body_inertia"], wp.vec3),
            rows(bodies["body_ipos"], wp.vec3),
            rows(bodies["body_iquat"], wp.quat),
            rows(bodies["body_invweight0"], wp.vec2),
            rows(scene.dof_invweight0),
            model.geom_dataid,
            model.geom_size,
            model.geom_aabb,
            model.geom_rbound,
            model.geom_pos,
            model.geom_quat,
            model.geom_friction,
            model.body_mass,
            model.body_inertia,
            model.body_ipos,
            model.body_iquat,
            model.body_invweight0,
            model.body_subtreemass,
            model.dof_invweight0,
            data.qpos,
            data.qvel,
            data.qacc_warmstart,
            data.ctrl,
            view(state.drive_force),
            view(state.fingertip_wrench, wp.spatial_vector),
            view(state.hand_force),
            view(state.object_id),
            view(state.failed),
            view(nan_resets.view(1)),
        ]

    def write(self, mask: Tensor, start: Start) -> None:
        """Puts the worlds in mask (N,) bool at rest at the start.  Rows outside the mask are not read.

        It sets the tensors of `SimState` that `WarpStateReader.read_motion` does not.
        """
        given = (
            mask,
            start.joint_pos,
            start.object_pos,
            start.object_quat,
            start.object_id,
            start.mass_scale,
            start.friction,
        )
        views = [wp.from_torch(tensor) for tensor in given]  # whatever their strides
        wp.launch(_write_start, self._threads, [*self._arguments, *views], device=self._device)
