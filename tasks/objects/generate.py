"""Endless objects from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from tasks.objects import shapes
from tasks.objects.build import MASS_RANGE, build
from tasks.objects.geometry import convex_hull, mass_properties
from tasks.objects.model import ObjectError, ObjectModel

LONGEST = 0.25
"""m"""
THINNEST = 0.015
"""m"""
DENSITY_RANGE = (80.0, 1200.0)
"""kg/m^3 of the volume within the outside, so hollow things are light."""


@dataclass(frozen=True)
class Family:
    """A kind of procedural shape."""

    make: Callable[[np.random.Generator], List[np.ndarray]]
    weight: float = 1.0
    """How often, against the others."""
    width: Tuple[float, float] = (0.03, 0.09)
    """Range of the second longest side, m: lying on its largest face, an object is grasped across this."""


FAMILIES: Dict[str, Family] = {
    "sphere": Family(shapes.sphere, 1.0, (0.03, 0.09)),
    "cube": Family(shapes.cube, 1.0, (0.03, 0.085)),
    "box": Family(shapes.box, 3.0),
    "cylinder": Family(shapes.cylinder, 2.0),
    "hull": Family(shapes.hull, 3.0),
}


def generate_one(
    kind: str, index: int, seed: int, *, off_centre: float = 0.3, name: Optional[str] = None
) -> ObjectModel:
    """Object `index` of a family; the same for the same kind, index and seed.

    off_centre: the probability of a centre of mass that is up to 12 % of the extents away from the middle.
    """
    if kind not in FAMILIES:
        raise ObjectError(f"there is no shape family '{kind}'; there are {', '.join(FAMILIES)}")
    rng = np.random.default_rng([seed, index, *kind.encode()])
    family = FAMILIES[kind]
    for _ in range(100):
        parts = family.make(rng)
        extents = np.sort(np.ptp(np.concatenate(parts), axis=0))
        scale = rng.uniform(*family.width) / extents[1]
        scale = max(min(scale, LONGEST / extents[2]), THINNEST / extents[0])
        if extents[2] * scale <= LONGEST * 1.000001 and extents[1] * scale <= 1.02 * family.width[1]:
            break
    parts = [scale * p for p in parts]
    shift = rng.uniform(-0.12, 0.12, 3) if rng.random() < off_centre else None
    density = _density(rng, sum(mass_properties(convex_hull(p))[0] for p in parts))
    return build(name or f"{kind}_{index:04d}", kind, parts, density=density, com_shift=shift)


def _density(rng: np.random.Generator, volume: float) -> float:
    """Log-uniform, drawn again while the mass is out of range so that few objects have exactly the least or most."""
    for _ in range(8):
        density = shapes.log_uniform(rng, *DENSITY_RANGE)
        if MASS_RANGE[0] < density * volume < MASS_RANGE[1]:
            break
    return density


def family_of(index: int, seed: int, kinds: Sequence[str], weights: Sequence[float]) -> str:
    """The family of object `index`: a golden-ratio sequence, so that every stretch of objects has the shares of `weights`."""
    edges = np.cumsum(weights) / np.sum(weights)
    start = np.random.default_rng([seed, 0]).random()
    place = (start + index * 0.6180339887498949) % 1.0
    return kinds[min(int(np.searchsorted(edges, place, side="right")), len(kinds) - 1)]


def generate(
    kinds: Sequence[str], count: int, seed: int, *, weights: Optional[Sequence[float]] = None, off_centre: float = 0.3
) -> List[ObjectModel]:
    """The first `count` objects of an endless sequence; object i depends on (kinds, weights, seed, i) alone.

    weights: shares of the kinds, else those of FAMILIES.
    """
    unknown = [k for k in kinds if k not in FAMILIES]
    if unknown or not kinds:
        raise ObjectError(f"there is no shape family '{(unknown or [''])[0]}'; there are {', '.join(FAMILIES)}")
    weights = [FAMILIES[k].weight for k in kinds] if weights is None else weights
    return [generate_one(family_of(i, seed, kinds, weights), i, seed, off_centre=off_centre) for i in range(count)]
