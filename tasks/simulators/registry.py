"""All simulators: what each is called, what it needs, what it can, and how it is made.

A new simulator is a folder here and one entry in `SIMULATORS`.  Nothing else compares the names of simulators: ask an entry
what it can.  This module imports neither torch nor a simulator until it is asked for one, because Isaac Gym must be
imported before torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Dict, List, Literal, Optional, Tuple

from tasks.simulators.errors import SimulatorError

if TYPE_CHECKING:
    from tasks.hands.spec import HandSpec
    from tasks.objects import ObjectSet
    from tasks.simulators.contract import Simulator


@dataclass(frozen=True)
class SimulatorEntry:
    """One simulator.

    The module `module` has two functions and imports nothing heavy until they are called:
    `check()` raises SimulatorError where the simulator cannot run, with what is missing and how to get it;
    `make(hand, objects, num_envs, settings, evaluation, seed)` builds the simulator, see `make_simulator`.
    """

    name: str
    """What `--sim` calls it."""
    title: str
    """What people call it."""
    needs: str
    """What it needs, as a sentence."""
    module: str
    """Where `make` and `check` are."""
    settings: str
    """The dataclass of its settings as "module:Class"; see `settings_type`.  Simulators may share one."""
    prefix: str
    """Its settings' prefix on the command line: "physics" for `--physics.timestep`."""
    on_gpu: bool = False
    """Whether it simulates on a GPU."""
    capturable: bool = False
    """Whether its steps can be recorded in a CUDA graph."""
    swaps_objects: bool = True
    """Whether a reset can put another object into a world.  If not, each world keeps the object it was built with."""
    running_evaluation: bool = True
    """Whether a process can have a second simulation.  If not, a training measures its policy in its own worlds."""
    compiles_kernels: bool = False
    """Whether its GPU kernels can be compiled ahead, see `tasks.commands.compile_kernels`."""
    without_gpu: bool = False
    """Whether it simulates on a GPU if there is one, and also without."""
    few_hands: bool = False
    """Whether it is so slow that a training has hundreds of hands, not thousands.  Presets then have other defaults."""
    memory_measured: bool = False
    """Whether `tasks.simulators.memory` knows what memory it needs."""
    evaluation_envs: int = 4096
    """Worlds of an evaluation, if the user does not say how many."""

    def runs_on_gpu(self) -> bool:
        """Whether it simulates on a GPU here."""
        import torch

        return self.on_gpu and (torch.cuda.is_available() or not self.without_gpu)

    def has_few_hands(self) -> bool:
        """Whether a training here has hundreds of hands, not thousands."""
        return self.few_hands or (self.without_gpu and not self.runs_on_gpu())

    @property
    def settings_field(self) -> str:
        """`prefix` as the name of a dataclass field."""
        return self.prefix.replace("-", "_")

    def settings_type(self) -> type:
        """The dataclass of its settings.  The import may take torch along."""
        module, name = self.settings.split(":")
        return getattr(import_module(module), name)

    def has_fine_settings(self) -> bool:
        """Whether its settings have a method `fine`, for measuring policies."""
        return hasattr(self.settings_type(), "fine")

    def check(self) -> None:
        """Raises SimulatorError if the simulator cannot run here, with what is missing and how to get it."""
        import_module(self.module).check()

    def make(
        self,
        hand: HandSpec,
        objects: ObjectSet,
        num_envs: int,
        settings: Optional[Any] = None,
        evaluation: bool = False,
        seed: int = 0,
    ) -> Simulator:
        """Builds the simulator; see `make_simulator`."""
        expected = self.settings_type()
        if settings is not None and not isinstance(settings, expected):
            raise SimulatorError(
                f"{self.name} takes {expected.__name__} as its settings (--{self.prefix}), not {type(settings).__name__}"
            )
        if num_envs < 1:
            raise SimulatorError(f"{num_envs} environments: at least 1 is needed")
        self.check()
        return import_module(self.module).make(hand, objects, num_envs, settings or expected(), evaluation, seed)


SIMULATORS: Tuple[SimulatorEntry, ...] = (
    SimulatorEntry(
        name="mujoco_warp",
        title="MuJoCo Warp",
        needs="It needs an NVIDIA GPU and Python 3.11 or newer.",
        module="tasks.simulators.mujoco_warp",
        settings="tasks.simulators.mujoco.scene:PhysicsCfg",
        prefix="physics",
        on_gpu=True,
        capturable=True,
        compiles_kernels=True,
        memory_measured=True,
    ),
    SimulatorEntry(
        name="mujoco",
        title="MuJoCo C",
        needs="It needs Python 3.11 or newer, and no GPU.",
        module="tasks.simulators.mujoco",
        settings="tasks.simulators.mujoco.scene:PhysicsCfg",
        prefix="physics",
        few_hands=True,
        memory_measured=True,
        evaluation_envs=64,
    ),
    SimulatorEntry(
        name="physx",
        title="PhysX 5",
        needs="It needs the extra `physx` (NVIDIA's ovphysx, under NVIDIA's licence), Python 3.11 and glibc 2.35 or newer.",
        module="tasks.simulators.physx",
        settings="tasks.simulators.physx.settings:PhysxCfg",
        prefix="physx",
        on_gpu=True,
        without_gpu=True,
        swaps_objects=False,
    ),
    SimulatorEntry(
        name="isaac_gym",
        title="Isaac Gym",
        needs="It needs Isaac Gym Preview 4, which is for Linux and Python 3.8, and an NVIDIA GPU older than Hopper.",
        module="tasks.simulators.isaac_gym",
        settings="tasks.simulators.isaac_gym.settings:IsaacGymCfg",
        prefix="isaac-gym",
        on_gpu=True,
        swaps_objects=False,
        running_evaluation=False,
    ),
)

AUTO = "auto"
"""The name that stands for MuJoCo Warp on a GPU and MuJoCo C without one, see `choose`."""

ALL = "all"
"""The name that stands for every simulator that can run here, in an evaluation, see `runnable`."""


def names() -> Tuple[str, ...]:
    """What `--sim` can be, but for "auto"."""
    return tuple(entry.name for entry in SIMULATORS)


if TYPE_CHECKING:
    SimulatorName = str
    SimulatorNameOrAll = str
else:
    SimulatorName = Literal[(AUTO, *names())]
    SimulatorNameOrAll = Literal[(AUTO, *names(), ALL)]
"""The types of the option `--sim`: of one simulator, and of one or all."""


def get(name: str) -> SimulatorEntry:
    """The entry of this name.  Raises SimulatorError with the names that exist if there is none."""
    for entry in SIMULATORS:
        if entry.name == name:
            return entry
    raise SimulatorError(f"there is no simulator {name!r}: choose from {', '.join((AUTO, *names()))}")


def choose(name: str) -> SimulatorEntry:
    """The entry of this name; for "auto" MuJoCo Warp if torch sees a GPU, else MuJoCo C."""
    if name != AUTO:
        return get(name)
    import torch

    return get("mujoco_warp" if torch.cuda.is_available() else "mujoco")


def runnable() -> Tuple[List[SimulatorEntry], Dict[str, str]]:
    """The simulators that can run one after the other in this process, and why each other one cannot, by name."""
    can, cannot = [], {}
    for entry in SIMULATORS:
        if not entry.running_evaluation:
            cannot[entry.name] = "it needs a process of its own"
            continue
        try:
            entry.check()
        except SimulatorError as error:
            cannot[entry.name] = str(error)
        else:
            can.append(entry)
    return can, cannot


def settings_types() -> Dict[str, type]:
    """Prefix on the command line -> the dataclass of the settings that have it."""
    return {entry.prefix: entry.settings_type() for entry in SIMULATORS}


def recipe_settings() -> Dict[str, Any]:
    """Field of `SimulatorEntry.settings_field` -> settings of the published recipe, of the simulators that have some."""
    types = {entry.settings_field: entry.settings_type() for entry in SIMULATORS}
    return {field: kind.recipe() for field, kind in types.items() if hasattr(kind, "recipe")}


def make_simulator(
    name: str,
    hand: HandSpec,
    objects: ObjectSet,
    num_envs: int,
    settings: Optional[Any] = None,
    evaluation: bool = False,
    seed: int = 0,
) -> Simulator:
    """Builds the simulator of this name ("auto" included) with num_envs worlds.

    settings: of its `settings_type`; its defaults if None.  evaluation: whether policies are measured in it, so that nothing
    is drawn at random that an evaluation does not draw.  seed: for what is drawn once, when the worlds are built.
    Raises SimulatorError if the simulator cannot run here, or does not take these settings.
    """
    return choose(name).make(hand, objects, num_envs, settings, evaluation, seed)
