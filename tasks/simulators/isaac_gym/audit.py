"""Compares what Isaac Gym made of the assets with what their files say, and simulates a second of tests.

It runs before training, because only a machine that has Isaac Gym can tell how its importer reads a file.
"""

from __future__ import annotations

import argparse
import platform
import sys
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Set, Tuple

import mujoco
import numpy as np
import torch

from tasks.simulators import streams
from tasks.simulators.contract import TABLE_HEIGHT, Start
from tasks.simulators.errors import SimulatorError
from tasks.simulators.flat_hand import MOUNT
from tasks.simulators.isaac_gym.assets import flat_hand
from tasks.simulators.isaac_gym.preload import preload
from tasks.simulators.isaac_gym.scene import IsaacWorlds
from tasks.simulators.isaac_gym.settings import IsaacGymCfg

GRAVITY = 9.81
WORLDS_OFF = 0.01
"""Share of the worlds that may be off in a simulated test: of thousands of objects one may rest badly."""


class Row(NamedTuple):
    """One comparison."""

    item: str
    expected: str
    found: str
    good: bool
    warning: bool = False
    """Whether it is good with some worlds off."""


def require_audit(sim: IsaacWorlds) -> None:
    """Compares, then simulates on a stream of its own, as trainings do.

    Raises SimulatorError where anything is wrong, after a table of it on stderr.  Warns of tests that few worlds fail.
    """
    rows = compare(sim)
    if all(row.good for row in rows):
        with streams.another_stream(sim.device):
            rows += smoke(sim)
    for row in rows:
        if row.warning:
            print(
                f"warning: Isaac Gym's worlds: {row.item}: expected {row.expected}, found {row.found}", file=sys.stderr
            )
    wrong = [row for row in rows if not row.good]
    if wrong:
        print(table(wrong), file=sys.stderr)
        raise SimulatorError(
            f"Isaac Gym made something else of hand and objects than their files say: {len(wrong)} of {len(rows)} checks "
            "failed, see the table above; `python -m tasks.simulators.isaac_gym --audit` prints a report, and "
            "--isaac-gym.no-audit leaves the checks out"
        )


def table(rows: Sequence[Row]) -> str:
    """The rows as text, in columns of item, expected and found."""
    lines = [("what", "expected", "found"), *((r.item, r.expected, r.found) for r in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(3)]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in lines)


# ------------------------------------------------------------------------------------------------------------- compare


def compare(sim: IsaacWorlds) -> List[Row]:
    """Reads back names, counts, masses, inertias, limits, drives and tendons, and compares them with MuJoCo's reading."""
    gym, scene = sim.gym, sim.scene
    flat = mujoco.MjModel.from_xml_string(flat_hand(sim.model))
    links = [flat.body(i).name for i in range(1, flat.nbody)]
    names = list(gym.get_asset_rigid_body_names(scene.hand_asset))
    rows = [
        _same("links of the hand", sorted(links), sorted(names)),
        _same("joints of the hand", sorted(sim.drives.names), sorted(scene.dof_names)),
        _same("shapes of the hand", flat.ngeom, gym.get_asset_rigid_shape_count(scene.hand_asset)),
        _same("actors", 2 * sim.num_envs, gym.get_sim_actor_count(sim.sim)),
        _same("joints of all", len(scene.dof_names) * sim.num_envs, gym.get_sim_dof_count(sim.sim)),
        _same("links of all", (len(links) + 1) * sim.num_envs, gym.get_sim_rigid_body_count(sim.sim)),
    ]
    told = gym.get_actor_rigid_body_properties(scene.envs[0], scene.hand_handles[0])
    for name, props in zip(names, told):
        if name in links and name != MOUNT:
            body = flat.body(name).id
            rotation = np.zeros(9)
            mujoco.mju_quat2Mat(rotation, flat.body_iquat[body])
            inertia = rotation.reshape(3, 3) @ np.diag(flat.body_inertia[body]) @ rotation.reshape(3, 3).T
            rows += _body_rows(
                f"hand {name}", flat.body_mass[body], flat.body_ipos[body], inertia, props, own_axes=True
            )
    rows += _drive_rows(sim) + _tendon_rows(sim, flat)
    for i in sorted({0, 1, sim.num_envs - 1} & set(range(sim.num_envs))):
        item, scale = sim.objects.objects[scene.object_ids[i]], scene.mass_scale[i]
        found = gym.get_actor_rigid_body_properties(scene.envs[i], scene.object_handles[i])
        rows.append(_same(f"links of {item.name}", 1, len(found)))
        shapes = gym.get_actor_rigid_shape_properties(scene.envs[i], scene.object_handles[i])
        rows.append(_same(f"shapes of {item.name}", len(item.parts), len(shapes)))
        rows.append(_near(f"friction of {item.name}", [scene.friction[i]] * len(shapes), [s.friction for s in shapes]))
        rows += _body_rows(f"{item.name} in world {i}", item.mass * scale, item.com, item.inertia * scale, found[0])
    return rows


def _body_rows(
    item: str, mass: float, com: np.ndarray, inertia: np.ndarray, props: Any, own_axes: bool = False
) -> List[Row]:
    """Compares mass, centre of mass and inertia (3, 3) about it.

    own_axes: whether the inertia must be told in the body's axes.  If not, principal values in axes of their own are right, too.
    """
    columns = (props.inertia.x, props.inertia.y, props.inertia.z)
    found = np.array([[c.x, c.y, c.z] for c in columns])
    principal = np.linalg.eigvalsh((found + found.T) / 2)
    rows = []
    diagonal = bool(np.abs(found - np.diag(np.diag(found))).max() < 1e-9)
    if own_axes or not diagonal:
        # An entry off the diagonal may be small next to those on it, so all have one tolerance.
        scale = float(np.linalg.eigvalsh(inertia)[-1])
        rows.append(_near(f"{item}: inertia", inertia.ravel(), found.ravel(), absolute=0.02 * scale))
    return [
        *rows,
        _near(f"{item}: mass", [mass], [props.mass], relative=1e-3),
        _near(f"{item}: centre of mass", com, [props.com.x, props.com.y, props.com.z], absolute=2e-4),
        _near(f"{item}: principal inertia", np.linalg.eigvalsh(inertia), principal, relative=0.02, absolute=1e-9),
    ]


def _drive_rows(sim: IsaacWorlds) -> List[Row]:
    """Compares what each joint was told with what Isaac Gym tells, in the first world and the last."""
    rows = []
    wanted = sim.scene.drive_properties
    for world in sorted({0, sim.num_envs - 1}):
        found = sim.gym.get_actor_dof_properties(sim.scene.envs[world], sim.scene.hand_handles[world])
        for field in wanted.dtype.names or ():
            for name, a, b in zip(sim.scene.dof_names, wanted[field], found[field]):
                row = _near(f"world {world} {name}: {field}", [float(a)], [float(b)], relative=1e-4, absolute=1e-6)
                rows.append(row)
    return rows


def _tendon_rows(sim: IsaacWorlds, flat: mujoco.MjModel) -> List[Row]:
    gym, asset = sim.gym, sim.scene.hand_asset
    count = gym.get_asset_tendon_count(asset)
    names = [gym.get_asset_tendon_name(asset, i) for i in range(count)]
    wanted = {flat.tendon(i).name: flat.tendon_range[i] for i in range(flat.ntendon)}
    rows = [_same("tendons", sorted(wanted), sorted(names))]
    for name, props in zip(names, gym.get_asset_tendon_properties(asset)):
        if name in wanted:
            found = [props.fixed_lower_limit, props.fixed_upper_limit]
            rows.append(_near(f"tendon {name}: range", wanted[name], found, absolute=1e-5))
            stiff = sim.cfg.tendon_stiffness if sim.cfg.coupling == "tendon" else 0.0
            rows.append(_near(f"tendon {name}: limit stiffness", [stiff], [props.limit_stiffness], absolute=1e-5))
    return rows


def _same(item: str, expected: Any, found: Any) -> Row:
    """Equal values.  Of lists the table shows what only one of the two has."""
    if isinstance(expected, list):
        lacking, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
        if expected == found:
            return Row(item, f"{len(expected)}", f"{len(found)}", True)
        return Row(item, f"{len(expected)}", f"{len(found)}, without {lacking}, with {extra}", False)
    return Row(item, str(expected), str(found), expected == found)


def _near(item: str, expected: Any, found: Any, relative: float = 0.0, absolute: float = 1e-6) -> Row:
    a, b = np.asarray(expected, dtype=float), np.asarray(found, dtype=float)
    good = a.shape == b.shape and bool(np.allclose(b, a, rtol=relative, atol=absolute))
    return Row(item, " ".join(f"{x:.5g}" for x in a), " ".join(f"{x:.5g}" for x in b), good)


# --------------------------------------------------------------------------------------------------------------- smoke


def smoke(sim: IsaacWorlds) -> List[Row]:
    """Simulates a second in all worlds: a fall, a finger and an object at rest, and a reset of worlds 1 and 3 alone."""
    return [*_fall(sim), *_finger_and_rest(sim), *_reset_of_some(sim)]


def _reset(
    sim: IsaacWorlds, joints: torch.Tensor, pos: torch.Tensor, quat: torch.Tensor, ids: Optional[List[int]]
) -> None:
    mask = torch.ones(sim.num_envs, dtype=torch.bool, device=sim.device)
    if ids is not None:
        mask[:] = False
        mask[ids] = True
    sim.reset(mask, Start(joints, pos, quat, sim.state.object_id, sim.mass_scale, sim.friction))


def _rest(sim: IsaacWorlds) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Joints of an open hand high above the table, and each world's object in its first stable pose on it."""
    joints = torch.zeros((sim.num_envs, sim.hand.num_drives), device=sim.device)
    joints[:, 2] = TABLE_HEIGHT + 0.6
    items = [sim.objects.objects[i] for i in sim.scene.object_ids]
    pos = torch.zeros((sim.num_envs, 3))
    pos[:, 2] = torch.tensor([TABLE_HEIGHT + float(item.rest_height[0]) for item in items])
    quat = torch.tensor(np.stack([item.rest_quat[0] for item in items]), dtype=torch.float32)
    return joints, pos.to(sim.device), quat.to(sim.device)


def _fall(sim: IsaacWorlds) -> List[Row]:
    joints, pos, quat = _rest(sim)
    pos[:] = torch.tensor([0.4, -0.3, 1.4], device=sim.device)
    quat[:] = torch.nn.functional.normalize(torch.tensor([0.5, -0.3, 0.7, 0.4], device=sim.device), dim=0)
    _reset(sim, joints, pos, quat, None)
    for _ in range(12):
        sim.step(joints)
    t = 12 * sim.control_dt
    fallen = (pos - sim.state.object_pos)[:, 2]
    turned = 1 - (quat * sim.state.object_quat).sum(-1).abs()
    names = _object_names(sim)
    return [
        _all("objects fall by g t^2 / 2, m", GRAVITY * t * t / 2, fallen, 0.03 * GRAVITY * t * t / 2, names),
        _all("falling objects' speed, m/s", -GRAVITY * t, sim.state.object_vel[:, 2], 0.03 * GRAVITY * t, names),
        _all("falling objects do not turn", 0.0, turned, 1e-4, names),
        _all("worlds that diverged", 0.0, sim.state.failed.float(), 0.0),
    ]


def _finger_and_rest(sim: IsaacWorlds) -> List[Row]:
    joints, pos, quat = _rest(sim)
    _reset(sim, joints, pos, quat, None)
    targets = joints.clone()
    # A joint that another one follows, if the hand has one.
    follower, source = next(iter(sim.hand.coupled_joints.items()), (None, sim.hand.finger_joints[0]))
    column = sim.hand.drives.index(source)
    bent = _within(sim, column, 0.5)
    targets[:, column] = bent
    for _ in range(18):
        sim.step(targets)
    angles = sim.joint_angles()
    others = sim.state.joint_pos - targets
    others[:, column] = 0.0
    sites, _ = sim.kinematics(angles)
    apart = torch.cat([sites[:, :1] - sim.state.palm_pos[:, None], sites[:, 1:] - sim.state.fingertip_pos], dim=1)
    rows = []
    if follower is not None:
        coupled = angles[:, sim.drives.names.index(follower)]
        behind = coupled - sim.state.joint_pos[:, column]
        rows.append(_all(f"joint {follower} follows {source}, rad", 0.0, behind, 0.15))
    return [
        *rows,
        _all(f"joint {source} at its target, rad", bent, sim.state.joint_pos[:, column], 0.1),
        _all("the other joints stay, rad or m", 0.0, others.abs().amax(-1), 0.05),
        _all("links against the MJCF's kinematics, m", 0.0, apart.norm(dim=-1).amax(-1), 2e-3),
        _all(
            "objects at rest: height over rest height, m",
            0.0,
            sim.state.object_pos[:, 2] - pos[:, 2],
            5e-3,
            _object_names(sim),
        ),
    ]


def _within(sim: IsaacWorlds, column: int, angle: float) -> float:
    """The angle, or less where the drive's range ends before it, rad."""
    return min(angle, 0.8 * float(sim.drives.target_upper[column]))


def _reset_of_some(sim: IsaacWorlds) -> List[Row]:
    ids = [i for i in (1, 3) if i < sim.num_envs] or [0]
    keep = torch.ones(sim.num_envs, dtype=torch.bool, device=sim.device)
    keep[ids] = False
    before_joints, before_pos = sim.state.joint_pos.clone(), sim.state.object_pos.clone()
    joints, pos, quat = _rest(sim)
    pos[:] = torch.tensor([-0.3, 0.2, 0.8], device=sim.device)
    joints[:, 0], joints[:, -1] = 0.3, _within(sim, sim.hand.num_drives - 1, 0.4)
    _reset(sim, joints, pos, quat, ids)
    sim.step(torch.where(keep[:, None], before_joints, joints))
    state = sim.state
    rows = [
        _all(f"objects of the reset worlds {ids}, m off", 0.0, (state.object_pos - pos)[ids].norm(dim=-1), 0.015),
        _all(
            f"joints of the reset worlds {ids}, rad or m off", 0.0, (state.joint_pos - joints)[ids].abs().amax(-1), 0.02
        ),
    ]
    if keep.any():
        moved = (state.object_pos - before_pos)[keep].norm(dim=-1)
        rows.append(_all("objects of the other worlds, m moved", 0.0, moved, 5e-3))
        turned = (state.joint_pos - before_joints)[keep].abs().amax(-1)
        rows.append(_all("joints of the other worlds, rad or m moved", 0.0, turned, 0.03))
    return rows


def _object_names(sim: IsaacWorlds) -> List[str]:
    """(N,) the name of each world's object."""
    return [sim.objects.objects[i].name for i in sim.scene.object_ids]


def _all(
    item: str, expected: float, found: torch.Tensor, tolerance: float, names: Optional[Sequence[str]] = None
) -> Row:
    """Compares a value of every world and shows the worst.  It is good if at most `WORLDS_OFF` of the worlds are off.

    found: one value a world.  names: of the worlds' objects; some of those that are off are shown.
    """
    error = torch.nan_to_num((found - expected).abs(), nan=float("inf"))
    worst, off = int(error.argmax()), (error > tolerance).nonzero()[:, 0].tolist()
    text = f"{float(found[worst]):.5g} ({len(off)} of {len(found)} worlds off)"
    if names is not None and off:
        some: Set[str] = {names[i] for i in off}
        text += ": " + ", ".join(sorted(some)[:5]) + (" ..." if len(some) > 5 else "")
    good = len(off) <= WORLDS_OFF * len(found)
    return Row(item, f"{expected:.5g} +- {tolerance:.2g}", text, good, warning=good and bool(off))


# -------------------------------------------------------------------------------------------------------------- report


def main(simulator: Callable[..., IsaacWorlds], argv: Optional[Sequence[str]] = None) -> int:
    """The command `python -m tasks.simulators.isaac_gym --audit`.  Returns 0 if all is right, 1 if not, 2 if it cannot run.

    simulator: makes the simulator, with the arguments of `IsaacGymSimulator`.
    """
    parser = argparse.ArgumentParser(prog="python -m tasks.simulators.isaac_gym", description=__doc__)
    parser.add_argument("--audit", action="store_true", help="check Isaac Gym; the command does nothing else")
    parser.add_argument("--num-envs", type=int, default=16, help="worlds")
    parser.add_argument("--objects", default="primitives", help="a named object set, or a folder of meshes")
    parser.add_argument("--device", default=None, help="cuda:0 or cpu; by default the first GPU, if there is one")
    args = parser.parse_args(argv)
    print(versions())
    try:
        rows = _audited(simulator, args)
    except (SimulatorError, ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    wrong = [row for row in rows if not row.good]
    # Rows of single links and joints have a colon.  There are hundreds of them, so they are shown only where they are wrong.
    print(table(wrong if wrong else [row for row in rows if " " in row.item and ":" not in row.item]))
    print(f"{len(rows) - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong else 0


def _audited(simulator: Callable[..., IsaacWorlds], args: argparse.Namespace) -> List[Row]:
    from tasks.hands import get_hand
    from tasks.objects import load_objects

    cfg = IsaacGymCfg(audit=False)
    sim = simulator(get_hand("shadow"), load_objects(args.objects), args.num_envs, args.device, cfg=cfg)
    rows = compare(sim) + smoke(sim)
    print(f"positions are {sim.frame}; {sim.num_envs} worlds on {sim.device}")
    sim.close()
    return rows


def versions() -> str:
    """Versions of everything that matters, for a bug report."""
    gpu = "no GPU"
    if torch.cuda.is_available():
        capability = ".".join(map(str, torch.cuda.get_device_capability()))
        gpu = f"{torch.cuda.get_device_name()} (compute capability {capability}), CUDA {torch.version.cuda}"
    try:
        gym = str(getattr(preload(), "__file__", "isaacgym"))
    except SimulatorError as error:
        gym = str(error)
    words = [
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
        f"mujoco {mujoco.__version__}, {platform.platform()}",
    ]
    return "\n".join([*words, gpu, f"Isaac Gym: {gym}"])
