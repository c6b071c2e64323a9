"""Forward kinematics of a hand in torch: where palm and fingertips of all worlds are for given joint positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

import mujoco
import numpy as np
import torch
from torch import Tensor

from tasks import rotations
from tasks.hands.spec import HandSpec


@dataclass
class _Level:
    """Bodies of one depth in the tree; the parent of each is in the level above."""

    parents: Tensor
    """(B,) index of the parent in the level above.  The parent of level 0 is the world."""
    pos: Tensor
    """(B, 3) m, of the body's frame in its parent's, with the joints at their reference."""
    quat: Tensor
    """(B, 4) of the same."""
    columns: Tensor
    """(J, B) the column of `joint_pos` of the j-th joint of each body."""
    hinge: Tensor
    """(J, B, 3) axis of each joint that is a hinge, else 0."""
    slide: Tensor
    """(J, B, 3) axis of each joint that is a slide, else 0."""
    anchor: Tensor
    """(J, B, 3) m, the point that a hinge turns about."""


class HandKinematics:
    """Poses of `sites` (names) of a model of hinges and slides, relative to the model's world.

    The formulas are MuJoCo's (mj_kinematics): the joints of a body act in their order, each about its axis and anchor in the
    body's frame.
    """

    def __init__(
        self, model: mujoco.MjModel, joints: Sequence[str], sites: Sequence[str], device: torch.device
    ) -> None:
        """joints: names in the order of the columns of `joint_pos`.  Raises ValueError unless every joint that moves a site is
        among them.
        """
        self.device = device
        column = {model.joint(name).id: index for index, name in enumerate(joints)}
        site_ids = [model.site(name).id for name in sites]
        chains = [_chain(model, int(model.site_bodyid[site])) for site in site_ids]
        self.levels: List[_Level] = []
        self._pick_level = [len(chain) - 1 for chain in chains]
        self._pick_body: List[int] = []
        above: List[int] = [0]
        members: List[List[int]] = []
        for depth in range(max(map(len, chains))):
            bodies = sorted({chain[depth] for chain in chains if len(chain) > depth})
            members.append(bodies)
            parents = [above.index(int(model.body_parentid[body])) for body in bodies]
            self.levels.append(_level(model, bodies, parents, column, device))
            above = bodies
        for site, level in zip(site_ids, self._pick_level):
            self._pick_body.append(members[level].index(int(model.site_bodyid[site])))
        self.site_pos = _tensor(model.site_pos[site_ids], device)
        self.site_quat = _tensor(model.site_quat[site_ids], device)

    def __call__(self, joint_pos: Tensor) -> Tuple[Tensor, Tensor]:
        """joint_pos (N, J) rad or m -> positions (N, S, 3) and orientations (N, S, 4) of the sites."""
        count = joint_pos.shape[0]
        pos = joint_pos.new_zeros((count, 1, 3))
        quat = torch.cat([joint_pos.new_ones((count, 1, 1)), pos], dim=-1)
        # The last column is zero, for bodies with fewer joints than others of their level.
        values = torch.cat([joint_pos, joint_pos.new_zeros((count, 1))], dim=1)
        found = []
        for level in self.levels:
            parent_pos, parent_quat = pos[:, level.parents], quat[:, level.parents]
            pos = parent_pos + rotations.rotate(parent_quat, level.pos.expand(count, -1, -1))
            quat = rotations.multiply(parent_quat, level.quat.expand(count, -1, -1))
            for slot in range(level.columns.shape[0]):
                q = values[:, level.columns[slot], None]
                pos = pos + rotations.rotate(quat, q * level.slide[slot])
                anchor = level.anchor[slot].expand(count, -1, -1)
                world_anchor = pos + rotations.rotate(quat, anchor)
                turn = torch.cat([torch.cos(q / 2), torch.sin(q / 2) * level.hinge[slot]], dim=-1)
                is_hinge = (level.hinge[slot] != 0).any(-1)[None, :, None]
                quat = torch.where(is_hinge, rotations.multiply(quat, turn), quat)
                pos = torch.where(is_hinge, world_anchor - rotations.rotate(quat, anchor), pos)
            found.append((pos, quat))
        body_pos = torch.stack([found[a][0][:, b] for a, b in zip(self._pick_level, self._pick_body)], dim=1)
        body_quat = torch.stack([found[a][1][:, b] for a, b in zip(self._pick_level, self._pick_body)], dim=1)
        site_pos = body_pos + rotations.rotate(body_quat, self.site_pos.expand(count, -1, -1))
        return site_pos, rotations.multiply(body_quat, self.site_quat.expand(count, -1, -1))


def hand_kinematics(hand: HandSpec, device: torch.device) -> HandKinematics:
    """Kinematics of the palm and then the fingertips.  Its joints are the driven ones and then the coupled ones."""
    model = mujoco.MjModel.from_xml_path(str(hand.mjcf))
    joints = (*hand.drives, *hand.coupled_joints)
    return HandKinematics(model, joints, (hand.palm_site, *hand.fingertip_sites), device)


def _chain(model: mujoco.MjModel, body: int) -> List[int]:
    """The bodies from the world's child down to `body`."""
    chain: List[int] = []
    while body != 0:
        chain.insert(0, body)
        body = int(model.body_parentid[body])
    return chain


def _level(
    model: mujoco.MjModel, bodies: List[int], parents: List[int], column: Dict[int, int], device: torch.device
) -> _Level:
    slots = max(int(model.body_jntnum[body]) for body in bodies)
    columns = np.full((slots, len(bodies)), len(column))
    hinge, slide, anchor = (np.zeros((slots, len(bodies), 3)) for _ in range(3))
    for place, body in enumerate(bodies):
        for slot in range(int(model.body_jntnum[body])):
            joint = int(model.body_jntadr[body]) + slot
            kind = int(model.jnt_type[joint])
            if kind not in (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)):
                raise ValueError(f"joint {model.joint(joint).name!r} is neither a hinge nor a slide")
            if joint not in column:
                raise ValueError(f"joint {model.joint(joint).name!r} moves a site but is not among the given joints")
            columns[slot, place] = column[joint]
            (slide if kind == int(mujoco.mjtJoint.mjJNT_SLIDE) else hinge)[slot, place] = model.jnt_axis[joint]
            anchor[slot, place] = model.jnt_pos[joint]
    return _Level(
        parents=torch.as_tensor(parents, dtype=torch.int64, device=device),
        pos=_tensor(model.body_pos[bodies], device),
        quat=_tensor(model.body_quat[bodies], device),
        columns=torch.as_tensor(columns, dtype=torch.int64, device=device),
        hinge=_tensor(hinge, device),
        slide=_tensor(slide, device),
        anchor=_tensor(anchor, device),
    )


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32, device=device)
