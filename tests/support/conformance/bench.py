"""What the checks of the contract share: a way to make the simulator, objects, starts and comparisons."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple
from xml.etree import ElementTree

import mujoco
import numpy as np
import torch
from torch import Tensor

from tasks.hands import SHADOW_HAND, HandSpec
from tasks.objects import ObjectModel, ObjectSet
from tasks.objects.build import build
from tasks.simulators import contract
from tasks.simulators.contract import SimState, Simulator

GRAVITY = 9.81
CUBE = build("cube", "cube", [np.array(np.meshgrid(*[[-0.03, 0.03]] * 3)).reshape(3, -1).T], mass=0.15)


def _box(low: List[float], high: List[float]) -> np.ndarray:
    return np.array(np.meshgrid(*zip(low, high))).reshape(3, -1).T


LOADED = build(
    "loaded",
    "hull",
    [_box([-0.06, -0.02, -0.015], [0.02, 0.02, 0.015]), _box([0.02, -0.02, -0.015], [0.05, 0.02, 0.03])],
    mass=0.3,
    com_shift=np.array([0.15, 0.1, 0.05]),
)
"""Two parts, and its mass is away from its frame's origin."""


@dataclass
class HandUnderTest:
    """A hand, and poses of its fingers that the checks move it to."""

    spec: HandSpec
    bent: Mapping[str, float]
    """Finger joints and where the drives must bring them, rad.  The first one is turned alone as well, so that no
    coupled joint may follow it."""
    back: Tuple[float, float, float]
    """A point in the palm's frame on the back of the hand, m, where a cube of 6 cm can lie."""
    pressing: Mapping[str, float]
    """Finger joints, rad, with which only the fingertips `pressing_tips` reach the table when the palm comes down."""
    pressing_tips: Tuple[int, ...]
    pressing_heights: Tuple[float, float]
    """m, of the palm over the table: just before the fingertips touch, and where the base's target goes."""


SHADOW = HandUnderTest(
    SHADOW_HAND,
    bent={"FFJ3": 0.9, "FFJ2": 0.8, "RFJ2": 0.5, "LFJ5": 0.3, "THJ4": 0.6},
    back=(-0.0035, 0.0105, 0.021),
    pressing={"FFJ3": 1.2, "MFJ3": 1.2, "RFJ3": 1.2, "LFJ3": 1.2},
    pressing_tips=(0, 1, 2, 3),
    pressing_heights=(0.16, 0.06),
)


@dataclass
class Bench:
    """A way to make the simulator under test, and how exact it is."""

    make: Callable[[ObjectSet, int], Simulator]
    """(objects, num_envs); world i must hold object i modulo the set's size unless the simulator swaps objects."""
    launch: Optional[Callable[[Any, Tensor], None]] = None
    """Gives all objects velocities (N, 6) of their frames' origins, linear then angular, in the world's frame."""
    exact: bool = True
    """Whether the same calls give the same bits."""
    settle_mm: float = 3.0
    """How far an object at rest may sink or hover, mm."""
    path_rad: float = 0.03
    """How far the joints' paths may be from those of plain MuJoCo with small steps, rad or m."""
    momentum_share: float = 0.02
    """Of its angular momentum a tumbling object may gain or lose this much in five steps."""
    tested: HandUnderTest = field(default_factory=lambda: SHADOW)

    @property
    def hand(self) -> HandSpec:
        return self.tested.spec

    def simulator(self, num_envs: int = 4, *objects: ObjectModel) -> Simulator:
        """With these objects, or with one cube and one loaded object in turns."""
        return self.make(ObjectSet.of("conformance", list(objects or (CUBE, LOADED))), num_envs)


class Start(contract.Start):
    """A start of all worlds.  A check changes what it is about."""

    def into(self, sim: Simulator, mask: Optional[Tensor] = None) -> None:
        everywhere = torch.ones(sim.num_envs, dtype=torch.bool, device=sim.device)
        sim.reset(everywhere if mask is None else mask, self)


def start(sim: Simulator, num_objects: int = 2) -> Start:
    """The hand is open and high; the object is beside it, higher, and turned."""
    n, device = sim.num_envs, sim.device
    joint_pos = torch.zeros_like(sim.state.joint_pos)
    joint_pos[:, 2] = 0.7
    quat = torch.tensor([0.5, -0.3, 0.7, 0.4], device=device)
    own = torch.arange(n, device=device) % num_objects
    return Start(
        joint_pos=joint_pos,
        object_pos=torch.tensor([0.4, -0.3, 1.4], device=device).repeat(n, 1),
        object_quat=(quat / quat.norm()).repeat(n, 1),
        object_id=own if sim.swaps_objects else sim.state.object_id.clone(),
        mass_scale=torch.ones(n, device=device),
        friction=torch.full((n,), 0.8, device=device),
    )


def steps(sim: Simulator, targets: Tensor, seconds: float) -> int:
    """Steps for about that long; returns how many."""
    count = round(seconds / sim.control_dt)
    for _ in range(count):
        sim.step(targets)
    return count


def snapshot(state: SimState) -> Dict[str, Tensor]:
    return {f.name: getattr(state, f.name).clone() for f in fields(state)}


def close(a: Tensor, b: object, tolerance: float, what: str = "") -> None:
    worst = (a.double().cpu() - torch.as_tensor(b).double().cpu()).abs().max().item()
    assert worst <= tolerance, f"{what} is off by {worst:.3g}, at most {tolerance:.3g} is right"


def same_turn(a: Tensor, b: Tensor, tolerance: float, what: str = "") -> None:
    close((a.cpu() * b.cpu()).sum(-1).abs(), torch.ones(a.shape[:-1]), tolerance, what)


def plain_hand(hand: HandSpec) -> mujoco.MjModel:
    """The hand alone, in MuJoCo C, with small steps."""
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    model.opt.timestep, model.opt.integrator = 1 / 960, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    return model


def plain_hand_and_table(hand: HandSpec) -> mujoco.MjModel:
    """`plain_hand` above the table."""
    root = ElementTree.parse(hand.mjcf).getroot()
    world = root.find("worldbody")
    assert world is not None
    ElementTree.SubElement(
        world, "geom", type="plane", size="1 1 0.1", pos=f"0 0 {contract.TABLE_HEIGHT}", contype="2", conaffinity="3",
        friction="1 0.01 0.0001",
    )  # fmt: skip
    model = mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))
    model.opt.timestep, model.opt.integrator = 1 / 960, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # With the defaults fingers creep on the table as long as they are pressed.
    model.opt.cone, model.opt.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 10.0
    return model


def set_joints(model: mujoco.MjModel, data: mujoco.MjData, hand: HandSpec, joint_pos: np.ndarray) -> None:
    """joint_pos (D,); coupled joints follow."""
    for name, value in zip(hand.drives, joint_pos):
        data.qpos[model.joint(name).qposadr] = value
    for name, source in hand.coupled_joints.items():
        data.qpos[model.joint(name).qposadr] = hand.coupling(name) * joint_pos[hand.drives.index(source)]


def bent(hand: HandSpec, n: int, seed: int = 0) -> Tensor:
    """(n, D) joint positions inside their ranges, all different, base turned about all axes."""
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    ranges = np.stack([model.joint(name).range for name in hand.drives])
    ranges[:3] = [[-0.3, 0.3], [-0.3, 0.3], [0.6, 0.9]]
    ranges[3:6] = [[-0.8, 0.8]] * 3
    random = np.random.default_rng(seed)
    return torch.tensor(random.uniform(ranges[:, 0], ranges[:, 1], size=(n, hand.num_drives)), dtype=torch.float32)
