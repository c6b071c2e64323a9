"""Makes a clip of a policy: `python -m tasks.commands.clips POLICY.pt NAME.mp4`; also for TensorBoard, beside the video."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from itertools import islice
from pathlib import Path
from typing import List

HANDS = 4
"""Side by side, with the same objects in each clip, so that clips can be compared."""
LOWEST = 19
"""The priority, as `nice` counts."""
TAG, GIF_SIZE, EVERY = "policy", (480, 270), 3
"""TensorBoard shows every third frame, and smaller."""
COLOURS = 128


def main(words: List[str]) -> None:
    """Plays an episode on MuJoCo C, and writes it."""
    from tasks.commands import errors
    from tasks.commands.play import PlayArgs, play
    from tasks.evaluation.trained import load_trained

    def run() -> None:
        policy, video = Path(words[0]), Path(words[1])
        partly = video.with_name(f".{video.name}")
        try:
            play(PlayArgs(checkpoint=policy, video=partly, hands=HANDS, episodes=HANDS, skip_bad_objects=True))
            os.replace(str(partly), str(video))
        finally:
            with contextlib.suppress(OSError):
                partly.unlink()
        add_to_tensorboard(video, load_trained(policy).env_steps or 0)

    errors.run(run)


def add_to_tensorboard(video: Path, step: int) -> None:
    """Writes a video as an animated picture into event files of its own, beside it.

    They are not those of the training: TensorBoard reads one file of a directory after the other, and would leave those that
    still grow.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard.writer import FileWriter

    picture = Summary.Image(height=GIF_SIZE[1], width=GIF_SIZE[0], colorspace=3, encoded_image_string=animated(video))
    writer = FileWriter(str(video.parent))
    writer.add_summary(Summary(value=[Summary.Value(tag=TAG, image=picture)]), step)
    writer.close()


def animated(video: Path) -> bytes:
    """A video as a small GIF."""
    import imageio.v2 as imageio
    from PIL import Image

    reader = imageio.get_reader(str(video))
    fps = reader.get_meta_data()["fps"]
    some = islice(reader.iter_data(), 0, None, EVERY)
    frames = [Image.fromarray(frame).resize(GIF_SIZE, Image.Resampling.LANCZOS) for frame in some]
    reader.close()
    few = [frame.quantize(COLOURS, method=Image.Quantize.FASTOCTREE) for frame in frames]
    file = io.BytesIO()
    few[0].save(file, "GIF", save_all=True, append_images=few[1:], duration=round(1000 * EVERY / fps), loop=0)
    return file.getvalue()


if __name__ == "__main__":
    with contextlib.suppress(OSError, AttributeError):
        os.nice(LOWEST)
    main(sys.argv[1:])
