"""Copies of objects in other sizes.

No simulator here can change the size of a mesh in a running world.  But the worlds' objects can be swapped, so sizes are objects.
"""

from __future__ import annotations

from dataclasses import replace

from tasks.objects.model import ObjectModel
from tasks.objects.sets import ObjectSet


def in_three_sizes(objects: ObjectSet, share: float) -> ObjectSet:
    """Each object as it is, smaller and larger by this share, as dense as before; the set itself if share is 0.

    The first third of the new set has every object once, and every third of them in each size.  So whoever takes the first
    objects of the set gets all sizes.
    """
    if share == 0:
        return objects
    factors = (1 - share, 1.0, 1 + share)
    found = [
        scaled(item, factors[(number + turn) % len(factors)])
        for turn in range(len(factors))
        for number, item in enumerate(objects.objects)
    ]
    return ObjectSet.of(objects.name, found, objects.kinds)


def scaled(item: ObjectModel, factor: float) -> ObjectModel:
    """The object with lengths times factor, and the same density; it rests in the same poses."""
    if factor == 1:
        return item
    return replace(
        item,
        name=f"{item.name} x {factor:g}",
        parts=tuple(factor * part for part in item.parts),
        mass=factor**3 * item.mass,
        com=factor * item.com,
        inertia=factor**5 * item.inertia,
        rest_height=factor * item.rest_height,
    )
