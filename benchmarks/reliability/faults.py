"""Runs train.py while faults are put into it from outside: `python benchmarks/reliability/faults.py PLAN.json OPTIONS OF TRAIN.PY`.

`soak.py` starts this.  The program itself knows nothing of faults: they come from functions that are wrapped here.  A plan has

- `kinds`: which faults, in turn: `worlds`, `reward`, `gradient`, `weight`, `slow-disk`; none is allowed;
- `from_s`, `every_s`: seconds from the start of the process to the first fault, and between two, which are ten
  iterations apart at least;
- `slow_s`: seconds that each write to the disk waits while the disk is slow, which it is for a third of `every_s`;
- `log`: a file that gets a line for each fault: `kind`, `iteration`, `wall_s`;
- `written`: a folder that gets a link to each checkpoint that is written, so that none is missed when the next replaces it.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.simulators.isaac_gym.preload import preload_from_argv
from tasks.simulators.open_gpu import open_gpu, take_own_gpu

SOME = 8
"""One in so many worlds gets a NaN."""
APART = 10
"""Iterations between two faults, at least."""


class Faults:
    """Puts one fault after another into a training."""

    def __init__(self, plan: Dict[str, Any], trainer: Any) -> None:
        import torch

        self.plan, self.trainer, self.count = plan, trainer, 0
        self.next_s = float(plan["from_s"])
        self.next_iteration = 3
        self.slow_until = 0.0
        self.save_next = False
        ppo = trainer.ppo
        # The gradient is that of a loss times 1, or times NaN.  A captured update reads the number anew each time.
        self.factor = torch.ones((), device=trainer.device)
        if "gradient" in plan["kinds"]:
            loss = ppo._critic_loss
            ppo._critic_loss = lambda batch: loss(batch) * self.factor

    def between_rollout_and_update(self) -> None:
        """Puts in the fault that is due."""
        from ppo_grasp.metrics import process_age

        self.factor.fill_(1.0)
        if self.save_next:
            self.save_next = False
            os.kill(os.getpid(), signal.SIGUSR1)
        kinds = self.plan["kinds"]
        if not kinds or process_age() < self.next_s or self.trainer.iteration < self.next_iteration:
            return
        kind = kinds[self.count % len(kinds)]
        self.count += 1
        self.next_s = max(self.next_s + self.plan["every_s"], process_age())
        self.next_iteration = self.trainer.iteration + APART
        line = {"kind": kind, "iteration": self.trainer.iteration + 1, "wall_s": round(process_age(), 3)}
        getattr(self, "put_" + kind.replace("-", "_"))()
        with open(self.plan["log"], "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def put_worlds(self) -> None:
        """A NaN into the positions of some worlds.  The next rollout begins with them; a checkpoint is asked for after it."""
        simulator = self.trainer.task.simulator
        if hasattr(simulator, "batch"):  # MuJoCo C
            simulator.batch.bind("qpos")[::SOME] = math.nan
        else:
            import warp as wp

            wp.to_torch(simulator.data.qpos)[::SOME] = math.nan
        self.save_next = True

    def put_reward(self) -> None:
        """A NaN into one reward.  A checkpoint is asked for in the same iteration."""
        self.trainer.buffer.rewards[0, 0] = math.nan
        os.kill(os.getpid(), signal.SIGUSR1)

    def put_gradient(self) -> None:
        """NaN into the critic's gradients of one update.  A checkpoint is asked for in the same iteration."""
        self.factor.fill_(math.nan)
        os.kill(os.getpid(), signal.SIGUSR1)

    def put_weight(self) -> None:
        """A NaN into one weight.  A checkpoint is asked for in the same iteration."""
        next(iter(self.trainer.policy.parameters())).data.view(-1)[0] = math.nan
        os.kill(os.getpid(), signal.SIGUSR1)

    def put_slow_disk(self) -> None:
        """Makes writes wait for a while, and asks for a checkpoint."""
        self.slow_until = time.monotonic() + self.plan["every_s"] / 3
        os.kill(os.getpid(), signal.SIGUSR1)


def install(plan: Dict[str, Any]) -> None:
    """Wraps what must be wrapped: the trainer's rollout, the writing of checkpoints, and the wait for the disk."""
    from ppo_grasp import checkpoint
    from ppo_grasp.device.graphs import CapturedFunction
    from ppo_grasp.trainer import Trainer

    all_faults: List[Faults] = []
    start, call, write, fsync = Trainer._start, CapturedFunction.__call__, checkpoint._write, os.fsync
    written = Path(plan["written"])

    def started(trainer: Trainer, *words: Any) -> None:
        all_faults.append(Faults(plan, trainer))
        start(trainer, *words)

    def called(function: Any) -> Any:
        result = call(function)
        for faults in all_faults:
            if function is faults.trainer._collect:
                faults.between_rollout_and_update()
        return result

    def linked(path: Any, payload: Dict[str, Any]) -> None:
        write(path, payload)
        if Path(path).name != checkpoint.DUMP:
            os.link(path, written / f"{time.monotonic_ns()}-{Path(path).name}")

    def slow(file: Any) -> None:
        if any(time.monotonic() < faults.slow_until for faults in all_faults):
            time.sleep(plan["slow_s"])
        fsync(file)

    Trainer._start = started  # type: ignore[method-assign,assignment]
    CapturedFunction.__call__ = called  # type: ignore[method-assign,assignment]
    checkpoint._write = linked
    os.fsync = slow  # type: ignore[assignment]


def main() -> None:
    """What train.py does, with faults."""
    plan = json.loads(Path(sys.argv.pop(1)).read_text(encoding="utf-8"))
    take_own_gpu()
    preload_from_argv()
    open_gpu()
    install(plan)
    from tasks.commands.train import command

    command()


if __name__ == "__main__":
    main()
