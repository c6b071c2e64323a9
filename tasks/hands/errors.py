"""What is wrong with a hand's description."""

from __future__ import annotations


class HandError(ValueError):
    """A description that cannot be used; the message is one line that names the element and says what to do."""
