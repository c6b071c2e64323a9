"""What a viewer plays: worlds, a policy, and what the user wants of them.  It knows nothing of browsers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Callable, List, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from tasks.grasp.environment import GraspTask
from tasks.objects import ObjectSet
from tasks.viewing.watched import Policy, Snapshot, snapshot, watched

Build = Callable[[ObjectSet, int], GraspTask]
"""(objects, hands) -> a task on a `WatchedSimulator` with at least so many worlds, made with `evaluation=True`."""


class Session:
    """Episodes that go on until somebody stops them.

    One thread plays; whatever another thread wants goes through `ask`.  Each world begins a new episode as soon as its last one
    has ended, with the next object.
    """

    def __init__(self, build: Build, objects: ObjectSet, policy: Policy, hands: int = 1, speed: float = 1.0) -> None:
        self.build, self.policy, self.speed, self.hands = build, policy, speed, hands
        self.paused = False
        self.ended = self.held = 0
        """Episodes since the worlds were built, or since the policy changed."""
        self.said: List[str] = []
        """What became of episodes, not yet told to anyone."""
        self.shown: Snapshot
        """After the last step; before worlds that ended in it were reset."""
        self.before: Snapshot
        """What was shown before that."""
        self.begun: np.ndarray
        """(hands,) bool, worlds whose episode began between the two."""
        self._resets: np.ndarray
        self._obs: Tensor
        self._first_world = 0
        self._wanted: OrderedDict[str, Callable[[], None]] = OrderedDict()
        self._lock = threading.Lock()
        self._begin(objects)

    @property
    def simulator_name(self) -> str:
        """Of the physics."""
        return self.task.simulator.name

    @property
    def can_push(self) -> bool:
        """Whether the simulator can push objects."""
        return watched(self.task).pushes_objects

    @property
    def worlds(self) -> List[int]:
        """The worlds that are shown."""
        return [(self._first_world + k) % self.task.num_envs for k in range(self.hands)]

    def names(self) -> List[str]:
        """Of the objects in these worlds."""
        ids = self.task.simulator.state.object_id[self.worlds].tolist()
        return [self.objects.objects[i].name for i in ids]

    # ------------------------------------------------------------------------------------------------- from any thread

    def ask(self, name: str, action: Callable[[], None]) -> None:
        """Lets `action` run between two steps, in the thread that plays.  A later one of the same name replaces it."""
        with self._lock:
            self._wanted[name] = action
            self._wanted.move_to_end(name)

    def do_what_is_asked(self) -> bool:
        """Runs what was asked for; returns whether there was something."""
        with self._lock:
            actions = list(self._wanted.values())
            self._wanted.clear()
        for action in actions:
            action()
        return bool(actions)

    # --------------------------------------------------------------------------------------------- in the playing thread

    @torch.no_grad()
    def advance(self) -> None:
        """One control step of all worlds."""
        self.before = self.shown
        self.begun = self._resets
        self._resets = np.zeros(self.hands, dtype=bool)
        self._obs = self.task.step(self.policy(self._obs)).obs
        if self._resets.any():
            self.task.next_turn()

    @torch.no_grad()
    def next_object(self) -> None:
        """Ends all episodes and begins new ones, with the next objects."""
        if not self.task.simulator.swaps_objects:
            self._first_world = (self._first_world + self.hands) % self.task.num_envs
        simulator = watched(self.task)
        simulator.before_reset = None
        self._obs = self.task.reset()[0]
        simulator.before_reset = self._count
        self.shown = self.before = snapshot(self.task, self.worlds)
        self.begun = self._resets = np.ones(self.hands, dtype=bool)

    def rebuild(self, objects: Optional[ObjectSet] = None, hands: Optional[int] = None) -> None:
        """Other objects, or another number of hands.  If they cannot be built, the old ones go on."""
        old, before = self.task, self.hands
        self.hands = hands or self.hands
        try:
            self._begin(objects or self.objects)
        except Exception:
            self.hands = before
            raise
        old.simulator.close()

    def take_policy(self, policy: Policy) -> None:
        """Plays another policy from the next step on, and counts anew."""
        self.policy, self.ended, self.held = policy, 0, 0

    def push(self, force: Sequence[float], seconds: float) -> None:
        """Pushes all objects with a force (3,) N."""
        watched(self.task).push_by_hand(force, seconds)

    def _begin(self, objects: ObjectSet) -> None:
        self.task = self.build(objects, self.hands)
        self.objects, self.ended, self.held, self._first_world = self.task.objects, 0, 0, 0
        watched(self.task).after_step = self._look
        self.next_object()

    def _look(self) -> None:
        """After the physics and before worlds are reset, so that the end of an episode is seen."""
        self.shown = snapshot(self.task, self.worlds)

    def _count(self, mask: Tensor) -> None:
        episodes = self.task.episodes
        ended = mask.cpu().numpy()
        held = (mask & episodes.held & ~self.task.simulator.state.failed).cpu().numpy()
        ids = self.task.simulator.state.object_id.cpu().numpy()
        for row, world in enumerate(self.worlds):
            if ended[world]:
                self.ended += 1
                self.held += int(held[world])
                self._resets[row] = True
                self.said.append(f"{self.objects.objects[ids[world]].name}: {'held' if held[world] else 'not held'}")
