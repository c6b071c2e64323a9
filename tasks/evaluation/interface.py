"""What an exported policy's numbers mean, as plain values that the file carries: enough to use it without this program."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple

import torch

from ppo_grasp.actor_critic import ActorCritic
from tasks.evaluation.settings import TrainingSettings, trained_with
from tasks.grasp.actions import BASE, DriveTargets
from tasks.grasp.observations import ACTOR, Layout
from tasks.hands import get_hand
from tasks.hands.spec import HandSpec
from tasks.simulators.contract import TABLE_HEIGHT
from tasks.simulators.mujoco.scene import C_ITERATIONS

XYZ = ("x", "y", "z")
WXYZ = ("w", "x", "y", "z")
POSE = tuple(f"position {axis}" for axis in XYZ) + tuple(f"quaternion {axis}" for axis in WXYZ)
VELOCITY = tuple(f"{part} {axis}" for part in ("linear", "angular") for axis in XYZ)
WRENCH = tuple(f"{part} {axis}" for part in ("force", "torque") for axis in XYZ)


class SliceMeaning(NamedTuple):
    """What the numbers of a slice of the observation mean."""

    components: Callable[[HandSpec], List[str]]
    """The name of each of its numbers."""
    unit: str
    meaning: str


def _drives(hand: HandSpec) -> List[str]:
    return list(hand.drives)


def _of_tips(names: Any) -> Callable[[HandSpec], List[str]]:
    return lambda hand: [f"{tip} {name}" for tip in hand.fingertips for name in names]


SLICES: Dict[str, SliceMeaning] = {
    "joint_pos": SliceMeaning(_drives, "m, rad", "positions of the driven joints"),
    "joint_vel": SliceMeaning(_drives, "m/s, rad/s", "their velocities"),
    "object_pose": SliceMeaning(lambda _: list(POSE), "m, 1", "the object's frame in the palm's; w is not negative"),
    "object_vel": SliceMeaning(
        lambda _: list(VELOCITY), "m/s, rad/s", "of the object's origin in the world, turned into the palm's axes"
    ),
    "fingertips_to_object": SliceMeaning(
        _of_tips(XYZ), "m", "from the object's origin to the fingertip, in the palm's axes"
    ),
    "previous_action": SliceMeaning(_drives, "1", "the action of the step before; 0 in the first step"),
    "goal_pose": SliceMeaning(lambda _: list(POSE), "m, 1", "the goal in the palm's frame; w is not negative"),
    "drive_force": SliceMeaning(_drives, "N, N m", "what each drive exerts"),
    "fingertip_quat": SliceMeaning(_of_tips(WXYZ), "1", "the fingertip's frame in the palm's; w is not negative"),
    "fingertip_vel": SliceMeaning(
        _of_tips(VELOCITY), "m/s, rad/s", "of the fingertip's origin in the world, turned into the palm's axes"
    ),
    "fingertip_wrench": SliceMeaning(
        _of_tips(WRENCH), "N, N m", "of all contacts on the fingertip's body, about its origin, in the palm's axes"
    ),
}


def describe(policy: ActorCritic, meta: Mapping[str, Any]) -> Dict[str, Any]:
    """What to feed a policy, and what its actions mean.  meta: of `load_policy`.  Raises ValueError if it is none for grasping."""
    settings = trained_with(meta, Path("policy"), policy.cfg.num_obs, policy.cfg.num_actions)
    hand = get_hand(settings.hand)
    if hand.num_drives != policy.cfg.num_actions:
        raise ValueError(f"{policy.cfg.num_actions} actions, the hand {hand.name} has {hand.num_drives} drives")
    return {
        "format": "ppo-grasp 1",
        "observation": {
            "size": policy.cfg.num_obs,
            "slices": _slices(settings, hand),
            "history": "steps_ago: what was seen so many steps before; where the episode is younger, what was seen first",
            "pose_filter": settings.grasp.pose_filter,
        },
        "action": {
            "size": policy.cfg.num_actions,
            "low": -1.0,
            "high": 1.0,
            "components": list(hand.drives),
            "targets": _targets(settings, hand),
        },
        "rates": {"control_hz": 1 / settings.physics.control_dt},
        "hand": _hand(hand),
        "task": _task(settings),
        "physics": _physics(settings),
    }


def _slices(settings: TrainingSettings, hand: HandSpec) -> List[Dict[str, Any]]:
    """The slices of the present step, then those of the history, the newest step first."""
    layout, cfg = Layout(ACTOR, hand), settings.grasp
    hidden = layout.columns(cfg.hidden_inputs)
    past = [(name, ago) for ago in range(1, cfg.history + 1) for name in cfg.history_inputs]
    slices: List[Dict[str, Any]] = []
    start = 0
    for name, ago in [*((name, 0) for name in layout.slices), *past]:
        where = layout.slices[name]
        size = where.stop - where.start
        known = SLICES.get(name)
        slices.append(
            {
                "name": name,
                "steps_ago": ago,
                "start": start,
                "stop": start + size,
                "components": known.components(hand) if known else [f"{name} {i}" for i in range(size)],
                "unit": known.unit if known else "",
                "meaning": known.meaning if known else "",
                "always_zero": bool(hidden[where].all()),
            }
        )
        start += size
    return slices


def _targets(settings: TrainingSettings, hand: HandSpec) -> Dict[str, Any]:
    """How actions move the drives' position targets: see `DriveTargets.move`, of which these are the numbers."""
    cfg = settings.grasp
    targets = DriveTargets(hand, cfg, 1, torch.device("cpu"))
    step, leash, low, high = (
        [round(value, 6) for value in numbers.tolist()]
        for numbers in (targets.step, targets.leash, targets.base_low, targets.base_high)
    )
    return {
        "meaning": (
            "base, the first 6: target += step * a * (slope + (1 - slope) * a^2), then within leash of where the joint is, "
            "then within low and high; fingers: target = smoothing * target + (1 - smoothing) * wanted, where wanted is "
            "from the drive's low at -1 to its high at 1; at the start targets are the joints' positions"
        ),
        "base": {"step": step, "leash": leash, "low": low, "high": high, "slope": cfg.base_slope},
        "fingers": {"smoothing": cfg.finger_smoothing},
    }


def _hand(hand: HandSpec) -> Dict[str, Any]:
    mjcf = Path(hand.mjcf).read_text(encoding="utf-8")
    drives = [
        {"name": name, "kind": "slide" if i < 3 else "hinge", "unit": "m" if i < 3 else "rad", "low": low, "high": high}
        for i, (name, (low, high)) in enumerate(zip(hand.drives, hand.drive_ranges().tolist()))
    ]
    return {
        "name": hand.name,
        "mjcf": mjcf if "file=" not in mjcf else None,  # one that needs meshes cannot be carried along
        "drives": drives,
        "base_drives": BASE,
        "coupled": {j: {"follows": s, "ratio": hand.coupling(j)} for j, s in hand.coupled_joints.items()},
        "palm": {"body": hand.palm_body, "site": hand.palm_site, "centre": list(hand.palm_centre)},
        "fingertips": [
            {"name": name, "body": body, "site": site}
            for name, body, site in zip(hand.fingertips, hand.fingertip_bodies, hand.fingertip_sites)
        ],
        "open_pose": dict(hand.open_pose),
    }


def _task(settings: TrainingSettings) -> Dict[str, Any]:
    cfg = settings.grasp
    names = ("episode_steps", "lift_height", "success_radius", "hold_time", "still_speed", "still_turn")
    start = ("object_spread", "clearance", "min_height", "friction_low", "friction_high")
    return {
        "table_height": TABLE_HEIGHT,
        **{name: getattr(cfg, name) for name in names},
        "start": {name: getattr(cfg.start, name) for name in start},
    }


def _physics(settings: TrainingSettings) -> Dict[str, Any]:
    """MuJoCo C's, in the fine steps that policies are measured in, or in training's if those do not fit."""
    try:
        physics = settings.measured_in("fine")
    except ValueError:
        physics = settings.physics
    more = {name: max(getattr(physics, name), C_ITERATIONS) for name in ("iterations", "ls_iterations")}
    return asdict(replace(physics, tolerance=1e-8, **more))
