"""What processes do together for the tests of several ranks: `python rank_cases.py CASE FOLDER`, started once for each rank."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from double_integrator import DoubleIntegrator
from torch import Tensor

from ppo_grasp import PPOCfg, Trainer, TrainerCfg
from ppo_grasp.actor_critic import ActorCriticCfg
from ppo_grasp.checkpoint import LAST, load_checkpoint
from ppo_grasp.distributed import ALONE, RankError, Ranks, join

NEVER = 10**9
STEPS = 16
WORLDS = 24
"""Of all ranks together."""


def trainer_of(
    ranks: Ranks, run_dir: Path, iterations: int, worlds: int = WORLDS, time_limit: int = 5, **ppo: Any
) -> Trainer:
    """A trainer whose starts depend on the world's number among all ranks alone."""
    cfg = TrainerCfg(
        total_timesteps=STEPS * worlds * iterations,
        eval_interval=NEVER,
        checkpoint_interval=NEVER,
        ppo=PPOCfg(**{"num_steps": STEPS, "gamma": 0.95, "minibatch_size": NEVER, **ppo}),
        network=ActorCriticCfg(actor_hidden=(16, 16), critic_hidden=(16, 16), init_std=0.3, min_std=0.05),
    )
    task = DoubleIntegrator(worlds // ranks.size, time_limit, rest_every_limit=True)
    return Trainer(task, cfg, run_dir, ranks=ranks)


def deterministic(ranks: Ranks, run_dir: Path) -> Dict[str, Any]:
    """Three updates with whole batches, on noise that depends on the world and the step alone; all that came of it."""
    trainer = trainer_of(ranks, run_dir, 3, num_epochs=3, normalize_reward=True)
    policy, ppo, worlds = trainer.policy, trainer.ppo, trainer.task.num_envs
    steps: List[int] = []
    advantages: List[Tensor] = []
    prepare = ppo._prepare

    def act(obs: Tensor, noise: Optional[Tensor] = None) -> Tensor:
        number = torch.arange(ranks.rank * worlds, (ranks.rank + 1) * worlds)
        steps.append(1)
        drawn = 1.5 * torch.sin(12.9898 * number + 78.233 * len(steps))
        return policy.act_deterministic(obs) + policy.std.detach() * drawn.unsqueeze(-1)

    def watched(*args: Any) -> Any:
        batch, std = prepare(*args)
        advantages.append(batch.advantages.view(STEPS, worlds).clone())
        return batch, std

    policy.act = act  # type: ignore[method-assign, assignment]
    ppo._prepare = watched  # type: ignore[method-assign, assignment]
    trainer.run()
    normalizers = {
        name: x for name, x in policy.state_dict().items() if name.endswith(("count", "moment_mean", "moment_var"))
    }
    normalizers["reward"] = ppo.reward_normalizer.moment_var
    return {
        "normalizers": normalizers,
        "advantages": torch.stack(advantages),
        "gradient": ppo.optimizer.grads.all,
        "parameters": ppo.optimizer.params.all,
        "learning_rate": ppo.learning_rate,
        "env_steps": trainer.env_steps,
    }


def state(trainer: Trainer) -> List[float]:
    """Parameters, Adam's moments, normalisers and learning rate, all numbers."""
    optimizer = trainer.ppo.optimizer
    flat = [optimizer.params.all, optimizer._means.all, optimizer._squares.all, trainer.ppo.learning_rate.view(1)]
    flat += [x.double().flatten() for x in trainer.policy.obs_normalizer.state_dict().values()]
    return torch.cat([x.double() for x in flat]).tolist()  # type: ignore[no-any-return]


def many_updates(ranks: Ranks, run_dir: Path) -> Dict[str, Any]:
    """1,000 gradient steps on small shuffled minibatches, other on each rank; the state of each rank."""
    trainer = trainer_of(ranks, run_dir, 50, num_epochs=5, minibatch_size=STEPS * WORLDS // ranks.size // 4)
    trainer.run()
    draws = torch.rand(4).tolist()
    return {"states": ranks.gather(state(trainer)), "draws": ranks.gather(draws), "iteration": trainer.iteration}


def interrupted(trainer: Trainer, iterations: int) -> Trainer:
    """Runs so many iterations of those that were planned, and saves."""
    trainer._finished = lambda: trainer.iteration >= iterations  # type: ignore[method-assign, assignment]
    trainer.run()
    return trainer


def resumes(ranks: Ranks, folder: Path) -> Dict[str, Any]:
    """Two ranks go on exactly; then rank 0 goes on alone, and two go on with what it wrote."""
    options: Dict[str, Any] = {"time_limit": 7, "minibatch_size": 64}
    whole = trainer_of(ranks, folder / "whole", 6, **options)
    whole.run()
    interrupted(trainer_of(ranks, folder / "parts", 6, **options), 3)
    ranks.gather("written")
    parts = trainer_of(ranks, folder / "parts", 6, **options)
    parts.load(folder / "parts" / LAST)
    parts.run()
    ranks.gather("written")
    if ranks.writes:
        one = trainer_of(ALONE, folder / "parts", 8, **options)
        one.load(folder / "parts" / LAST)
        one.run()
    ranks.gather("written")
    two = trainer_of(ranks, folder / "parts", 11, **options)
    two.load(folder / "parts" / LAST)
    begun_at = two.iteration
    two.run()
    return {
        "whole": state(whole),
        "parts": state(parts),
        "begun_at": begun_at,
        "states": ranks.gather(state(two)),
        "steps": [two.iteration, two.env_steps],
    }


def evaluation(ranks: Ranks, run_dir: Path) -> Dict[str, Any]:
    """An evaluation whose shares differ."""
    trainer = trainer_of(ranks, run_dir, 2)
    trainer.evaluate = lambda policy: {"success_rate": [0.25, 0.75][ranks.rank]}
    return {"best": trainer.run()["best_score"]}


def equal(ranks: Ranks, folder: Path) -> None:
    """All of the above, in one start of the processes."""
    result = deterministic(ranks, folder / "deterministic")
    columns = [torch.tensor(x) for x in ranks.gather(result["advantages"].tolist())]
    result["advantages"] = torch.cat(columns, dim=-1)
    result["many"] = many_updates(ranks, folder / "many")
    result["resumes"] = resumes(ranks, folder)
    result["evaluation"] = evaluation(ranks, folder / "evaluation")
    if ranks.writes:
        torch.save(result, folder / "result.pt")


def grasp(ranks: Ranks, folder: Path) -> None:
    """Seven iterations of 8 steps of the grasping task, episodes of 25: in one go, and in two parts."""
    from plain_mujoco import HAND, some_objects

    from tasks.grasp.config import GraspCfg
    from tasks.grasp.environment import GraspTask
    from tasks.simulators.mujoco.simulator import MujocoSimulator

    def training(run: str) -> Trainer:
        torch.manual_seed(ranks.rank)
        cfg = TrainerCfg(
            total_timesteps=7 * 8 * 6 * ranks.size,
            eval_interval=NEVER,
            checkpoint_interval=NEVER,
            ppo=PPOCfg(num_steps=8, num_epochs=2, minibatch_size=24, normalize_reward=True),
            network=ActorCriticCfg(actor_hidden=(32,), critic_hidden=(32,)),
        )
        objects = some_objects()
        task = GraspTask(MujocoSimulator(HAND, objects, 6, num_threads=1), HAND, objects, GraspCfg(episode_steps=25))
        return Trainer(task, cfg, folder / run, ranks=ranks)

    training("whole").run()
    interrupted(training("parts"), 4)
    ranks.gather("written")
    rest = training("parts")
    rest.load(folder / "parts" / LAST)
    rest.run()


def hang(ranks: Ranks, folder: Path) -> None:
    """Rank 1 stops in its tenth rollout; rank 0 must notice, save and raise."""
    trainer = trainer_of(ranks, folder, 10**6)
    step, calls = trainer.task.step, []

    def stops(action: Tensor) -> Any:
        calls.append(1)
        if ranks.rank == 1 and len(calls) == 10 * STEPS:
            os.kill(os.getpid(), signal.SIGSTOP)
        return step(action)

    trainer.task.step = stops  # type: ignore[method-assign, assignment]
    try:
        trainer.run()
    except RankError as error:
        iteration = load_checkpoint(folder / LAST)["state"]["iteration"]
        (folder / "said").write_text(f"{iteration} {error}")
        os._exit(1)


if __name__ == "__main__":
    here = join(timeout_s=2.0 if sys.argv[1] == "hang" else 60.0)
    {"equal": equal, "grasp": grasp, "hang": hang}[sys.argv[1]](here, Path(sys.argv[2]))
    here.close()
