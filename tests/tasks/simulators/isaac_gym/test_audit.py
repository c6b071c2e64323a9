"""The audit before a start says nothing if all is well.  If Isaac Gym misread something it prints a table and one line."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, Callable

import conformance
import numpy as np
import pytest
import torch
from isaac_support.stage import DOUBLE

from tasks.hands import get_hand
from tasks.objects import ObjectSet
from tasks.simulators.errors import SimulatorError
from tasks.simulators.isaac_gym import audit as isaac_gym_audit
from tasks.simulators.isaac_gym.simulator import IsaacGymCfg, IsaacGymSimulator

ROOT = DOUBLE.parents[1]


def audited(cache: Path, num_envs: int = 4, audit: bool = True, **settings: Any) -> IsaacGymSimulator:
    IsaacGymSimulator.built = False  # each test is a process of its own to the double
    objects = ObjectSet.of("two", [conformance.CUBE, conformance.LOADED])
    cfg = IsaacGymCfg(cache=cache, audit=audit, watch_errors=False, **settings)
    return IsaacGymSimulator(get_hand("shadow"), objects, num_envs, "cpu", cfg=cfg, gpu_pipeline=True)


@pytest.mark.parametrize("num_envs", [1, 2, 5])
@pytest.mark.parametrize("coupling", ["tendon", "drive"])
def test_isaac_audit_passes(num_envs: int, coupling: str, isaac: Any, tmp_path: Path, capfd: Any) -> None:
    sim = audited(tmp_path, num_envs, coupling=coupling)
    assert capfd.readouterr().err == ""
    assert sim.state.joint_pos.isfinite().all() and not sim.state.failed.any()
    assert not sim.state.fingertip_wrench.any(), "all worlds are at rest again"


def _heavier(asset: Any) -> None:
    if "palm" in asset.body_names:
        asset.body_props[asset.body_names.index("palm")].mass *= 1.1


def _moved(asset: Any) -> None:
    if "object" in asset.body_names:
        asset.body_props[0].com.x += 0.005


def _rounder(asset: Any) -> None:
    if "object" in asset.body_names:
        asset.body_props[0].inertia.x.x *= 1.5


def _fewer_tendons(asset: Any) -> None:
    asset.tendons, asset.tendon_props = asset.tendons[1:], asset.tendon_props[1:]


def _wider_tendons(asset: Any) -> None:
    for tendon in asset.tendon_props:
        tendon.fixed_upper_limit = 1.0


def _merged_links(asset: Any) -> None:
    if "palm" in asset.body_names:
        asset.body_names = [name.replace("ff_middle", "ff_other") for name in asset.body_names]
        for element in asset.body.iter("body"):
            element.set("name", element.get("name").replace("ff_middle", "ff_other"))


@pytest.mark.parametrize(
    "mutate, said",
    [
        (_heavier, "hand palm: mass"),
        (_moved, "centre of mass"),
        (_rounder, "principal inertia"),
        (_fewer_tendons, "without ['FFJ0']"),
        (_wider_tendons, "range"),
        (_merged_links, "ff_other"),
    ],
)
def test_isaac_audit_tells_what_was_misread(
    mutate: Callable[[Any], None], said: str, isaac: Any, tmp_path: Path, capfd: Any
) -> None:
    isaac.mutate_asset = mutate
    with pytest.raises(SimulatorError, match=r"checks failed, see the table above"):
        audited(tmp_path)
    report = capfd.readouterr().err
    assert said in report and "expected" in report and "found" in report


def _opposite_tendons(asset: Any) -> None:
    for tendon in asset.tendons:
        for joint in tendon:
            joint.set("coef", "1")


def _bigger_hulls(asset: Any) -> None:
    for element in asset.body.iter("geom"):
        if element.get("mesh"):
            element.set("pos", "0 0 0.02")


def _shifted_links(asset: Any) -> None:
    for element in asset.body.iter("body"):
        if element.get("name") == "ff_distal":
            element.set("pos", "0.03 0 0")


@pytest.mark.parametrize(
    "mutate, said",
    [
        (_opposite_tendons, "joint FFJ2 at its target"),
        (_bigger_hulls, "objects at rest"),
        (_shifted_links, "links against the MJCF's kinematics"),
    ],
)
def test_isaac_audit_simulates_what_it_cannot_read(
    mutate: Callable[[Any], None], said: str, isaac: Any, tmp_path: Path, capfd: Any
) -> None:
    isaac.mutate_asset = mutate
    with pytest.raises(SimulatorError, match=r"checks failed"):
        audited(tmp_path)
    assert said in capfd.readouterr().err


def test_isaac_audit_sees_resets_that_reach_other_worlds(isaac: Any, tmp_path: Path) -> None:
    sim = audited(tmp_path, audit=False)
    sim._object_actor[[1, 2]] = sim._object_actor[[2, 1]]
    bad = [row.item for row in isaac_gym_audit.smoke(sim) if not row.good]
    assert "objects of the reset worlds [1, 3], m off" in bad


def _turned_axes(asset: Any) -> None:
    if "palm" in asset.body_names:
        inertia = asset.body_props[asset.body_names.index("palm")].inertia
        inertia.x.x, inertia.y.y = inertia.y.y, inertia.x.x


def test_isaac_audit_compares_whole_inertias_of_the_hand(isaac: Any, tmp_path: Path, capfd: Any) -> None:
    """The principal values are right, but their axes are not."""
    isaac.mutate_asset = _turned_axes
    with pytest.raises(SimulatorError, match="checks failed"):
        audited(tmp_path)
    said = capfd.readouterr().err
    assert "hand palm: inertia" in said and "hand palm: principal inertia" not in said


def test_isaac_audit_takes_principal_inertias_of_objects_in_their_own_axes(isaac: Any, tmp_path: Path) -> None:
    """Isaac Gym may tell an object's inertia in its principal axes; other values it may not tell."""
    sim = audited(tmp_path, audit=False)
    get = sim.gym.get_actor_rigid_body_properties

    def principal(env: Any, actor: int) -> Any:
        told = get(env, actor)
        if len(told) == 1:
            columns = [told[0].inertia.x, told[0].inertia.y, told[0].inertia.z]
            values = np.linalg.eigvalsh(np.array([[c.x, c.y, c.z] for c in columns]))
            for column, axis, value in zip(columns, "xyz", values):
                for name in "xyz":
                    setattr(column, name, float(value) if name == axis else 0.0)
        return told

    sim.gym = types.SimpleNamespace(**{name: getattr(sim.gym, name) for name in dir(sim.gym) if name[0] != "_"})
    sim.gym.get_actor_rigid_body_properties = principal
    assert all(row.good for row in isaac_gym_audit.compare(sim))


@pytest.mark.parametrize("off, good", [(0, True), (1, True), (2, True), (3, False)])
def test_isaac_audit_lets_one_world_in_a_hundred_be_off_and_names_its_object(off: int, good: bool) -> None:
    found = torch.zeros(200)
    found[:off] = 1.0
    if off:
        found[0] = float("nan")
    names = [f"thing_{i}" for i in range(200)]
    row = isaac_gym_audit._all("objects at rest", 0.0, found, 0.1, names)
    assert row.good == good and row.warning == (good and off > 0)
    assert f"({off} of 200 worlds off)" in row.found and ("thing_0" in row.found) == (off > 0)
    assert not isaac_gym_audit._all("objects at rest", 0.0, found[:99] + 1.0, 0.1).good


def test_isaac_audit_warns_of_few_worlds_and_goes_on(
    isaac: Any, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = isaac_gym_audit.Row("objects at rest", "0", "1 (1 of 200 worlds off): bad_thing", good=True, warning=True)
    monkeypatch.setattr(isaac_gym_audit, "smoke", lambda sim: [few])
    audited(tmp_path)
    said = capfd.readouterr().err
    assert "warning: " in said and "bad_thing" in said


def test_isaac_audit_report_has_at_least_two_hundred_rows(isaac: Any, tmp_path: Path) -> None:
    sim = audited(tmp_path, audit=False)
    rows = isaac_gym_audit.compare(sim)
    assert len(rows) > 200 and all(row.good for row in rows)


def _command(tmp_path: Path, *words: str, first: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{DOUBLE}{os.pathsep}{ROOT}", "XDG_CACHE_HOME": str(tmp_path)}
    env.update(ISAAC_DOUBLE_ANY_PYTHON="1", ISAAC_DOUBLE_TORCH_LOADED="")
    code = [sys.executable, "-m", "tasks.simulators.isaac_gym"] if not first else [sys.executable, "-c", first]
    return subprocess.run([*code, *words], env=env, cwd=str(tmp_path), capture_output=True, text=True)


def test_isaac_audit_command_prints_a_report(tmp_path: Path) -> None:
    """In a process of its own, with the import order as it is on a user's machine."""
    result = _command(tmp_path, "--audit", "--num-envs", "4", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    for words in ("Python ", "torch ", "0 failed", "objects fall by g t^2 / 2", "Isaac Gym: "):
        assert words in result.stdout


def test_isaac_audit_command_ends_with_one_line(tmp_path: Path) -> None:
    result = _command(tmp_path, "--audit", "--objects", "nothing_of_that_name", "--device", "cpu")
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.stderr
