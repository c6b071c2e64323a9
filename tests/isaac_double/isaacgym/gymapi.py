"""The names of `isaacgym.gymapi` that the double knows; any other is an AttributeError (T3)."""

from __future__ import annotations

from isaacgym._build import Build
from isaacgym._properties import Properties
from isaacgym._run import Run
from isaacgym._types import (
    Asset,
    AssetOptions,
    CameraProperties,
    ContactCollection,
    CoordinateSpace,
    DofDriveMode,
    Env,
    ForceSensorProperties,
    ImageType,
    IndexDomain,
    Mat33,
    PhysXParams,
    PlaneParams,
    Quat,
    RigidBodyProperties,
    RigidShapeProperties,
    Sim,
    SimParams,
    SimType,
    TendonProperties,
    Tensor,
    Transform,
    UpAxis,
    Vec3,
    Viewer,
)

__all__ = [
    "Asset",
    "AssetOptions",
    "CameraProperties",
    "ContactCollection",
    "CoordinateSpace",
    "DofDriveMode",
    "Env",
    "ForceSensorProperties",
    "Gym",
    "ImageType",
    "IndexDomain",
    "Mat33",
    "PhysXParams",
    "PlaneParams",
    "Quat",
    "RigidBodyProperties",
    "RigidShapeProperties",
    "Sim",
    "SimParams",
    "SimType",
    "TendonProperties",
    "Tensor",
    "Transform",
    "UpAxis",
    "Vec3",
    "Viewer",
    "acquire_gym",
]
for _kind in (SimType, UpAxis, ContactCollection, DofDriveMode, IndexDomain, CoordinateSpace, ImageType):
    globals().update(_kind.__members__)
STATE_NONE, STATE_POS, STATE_VEL, STATE_ALL = 0, 1, 2, 3


class Gym(Build, Properties, Run):
    """The functions of the real one that the double knows."""


_GYM = Gym()


def acquire_gym() -> Gym:
    """The one Gym of the process."""
    return _GYM
