"""The objects of benchmarks/hulls.py, and the benchmark once, small, on the processor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.objects.geometry import convex_hull, hull_faces, mass_properties

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
pytest.importorskip("mujoco_warp", reason="needs MuJoCo Warp")
import hulls  # noqa: E402


def test_pieces_overlap_and_make_up_the_whole() -> None:
    points = np.random.default_rng(1).standard_normal((24, 3)) * (3, 1, 1)
    first, second = hulls.cut(points)
    length = np.ptp(points[:, 0])
    assert first[:, 0].max() - second[:, 0].min() == pytest.approx(hulls.OVERLAP * length)
    whole = hull_faces(convex_hull(points))
    inside = np.random.default_rng(2).uniform(points.min(axis=0), points.max(axis=0), (2000, 3))
    inside = inside[(inside @ whole.normals.T <= whole.offsets).all(axis=1)]
    parts = [hull_faces(convex_hull(part)) for part in (first, second)]
    in_parts = [(inside @ part.normals.T <= part.offsets + 1e-9).all(axis=1) for part in parts]
    assert len(inside) > 100 and np.logical_or(*in_parts).all() and np.logical_and(*in_parts).any()
    for part in (first, second):
        assert (part @ whole.normals.T <= whole.offsets + 1e-9).all()


@pytest.mark.parametrize("count", [2, 3, 8])
def test_every_object_has_as_many_hulls_and_the_shape_of_one(count: int) -> None:
    whole, cut = hulls.objects_of(1, 64, 0), hulls.objects_of(count, 64, 0)
    assert {len(item.parts) for item in whole.objects} == {1}
    assert {len(item.parts) for item in cut.objects} == {count}
    for one, many in zip(whole.objects, cut.objects):
        np.testing.assert_allclose(many.half_extents, one.half_extents)
        assert many.mass == one.mass
        volumes = [mass_properties(convex_hull(np.concatenate(item.parts)))[0] for item in (one, many)]
        assert volumes[1] == pytest.approx(volumes[0], rel=0.01)


def test_a_row_for_each_number_of_hulls(tmp_path: Path) -> None:
    words = ["--sim", "mujoco", "--num-envs", "4", "--num-objects", "4", "--hulls", "1", "8"]
    command = [sys.executable, str(BENCHMARKS / "hulls.py"), *words, "--json", str(tmp_path / "result.json")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=str(BENCHMARKS.parent))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert [row["hulls"] for row in rows] == [1, 8]
    for row in rows:
        assert "failed" not in row, row
        assert 0 < row["physics_ms"] < row["step_ms"] == pytest.approx(4e3 / row["steps_per_s"])
        assert 0 <= row["held"] <= 1 and "gpu_used_gb" not in row
