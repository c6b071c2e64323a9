"""Watch a policy grasp: `python play.py`; in a window where there is a display, else as a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional

import torch
import tyro
from typing_extensions import Annotated

from ppo_grasp import load_policy
from tasks.commands.arguments import check_numbers, check_writable, checkpoint_path, load_set, run
from tasks.evaluation.settings import MeasuredIn, trained_with
from tasks.grasp.environment import GraspTask
from tasks.hands import get_hand
from tasks.viewing.rendering import VIDEO_SUFFIXES, WatchedSimulator, has_display
from tasks.viewing.watching import film, some_of, watch

IN_A_VIDEO = 5
"""Episodes of a video."""
IN_A_WINDOW = 50
"""Objects that a window goes through again and again."""


@dataclass
class PlayArgs:
    """Watch a policy grasp, on MuJoCo C."""

    checkpoint: Annotated[Optional[Path], tyro.conf.arg(aliases=("--model",))] = None
    """The policy to play; by default the one that ships in checkpoints/."""
    objects: Optional[str] = None
    """A named object set, or a directory of meshes; by default what the policy was trained on."""
    video: Optional[Path] = None
    """Write an .mp4 or .gif instead of opening a window; grasp.mp4 where there is no display."""
    episodes: Optional[int] = None
    """How many grasps, each of another object; by default 5 in a video, and in a window until it is closed."""
    physics: MeasuredIn = "fine"
    """fine: in steps four times finer than training's default; trained: in those that the policy was trained in."""
    seed: int = 0
    """Seeds the choice of objects and their places."""
    speed: float = 1.0
    """Times real time."""
    sim: Literal["auto", "mujoco", "mujoco_warp", "isaac_gym"] = "auto"
    """Only MuJoCo C can be watched; evaluate_policy.py measures on the others."""
    object_scale: Optional[float] = None
    """Times the coordinates of meshes in a directory, to get metres."""
    skip_bad_objects: bool = False
    """Leave out meshes that cannot be used, with a warning each."""
    hand: Optional[str] = None
    """Which hand; by default the one the policy was trained with."""


def main(args: PlayArgs) -> None:
    """Plays episodes, one object after the other."""
    check_numbers(args, positive=("speed", "object_scale"))
    check_writable("--video", args.video, suffixes=VIDEO_SUFFIXES)
    if args.sim not in ("auto", "mujoco"):
        raise ValueError(f"--sim {args.sim}: only mujoco can be watched; evaluate_policy.py measures on {args.sim}")
    why = ""
    if args.video is None and not has_display():
        args.video, why = Path("grasp.mp4"), ", as there is no display to open a window on"
        check_writable("--video", args.video)
    path = checkpoint_path(args.checkpoint)
    policy, meta = load_policy(path)
    settings = trained_with(meta, path, policy.cfg.num_obs, policy.cfg.num_actions)
    torch.manual_seed(args.seed)
    scale = args.object_scale or settings.object_scale
    objects = load_set(
        args.objects or settings.objects,
        scale,
        args.skip_bad_objects,
        count=None if args.objects else settings.object_count,
    )
    objects = some_of(objects, args.episodes or (IN_A_VIDEO if args.video else IN_A_WINDOW))
    hand = get_hand(args.hand or settings.hand)
    simulator = WatchedSimulator(hand, objects, 1, settings.measured_in(args.physics))
    task = GraspTask(simulator, hand, objects, settings.grasp, evaluation=True)
    if args.video is None:
        watch(task, policy, args.episodes, args.speed)
    else:
        print(f"writing {args.video}{why}", flush=True)
        film(task, policy, args.video, args.episodes or IN_A_VIDEO, args.speed)


if __name__ == "__main__":
    run(main, PlayArgs)
