"""What `python play.py` does: plays episodes in the browser, in a window, or writes them as a video."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Optional, Tuple

import torch
import tyro
from typing_extensions import Annotated

from tasks.commands import errors, options
from tasks.commands.loading import checkpoint_path, objects_for
from tasks.evaluation.following import Follower, wait_for_checkpoint
from tasks.evaluation.settings import MeasuredIn
from tasks.evaluation.trained import TrainedPolicy, load_trained
from tasks.grasp.environment import GraspTask
from tasks.grasp.randomisation.config import RandomCfg
from tasks.grasp.randomisation.config import check as check_random
from tasks.objects import ObjectSet, in_three_sizes
from tasks.simulators import registry
from tasks.simulators.registry import SimulatorEntry, SimulatorName
from tasks.viewing import window
from tasks.viewing.browser import viewer as browser
from tasks.viewing.film import VIDEO_SUFFIXES
from tasks.viewing.watched import Policy, WatchedSimulator, some_of

IN_A_VIDEO = 5
"""Episodes of a video."""
LIVE = 50
"""Objects that a window or a browser shows, again and again."""
AT_ONCE = 5
"""Objects, where each has a world of its own."""
MOST_HANDS = 36
"""In a video; a browser has fewer."""
Shown = Literal["auto", "browser", "window", "video"]


@dataclass
class PlayArgs:
    """Watch a policy grasp, in any of the simulators."""

    checkpoint: Annotated[Optional[Path], tyro.conf.arg(aliases=("--model",))] = None
    """The policy to play; by default the one that ships.  --model is the same."""
    objects: Optional[str] = None
    """A named object set, or a directory of meshes; by default what the policy was trained on."""
    viewer: Shown = "auto"
    """auto: MuJoCo's window where there is a display, else the browser; a video if the browser's viewer is not installed."""
    video: Optional[Path] = None
    """Write an .mp4 or .gif; grasp.mp4 if --viewer video names none."""
    hands: int = 1
    """Hands side by side, in the browser and in a video."""
    follow: bool = False
    """Switch to each new checkpoint of a training that runs; --checkpoint is then its directory, such as runs/NAME."""
    episodes: Optional[int] = None
    """Grasps, each of another object; by default 5 in a video, and else until you stop."""
    physics: MeasuredIn = "fine"
    """fine: in steps of 1/240 s; trained: in the steps that the policy was trained in."""
    seed: int = 0
    """Seed of the choice of objects and of their places."""
    speed: float = 1.0
    """Times real time: 0.5 is slow motion."""
    sim: SimulatorName = "auto"
    """The physics; auto is MuJoCo C."""
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
    port: int = browser.PORT
    """Port of the browser's viewer; if it is taken, the next free one."""
    host: str = "127.0.0.1"
    """Who may watch in a browser: 127.0.0.1 only this machine, and others through ssh; 0.0.0.0 everyone in the network."""
    random: RandomCfg = field(default_factory=RandomCfg)
    """What is disturbed; by default nothing, whatever the policy was trained with."""


def command() -> None:
    """Reads the command line and plays."""
    errors.run(lambda: play(options.parse(PlayArgs)))


def play(args: PlayArgs) -> None:
    """Plays episodes, one object after the other."""
    how, why = choose_viewer(args)
    check(args, how)
    sim = registry.get("mujoco" if args.sim == registry.AUTO else args.sim)
    sim.check()
    if how != "browser":
        registry.get("mujoco").check()  # which draws
    trained = load_trained(find_checkpoint(args), args.hand)
    torch.manual_seed(args.seed)
    objects = in_three_sizes(objects_for(trained, args), args.random.size)
    number = args.episodes or (max(IN_A_VIDEO, args.hands) if how == "video" else LIVE)
    objects = some_of(objects, number if sim.swaps_objects else min(number, max(AT_ONCE, args.hands)))
    if how == "browser":
        play_in_browser(args, trained, objects, sim)
    elif how == "window":
        play_in_window(args, trained, objects, sim)
    else:
        from tasks.viewing.watching import film

        path = args.video or Path("grasp.mp4")
        print(f"writing {path}{why}", flush=True)
        task = build(args, trained, sim, objects, args.hands)
        film(task, trained.policy.act_deterministic, path, number, args.speed, args.hands)


def choose_viewer(args: PlayArgs) -> Tuple[str, str]:
    """browser, window or video; and why a video is written that nobody asked for.  Raises ValueError."""
    if args.video is not None and args.viewer not in ("auto", "video"):
        raise ValueError(f"--viewer {args.viewer}: does not write --video {args.video}; leave out one of the two")
    if args.video is not None or args.viewer == "video":
        return "video", ""
    if args.viewer != "auto":
        return args.viewer, ""
    if window.has_display():
        return "window", ""
    if browser.is_installed():
        return "browser", ""
    return "video", f", as there is no display to open a window on; to watch in a browser: {browser.HOW_TO_GET}"


def check(args: PlayArgs, how: str) -> None:
    """Raises ValueError for values that cannot be meant."""
    options.check_values(args)
    check_random(args.random)
    options.check_writable(
        "--video", args.video or (Path("grasp.mp4") if how == "video" else None), suffixes=VIDEO_SUFFIXES
    )
    most = browser.MOST_HANDS if how == "browser" else MOST_HANDS if how == "video" else 1
    if args.hands > most:
        shown = "a window shows one hand" if most == 1 else f"at most {most} fit into a picture"
        raise ValueError(f"--hands {args.hands}: {shown}" + ("; give --viewer browser" if most == 1 else ""))
    if args.follow and how == "video":
        raise ValueError("--follow: a video shows one policy; give --viewer browser or window")
    if args.follow and args.checkpoint is None:
        raise ValueError("--follow: needs --checkpoint runs/NAME, the directory of the training")


def find_checkpoint(args: PlayArgs) -> Path:
    """The policy to begin with.  Of a training that is followed it is the newest, for which this may wait."""
    if args.follow and args.checkpoint is not None and args.checkpoint.suffix != ".pt":
        return wait_for_checkpoint(args.checkpoint)
    return checkpoint_path(args.checkpoint, hand=args.hand)


def build(args: PlayArgs, trained: TrainedPolicy, sim: SimulatorEntry, objects: ObjectSet, hands: int) -> GraspTask:
    """The task to play: so many worlds whose objects change, or, where objects stay, at least one for each object."""
    if not sim.swaps_objects:
        objects = ObjectSet.of(objects.name, objects.objects[: max(AT_ONCE, hands)])
    worlds = hands if sim.swaps_objects else max(hands, len(objects))
    settings = trained.settings.of_simulator(sim, args.physics)
    simulator = WatchedSimulator(sim.make(trained.hand, objects, worlds, settings, evaluation=True))
    cfg = replace(trained.settings.grasp, random=args.random)
    trained.policy.to(simulator.device)
    return GraspTask(simulator, trained.hand, objects, cfg, evaluation=True)


def play_in_window(args: PlayArgs, trained: TrainedPolicy, objects: ObjectSet, sim: SimulatorEntry) -> None:
    """Plays in MuJoCo's window."""
    from tasks.viewing.watching import watch

    follower = make_follower(args, trained)

    def newest() -> Optional[Policy]:
        found = follower.take() if follower is not None else None
        if found is None:
            return None
        print(f"now {title(found)}", flush=True)
        return found.policy.to(task.device).act_deterministic

    task = build(args, trained, sim, objects, 1)
    watch(task, trained.policy.act_deterministic, args.episodes, args.speed, newest)


def play_in_browser(args: PlayArgs, trained: TrainedPolicy, objects: ObjectSet, sim: SimulatorEntry) -> None:
    """Serves the viewer until it is stopped."""
    if not browser.is_installed():
        raise ValueError(f"--viewer browser: needs the extra `viewer`: {browser.HOW_TO_GET}")
    from tasks.viewing.browser.session import Session

    follower = make_follower(args, trained)

    def newest() -> Optional[browser.Named]:
        found = follower.take() if follower is not None else None
        if found is None:
            return None
        return found.policy.to(session.task.device).act_deterministic, title(found)

    session = Session(
        lambda some, hands: build(args, trained, sim, some, hands),
        objects,
        trained.policy.act_deterministic,
        args.hands,
        args.speed,
    )
    shown = browser.Viewer(
        session,
        trained.hand,
        title(trained),
        args.host,
        args.port,
        can_rebuild=sim.running_evaluation,
        newest=newest,
        follow=follower.follow if follower is not None else None,
        following=args.follow,
    )
    try:
        print(shown.announce(), flush=True)
        shown.run(args.episodes, lambda words: print(words, flush=True))
    finally:
        shown.close()


def make_follower(args: PlayArgs, trained: TrainedPolicy) -> Optional[Follower]:
    """Looks for new checkpoints beside the one that is played, if that is in a run; at once only with --follow."""
    run_dir = args.checkpoint if args.follow and args.checkpoint is not None else trained.path.parent
    run_dir = run_dir.parent if run_dir.suffix == ".pt" else run_dir
    if args.follow or (run_dir / "config.json").is_file():
        return Follower(run_dir, trained, args.follow)
    return None


def title(trained: TrainedPolicy) -> str:
    """What is played, in a line."""
    path = trained.path
    name = path.name if trained.env_steps is None else f"{path.parent.name}/{path.name}"
    return name + (f", {trained.env_steps / 1e6:.1f} M steps" if trained.env_steps is not None else "")
