"""Which object each world gets for good, and its mass and friction, in simulators that cannot swap them."""

from __future__ import annotations

from typing import List, Optional, Tuple

import numpy as np

from tasks.objects import ObjectSet


def spread(objects: ObjectSet, num_envs: int, evaluation: bool = False) -> List[int]:
    """(N,) the number of each world's object.

    In training each kind gets as many worlds, as in the curriculum `uniform`, and the objects of a kind take turns.  In an
    evaluation all objects take turns; if there are fewer worlds than objects, those are taken evenly from the whole set.
    """
    count = len(objects.objects)
    if evaluation:
        if num_envs < count:
            return [world * count // num_envs for world in range(num_envs)]
        return [world % count for world in range(num_envs)]
    members = [[i for i, item in enumerate(objects.objects) if item.kind == kind] for kind in objects.kinds]
    ids = []
    for world in range(num_envs):
        turn, kind = divmod(world, len(members))
        ids.append(members[kind][turn % len(members[kind])])
    return ids


def draw_properties(
    objects: ObjectSet,
    object_ids: List[int],
    friction: Tuple[float, float],
    mass_scale: float,
    seed: int,
    levels: Optional[int] = None,
) -> Tuple[np.ndarray, np.ndarray]:
    """Draws (friction (N,), mass factor (N,)) of the worlds' objects.  An object with a friction of its own keeps it.

    friction: the range.  mass_scale: factors are between 1 / this and this.  levels: how many different frictions there may be.
    """
    random, count = np.random.default_rng(seed), len(object_ids)
    low, high = friction
    if levels is None:
        drawn = random.uniform(low, high, size=count)
    else:
        drawn = np.linspace(low, high, max(1, levels))[random.integers(max(1, levels), size=count)]
    own = [objects.objects[i].friction for i in object_ids]
    known = np.array([value if mine is None else float(mine) for value, mine in zip(drawn, own)])
    return known, mass_scale ** random.uniform(-1.0, 1.0, size=count)
