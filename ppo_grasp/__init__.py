"""PPO for thousands of environments on one device.  The engine knows tensors; their meaning is up to the task."""

from ppo_grasp.actor_critic import ActorCritic, ActorCriticCfg
from ppo_grasp.checkpoint import CheckpointError, find_last, load_policy, save_policy, shipped_policy
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
    "find_last",
    "load_policy",
    "save_policy",
    "shipped_policy",
]
