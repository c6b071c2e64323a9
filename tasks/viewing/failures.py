"""A picture of how episodes end, played again from their starts."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Callable, Dict, Sequence, Union

import numpy as np
import torch
from torch import Tensor

from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.hands.spec import HandSpec
from tasks.objects import ObjectSet
from tasks.simulators import registry
from tasks.simulators.contract import Start
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.viewing.renderer import WorldRenderer
from tasks.viewing.stage import Stage
from tasks.viewing.watched import WatchedSimulator, snapshot

PICTURE_SIZE = (320, 240)


def draw_episodes(
    policy: Callable[[Tensor], Tensor],
    hand: HandSpec,
    objects: ObjectSet,
    start: Start,
    cfg: GraspCfg,
    physics: PhysicsCfg,
    path: Union[str, Path],
) -> int:
    """Plays episodes from these starts on MuJoCo C and writes a picture of how each ends; returns how many were held.

    start: of E episodes, on the CPU; its object ids are those of the set.  A simulator rounds differently with other worlds
    beside it, and another simulator is another physics, so that an episode may end in another way than the first time.
    """
    own = ObjectSet.of(objects.name, [objects.objects[i] for i in start.object_id.tolist()])  # world i has object i
    count = len(start.object_id)
    simulator = WatchedSimulator(registry.get("mujoco").make(hand, own, count, physics, evaluation=True))
    task = GraspTask(simulator, hand, own, cfg, evaluation=True)
    given = Start(**{f.name: getattr(start, f.name) for f in fields(Start)})
    given.object_id = torch.arange(count)
    task.starts.draw = lambda object_id, close=False: given  # type: ignore[method-assign]
    renderer = WorldRenderer(Stage(hand, own), PICTURE_SIZE)
    ends: Dict[int, np.ndarray] = {}

    def keep(mask: Tensor) -> None:
        for world in mask.nonzero()[:, 0].tolist():
            if world not in ends:
                ends[world] = renderer.draw(snapshot(task, [world]))

    obs = task.reset()[0]
    simulator.before_reset = keep
    for _ in range(cfg.episode_steps):
        obs = task.step(policy(obs)).obs
    renderer.close()
    record = task.episodes.record
    labels = [f"{item.name}: {_end(task, world)}" for world, item in enumerate(own.objects)]
    contact_sheet([ends[world] for world in range(count)], labels, path)
    return int(record.held.sum())


def _end(task: GraspTask, world: int) -> str:
    record = task.episodes.record
    if record.held[world]:
        return "held this time"
    if record.dropped[world]:
        return "off the table"
    return f"{100 * float(record.final_rise[world].clamp(min=0)):.0f} cm up"


def contact_sheet(
    images: Sequence[np.ndarray], labels: Sequence[str], path: Union[str, Path], columns: int = 4
) -> None:
    """Writes a .png of images (height, width, 3) of one size, in rows, each above its label."""
    from PIL import Image, ImageDraw

    height, width = images[0].shape[:2]
    rows, strip = -(-len(images) // columns), 22
    sheet = Image.new("RGB", (width * min(columns, len(images)), (height + strip) * rows), (250, 250, 250))
    pen = ImageDraw.Draw(sheet)
    for index, (image, label) in enumerate(zip(images, labels)):
        x, y = width * (index % columns), (height + strip) * (index // columns)
        sheet.paste(Image.fromarray(image), (x, y))
        pen.text((x + 6, y + height + 5), label, fill=(20, 20, 20))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sheet.save(str(path), format="PNG")
