"""Generated sets from the cache are those that were generated."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from tasks.objects import ObjectModel, load_objects, sets


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ppo_grasp" / "objects"


def same(one: ObjectModel, other: ObjectModel) -> None:
    for f in fields(ObjectModel):
        a, b = getattr(one, f.name), getattr(other, f.name)
        assert type(a) is type(b), f.name
        if f.name == "parts":
            assert len(a) == len(b) and all(np.array_equal(p, q) for p, q in zip(a, b))
        else:
            assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, f.name


def test_a_set_is_made_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_objects("holdout", count=40)
    assert len(list(directory.iterdir())) == 1
    refuse = sets.OBJECT_SETS["holdout"]._replace(make=lambda count, seed: pytest.fail("the set was made again"))
    monkeypatch.setitem(sets.OBJECT_SETS, "holdout", refuse)
    again = load_objects("holdout", count=40)
    assert again.name == first.name and again.kinds == first.kinds and len(again) == 40
    for one, other in zip(first.objects, again.objects):
        same(one, other)


def test_another_seed_or_size_is_another_set(directory: Path) -> None:
    names = [
        [o.mass for o in load_objects("mixed", seed=seed, count=count).objects]
        for seed, count in ((0, 6), (1, 6), (0, 8))
    ]
    assert names[0] != names[1] and names[0] == names[2][:6] and len(names[2]) == 8
    assert len(list(directory.iterdir())) == 3


def test_a_damaged_cache_is_as_good_as_none(directory: Path) -> None:
    first = load_objects("mixed", count=5)
    (file,) = directory.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    for one, other in zip(first.objects, load_objects("mixed", count=5).objects):
        same(one, other)


def test_other_code_makes_other_sets(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_objects("mixed", count=4)
    monkeypatch.setattr(sets.cache, "generator_version", lambda: b"changed")
    load_objects("mixed", count=4)
    assert len(list(directory.iterdir())) == 2


def test_no_place_for_a_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(load_objects("mixed", count=4)) == 4
