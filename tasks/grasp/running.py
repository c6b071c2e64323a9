"""The running episodes of a task as plain tensors, so that a resumed training goes on in the middle of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Optional

import torch
from torch import Tensor

from tasks.simulators.contract import Start

if TYPE_CHECKING:
    from tasks.grasp.environment import GraspTask


def episodes_state(task: GraspTask) -> Optional[Dict[str, Any]]:
    """The physics, the episodes, and of which world they are; None if the simulator cannot give its physics."""
    physics = task.simulator.state_dict()
    if physics is None:
        return None
    tensors = {name: tensor.cpu().clone() for name, tensor in _tensors(task).items()}
    return {"world": _world(task), "physics": physics, "tensors": tensors}


def load_episodes_state(task: GraspTask, state: Dict[str, Any]) -> None:
    """Restores `episodes_state`.  Raises ValueError if the state is of another world; the task must then be reset."""
    there = state["world"]
    for name, value in _world(task).items():
        if there.get(name) != value:
            if name == "object_names":
                raise ValueError("the objects are others")
            raise ValueError(f"{name.replace('_', ' ')} is {value}, it was {there.get(name)}")
    own, tensors = _tensors(task), state["tensors"]
    for name, tensor in own.items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            raise ValueError(f"the checkpoint has no {name} of this shape")
        if not bool(torch.isfinite(tensors[name]).all()):
            raise ValueError(f"{name} is not finite")
    object_id = tensors["object_id"].long()
    if not bool(((object_id >= 0) & (object_id < len(task.objects))).all()):
        raise ValueError("the checkpoint names objects that are not there")
    task.simulator.reset(torch.ones(task.num_envs, dtype=torch.bool, device=task.device), _same_objects(task, tensors))
    task.simulator.load_state_dict(state["physics"])
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def _world(task: GraspTask) -> Dict[str, Any]:
    """What must be the same for a state to fit."""
    return {
        "simulator": task.simulator.name,
        "number_of_environments": task.num_envs,
        "hand": task.hand.name,
        "control_dt": task.simulator.control_dt,
        "object_names": [o.name for o in task.objects.objects],
    }


def _tensors(task: GraspTask) -> Dict[str, Tensor]:
    """Everything that a step of training carries over to the next one, besides the physics."""
    episodes = task.episodes
    return {
        "targets": task.targets.position,
        "previous_action": task.previous_action,
        "goal_pos": episodes.goal.pos,
        "goal_quat": episodes.goal.quat,
        "rest_height": episodes.goal.rest_height,
        "mass_scale": episodes.mass_scale,
        "friction": episodes.friction,
        "best_distance": episodes.best_distance,
        "progress": episodes.progress,
        "counts_from": task.counts_from,
        "object_id": task.simulator.state.object_id,
    }


def _same_objects(task: GraspTask, tensors: Dict[str, Tensor]) -> Start:
    """A start with the objects, masses and friction of the saved worlds.  Its poses are replaced afterwards."""
    start = task.starts.draw(tensors["object_id"].to(task.device))
    start.mass_scale = tensors["mass_scale"].to(task.device)
    start.friction = tensors["friction"].to(task.device)
    return start
