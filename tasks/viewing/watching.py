"""Shows episodes one after the other: in a video, or in MuJoCo's window in real time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable, List, Optional, Sequence

import torch

from tasks.grasp.environment import GraspTask
from tasks.viewing.film import Film
from tasks.viewing.renderer import WorldRenderer
from tasks.viewing.stage import Stage
from tasks.viewing.watched import Policy, Snapshot, snapshot, watched
from tasks.viewing.window import Window

GIF_SIZE = (640, 360)
Show = Callable[[Snapshot], None]


@torch.no_grad()
def play_round(task: GraspTask, policy: Policy, show: Show, worlds: Sequence[int] = (0,)) -> List[str]:
    """Plays worlds to the ends of their episodes; show: is called at the start and after each step.

    Returns what became of each.  A world that ends before the others is shown as it was at its end.
    task: made with `evaluation=True` on a `WatchedSimulator`.
    """
    simulator = watched(task)
    simulator.after_step = None
    obs = task.reset()[0]
    names = [task.objects.objects[int(simulator.state.object_id[world])].name for world in worlds]
    last = snapshot(task, worlds)
    show(last)
    rows = list(worlds)

    def after_step() -> None:
        nonlocal last
        now = snapshot(task, worlds)
        now.keep(task.episodes.counted[rows].cpu().numpy(), last)
        last = now
        show(now)

    simulator.after_step = after_step
    try:
        while not bool(task.episodes.counted[rows].all()):
            obs = task.step(policy(obs)).obs
    finally:
        simulator.after_step = None
    return [f"{name}: {outcome(task, world)}" for name, world in zip(names, worlds)]


def outcome(task: GraspTask, world: int) -> str:
    """What became of the last episode of a world that counts."""
    if task.episodes.record.held[world]:
        return "held"
    return "at the goal, but not held" if task.episodes.record.ever[world] else "not brought to the goal"


def film(task: GraspTask, policy: Policy, path: Path, episodes: int, speed: float = 1.0, hands: int = 1) -> int:
    """Writes so many episodes as a video, `hands` of them side by side; says how each went, and returns the number of frames."""
    simulator = watched(task)
    is_gif = path.suffix.lower() == ".gif"
    renderer = WorldRenderer(Stage(task.hand, task.objects, hands), GIF_SIZE if is_gif else None)
    held = done = 0
    with Film(path, speed / simulator.control_dt) as video:

        def show(now: Snapshot) -> None:
            video.add(renderer.draw(now, video.frames * simulator.control_dt / speed))

        while done < episodes:
            worlds = [(done + k) % task.num_envs for k in range(min(hands, episodes - done))]
            for world, words in zip(worlds, play_round(task, policy, show, worlds)):
                done += 1
                held += int(task.episodes.record.held[world])
                print(f"{done}/{episodes} {words}", flush=True)
    renderer.close()
    print(f"{held} of {episodes} held; {video.frames} frames in {path}")
    return video.frames


def watch(
    task: GraspTask,
    policy: Policy,
    episodes: Optional[int] = None,
    speed: float = 1.0,
    between: Optional[Callable[[], Optional[Policy]]] = None,
) -> None:
    """Plays episodes in a window until there were so many or it is closed, and says how each went.

    between: is called before each episode, and may return another policy.
    """
    simulator = watched(task)
    window = Window(task.hand, task.objects)
    pace = simulator.control_dt / speed
    due = time.monotonic()
    done = 0

    def show(now: Snapshot) -> None:
        nonlocal due
        if not window.is_open:
            raise _Closed
        window.show(now)
        due = max(due + pace, time.monotonic() - pace)
        time.sleep(max(0.0, due - time.monotonic()))

    try:
        while episodes is None or done < episodes:
            policy = (between() if between is not None else None) or policy
            words = play_round(task, policy, show, [done % task.num_envs])[0]
            done += 1
            print(f"{done} {words}", flush=True)
    except _Closed:
        pass
    finally:
        window.close()


class _Closed(Exception):  # noqa: N818 - no error
    """The user closed the window."""
