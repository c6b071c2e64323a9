"""Object sets: the named ones, directories of meshes, and a set as tensors for look-ups by object number on the device."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.objects import cache
from tasks.objects.geometry import convex_hull, hull_faces
from tasks.objects.meshes.load import Progress, load_directory
from tasks.objects.model import DENSITY, LARGEST_MAX_PARTS, MAX_PARTS, ObjectError, ObjectModel
from tasks.objects.poses import narrow_sides
from tasks.objects.shapes.generate import FAMILIES, generate, generate_one

FAR = 1e3
"""m, the offset of faces that are only padding."""


@dataclass(frozen=True)
class ObjectTensors:
    """A set of V objects as padded tensors.  Index the first dimension with object numbers (N,) to get a row for each world.

    S is the largest number of rest poses of an object, P of its convex parts, F of the faces of a part.  All but `kind` are
    float32.
    """

    rest_quat: Tensor
    """(V, S, 4) w x y z; padding is the identity."""
    rest_height: Tensor
    """(V, S) m, the height of the frame's origin above the plane."""
    rest_prob: Tensor
    """(V, S); padding is 0."""
    rest_top: Tensor
    """(V, S) m, the height of the highest point above the plane."""
    rest_narrow: Tensor
    """(V, S) rad, the direction in the plane in which the object is narrowest, see `poses.narrow_sides`."""
    half_extents: Tensor
    """(V, 3) m"""
    mass: Tensor
    """(V,) kg"""
    friction: Tensor
    """(V,) coefficient of sliding friction, NaN where unknown."""
    kind: Tensor
    """(V,) int64, index into `ObjectSet.kinds`."""
    faces: Tensor
    """(V, P, F, 4) outward unit normal n and offset d (m) of each face in the object's frame: inside is n . x <= d.

    A face that is padding has n = 0 and d = FAR, so that its n . x - d is never the largest.  A part that is padding has
    n = 0 and d = -FAR, so that it is never the nearest.
    """

    def to(self, device: Union[str, torch.device]) -> ObjectTensors:
        """A copy on another device."""
        return ObjectTensors(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def distance(faces: Tensor, points: Tensor) -> Tensor:
    """(N, M) signed distance from points (N, M, 3) to N objects with faces (N, P, F, 4), both in the objects' frames, m.

    For each part it takes the largest n . x - d over the faces, and then the smallest of these over the parts.
    Outside, this is exact where the nearest point lies in a face, and a lower bound where it lies on an edge or a corner.
    Inside, it is exact within one part, and too small where parts overlap.
    Shapes are fixed and the host does nothing.  The largest intermediate is (N, P F, M).
    """
    planes = faces.flatten(1, 2)
    if torch.compiler.is_compiling():  # compiled, this becomes one kernel
        gaps = (planes[:, None, :, :3] * points[:, :, None]).sum(-1) - planes[:, None, :, 3]
    else:  # a matrix product of (x, -1) and (n, d); the faces come last, because there are more of them than points
        gaps = torch.matmul(F.pad(points, (0, 1), value=-1.0), planes.transpose(1, 2))
    return gaps.unflatten(2, faces.shape[1:3]).amax(dim=3).amin(dim=2)


@dataclass(frozen=True)
class ObjectSet:
    """Objects to train on or to be measured on."""

    name: str
    objects: Tuple[ObjectModel, ...]
    kinds: Tuple[str, ...]
    """The families of shapes, in the order in which a curriculum adds them."""

    @classmethod
    def of(cls, name: str, objects: Sequence[ObjectModel], kinds: Optional[Sequence[str]] = None) -> ObjectSet:
        """A set of these objects.  kinds: the order of the families; by default that of their first objects."""
        present = list(dict.fromkeys(o.kind for o in objects))
        return cls(name, tuple(objects), tuple(k for k in kinds if k in present) if kinds else tuple(present))

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def kind_index(self) -> np.ndarray:
        """(V,) index into `kinds` of each object."""
        return np.array([self.kinds.index(o.kind) for o in self.objects])

    @property
    def max_parts(self) -> int:
        """The largest number of convex parts of an object."""
        return max(len(o.parts) for o in self.objects)

    def tensors(self, device: Union[str, torch.device] = "cpu") -> ObjectTensors:
        """The set as padded tensors on the device."""
        return self._tensors.to(device)

    @cached_property
    def _tensors(self) -> ObjectTensors:
        """The tensors on the host.  They are kept: a thousand objects take seconds, and training and evaluation need them."""
        count = len(self.objects)
        poses = max(len(o.rest_prob) for o in self.objects)
        quat = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (count, poses, 1))
        height, prob, top, narrow = np.zeros((4, count, poses))
        all_faces = [[hull_faces(convex_hull(p)) for p in o.parts] for o in self.objects]
        most_faces = max(len(f.offsets) for parts in all_faces for f in parts)
        faces = np.zeros((count, self.max_parts, most_faces, 4))
        faces[..., 3] = -FAR
        for v, o in enumerate(self.objects):
            s = len(o.rest_prob)
            quat[v, :s], height[v, :s], prob[v, :s] = o.rest_quat, o.rest_height, o.rest_prob
            points = np.concatenate(o.parts)
            top[v, :s] = o.rest_height + (points @ upwards(o.rest_quat).T).max(axis=0)
            narrow[v, :s] = narrow_sides(points, o.rest_quat)
            for p, part in enumerate(all_faces[v]):
                faces[v, p, :, 3] = FAR
                faces[v, p, : len(part.offsets)] = np.concatenate([part.normals, part.offsets[:, None]], axis=1)
        friction = [np.nan if o.friction is None else o.friction for o in self.objects]

        def tensor(values: object) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=torch.float32)

        return ObjectTensors(
            rest_quat=tensor(quat),
            rest_height=tensor(height),
            rest_prob=tensor(prob),
            rest_top=tensor(top),
            rest_narrow=tensor(narrow),
            half_extents=tensor([o.half_extents for o in self.objects]),
            mass=tensor([o.mass for o in self.objects]),
            friction=tensor(friction),
            kind=torch.as_tensor(self.kind_index, dtype=torch.int64),
            faces=tensor(faces),
        )


def upwards(quat: np.ndarray) -> np.ndarray:
    """(S, 3) the world's z axis in the frames of objects turned by (S, 4) quaternions."""
    w, x, y, z = quat.T
    return np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], axis=1)


PRIMITIVE_KINDS = ("sphere", "cube", "cylinder")
HOLDOUT_KINDS = ("superquadric", "bowl", "cross", "goblet", "teapot")
"""Families that no training set has."""
EVERYDAY_KINDS = (
    "carton",
    "plate",
    "card",
    "cutlery",
    "pliers",
    "club",
    "tote",
    "hoop",
    "tall_bottle",
    "jug",
    "power_tool",
)
"""Families at the limits of what a hand can hold.  Only `everyday` has them."""
TRAINING_KINDS = tuple(k for k in FAMILIES if k not in (*HOLDOUT_KINDS, *EVERYDAY_KINDS))
HOLDOUT_SHARE = 0.5
"""Share of the held-out families in the set `holdout`.  The rest are new objects of the training families."""


def _equal_shares(kinds: Sequence[str], count: int, seed: int) -> List[ObjectModel]:
    """The same number of objects of each kind, with the centre of mass in the middle."""
    return [generate_one(kinds[i % len(kinds)], i, seed, off_centre=0.0, wide=False) for i in range(count)]


def _holdout(seed: int, count: int) -> List[ObjectModel]:
    """Objects of the training families and of the held-out ones, which have HOLDOUT_SHARE of the set."""
    weights = [FAMILIES[k].weight for k in (*TRAINING_KINDS, *HOLDOUT_KINDS)]
    known = sum(weights[: len(TRAINING_KINDS)])
    each = known * HOLDOUT_SHARE / (1 - HOLDOUT_SHARE) / len(HOLDOUT_KINDS)
    weights[len(TRAINING_KINDS) :] = [each] * len(HOLDOUT_KINDS)
    return generate((*TRAINING_KINDS, *HOLDOUT_KINDS), count, seed, weights=weights)


class NamedSet(NamedTuple):
    """A set of generated objects."""

    make: Callable[[int, int], List[ObjectModel]]
    """(seed, count) -> objects."""
    kinds: Tuple[str, ...]
    """The families, in the order in which a curriculum adds them."""
    seed: int
    """The seed of the set, so that sets with the same families have different objects."""
    size: int
    """The number of objects, if the user does not say how many."""


CONVEX_KINDS = (*PRIMITIVE_KINDS, "hull")
OBJECT_SETS: Dict[str, NamedSet] = {
    "primitives": NamedSet(lambda seed, count: _equal_shares(PRIMITIVE_KINDS, count, seed), PRIMITIVE_KINDS, 1, 60),
    "mixed": NamedSet(lambda seed, count: _equal_shares(CONVEX_KINDS, count, seed), CONVEX_KINDS, 2, 200),
    # Three random hulls for each primitive.
    "convex": NamedSet(
        lambda seed, count: generate(CONVEX_KINDS, count, seed, weights=(1, 1, 1, 9)), CONVEX_KINDS, 3, 240
    ),
    "procedural": NamedSet(lambda seed, count: generate(TRAINING_KINDS, count, seed), TRAINING_KINDS, 4, 1000),
    "everyday": NamedSet(
        lambda seed, count: generate((*TRAINING_KINDS, *EVERYDAY_KINDS), count, seed),
        (*TRAINING_KINDS, *EVERYDAY_KINDS),
        6,
        1400,
    ),
    "holdout": NamedSet(_holdout, (*TRAINING_KINDS, *HOLDOUT_KINDS), 5, 200),
}


def _generated(name: str, seed: int, count: int) -> ObjectSet:
    """A named set.  It is kept in the cache, because a thousand objects take seven seconds."""
    named = OBJECT_SETS[name]
    path = cache.file_for(b"\0".join([cache.generator_version(), f"{name} {seed} {count}".encode()]))
    objects = cache.load(path)
    if not objects:
        objects = named.make(seed, count)
        cache.save(path, objects)
    return ObjectSet.of(name, objects, named.kinds)


def load_objects(
    name_or_dir: Union[str, Path],
    *,
    seed: int = 0,
    skip_bad: bool = False,
    progress: Optional[Progress] = None,
    scale: float = 1.0,
    density: float = DENSITY,
    most_parts: int = MAX_PARTS,
    count: Optional[int] = None,
) -> ObjectSet:
    """Loads a named set, or a directory with one mesh file for each object.

    seed: draws a named set anew; 0 is the set that figures are measured on.
    count: the number of objects, the first of the set; a named set has as many as are asked for.
    skip_bad: warns of meshes that cannot be used, instead of raising.
    scale: a factor for the coordinates of meshes that are not in metres.
    density: kg/m^3, of meshes without a given mass.
    most_parts: the largest number of convex parts that a mesh is cut into.
    progress: is called after each mesh.
    Raises ObjectError.
    """
    if not (np.isfinite(scale) and scale > 0):
        raise ObjectError(f"the scale of objects must be greater than 0, not {scale:g}")
    if not (np.isfinite(density) and density > 0):
        raise ObjectError(f"the density of objects must be greater than 0, not {density:g}")
    if not 1 <= most_parts <= LARGEST_MAX_PARTS:
        raise ObjectError(f"objects can have 1 to {LARGEST_MAX_PARTS} convex parts, not {most_parts}")
    name = str(name_or_dir)
    if name in OBJECT_SETS:
        own = OBJECT_SETS[name]
        return _generated(name, own.seed + 1000 * seed, own.size if count is None else count)
    directory = Path(name_or_dir)
    if directory.is_dir():
        meshes = load_directory(
            directory, scale=scale, density=density, most_parts=most_parts, skip_bad=skip_bad, progress=progress
        )
        return ObjectSet.of(name, meshes[:count])
    if directory.is_file():
        raise ObjectError(f"{name} is a file; give the directory that it is in")
    raise ObjectError(
        f"there is no object set '{name}'; there are {', '.join(OBJECT_SETS)}, or give a directory of meshes"
    )
