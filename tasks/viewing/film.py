"""Video files."""

from __future__ import annotations

from pathlib import Path
from typing import Union

import numpy as np

from tasks.viewing.errors import RenderingError

FPS = 30
VIDEO_SUFFIXES = (".mp4", ".gif")


class Film:
    """Writes frames to an .mp4 or .gif file; also a context manager."""

    def __init__(self, path: Union[str, Path], fps: float = FPS) -> None:
        """Raises RenderingError if the suffix is another."""
        self.path, self.frames = Path(path), 0
        suffix = self.path.suffix.lower()
        if suffix not in VIDEO_SUFFIXES:
            raise RenderingError(f"{path}: the name of a video must end in {' or '.join(VIDEO_SUFFIXES)}")
        import imageio.v2 as imageio  # the viewer can do without

        self.path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".gif":
            self._writer = imageio.get_writer(str(path), mode="I", duration=1000 / fps, loop=0)
        else:
            self._writer = imageio.get_writer(str(path), fps=fps, codec="libx264", quality=7, macro_block_size=8)

    def add(self, image: np.ndarray) -> None:
        """image: (height, width, 3) uint8, each of the same size."""
        self._writer.append_data(image)
        self.frames += 1

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
