"""What is saved of a training that ends with an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ppo_grasp.checkpoint import DUMP, LAST, save_checkpoint, save_dump
from ppo_grasp.device.graphs import side_stream
from ppo_grasp.run.health import TrainingError
from ppo_grasp.run.state import part_of_this_rank, training_state

if TYPE_CHECKING:
    from ppo_grasp.trainer import Trainer


def rescue(trainer: Trainer, error: BaseException) -> str:
    """Saves what can be saved, and says what that is.

    A network that is not finite never replaces a checkpoint: it goes to `DUMP`, which nothing resumes from.
    """
    last, dump = trainer.run_dir / LAST, trainer.run_dir / DUMP
    what = f"training stopped: {_line(error) or type(error).__name__}"
    kept = f"the last checkpoint is {last}" if last.is_file() else "there is no checkpoint before"
    try:
        if trainer.device.type == "cuda":  # memory may be what there is too little of
            torch.cuda.empty_cache()
        if isinstance(error, TrainingError):
            if trainer.ranks.writes:
                save_dump(dump, trainer.policy, {**_state_of_this_rank(trainer), "stopped": what})
            return f"{what}; {kept}; all tensors are in {dump}"
        return f"{what}; {save_without_the_others(trainer)}"
    except Exception as second:  # a full disk, a device that has failed: the first error is the one to tell
        return f"{what}; {kept}; nothing more could be saved: {_line(second)}"


def save_without_the_others(trainer: Trainer) -> str:
    """Writes the last checkpoint if no other rank has begun to, and says where it is.

    Of several ranks one may have died, and the device may be stuck in a reduction, so it copies on another stream.  The
    parameters are those of the last gradient step: every step is whole, as all ranks take it or none.
    """
    path = trainer.run_dir / LAST
    if trainer.ranks.claim("checkpoint"):
        with side_stream(trainer.device, wait=trainer.ranks.size == 1):
            save_checkpoint(path, trainer.policy, _state_of_this_rank(trainer))
    return f"{trainer.env_steps} steps are in {path}"


def _state_of_this_rank(trainer: Trainer) -> dict:
    return training_state(trainer, [part_of_this_rank(trainer)])


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
