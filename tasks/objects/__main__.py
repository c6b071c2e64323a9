"""`python -m tasks.objects SET|DIR`: lists the objects of a set."""

from __future__ import annotations

import argparse
import sys
from typing import Optional, Sequence

from tasks.objects.model import DENSITY, MAX_PARTS, ObjectError
from tasks.objects.picture import contact_sheet
from tasks.objects.sets import OBJECT_SETS, load_objects


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Prints a table of the objects.  Returns the exit status: 2 if they cannot be loaded."""
    parser = argparse.ArgumentParser(prog="python -m tasks.objects", description="Lists the objects of a set.")
    parser.add_argument("objects", metavar="SET|DIR", help=f"{', '.join(OBJECT_SETS)}, or a directory of meshes")
    parser.add_argument("--picture", metavar="FILE.png", help="also draw the objects to this file")
    parser.add_argument("--count", type=int, help="only this many objects, the first of the set")
    parser.add_argument("--seed", type=int, default=0, help="draws a named set anew with this seed")
    parser.add_argument(
        "--object-scale",
        type=float,
        default=1.0,
        help="a factor for the coordinates of meshes that are not in metres, such as 0.001",
    )
    parser.add_argument(
        "--object-density",
        type=float,
        default=DENSITY,
        help=f"kg/m^3 of the meshes in a directory; {DENSITY:g} if not given",
    )
    parser.add_argument(
        "--object-parts",
        type=int,
        default=MAX_PARTS,
        help=f"most convex parts that a mesh of a directory is cut into; {MAX_PARTS} if not given",
    )
    parser.add_argument(
        "--skip-bad-objects", action="store_true", help="warn of meshes that cannot be used instead of stopping"
    )
    options = parser.parse_args(arguments)
    try:
        found = load_objects(
            options.objects,
            seed=options.seed,
            skip_bad=options.skip_bad_objects,
            scale=options.object_scale,
            density=options.object_density,
            most_parts=options.object_parts,
            count=options.count,
            progress=lambda done, total, name: print(f"{done}/{total} {name}", file=sys.stderr),
        )
        print(f"{'name':24} {'kind':14} {'size, cm':>20} {'mass, g':>8} {'parts':>5} {'rest poses':>10}")
        for thing in found.objects:
            size = " x ".join(f"{200 * h:.1f}" for h in thing.half_extents)
            print(
                f"{thing.name:24} {thing.kind:14} {size:>20} {1000 * thing.mass:8.0f} {len(thing.parts):5d} "
                f"{len(thing.rest_prob):10d}"
            )
        if options.picture:
            contact_sheet(found.objects, options.picture)
    except (ObjectError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
