"""What goes wrong when worlds are shown."""

from __future__ import annotations


class RenderingError(ValueError):
    """Pictures that cannot be drawn or written here.  The text is one line that says what to do."""
