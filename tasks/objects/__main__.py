"""`python -m tasks.objects SET|DIR`: what is in an object set."""

from __future__ import annotations

import argparse
import sys
from typing import Optional, Sequence

from tasks.objects.model import ObjectError
from tasks.objects.picture import contact_sheet
from tasks.objects.sets import OBJECT_SETS, load_objects


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Prints a table of the objects; the exit status is 2 if they cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m tasks.objects", description="Shows the objects of a set.")
    parser.add_argument("objects", metavar="SET|DIR", help=f"{', '.join(OBJECT_SETS)}, or a directory of meshes")
    parser.add_argument("--picture", metavar="FILE.png", help="also draw them")
    parser.add_argument("--count", type=int, help="the first so many only")
    parser.add_argument("--seed", type=int, default=0, help="another draw of a named set")
    parser.add_argument("--object-scale", type=float, default=1.0, help="times the meshes' coordinates, to get metres")
    parser.add_argument("--skip-bad-objects", action="store_true", help="leave out meshes that cannot be used")
    options = parser.parse_args(arguments)
    try:
        found = load_objects(
            options.objects,
            seed=options.seed,
            skip_bad=options.skip_bad_objects,
            scale=options.object_scale,
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
