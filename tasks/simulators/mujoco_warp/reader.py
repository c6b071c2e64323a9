"""Reads `SimState` from MuJoCo Warp's arrays.  The numbers are those of `StateReader`, in two kernels instead of sixty."""

from __future__ import annotations

from typing import Any, List, no_type_check

import mujoco_warp as mjw
import torch
import warp as wp
from torch import Tensor

from tasks.hands.spec import HandSpec
from tasks.simulators.contract import SimState
from tasks.simulators.mujoco.scene import Scene
from tasks.simulators.mujoco.state import MAX_SPEED, Places

wp.set_module_options({"enable_backward": False, "default_grid_stride": False})


@wp.func
@no_type_check  # Warp's language, not Python's
def _multiply(a: wp.quat, b: wp.quat) -> wp.quat:
    """Hamilton product of quaternions (w, x, y, z).  MuJoCo's arrays have this order, but Warp's own operators take w last."""
    av = wp.vec3(a[1], a[2], a[3])
    bv = wp.vec3(b[1], b[2], b[3])
    v = a[0] * bv + b[0] * av + wp.cross(av, bv)
    return wp.quat(a[0] * b[0] - wp.dot(av, bv), v[0], v[1], v[2])


@wp.func
@no_type_check
def _rotate(q: wp.quat, v: wp.vec3) -> wp.vec3:
    """Turns a vector by q (w, x, y, z)."""
    u = wp.vec3(q[1], q[2], q[3])
    t = 2.0 * wp.cross(u, v)
    return v + q[0] * t + wp.cross(u, t)


@wp.kernel
@no_type_check
def _read_forces(
    actuators: wp.array[int],
    bodies: wp.array[int],
    sites: wp.array[int],
    links: wp.array[int],
    root: int,
    actuator_force: wp.array2d[float],
    cfrc_ext: wp.array2d[wp.spatial_vector],
    subtree_com: wp.array2d[wp.vec3],
    site_xpos: wp.array2d[wp.vec3],
    drive_force: wp.array2d[float],
    fingertip_wrench: wp.array2d[wp.spatial_vector],
    hand_force: wp.array[float],
):
    world, lane = wp.tid()
    tip = lane - actuators.shape[0]
    if tip < 0:
        drive_force[world, lane] = actuator_force[world, actuators[lane]]
    elif tip == fingertip_wrench.shape[1]:
        total = wp.float32(0.0)
        for i in range(links.shape[0]):
            total += wp.length(wp.spatial_bottom(cfrc_ext[world, links[i]]))
        hand_force[world] = total
    else:
        wrench = cfrc_ext[world, bodies[tip]]  # torque, force; about the centre of mass of the hand
        force = wp.spatial_bottom(wrench)
        arm = subtree_com[world, root] - site_xpos[world, sites[tip]]
        fingertip_wrench[world, tip] = wp.spatial_vector(force, wp.spatial_top(wrench) + wp.cross(arm, force))


@wp.kernel
@no_type_check
def _read_motion(
    drive_qpos: wp.array[int],
    drive_dof: wp.array[int],
    bodies: wp.array[int],
    sites: wp.array[int],
    site_quat: wp.array[wp.quat],
    root: int,
    object_qpos: int,
    object_dof: int,
    max_speed: float,
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    xquat: wp.array2d[wp.quat],
    site_xpos: wp.array2d[wp.vec3],
    cvel: wp.array2d[wp.spatial_vector],
    subtree_com: wp.array2d[wp.vec3],
    joint_pos: wp.array2d[float],
    joint_vel: wp.array2d[float],
    palm_pos: wp.array[wp.vec3],
    palm_quat: wp.array[wp.quat],
    fingertip_pos: wp.array2d[wp.vec3],
    fingertip_quat: wp.array2d[wp.quat],
    fingertip_vel: wp.array2d[wp.spatial_vector],
    object_pos: wp.array[wp.vec3],
    object_quat: wp.array[wp.quat],
    object_vel: wp.array[wp.spatial_vector],
    failed: wp.array[wp.bool],
):
    world, lane = wp.tid()
    tip = lane - drive_qpos.shape[0]
    palm = sites.shape[0] - 1
    if tip < 0:
        joint_pos[world, lane] = qpos[world, drive_qpos[lane]]
        joint_vel[world, lane] = qvel[world, drive_dof[lane]]
    elif tip < palm:
        pos = site_xpos[world, sites[tip]]
        velocity = cvel[world, bodies[tip]]  # angular, linear; about the centre of mass of the hand
        angular = wp.spatial_top(velocity)
        arm = pos - subtree_com[world, root]
        fingertip_pos[world, tip] = pos
        fingertip_quat[world, tip] = _multiply(xquat[world, bodies[tip]], site_quat[tip])
        fingertip_vel[world, tip] = wp.spatial_vector(wp.spatial_bottom(velocity) + wp.cross(angular, arm), angular)
    elif tip == palm:
        palm_pos[world] = site_xpos[world, sites[palm]]
        palm_quat[world] = _multiply(xquat[world, bodies[palm]], site_quat[palm])
    elif tip == palm + 1:
        q = object_qpos
        v = object_dof
        quat = wp.quat(qpos[world, q + 3], qpos[world, q + 4], qpos[world, q + 5], qpos[world, q + 6])
        quat = quat / wp.length(quat)
        linear = wp.vec3(qvel[world, v], qvel[world, v + 1], qvel[world, v + 2])
        local = wp.vec3(qvel[world, v + 3], qvel[world, v + 4], qvel[world, v + 5])
        object_pos[world] = wp.vec3(qpos[world, q], qpos[world, q + 1], qpos[world, q + 2])
        object_quat[world] = quat
        object_vel[world] = wp.spatial_vector(linear, _rotate(quat, local))
    else:
        bad = wp.int32(0)
        for i in range(qpos.shape[1]):
            bad += wp.where(wp.isfinite(qpos[world, i]), 0, 1)
        for i in range(qvel.shape[1]):
            bad += wp.where(wp.abs(qvel[world, i]) < max_speed, 0, 1)  # NaN is not less
        failed[world] = bad > 0


class WarpStateReader:
    """`StateReader` for MuJoCo Warp.  Each of its two parts is one launch on Warp's current stream."""

    def __init__(self, scene: Scene, hand: HandSpec, data: mjw.Data, state: SimState) -> None:
        device = state.joint_pos.device
        worlds, lanes = state.joint_pos.shape[0], hand.num_drives + hand.num_fingertips
        self._force_threads = worlds, lanes + 1
        """One thread a drive, one a fingertip, and one that sums over the links."""
        self._motion_threads = worlds, lanes + 3
        """One thread a drive, one a fingertip, and one each for the palm, the object and whether the world has failed."""
        self._device = wp.device_from_torch(device)
        places = Places.of(scene, hand)

        def view(tensor: Tensor, dtype: Any = None) -> Any:
            return wp.from_torch(tensor, dtype)

        def index(values: object) -> Any:
            return view(torch.as_tensor(values, dtype=torch.int32, device=device))

        bodies, sites = index([*places.tips, places.palm]), index([*places.tip_sites, places.palm_site])
        site_quat = torch.as_tensor(places.site_quat, dtype=torch.float32, device=device)
        self._forces: List[Any] = [
            index(places.actuators),
            bodies,
            sites,
            index(places.links),
            places.root,
            data.actuator_force,
            data.cfrc_ext,
            data.subtree_com,
            data.site_xpos,
            view(state.drive_force),
            view(state.fingertip_wrench, wp.spatial_vector),
            view(state.hand_force),
        ]
        self._motion: List[Any] = [
            index(scene.drive_qpos),
            index(scene.drive_dof),
            bodies,
            sites,
            view(site_quat, wp.quat),
            places.root,
            scene.object_qpos,
            scene.object_dof,
            MAX_SPEED,
            data.qpos,
            data.qvel,
            data.xquat,
            data.site_xpos,
            data.cvel,
            data.subtree_com,
            view(state.joint_pos),
            view(state.joint_vel),
            view(state.palm_pos, wp.vec3),
            view(state.palm_quat, wp.quat),
            view(state.fingertip_pos, wp.vec3),
            view(state.fingertip_quat, wp.quat),
            view(state.fingertip_vel, wp.spatial_vector),
            view(state.object_pos, wp.vec3),
            view(state.object_quat, wp.quat),
            view(state.object_vel, wp.spatial_vector),
            view(state.failed),
        ]

    def read_forces(self) -> None:
        """See `StateReader.read_forces`."""
        wp.launch(_read_forces, self._force_threads, self._forces, device=self._device)

    def read_motion(self) -> None:
        """See `StateReader.read_motion`."""
        wp.launch(_read_motion, self._motion_threads, self._motion, device=self._device)
