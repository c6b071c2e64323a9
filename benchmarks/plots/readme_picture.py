"""Makes the moving picture of the README: hands that lift six household things, which no training has seen.

    python benchmarks/plots/readme_picture.py docs/images/grasps.webp

The things are those of `benchmarks/stand_ins/household.py`.  Half a minute of a processor, and a minute more for the first time,
since meshes are cut into convex parts.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, List

import torch
import tyro
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stand_ins import household

from tasks.commands.play import PlayArgs, build, find_checkpoint
from tasks.evaluation.trained import load_trained
from tasks.objects import ObjectSet, load_objects
from tasks.simulators import registry
from tasks.viewing.renderer import WorldRenderer
from tasks.viewing.stage import Stage
from tasks.viewing.watched import Snapshot
from tasks.viewing.watching import play_round

THINGS = (
    *("drawing_camera_slr", "drawing_toy_car", "drawing_teapot"),
    *("scan_rubber_duck", "drawing_claw_hammer", "scan_pear"),
)
"""In the order of the colours of objects: the fourth is yellow, the last is green."""
FRAME_MS = 50
"""A step of the control takes 33 ms, so the picture is a little slower than reality."""
LAST_MS = 1000
"""How long the end is shown, before it begins anew."""


@dataclass
class Args:
    """Make the README's picture."""

    out: Annotated[Path, tyro.conf.Positional]
    """The .webp to write."""
    seed: int = 0
    """Of the places where things lie."""
    quality: int = 75
    """Of the picture, 1 to 100."""


def things() -> ObjectSet:
    """The six things."""
    with tempfile.TemporaryDirectory() as folder:
        household.main(household.Args(Path(folder)))
        for path in Path(folder).iterdir():
            if path.stem not in THINGS:
                path.unlink()
        found = {item.name: item for item in load_objects(folder).objects}
    return ObjectSet.of("household", [found[name] for name in THINGS])


def play(objects: ObjectSet, seed: int) -> List[Snapshot]:
    """An episode of all hands."""
    torch.manual_seed(seed)
    args = PlayArgs()
    trained = load_trained(find_checkpoint(args), None)
    task = build(args, trained, registry.get("mujoco"), objects, len(objects))
    shown: List[Snapshot] = []
    for words in play_round(task, trained.policy.act_deterministic, shown.append, range(len(objects))):
        print(words, flush=True)
    return shown


def draw(shown: List[Snapshot], objects: ObjectSet) -> List[Image.Image]:
    """A picture of each moment."""
    from tasks.hands import get_hand

    renderer = WorldRenderer(Stage(get_hand("shadow"), objects, len(objects)))
    pictures = [Image.fromarray(renderer.draw(now, 0.001 * FRAME_MS * k)) for k, now in enumerate(shown)]
    renderer.close()
    return pictures


def main(args: Args) -> None:
    """Plays, draws and writes."""
    objects = things()
    pictures = draw(play(objects, args.seed), objects)
    durations = [FRAME_MS] * (len(pictures) - 1) + [LAST_MS]
    pictures[0].save(
        args.out, save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=args.quality, method=4
    )
    print(f"{len(pictures)} frames, {args.out.stat().st_size / 1e6:.1f} MB in {args.out}")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
