"""Shapes to grasp: procedural families, a user's meshes, named sets of them."""

from tasks.objects.model import DENSITY, MAX_HULL_VERTICES, MAX_PARTS, ObjectError, ObjectModel
from tasks.objects.sets import OBJECT_SETS, ObjectSet, ObjectTensors, distance, load_objects
from tasks.objects.sizes import in_three_sizes

__all__ = [
    "DENSITY",
    "MAX_HULL_VERTICES",
    "MAX_PARTS",
    "OBJECT_SETS",
    "ObjectError",
    "ObjectModel",
    "ObjectSet",
    "ObjectTensors",
    "distance",
    "in_three_sizes",
    "load_objects",
]
