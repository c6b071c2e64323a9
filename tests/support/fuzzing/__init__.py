"""How many inputs a fuzzing test draws, and how bytes are damaged."""

from __future__ import annotations

import os
import re
from typing import Any, Callable, List, Mapping, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""Inputs of each kind; 0 for the small fixed number that each test has, which are always the same inputs."""
Test = TypeVar("Test", bound=Callable[..., Any])
EXTREMES = (
    "nan",
    "inf",
    "-inf",
    "1e308",
    "-1e308",
    "1e-320",
    "0",
    "-0.0",
    "-1",
    "99999999999",
    "1e400",
    "x",
    "",
    "1_0",
    "٣",
)
"""What may stand in place of a number."""


def budget(examples: int) -> Callable[[Test], Test]:
    """Draws so many inputs in the test suite, and FUZZ_EXAMPLES others where that is set."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),  # to make a find smaller can take many times as long as to find it
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw: st.DrawFn, name: str, of: Mapping[str, bytes]) -> bytes:
    """The bytes of that name with some of them flipped, left out, repeated, added or overwritten, or with numbers in their text replaced."""
    data = bytearray(of[name])
    for kind in draw(
        st.lists(st.sampled_from(("flip", "cut", "delete", "insert", "copy", "fill", "number")), min_size=1, max_size=4)
    ):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(1, 64))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at:]
        elif kind == "delete":
            del data[at : at + length]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "copy":
            data[at:at] = data[at : at + length]
        elif kind == "fill":
            data[at : at + length] = bytes([draw(st.integers(0, 255))]) * length
        else:
            numbers = [found.span() for found in re.finditer(rb"-?\d[\d.e+-]*", bytes(data[at : at + 200]))]
            if numbers:
                first, last = draw(st.sampled_from(numbers))
                data[at + first : at + last] = draw(st.sampled_from(EXTREMES)).encode()
    return bytes(data)


def one_line(text: str) -> bool:
    """Whether a message is one that a user can read: not empty, and without line breaks."""
    return bool(text.strip()) and not re.search(r"[\r\n]", text)


def names(lines: List[str]) -> st.SearchStrategy[str]:
    """These words, or others."""
    return st.sampled_from(lines) | st.text(max_size=12)
