"""Each test puts one slip into the backend's source: the double refuses it, or the contract's checks see wrong numbers."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any, Dict, List

import conformance
import pytest
from conformance import Bench
from isaac_support.backend import launch

from tasks.hands import get_hand
from tasks.objects import ObjectSet
from tasks.simulators import link_states
from tasks.simulators.isaac_gym import scene as isaac_gym_scene
from tasks.simulators.isaac_gym import simulator as isaac_gym

Check = Any


def load(module: types.ModuleType, old: str, new: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Dict[str, Any]:
    """A module's names with one piece of its source replaced."""
    text = Path(str(module.__file__)).read_text()
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {module.__name__}"
    mutant = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, mutant)
    exec(compile(text.replace(old, new), name, "exec"), vars(mutant))
    return vars(mutant)


SIMULATOR = [
    # a slip, and the check that must see it
    ("xyzw(quat[ids])", "quat[ids]", conformance.frames_and_quaternions),
    ("object_pos[ids] - self._shift[ids]", "object_pos[ids]", conformance.frames_and_quaternions),
    ("self._object_ids = self._hand_actor[ids].contiguous(), self._object_actor[ids]", "self._object_ids = self._hand_actor[ids].contiguous(), ids.int()", conformance.several_resets_in_one_step),
    ("self._object_ids = self._hand_actor[ids].contiguous(), self._object_actor[ids]", "self._object_ids = self._hand_actor[ids].contiguous(), self._object_actor[ids].long()", conformance.free_fall),
    ("self._unwrap(self._object_ids)", "self._unwrap(self._object_ids.clone())", conformance.free_fall),
    ("torch.unique(torch.cat(self._pending))", "torch.cat(self._pending)", conformance.several_resets_in_one_step),
    ("torch.unique(torch.cat(self._pending))", "self._pending[-1]", conformance.several_resets_in_one_step),
    ("self._dof_set[self._dof_rows[ids], 0] = joints[ids]", "pass", conformance.frames_and_quaternions),
    ("        self._pending = []\n\n    def _read", "\n    def _read", conformance.reset_leaves_others_alone),
    ("wrench = torch.cat([force,", "wrench = torch.cat([-force,", conformance.fingertip_presses_the_table),
    ("self._contact[self._link_rows[:, 1:]]", "self._contact[self._link_rows[:, :5]]", conformance.fingertip_presses_the_table),
    ("self._contact[self._all_link_rows]", "self._contact[self._link_rows[:, 1:]]", conformance.object_rests_on_the_hand),
    ("for _ in range(self.simulations):", "for _ in range(1):", conformance.free_fall),
    ("ids = mask.nonzero()[:, 0]", "ids = torch.arange(self.num_envs)", conformance.reset_leaves_others_alone),
]  # fmt: skip
LINKS = [
    ("return quat.roll(1, dims=-1)", "return quat", conformance.frames_and_quaternions),
    ("quat = wxyz(links[..., 3:7])", "quat = links[..., 3:7]", conformance.frames_and_quaternions),
    ("object_quat = wxyz(item[:, 3:7])", "object_quat = item[:, 3:7]", conformance.frames_and_quaternions),
    ("item[:, 7:10] - torch", "item[:, 7:10] + torch", conformance.object_velocity_is_of_its_origin),
    ("links[..., 7:10] + torch", "links[..., 7:10] - torch", conformance.fingertip_velocity_is_of_its_origin),
    ("self.site_pos - self.link_com", "self.site_pos", conformance.fingertip_velocity_is_of_its_origin),
    ("rotations.rotate(wxyz(links[..., 3:7]), self.site_pos)", "self.site_pos", conformance.frames_and_quaternions),
    ("put(state.fingertip_pos, pos[:, 1:])", "pass", conformance.current_after_reset),
    ("put(state.fingertip_quat, site_quat[:, 1:])\n        put(state.object_pos, start", "put(state.object_pos, start", conformance.current_after_reset),
    ("            state.fingertip_wrench,\n", "", conformance.fingertip_presses_the_table),
    ("            state.hand_force,\n", "", conformance.fingertip_presses_the_table),
    ("torch.minimum(torch.maximum(drive, -self.effort), self.effort)", "drive", conformance.drive_force_is_bounded),
    ("self.followed(driven)], dim=1)", "0 * self.followed(driven)], dim=1)", conformance.current_after_reset),
]  # fmt: skip
"""Slips in what Isaac Gym and PhysX share."""
SCENE = [
    ("options.fix_base_link = True", "options.fix_base_link = False", conformance.drives_follow),
    ("options.disable_gravity = True", "options.disable_gravity = False", conformance.same_path_as_plain_mujoco),
    ("    options.linear_damping = options.angular_damping = 0.0\n", "", conformance.object_velocity_is_of_its_origin),
    ("api.ContactCollection.CC_LAST_SUBSTEP", "api.ContactCollection.CC_NEVER", conformance.fingertip_presses_the_table),
    ("name, i, bits, 0)", "name)", conformance.free_fall),
    ('"hand", i, HAND_FILTER)', '"hand", i + 999, HAND_FILTER)', conformance.object_rests_on_the_hand),
    ("(0.0, 0.0, -TABLE_HEIGHT)", "(0.0, 0.0, 0.0)", conformance.fingertip_presses_the_table),
    ("int(api.DOF_MODE_POS)", "int(api.DOF_MODE_NONE)", conformance.drives_follow),
    ('table["effort"][row] = effort', 'table["effort"][row] = 3.0e38', conformance.jumps_as_plain_mujoco),
    ("damping + drives.joint_damping[i]", "0.0", conformance.same_path_as_plain_mujoco),
    ('0.0, drives.armature[i]', "0.0, 0.0", conformance.jumps_as_plain_mujoco),
    ("[gym.find_asset_dof_index(hand_asset, name) for name in joints]", "list(range(len(joints)))", conformance.drives_follow),
    ("gym.get_actor_dof_index(e, h, d, domain)", "d", conformance.drives_follow),
    ("gym.get_actor_rigid_body_index(e, h, b, domain)", "b", conformance.frames_and_quaternions),
    ("domain = api.DOMAIN_SIM", "domain = api.DOMAIN_ENV", conformance.free_fall),
    ("bodies = gym.get_asset_rigid_body_count(hand_asset) + gym.get_asset_rigid_body_count(asset)", "bodies = gym.get_asset_rigid_body_count(hand_asset)", conformance.free_fall),
    ("params.up_axis, params.gravity = api.UP_AXIS_Z,", "_, params.gravity = 0,", conformance.free_fall),
    ("gym.create_sim(gpu, -1, api.SIM_PHYSX, params)", "gym.create_sim(gpu, -1, params=params)", conformance.free_fall),
]  # fmt: skip


def named(cases: List[Any]) -> List[Any]:
    return [
        pytest.param(*case, id=f"{number}_{case[1].strip()[:40] or 'removed'}") for number, case in enumerate(cases)
    ]


@pytest.mark.parametrize("old, new, check", named(SIMULATOR))
def test_isaac_slip_in_the_simulator_is_seen(
    old: str, new: str, check: Check, isaac: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = load(isaac_gym, old, new, "isaac_gym_mutant", monkeypatch)
    with pytest.raises((AssertionError, RuntimeError, TypeError)):
        check(_bench(names, tmp_path))


@pytest.mark.parametrize("old, new, check", named(LINKS))
def test_isaac_slip_in_the_conventions_is_seen(
    old: str, new: str, check: Check, isaac: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = load(link_states, old, new, "link_states_mutant", monkeypatch)
    monkeypatch.setattr(isaac_gym, "LinkStates", names["LinkStates"])
    monkeypatch.setattr(isaac_gym.IsaacGymSimulator, "built", False)
    with pytest.raises((AssertionError, RuntimeError, TypeError)):
        check(_bench(vars(isaac_gym), tmp_path))


@pytest.mark.parametrize("old, new, check", named(SCENE))
def test_isaac_slip_in_the_scene_is_seen(
    old: str, new: str, check: Check, isaac: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = load(isaac_gym_scene, old, new, "isaac_gym_scene_mutant", monkeypatch)
    monkeypatch.setattr(isaac_gym_scene, "build", names["build"])
    monkeypatch.setattr(isaac_gym.IsaacGymSimulator, "built", False)
    with pytest.raises((AssertionError, RuntimeError, TypeError)):
        check(_bench(vars(isaac_gym), tmp_path))


def test_isaac_without_a_slip_passes_the_same_way(isaac: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = load(isaac_gym, "joint_angles", "joint_angles", "isaac_gym_mutant", monkeypatch)
    conformance.free_fall(_bench(names, tmp_path))


def _bench(names: Dict[str, Any], cache: Path) -> Bench:
    def make(objects: ObjectSet, num_envs: int) -> Any:
        cfg = names["IsaacGymCfg"](cache=cache, audit=False, watch_errors=False, mass_scale=1.0)
        return names["IsaacGymSimulator"](get_hand("shadow"), objects, num_envs, "cpu", cfg=cfg, gpu_pipeline=True)

    return Bench(make, launch)
