"""What `python play.py` does: plays episodes in a window, or writes them as a video."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

import torch
import tyro
from typing_extensions import Annotated

from tasks.commands import errors, options
from tasks.commands.loading import checkpoint_path, objects_for
from tasks.evaluation.settings import MeasuredIn
from tasks.evaluation.trained import load_trained
from tasks.grasp.environment import GraspTask
from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.randomisation.config import check as check_random
from tasks.simulators import registry
from tasks.simulators.registry import SimulatorName
from tasks.viewing import window
from tasks.viewing.film import VIDEO_SUFFIXES

IN_A_VIDEO = 5
"""Episodes of a video."""
IN_A_WINDOW = 50
"""Objects that a window shows, again and again."""
AT_ONCE = 5
"""Objects, where each has a world of its own."""


@dataclass
class PlayArgs:
    """Watch a policy grasp, on MuJoCo C or PhysX."""

    checkpoint: Annotated[Optional[Path], tyro.conf.arg(aliases=("--model",))] = None
    """The policy to play; by default the one that ships.  --model is the same."""
    objects: Optional[str] = None
    """A named object set, or a directory of meshes; by default what the policy was trained on."""
    video: Optional[Path] = None
    """Write an .mp4 or .gif instead of opening a window; grasp.mp4 where there is no display."""
    episodes: Optional[int] = None
    """Grasps, each of another object; by default 5 in a video, and in a window until it is closed."""
    physics: MeasuredIn = "fine"
    """fine: in steps of 1/240 s; trained: in the steps that the policy was trained in."""
    seed: int = 0
    """Seed of the choice of objects and of their places."""
    speed: float = 1.0
    """Times real time: 0.5 is slow motion."""
    sim: SimulatorName = "auto"
    """The physics: MuJoCo C, which auto is, or PhysX; evaluate_policy.py measures on the others."""
    object_scale: Optional[float] = None
    """Metres in one unit of the meshes in a directory: 0.001 for meshes in millimetres."""
    object_density: Optional[float] = None
    """kg/m^3 of the meshes in a directory."""
    object_parts: Optional[int] = None
    """Most convex parts that a mesh of a directory is cut into."""
    skip_bad_objects: bool = False
    """Leave out meshes that cannot be used, with a warning for each."""
    hand: Optional[str] = None
    """The hand; by default the one that the policy was trained with."""
    random: RandomCfg = field(default_factory=RandomCfg)
    """What is disturbed; by default nothing, whatever the policy was trained with."""


def command() -> None:
    """Reads the command line and plays."""

    def run() -> None:
        args = options.parse(PlayArgs)
        check_watchable(args.sim)
        play(args)

    errors.run(run)


def check_watchable(name: str) -> None:
    """Raises ValueError if this simulator cannot be watched."""
    if name != registry.AUTO and not registry.get(name).watchable:
        can = " and ".join(entry.name for entry in registry.SIMULATORS if entry.watchable)
        raise ValueError(f"--sim {name}: only {can} can be watched; evaluate_policy.py measures on {name}")


def play(args: PlayArgs) -> None:
    """Plays episodes, one object after the other."""
    registry.get("mujoco").check()
    from tasks.viewing.watching import film, some_of, watch, watchable

    options.check_values(args)
    check_random(args.random)
    options.check_writable("--video", args.video, suffixes=VIDEO_SUFFIXES)
    why = ""
    if args.video is None and not window.has_display():
        args.video, why = Path("grasp.mp4"), ", as there is no display to open a window on"
        options.check_writable("--video", args.video)
    trained = load_trained(checkpoint_path(args.checkpoint, hand=args.hand), args.hand)
    policy, settings, hand = trained.policy, trained.settings, trained.hand
    torch.manual_seed(args.seed)
    objects = objects_for(trained, args)
    sim = registry.get("mujoco" if args.sim == registry.AUTO else args.sim)
    number = args.episodes or (IN_A_VIDEO if args.video else IN_A_WINDOW)
    objects = some_of(objects, number if sim.swaps_objects else min(number, AT_ONCE))
    simulator = watchable(sim, hand, objects, settings.of_simulator(sim, args.physics))
    task = GraspTask(simulator, hand, objects, replace(settings.grasp, random=args.random), evaluation=True)
    if args.video is None:
        watch(task, policy, args.episodes, args.speed)
    else:
        print(f"writing {args.video}{why}", flush=True)
        film(task, policy, args.video, args.episodes or IN_A_VIDEO, args.speed)
