"""Enumerations, vectors and records with exactly the fields that the real ones have (T3)."""

from __future__ import annotations

import copy
import enum
from typing import Any, Dict, Tuple

import numpy as np


class SimType(enum.IntEnum):
    SIM_PHYSX = 0
    SIM_FLEX = 1


class UpAxis(enum.IntEnum):
    UP_AXIS_Y = 0
    UP_AXIS_Z = 1


class ContactCollection(enum.IntEnum):
    CC_NEVER = 0
    CC_LAST_SUBSTEP = 1
    CC_ALL_SUBSTEPS = 2


class DofDriveMode(enum.IntEnum):
    DOF_MODE_NONE = 0
    DOF_MODE_POS = 1
    DOF_MODE_VEL = 2
    DOF_MODE_EFFORT = 3


class IndexDomain(enum.IntEnum):
    DOMAIN_ACTOR = 0
    DOMAIN_ENV = 1
    DOMAIN_SIM = 2


class CoordinateSpace(enum.IntEnum):
    ENV_SPACE = 0
    LOCAL_SPACE = 1
    GLOBAL_SPACE = 2


class ImageType(enum.IntEnum):
    IMAGE_COLOR = 0
    IMAGE_DEPTH = 1
    IMAGE_SEGMENTATION = 2
    IMAGE_OPTICAL_FLOW = 3


def record(name: str, fields: Dict[str, Any]) -> type:
    """A class with these fields and defaults and no others.  A field keeps the type of its default, as with pybind11."""

    def init(self: Any) -> None:
        for field, default in fields.items():
            object.__setattr__(self, field, default() if callable(default) else default)

    def setter(self: Any, field: str, value: Any) -> None:
        if field not in fields:
            raise AttributeError(f"T3: {name!r} has no attribute {field!r}")
        current = getattr(self, field)
        if isinstance(current, enum.IntEnum) or not isinstance(current, (bool, int, float)):
            good = isinstance(value, type(current))
        elif isinstance(current, bool):
            good = isinstance(value, (bool, np.bool_))
        elif isinstance(current, int):
            good = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        else:
            good = isinstance(value, (int, float, np.integer, np.floating))
        if not good:
            raise TypeError(f"T4: {name}.{field} takes {type(current).__name__}, not {type(value).__name__}")
        object.__setattr__(self, field, value)

    def deepcopy(self: Any, memo: Dict[int, Any]) -> Any:
        result = type(self)()
        for field in fields:
            object.__setattr__(result, field, copy.deepcopy(getattr(self, field), memo))
        return result

    methods = {"__init__": init, "__setattr__": setter, "__deepcopy__": deepcopy}
    return type(name, (), {"__slots__": tuple(fields), "FIELDS": tuple(fields), **methods})


class _Numbers:
    """x, y, z(, w) as attributes; floats only."""

    __slots__: Tuple[str, ...] = ()

    def __init__(self, *values: float) -> None:
        names = self.__slots__
        if len(values) not in (0, len(names)):
            raise TypeError(f"{type(self).__name__} takes {len(names)} numbers")
        for name, value in zip(names, values or self._default()):
            setattr(self, name, float(value))

    def _default(self) -> Tuple[float, ...]:
        return (0.0,) * len(self.__slots__)

    def array(self) -> np.ndarray:
        """(n,) of the components in their order."""
        return np.array([getattr(self, name) for name in self.__slots__])


class Vec3(_Numbers):
    __slots__ = ("x", "y", "z")


class Quat(_Numbers):
    """x, y, z, w."""

    __slots__ = ("w", "x", "y", "z")

    def _default(self) -> Tuple[float, ...]:
        return (0.0, 0.0, 0.0, 1.0)


Transform = record("Transform", {"p": Vec3, "r": Quat})
Mat33 = record("Mat33", {"x": Vec3, "y": Vec3, "z": Vec3})
PlaneParams = record(
    "PlaneParams",
    {
        **{"distance": 0.0, "dynamic_friction": 1.0, "normal": lambda: Vec3(0, 1, 0), "restitution": 0.0},
        **{"segmentation_id": 0, "static_friction": 1.0},
    },
)
PhysXParams = record(
    "PhysXParams",
    {
        **{"always_use_articulations": False, "bounce_threshold_velocity": 0.5, "contact_offset": 0.02},
        "contact_collection": ContactCollection.CC_ALL_SUBSTEPS,
        **{"default_buffer_size_multiplier": 2.0, "friction_correlation_distance": 0.025, "rest_offset": 0.01},
        **{"friction_offset_threshold": 0.04, "max_depenetration_velocity": 5.0, "max_gpu_contact_pairs": 1 << 20},
        **{"num_position_iterations": 4, "num_subscenes": 0, "num_threads": 0, "num_velocity_iterations": 1},
        **{"solver_type": 0, "use_gpu": False},
    },
)
SimParams = record(
    "SimParams",
    {
        **{"dt": 1 / 60, "enable_actor_creation_warning": True, "gravity": lambda: Vec3(0, -9.8, 0)},
        **{"num_client_threads": 0, "physx": PhysXParams, "substeps": 2, "up_axis": UpAxis.UP_AXIS_Y},
        **{"use_gpu_pipeline": False, "stress_visualization": False, "stress_visualization_max": 1e5},
        "stress_visualization_min": 0.0,
    },
)
AssetOptions = record(
    "AssetOptions",
    {
        **{"angular_damping": 0.5, "armature": 0.0, "collapse_fixed_joints": False, "density": 1000.0},
        **{"convex_decomposition_from_submeshes": False, "default_dof_drive_mode": 0, "disable_gravity": False},
        **{"enable_gyroscopic_forces": True, "fix_base_link": False, "flip_visual_attachments": True},
        **{"linear_damping": 0.0, "max_angular_velocity": 64.0, "max_linear_velocity": 1000.0},
        **{"mesh_normal_mode": 0, "min_particle_mass": 1e-12, "override_com": False, "override_inertia": False},
        **{"replace_cylinder_with_capsule": False, "slices_per_cylinder": 20, "tendon_limit_stiffness": 1.0},
        **{"thickness": 0.02, "use_mesh_materials": False, "use_physx_armature": True, "vhacd_enabled": False},
        "vhacd_params": lambda: None,
    },
)
RigidBodyProperties = record(
    "RigidBodyProperties",
    {"com": Vec3, "flags": 0, "inertia": Mat33, "invInertia": Mat33, "invMass": 0.0, "mass": 0.0},
)
RigidShapeProperties = record(
    "RigidShapeProperties",
    {
        **{"compliance": 0.0, "contact_offset": 0.02, "filter": 0, "friction": 1.0, "rest_offset": 0.0},
        **{"restitution": 0.0, "rolling_friction": 0.0, "thickness": 0.0, "torsion_friction": 0.0},
    },
)
TendonProperties = record(
    "TendonProperties",
    {
        **{"damping": 0.0, "fixed_lower_limit": 0.0, "fixed_spring_rest_length": 0.0, "fixed_upper_limit": 0.0},
        **{"is_fixed_limited": False, "limit_stiffness": 0.0, "stiffness": 0.0},
    },
)
ForceSensorProperties = record(
    "ForceSensorProperties",
    {"enable_constraint_solver_forces": True, "enable_forward_dynamics_forces": True, "use_world_frame": False},
)
CameraProperties = record(
    "CameraProperties",
    {
        **{"enable_tensors": False, "far_plane": 2e6, "height": 900, "horizontal_fov": 90.0, "near_plane": 0.001},
        **{"supersampling_horizontal": 1, "supersampling_vertical": 1, "use_collision_geometry": False, "width": 1600},
    },
)
RECORDS = (
    *(Transform, Mat33, PlaneParams, PhysXParams, SimParams, AssetOptions, RigidBodyProperties),
    *(RigidShapeProperties, TendonProperties, ForceSensorProperties, CameraProperties),
)

DOF_DTYPE = np.dtype(
    [
        *(("hasLimits", "?"), ("lower", "f4"), ("upper", "f4"), ("driveMode", "i4"), ("velocity", "f4")),
        *(("effort", "f4"), ("stiffness", "f4"), ("damping", "f4"), ("friction", "f4"), ("armature", "f4")),
    ]
)


class Tensor:
    """Describes memory by its address, but does not own it.  `alive` tells whether its owner still exists."""

    __slots__ = ("alive", "array", "contiguous", "data_address", "device", "dtype", "own_data", "shape")

    def __init__(self, array: np.ndarray, dtype: str, alive: Any, device: str, contiguous: bool = True) -> None:
        self.array, self.dtype, self.alive, self.device, self.contiguous = array, dtype, alive, device, contiguous
        self.data_address, self.own_data, self.shape = array.__array_interface__["data"][0], False, array.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def data_ptr(self) -> int:
        return self.data_address


class Handle:
    """An opaque object.  A number in its place is a TypeError (T2)."""

    __slots__ = ("data",)

    def __init__(self, data: Any) -> None:
        self.data = data


class Sim(Handle):
    __slots__ = ()


class Env(Handle):
    __slots__ = ()


class Asset(Handle):
    __slots__ = ()


class Viewer(Handle):
    __slots__ = ()
