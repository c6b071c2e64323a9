"""Shows episodes one after the other: in a video, or in a window in real time."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple, Union

import mujoco
import torch
from torch import Tensor

from tasks.grasp.environment import GraspTask
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators.contract import Start
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.mujoco.simulator import MujocoSimulator
from tasks.simulators.registry import SimulatorEntry
from tasks.viewing.errors import RenderingError
from tasks.viewing.film import Film
from tasks.viewing.mirrored import MirroredSimulator
from tasks.viewing.renderer import WorldRenderer
from tasks.viewing.window import Window

Policy = Callable[[Tensor], Tensor]
GIF_SIZE = (480, 360)


class WatchedSimulator(MujocoSimulator):
    """MuJoCo C that says when a world has moved and when it will be reset, which happens inside the task's step."""

    after_step: Optional[Callable[[], None]] = None
    before_reset: Optional[Callable[[Tensor], None]] = None

    def step(self, targets: Tensor) -> None:
        """See `Simulator.step`."""
        super().step(targets)
        if self.after_step is not None:
            self.after_step()

    def reset(self, mask: Tensor, start: Start) -> None:
        """See `Simulator.reset`."""
        if self.before_reset is not None:
            self.before_reset(mask)
        super().reset(mask, start)


def some_of(objects: ObjectSet, count: int) -> ObjectSet:
    """At most count of the objects, chosen with torch's generator."""
    order = torch.randperm(len(objects)).tolist()[:count]
    return ObjectSet.of(objects.name, [objects.objects[i] for i in order])


@torch.no_grad()
def play_episode(task: GraspTask, policy: Policy, show: Callable[[], None], world: int = 0) -> str:
    """Plays a world to the episode's end; show: called at the start and after each step.  Returns what became of it.

    task: made with `evaluation=True` on a simulator that can be watched.
    """
    simulator = _watched(task)
    simulator.after_step = None
    obs = task.reset()[0]
    name = task.objects.objects[int(simulator.state.object_id[world])].name
    show()
    simulator.after_step = show
    while not task.episodes.counted[world]:
        obs = task.step(policy(obs)).obs
    simulator.after_step = None
    record = task.episodes.record
    if record.held[world]:
        return f"{name}: held"
    return f"{name}: {'at the goal, but not held' if record.ever[world] else 'not brought to the goal'}"


def film(task: GraspTask, policy: Policy, path: Path, episodes: int, speed: float = 1.0) -> int:
    """Writes so many episodes as a video, says how each went, and returns the number of frames."""
    simulator = _watched(task)
    is_gif = path.suffix.lower() == ".gif"
    renderer = WorldRenderer(simulator.scene.model, *([GIF_SIZE] if is_gif else []))
    held = 0

    def add(world: int) -> None:
        video.add(renderer.draw(*_world(task, world)))

    with Film(path, speed / simulator.control_dt) as video:
        for episode in range(episodes):
            world = episode % task.num_envs
            outcome = play_episode(task, policy, partial(add, world), world)
            held += int(task.episodes.record.held[world])
            print(f"{episode + 1}/{episodes} {outcome}", flush=True)
    renderer.close()
    print(f"{held} of {episodes} held; {video.frames} frames in {path}")
    return video.frames


def watch(task: GraspTask, policy: Policy, episodes: Optional[int] = None, speed: float = 1.0) -> None:
    """Plays episodes in a window until there were so many or it is closed, and says how each went."""
    simulator = _watched(task)
    window = Window(task.hand, task.objects)
    pace = simulator.control_dt / speed
    due = time.monotonic()
    done = 0

    def show() -> None:
        nonlocal due
        if not window.is_open:
            raise _Closed
        window.show(*_world(task, done % task.num_envs))
        due = max(due + pace, time.monotonic() - pace)
        time.sleep(max(0.0, due - time.monotonic()))

    try:
        while episodes is None or done < episodes:
            outcome = play_episode(task, policy, show, done % task.num_envs)
            done += 1
            print(f"{done} {outcome}", flush=True)
    except _Closed:
        pass
    finally:
        window.close()


class _Closed(Exception):  # noqa: N818 - no error
    """The user closed the window."""


def watchable(
    entry: SimulatorEntry, hand: HandSpec, objects: ObjectSet, settings: Any
) -> Union[WatchedSimulator, MirroredSimulator]:
    """Worlds that can be watched: one whose object changes, or, where objects stay, one for each object."""
    if entry.settings_type() is PhysicsCfg:
        return WatchedSimulator(hand, objects, 1, settings)
    worlds = 1 if entry.swaps_objects else len(objects)
    return MirroredSimulator(entry.make(hand, objects, worlds, settings, evaluation=True), hand, objects)


def _world(task: GraspTask, world: int) -> Tuple[mujoco.MjModel, mujoco.MjData, List[float], bool]:
    """Of one world: its model, its data, its goal, and whether the object is there."""
    return (
        *_watched(task).model_and_data(world),
        task.episodes.goal.pos[world].tolist(),
        bool(task.episodes.steps_at_goal[world] > 0),
    )


def _watched(task: GraspTask) -> Union[WatchedSimulator, MirroredSimulator]:
    if not isinstance(task.simulator, (WatchedSimulator, MirroredSimulator)):
        raise RenderingError("these worlds were not made to be watched")
    return task.simulator
