"""The worlds of any simulator in MuJoCo's model of the scene, to be drawn and not to be stepped."""

from __future__ import annotations

from typing import Callable, Dict, Optional, Tuple

import mujoco
from torch import Tensor

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.contract import Simulator, Start
from tasks.simulators.mujoco.scene import GEOM_FIELDS, PhysicsCfg, build_scene


class MirroredSimulator(Simulator):
    """Another simulator that says when its worlds have moved and when they will be reset, and shows them.

    Of each world it shows the joints and the object.  Coupled joints are drawn where they belong, not where they are.
    """

    after_step: Optional[Callable[[], None]] = None
    before_reset: Optional[Callable[[Tensor], None]] = None

    def __init__(self, simulator: Simulator, hand: HandSpec, objects: ObjectSet) -> None:
        self.simulator, self.hand = simulator, hand
        self.name, self.num_envs, self.device = simulator.name, simulator.num_envs, simulator.device
        self.control_dt, self.state = simulator.control_dt, simulator.state
        self.swaps_objects = simulator.swaps_objects
        if not self.swaps_objects:
            self.mass_scale, self.friction = simulator.mass_scale, simulator.friction
        self.scene = build_scene(hand, objects, PhysicsCfg(), for_c=True)
        self._data = mujoco.MjData(self.scene.model)

    def step(self, targets: Tensor) -> None:
        """See `Simulator.step`."""
        self.simulator.step(targets)
        if self.after_step is not None:
            self.after_step()

    def reset(self, mask: Tensor, start: Start) -> None:
        """See `Simulator.reset`."""
        if self.before_reset is not None:
            self.before_reset(mask)
        self.simulator.reset(mask, start)

    def model_and_data(self, world: int) -> Tuple[mujoco.MjModel, mujoco.MjData]:
        """MuJoCo's model with the object of one world, and where its things are."""
        scene, model, data = self.scene, self.scene.model, self._data
        item = int(self.state.object_id[world])
        geoms = scene.object_geoms
        for name in GEOM_FIELDS:
            getattr(model, name)[geoms] = scene.geom_rows[name][item]
        empty = scene.geom_rows["geom_dataid"][item] < 0
        model.geom_dataid[geoms] = scene.geom_rows["geom_dataid"][item].clip(min=0)
        model.geom_rgba[geoms, 3] = 1.0 - empty
        joints = self.state.joint_pos[world].double().cpu().numpy()
        data.qpos[scene.drive_qpos] = joints
        data.qpos[scene.coupled_qpos] = joints[scene.coupled_source] * scene.coupled_ratio
        at = scene.object_qpos
        data.qpos[at : at + 3] = self.state.object_pos[world].double().cpu().numpy()
        data.qpos[at + 3 : at + 7] = self.state.object_quat[world].double().cpu().numpy()
        mujoco.mj_kinematics(model, data)
        return model, data

    def diagnostics(self) -> Dict[str, float]:
        """See `Simulator.diagnostics`."""
        return self.simulator.diagnostics()

    def close(self) -> None:
        """See `Simulator.close`."""
        self.simulator.close()
