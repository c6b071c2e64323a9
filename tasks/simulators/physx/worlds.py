"""Builds the worlds in PhysX: one stage with the hand and each object once, cloned side by side."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch

from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.errors import SimulatorError
from tasks.simulators.flat_hand import Drives, Link
from tasks.simulators.physx import usd
from tasks.simulators.physx.library import Library
from tasks.simulators.physx.settings import PhysxCfg

SPACING = 3.0
"""m, between the middles of worlds.  Without a GPU nothing else keeps them apart."""
OBJECT_START = (0.6, 0.0, 0.6)
"""m, in its world, where an object is made: beside the hand."""
GPU_SETTINGS = {"/physics/suppressReadback": True, "/ovphysx/clone/useEnvIds": True}
"""The state stays on the GPU, where torch reads it, and numbers of worlds keep the worlds apart."""
CPU_SETTINGS = {"/ovphysx/clone/useEnvIds": False}
"""Numbers of worlds keep nothing apart on the processor, and PhysX would say so with every clone."""
HAND_PATTERN, OBJECT_PATTERN = "/World/env*/hand", "/World/env*/object"


@dataclass
class Worlds:
    """What was built, and the rows of each world's things in PhysX's tensors."""

    physx: Any
    stage: Any
    origins: np.ndarray
    """(N, 3) m, of each world in the scene."""
    bindings: Dict[str, Any]
    """PhysX's tensors: `joint_pos`, `joint_vel`, `target`, `link_pose`, `link_vel`, `object_pose`, `object_vel`."""
    contacts: Any
    """The contact forces on the links that can touch something."""
    tip_contacts: Any
    """The points of contact of the fingertips; None if they are not asked for."""
    hand_rows: np.ndarray
    """(N,) row of each world's hand."""
    object_rows: np.ndarray
    """(N,) row of each world's object."""
    joint_columns: np.ndarray
    """(J,) in the order of `Drives.names`."""
    link_columns: np.ndarray
    """(F + 1,) of palm and fingertips."""
    contact_rows: np.ndarray
    """(N, L) of the links that can touch something: the fingertips, and then the others."""
    tip_rows: np.ndarray
    """(N, F) of the fingertips in `tip_contacts`."""

    def close(self) -> None:
        """Frees everything, in the order that PhysX wants."""
        for binding in (*self.bindings.values(), self.contacts, self.tip_contacts):
            if binding is not None:
                binding.destroy()
        self.physx.wait_task(self.physx.detach_ovstage())
        self.physx.destroy()
        self.stage.destroy()


def build(
    library: Library,
    hand: HandSpec,
    links: Sequence[Link],
    drives: Drives,
    objects: ObjectSet,
    object_ids: Sequence[int],
    cfg: PhysxCfg,
    device: torch.device,
) -> Worlds:
    """Builds one world for each of object_ids.  Raises SimulatorError if PhysX made something else of the hand."""
    count, gpu = len(object_ids), device.type == "cuda"
    used = {i: objects.objects[i] for i in object_ids}
    text = usd.scene(hand, links, drives, used, cfg, count if gpu else 0)
    physx = _start(library, device)
    stage = _load(library, physx, text)
    origins = _clone(physx, object_ids)

    types = library.types.TensorType

    def bind(pattern: str, kind: int) -> Any:
        return physx.create_tensor_binding(pattern=pattern, tensor_type=kind, raise_if_empty=True)

    bindings = {
        "joint_pos": bind(HAND_PATTERN, types.ARTICULATION_DOF_POSITION),
        "joint_vel": bind(HAND_PATTERN, types.ARTICULATION_DOF_VELOCITY),
        "target": bind(HAND_PATTERN, types.ARTICULATION_DOF_POSITION_TARGET),
        "link_pose": bind(HAND_PATTERN, types.ARTICULATION_LINK_POSE),
        "link_vel": bind(HAND_PATTERN, types.ARTICULATION_LINK_VELOCITY),
        "object_pose": bind(OBJECT_PATTERN, types.RIGID_BODY_POSE),
        "object_vel": bind(OBJECT_PATTERN, types.RIGID_BODY_VELOCITY),
    }
    dofs, bodies = bindings["joint_pos"].dof_names, bindings["link_pose"].body_names
    wanted, found = sorted([*drives.names, *(link.name for link in links)]), sorted([*dofs, *bodies])
    if set(wanted) - set(found):
        raise SimulatorError(f"PhysX read the hand differently: it lacks {sorted(set(wanted) - set(found))}")
    tips = list(hand.fingertip_bodies)
    pressed = [*tips, *(link.name for link in links if link.shapes and link.name not in tips)]
    contacts = physx.create_contact_binding([f"{HAND_PATTERN}/{name}" for name in pressed], [], 0, 0)
    detailed = None
    if cfg.fingertip_torques:
        room = count * len(tips) * 16
        detailed = physx.create_contact_binding([f"{HAND_PATTERN}/{name}" for name in tips], [], 0, room)
    return Worlds(
        physx=physx,
        stage=stage,
        origins=origins,
        bindings=bindings,
        contacts=contacts,
        tip_contacts=detailed,
        hand_rows=np.argsort([_world(path) for path in bindings["joint_pos"].prim_paths]),
        object_rows=np.argsort([_world(path) for path in bindings["object_pose"].prim_paths]),
        joint_columns=np.array([dofs.index(name) for name in drives.names]),
        link_columns=np.array([bodies.index(name) for name in (hand.palm_body, *tips)]),
        contact_rows=_sensor_rows(contacts, pressed, count),
        tip_rows=_sensor_rows(detailed, tips, count) if detailed is not None else np.zeros((count, 0), dtype=int),
    )


def set_properties(library: Library, worlds: Worlds, friction: np.ndarray, mass_scale: np.ndarray) -> None:
    """Gives the objects their friction (N,) and scales their masses by (N,), through the host, before the first step."""
    types, rows = library.types.TensorType, worlds.object_rows
    table = (
        (types.RIGID_BODY_SHAPE_FRICTION_AND_RESTITUTION, "friction"),
        (types.RIGID_BODY_MASS, "mass"),
        (types.RIGID_BODY_INERTIA, "inertia"),
    )
    for kind, what in table:
        if what != "friction" and (mass_scale == 1.0).all():
            continue
        binding = worlds.physx.create_tensor_binding(pattern=OBJECT_PATTERN, tensor_type=kind, raise_if_empty=True)
        values = np.zeros(tuple(binding.shape), np.float32)
        binding.read(values)
        if what == "friction":
            values[rows, :, :2] = friction[:, None, None]
        else:
            values[rows] *= mass_scale.reshape(-1, *[1] * (values.ndim - 1))
        binding.write(values)
        binding.destroy()


def _start(library: Library, device: torch.device) -> Any:
    physx_type = library.ovphysx.PhysX
    if device.type == "cuda":
        config = library.ovphysx.PhysXConfig(carbonite_overrides=GPU_SETTINGS)
        return physx_type(config=config, active_cuda_gpus=str(device.index) if device.index else None)
    if not torch.cuda.is_available() and not physx_type.get_cpu_mode():
        physx_type.set_cpu_mode(True)
    return physx_type(config=library.ovphysx.PhysXConfig(carbonite_overrides=CPU_SETTINGS))


def _load(library: Library, physx: Any, text: str) -> Any:
    """Reads the scene into a stage, and attaches PhysX to it."""
    from ovphysx.samples.python_samples.schema_support import physx_schema_paths

    population = library.ovstage.population
    if not _registered:
        schemas = [*map(str, physx_schema_paths()), str(library.ovphysx.newton_schema_root())]
        population.register_usd_schemas(schemas)
        _registered.append(True)
    stage = library.ovstage.Stage("grasp")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.usda"
        path.write_text(text, encoding="utf-8")
        population.open_usd(stage, str(path), ordinal=1, domains=population.PopulationDomain.ALL)
    stage.advance_write_floor(ordinal=1).wait()
    physx.wait_task(physx.attach_ovstage(stage, read_ordinal=1))
    physx.wait_all()
    return stage


_registered: List[bool] = []
"""Whether this process has told ovstage the schemas of PhysX; it may be told once."""


def _clone(physx: Any, object_ids: Sequence[int]) -> np.ndarray:
    """Makes the worlds.  Returns their origins (N, 3).

    Every world's own things are clones with the world's number.  On a GPU PhysX keeps worlds apart by it, and things without
    one, such as the sources, pass through those with one.
    """
    count = len(object_ids)
    side = math.ceil(count**0.5)
    origins = np.array([[SPACING * (i % side), SPACING * (i // side), 0.0] for i in range(count)], np.float32)

    def poses(worlds: Sequence[int], at: Sequence[float]) -> List[Tuple[float, ...]]:
        return [(*(float(x) for x in origins[i] + np.asarray(at)), 0.0, 0.0, 0.0, 1.0) for i in worlds]

    everywhere = list(range(count))
    hands = [f"/World/env{i}/hand" for i in everywhere]
    physx.wait_task(physx.clone(usd.HAND, hands, poses(everywhere, (0.0, 0.0, 0.0)), everywhere))
    for number in sorted(set(object_ids)):
        mine = [i for i in everywhere if object_ids[i] == number]
        targets = [f"/World/env{i}/object" for i in mine]
        physx.wait_task(physx.clone(usd.object_path(number), targets, poses(mine, OBJECT_START), mine))
    physx.wait_all()
    return origins


def _world(path: str) -> int:
    """The number of the world of "/World/env12/..."."""
    return int(path.split("/")[2][len("env") :])


def _sensor_rows(binding: Any, names: Sequence[str], count: int) -> np.ndarray:
    """(N, len(names)) rows of a contact binding."""
    rows = np.full((count, len(names)), -1)
    order: Dict[str, int] = {name: column for column, name in enumerate(names)}
    for row, path in enumerate(binding.sensor_paths):
        rows[_world(path), order[path.split("/")[-1]]] = row
    if (rows < 0).any():
        raise SimulatorError("PhysX does not tell the contact forces of all links of the hand")
    return rows
