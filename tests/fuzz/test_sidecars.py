"""Any bytes beside a mesh are numbers in their ranges, or one line says what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fuzzing import budget, damaged, names, one_line
from hypothesis import given
from hypothesis import strategies as st

from tasks.objects import ObjectError
from tasks.objects.meshes.sidecar import Sidecar, read_sidecar

PATH = Path("cup.json")
KEYS = ["mass", "friction", "scale"]
LIMITS = {"mass": (1e-4, 100.0), "friction": (0.0, 10.0), "scale": (0.0, 1e6)}
"""As docs/how_to.md has them; `scale` as the option --object-scale."""
SCALARS = st.none() | st.booleans() | st.floats() | st.floats(1e-4, 10) | st.integers() | st.text(max_size=8)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FILES: st.SearchStrategy[Any] = st.dictionaries(names(KEYS), VALUES, max_size=4) | VALUES


def check(text: bytes) -> None:
    try:
        found = read_sidecar(PATH, text)
    except ObjectError as error:
        assert one_line(str(error)) and str(error).startswith("cup.json: ")
        return
    if not text:
        assert found == Sidecar()
        return
    said = json.loads(text)
    assert set(said) <= set(KEYS)
    for key, (low, high) in LIMITS.items():
        value = getattr(found, key)
        if said.get(key) is None:
            assert value is None
        else:
            assert type(said[key]) in (int, float) and type(value) is float
            assert value == float(said[key]) and low <= value <= high and value > 0


@budget(80)
@given(FILES)
def test_any_json(value: Any) -> None:
    check(json.dumps(value).encode())


@budget(150)
@given(damaged("a", {"a": b'{"mass": 0.25, "friction": 0.8, "scale": 0.001}'}) | st.binary(max_size=40))
def test_damaged_bytes(text: bytes) -> None:
    check(text)


@pytest.mark.parametrize("text", [b'{"mass": 0.2}', b"{}", b""])
def test_the_check_takes_what_is_right(text: bytes) -> None:
    assert read_sidecar(PATH, text).mass == (0.2 if b"mass" in text else None)
