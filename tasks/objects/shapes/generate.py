"""Endless objects from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from tasks.objects.build import MASS_RANGE, build
from tasks.objects.geometry import convex_hull, mass_properties
from tasks.objects.model import ObjectError, ObjectModel
from tasks.objects.shapes import compounds, everyday, simple

LONGEST = 0.25
"""m, the longest side of an object."""
THINNEST = 0.015
"""m, the least of an object's shortest side."""
DENSITY_RANGE = (80.0, 1200.0)
"""kg/m^3 of the whole volume.  Hollow things are solid here, so the least density is low."""


@dataclass(frozen=True)
class Family:
    """A kind of procedural shape."""

    make: Callable[[np.random.Generator], List[np.ndarray]]
    weight: float = 1.0
    """How often it is drawn, relative to the other families."""
    width: Tuple[float, float] = (0.03, 0.09)
    """m, the range of the second longest side.  A hand grasps an object across this side when it lies on its largest face."""
    length: Optional[Tuple[float, float]] = None
    """m, the range of the longest side.  If given, it is drawn in place of the width, and the width only limits the result."""
    thinnest: float = THINNEST
    """m, the least of the shortest side."""


FAMILIES: Dict[str, Family] = {
    "sphere": Family(simple.sphere, 1.5),
    "cube": Family(simple.cube, 1.0, (0.03, 0.085)),
    "cylinder": Family(simple.cylinder, 3.0),
    "box": Family(simple.box, 3.5, (0.03, 0.09)),
    "slab": Family(simple.slab, 2.0, (0.04, 0.09)),
    "bevelled_box": Family(simple.bevelled_box, 2.0),
    "bar": Family(simple.bar, 1.5, (0.018, 0.045)),
    "disc": Family(simple.disc, 1.0, (0.04, 0.09)),
    "ellipsoid": Family(simple.ellipsoid, 1.5),
    "capsule": Family(simple.capsule, 1.5, (0.025, 0.07)),
    "cone": Family(simple.cone, 1.5),
    "prism": Family(simple.prism, 1.5),
    "wedge": Family(simple.wedge, 1.0),
    "hull": Family(simple.hull, 4.0),
    "superquadric": Family(simple.superquadric),
    "bottle": Family(compounds.bottle, 1.5),
    "vase": Family(compounds.vase),
    "jar": Family(compounds.jar),
    "goblet": Family(compounds.goblet),
    "bowl": Family(compounds.bowl, 1.0, (0.06, 0.11)),
    "tray": Family(compounds.tray, 1.0, (0.05, 0.1)),
    "mug": Family(compounds.mug, 1.0, (0.04, 0.09)),
    "pitcher": Family(compounds.pitcher, 0.7, (0.04, 0.09)),
    "teapot": Family(compounds.teapot, 1.0, (0.05, 0.1)),
    "pan": Family(compounds.pan, 0.7, (0.05, 0.1)),
    "purse": Family(compounds.purse, 0.7, (0.05, 0.1)),
    "angle": Family(compounds.angle_piece, 0.8),
    "tee": Family(compounds.tee, 0.7),
    "channel": Family(compounds.channel, 0.8, (0.03, 0.09)),
    "cross": Family(compounds.cross, 1.0, (0.04, 0.1)),
    "bracket": Family(compounds.bracket),
    "hammer": Family(compounds.hammer, 1.0, (0.04, 0.1)),
    "wrench": Family(compounds.wrench, 0.7, (0.03, 0.07)),
    "screwdriver": Family(compounds.screwdriver, 0.8, (0.022, 0.045)),
    "knife": Family(compounds.knife, 0.7, (0.025, 0.06)),
    "drill": Family(compounds.drill, 1.0, (0.06, 0.12)),
    "camera": Family(compounds.camera, 1.0, (0.04, 0.09)),
    "shoe": Family(compounds.shoe, 0.8, (0.04, 0.09)),
    "dumbbell": Family(compounds.dumbbell, 0.8),
    "toy": Family(compounds.toy, 1.0, (0.04, 0.09)),
    "pile": Family(compounds.pile, 2.5, (0.03, 0.09)),
    "carton": Family(everyday.carton, 1.5, (0.1, 0.165)),
    "plate": Family(everyday.plate, 1.2, (0.1, 0.15), thinnest=0.012),
    "card": Family(everyday.card, 1.2, (0.035, 0.085), thinnest=0.008),
    "cutlery": Family(everyday.cutlery, 1.2, (0.012, 0.09), (0.13, 0.25), thinnest=0.008),
    "pliers": Family(everyday.pliers, 1.2, (0.02, 0.12), (0.12, 0.22), thinnest=0.008),
    "club": Family(everyday.club, 1.5, (0.03, 0.11), (0.16, 0.25)),
    "tote": Family(everyday.tote, 1.5, (0.07, 0.16)),
    "hoop": Family(everyday.hoop, 1.2, (0.08, 0.15)),
    "tall_bottle": Family(compounds.bottle, 1.2, (0.05, 0.1), (0.19, 0.25)),
    "jug": Family(compounds.pitcher, 1.2, (0.09, 0.14)),
    "power_tool": Family(compounds.drill, 1.2, (0.08, 0.15), (0.15, 0.25)),
}


def generate_one(kind: str, index: int, seed: int, *, off_centre: float = 0.3, wide: bool = True) -> ObjectModel:
    """Object number `index` of a family.  The same kind, index and seed always give the same object.

    off_centre: the probability that the centre of mass is moved, by up to 12 % of the extents.  wide: whether some objects are
    wider than the family's range.  Raises ObjectError if there is no such family.
    """
    if kind not in FAMILIES:
        raise ObjectError(f"there is no shape family '{kind}'; there are {', '.join(FAMILIES)}")
    rng = np.random.default_rng([seed, index, *kind.encode()])
    family = FAMILIES[kind]
    for _ in range(100):
        parts = family.make(rng)
        extents = np.sort(np.ptp(np.concatenate(parts), axis=0))
        if family.length is not None:
            scale = rng.uniform(*family.length) / extents[2]
        else:
            flat = extents[0] < 0.55 * extents[1]
            width = _width(rng, family, flat) if wide else rng.uniform(*family.width)
            scale = min(width / extents[1], LONGEST / extents[2])
        small, too_wide = scale * extents[1] < family.width[0], family.length and scale * extents[1] > family.width[1]
        if scale * extents[0] >= family.thinnest and not small and not too_wide:
            break
    parts = [scale * p for p in parts]
    shift = rng.uniform(-0.12, 0.12, 3) if rng.random() < off_centre else None
    density = _density(rng, sum(mass_properties(convex_hull(p))[0] for p in parts))
    return build(f"{kind}_{index:04d}", kind, parts, density=density, com_shift=shift)


def _width(rng: np.random.Generator, family: Family, flat: bool) -> float:
    """Draws the second longest side, m.  Few are wider than the family's range, because a hand spans about 11 cm.

    Flat things may be even wider: a hand can grasp them across the narrow side when they stand, and by an edge when they lie.
    """
    draw = rng.random()
    if flat and draw < 0.05:
        return rng.uniform(0.11, 0.15)
    if draw < 0.1 and family.width[1] > 0.08:
        return rng.uniform(0.09, 0.11)
    return rng.uniform(*family.width)


def _density(rng: np.random.Generator, volume: float) -> float:
    """Draws a density, kg/m^3, log-uniform.  It draws again while the mass is out of range, so that few masses are clipped."""
    for _ in range(8):
        density = simple.log_uniform(rng, *DENSITY_RANGE)
        if MASS_RANGE[0] < density * volume < MASS_RANGE[1]:
            break
    return density


def family_of(index: int, seed: int, kinds: Sequence[str], weights: Sequence[float]) -> str:
    """The family of object number `index`.  A golden-ratio sequence gives any stretch of objects the shares of `weights`."""
    edges = np.cumsum(weights) / np.sum(weights)
    start = np.random.default_rng([seed, 0]).random()
    place = (start + index * 0.6180339887498949) % 1.0
    return kinds[min(int(np.searchsorted(edges, place, side="right")), len(kinds) - 1)]


def generate(
    kinds: Sequence[str], count: int, seed: int, *, weights: Optional[Sequence[float]] = None, off_centre: float = 0.3
) -> List[ObjectModel]:
    """The first `count` objects of an endless sequence.  Object i depends on kinds, weights, seed and i alone.

    weights: how often each kind is drawn; by default as FAMILIES has it.  Raises ObjectError for an unknown kind.
    """
    unknown = [k for k in kinds if k not in FAMILIES]
    if unknown or not kinds:
        raise ObjectError(f"there is no shape family '{(unknown or [''])[0]}'; there are {', '.join(FAMILIES)}")
    weights = [FAMILIES[k].weight for k in kinds] if weights is None else weights
    return [generate_one(family_of(i, seed, kinds, weights), i, seed, off_centre=off_centre) for i in range(count)]
