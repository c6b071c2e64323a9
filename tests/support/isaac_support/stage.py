"""A small scene in the double of Isaac Gym, for the tests of the double itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import torch

DOUBLE = Path(__file__).resolve().parents[2] / "isaac_double"
ARM = """<mujoco model="arm"><compiler angle="radian"/><worldbody><body name="base">
<inertial mass="1" pos="0 0 0" diaginertia="0.01 0.01 0.01"/>
<body name="upper" pos="0 0 1"><inertial mass="1" pos="0 0.1 0" diaginertia="0.01 0.01 0.01"/>
<joint name="first" type="hinge" axis="1 0 0" limited="true" range="-2 2"/>
<geom type="capsule" size="0.02 0.1" pos="0 0.1 0"/>
<body name="lower" pos="0 0.2 0"><inertial mass="0.5" pos="0 0.1 0" diaginertia="0.005 0.005 0.005"/>
<joint name="second" type="hinge" axis="1 0 0" limited="true" range="-2 2"/>
<geom type="capsule" size="0.02 0.1" pos="0 0.1 0"/></body></body></body></worldbody>
<tendon><fixed name="t" limited="true" range="-0.001 0.001"><joint joint="first" coef="1"/><joint joint="second" coef="-1"/>
</fixed></tendon></mujoco>"""


class Stage:
    """Two environments, built step by step: a fixed arm of 2 joints, a free box, a fixed table, a sphere that meets nothing."""

    def __init__(self, tmp_path: Path) -> None:
        from isaacgym import gymapi, gymtorch

        self.api, self.torch, self.folder = gymapi, gymtorch, tmp_path
        self.gym = gymapi.acquire_gym()
        self.envs: List[Any] = []

    def params(self, gpu: bool = True) -> Any:
        api = self.api
        params = api.SimParams()
        params.up_axis, params.gravity, params.use_gpu_pipeline = api.UP_AXIS_Z, api.Vec3(0, 0, -9.81), gpu
        params.physx.use_gpu, params.physx.contact_collection = gpu, api.CC_LAST_SUBSTEP
        return params

    def create(self, gpu: bool = True, graphics: int = -1, **physx: Any) -> Stage:
        params = self.params(gpu)
        for name, value in physx.items():
            setattr(params.physx, name, value)
        self.sim = self.gym.create_sim(0, graphics, self.api.SIM_PHYSX, params)
        plane = self.api.PlaneParams()
        plane.normal = self.api.Vec3(0, 0, 1)
        self.gym.add_ground(self.sim, plane)
        return self

    def options(self, fixed: bool) -> Any:
        options = self.api.AssetOptions()
        options.fix_base_link, options.angular_damping = fixed, 0.0
        return options

    def load(self, text: str = ARM, name: str = "arm.xml") -> Any:
        (self.folder / name).write_text(text)
        return self.gym.load_asset(self.sim, str(self.folder), name, self.options(True))

    def assets(self) -> Stage:
        self.arm = self.load()
        self.box = self.gym.create_box(self.sim, 0.1, 0.1, 0.1, self.options(False))
        self.table = self.gym.create_box(self.sim, 0.2, 0.2, 0.02, self.options(True))
        self.ball = self.gym.create_sphere(self.sim, 0.05, self.options(False))
        return self

    def env(self) -> Any:
        api = self.api
        self.envs.append(self.gym.create_env(self.sim, api.Vec3(-1, -1, 0), api.Vec3(1, 1, 1), 2))
        return self.envs[-1]

    def actor(self, env: Any, asset: Any, group: int, at: float = 0.0, **pose: Any) -> int:
        transform = self.api.Transform()
        transform.p = self.api.Vec3(at, 0, 1.5)
        for name, value in pose.items():
            setattr(transform, name, value)
        return self.gym.create_actor(env, asset, transform, "actor", group, 0, 0)

    def fill(self, env: Any) -> None:
        i = len(self.envs) - 1
        for k, (asset, group) in enumerate(((self.arm, i), (self.box, i), (self.table, i), (self.ball, i + 100))):
            self.actor(env, asset, group, at=1.0 * k)
        table = self.gym.get_asset_dof_properties(self.arm)
        table["driveMode"], table["stiffness"], table["damping"] = 1, 50.0, 5.0
        assert self.gym.set_actor_dof_properties(env, 0, table)

    def build(self, gpu: bool = True, **physx: Any) -> Stage:
        self.create(gpu, **physx).assets()
        for _ in range(2):
            self.fill(self.env())
        return self

    def ready(self, gpu: bool = True, **physx: Any) -> Stage:
        self.build(gpu, **physx)
        assert self.gym.prepare_sim(self.sim)
        names = {
            "root": "actor_root_state",
            "dof": "dof_state",
            "body": "rigid_body_state",
            "contact": "net_contact_force",
        }
        self.buffers: Dict[str, torch.Tensor] = {}
        for short, name in names.items():
            wrapped: Any = self.torch.wrap_tensor(getattr(self.gym, f"acquire_{name}_tensor")(self.sim))
            self.buffers[short] = wrapped
            getattr(self.gym, f"refresh_{name}_tensor")(self.sim)
        self.root, self.dof = self.buffers["root"].clone(), self.buffers["dof"].clone()
        return self

    def ids(self, *values: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype)

    def set_root(self, ids: torch.Tensor, buffer: Any = None, count: int = -1) -> Any:
        self.kept = ids, self.root if buffer is None else buffer
        unwrap = self.torch.unwrap_tensor
        return self.gym.set_actor_root_state_tensor_indexed(
            self.sim, unwrap(self.kept[1]), unwrap(ids), len(ids) if count < 0 else count
        )

    def set_dof(self, ids: torch.Tensor) -> Any:
        self.kept_dof = ids
        unwrap = self.torch.unwrap_tensor
        return self.gym.set_dof_state_tensor_indexed(self.sim, unwrap(self.dof), unwrap(ids), len(ids))

    def simulate(self) -> None:
        self.gym.simulate(self.sim)
