"""PPO for thousands of environments on one device.  The engine knows tensors; what they mean is the task's affair."""

from ppo_grasp.actor_critic import ActorCritic, ActorCriticCfg
from ppo_grasp.checkpoint import (
    CheckpointError,
    export_onnx,
    export_torchscript,
    find_last,
    load_policy,
    save_policy,
)
from ppo_grasp.ppo import PPO, PPOCfg
from ppo_grasp.trainer import Trainer, TrainerCfg
from ppo_grasp.vec_task import Step, VecTask

__all__ = [
    "PPO",
    "ActorCritic",
    "ActorCriticCfg",
    "CheckpointError",
    "PPOCfg",
    "Step",
    "Trainer",
    "TrainerCfg",
    "VecTask",
    "export_onnx",
    "export_torchscript",
    "find_last",
    "load_policy",
    "save_policy",
]
