"""Measures a policy: deterministic episodes from the evaluation start, each counted once, with confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import Tensor

from tasks.grasp.environment import GraspTask
from tasks.grasp.episodes import EpisodeRecord
from tasks.simulators.contract import Start

LIFTED = 0.03
"""m, an object that has risen by this was lifted."""


def _quantile(share: float) -> Callable[[Tensor], float]:
    return lambda values: float(torch.quantile(values, share))


def _mean(values: Tensor) -> float:
    return float(values.mean())


STEADINESS: Dict[str, Tuple[str, Callable[[Tensor], float]]] = {
    "grip_force_n": ("grip_force", _quantile(0.5)),
    "grip_force_p95_n": ("grip_force", _quantile(0.95)),
    "grip_force_spread_n": ("grip_force", lambda values: float(values.std(unbiased=False))),
    "grip_to_weight": ("grip_to_weight", _quantile(0.5)),
    "fingertip_force_n": ("fingertip_force", _quantile(0.5)),
    "contact_force_std_n": ("force_std", _mean),
    "action_rate": ("action_rate", _mean),
    "base_action_rate": ("base_action_rate", _mean),
    "sign_changes": ("sign_changes", _mean),
    "saturated_share": ("saturated_share", _mean),
    "object_speed_m_s": ("object_speed", _quantile(0.5)),
    "object_turn_rad_s": ("object_turn", _quantile(0.5)),
    "joint_jerk_rad_s3": ("joint_jerk", _quantile(0.5)),
    "drive_torque_nm": ("drive_torque", _quantile(0.5)),
}
"""Keys of the JSON.  Each is a quantity of `EpisodeRecord`, and how it is summed up over the episodes that were held."""


def wilson(successes: int, trials: int, z: float = 1.96) -> Tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    p, n = successes / trials, trials
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass
class Evaluation:
    """E episodes and how they went, (E,) tensors on the CPU."""

    episodes: EpisodeRecord
    object_names: Tuple[str, ...]
    starts: Optional[Start] = None
    """Where the episodes began, (E,) rows on the CPU, if that was kept."""

    @property
    def num_episodes(self) -> int:
        return len(self.episodes.held)

    def failed(self, most: int) -> Tensor:
        """Numbers of at most so many episodes that failed, (F,): those of the objects that failed most often come first."""
        failed = (~self.episodes.held).nonzero()[:, 0]
        rates = {name: row["success_rate"] for name, row in self.per_object().items()}
        rate = torch.tensor([rates[self.object_names[i]] for i in self.episodes.object_id[failed].tolist()])
        return failed[rate.argsort(stable=True)][:most]

    def starts_of(self, episodes: Tensor) -> Start:
        """Where the episodes of these numbers began."""
        assert self.starts is not None
        return Start(**{f.name: getattr(self.starts, f.name)[episodes] for f in fields(Start)})

    def failures(self) -> Dict[str, int]:
        """How many episodes failed, by how far they came.  Each counts in the first class that fits."""
        e, left = self.episodes, ~self.episodes.held
        classes = {
            "off_table": e.dropped,
            "never_touched": ~e.touched,
            "touched_not_lifted": e.max_rise < LIFTED,
            "lifted_and_lost": e.final_rise < LIFTED,
            "lifted_not_held": torch.ones_like(left),
        }
        result = {}
        for name, fits in classes.items():
            result[name] = int((left & fits).sum())
            left = left & ~fits
        return result

    def per_object(self) -> Dict[str, Dict[str, float]]:
        """Name -> episodes, success_rate, still_success_rate, ever_success_rate; objects that were met, in the set's order."""
        result = {}
        for index, name in enumerate(self.object_names):
            mine = self.episodes.object_id == index
            count = int(mine.sum())
            if count:
                result[name] = {
                    "episodes": count,
                    "success_rate": float(self.episodes.held[mine].float().mean()),
                    "still_success_rate": float(self.episodes.still[mine].float().mean()),
                    "ever_success_rate": float(self.episodes.ever[mine].float().mean()),
                }
        return result

    def summary(self) -> Dict[str, Any]:
        """The figures, as `evaluate_policy.py --json` writes them."""
        e, n = self.episodes, self.num_episodes
        held, still, ever = int(e.held.sum()), int(e.still.sum()), int(e.ever.sum())
        return {
            "success_rate": held / n,
            "success_ci95": list(wilson(held, n)),
            "still_success_rate": still / n,
            "still_ci95": list(wilson(still, n)),
            "ever_success_rate": ever / n,
            "ever_success_ci95": list(wilson(ever, n)),
            "average_lift_height_m": float(e.final_rise.mean()),
            **{key: total(getattr(e, name)[e.held]) if held else 0.0 for key, (name, total) in STEADINESS.items()},
            "num_episodes": n,
            "failures": self.failures(),
            "per_object": self.per_object(),
        }


def evaluate(
    task: GraspTask,
    run_episode: Callable[[], None],
    num_episodes: int,
    progress: Optional[Callable[[int, int, float], None]] = None,
) -> Evaluation:
    """Plays rounds of one episode per world until there are num_episodes.

    task: made with `evaluation=True`.  run_episode: resets the task and plays `task.cfg.episode_steps` steps.
    progress: called with episodes done, episodes wanted and the success rate so far.
    """
    rounds: List[EpisodeRecord] = []
    starts: List[Start] = []
    done = wins = 0
    while done < num_episodes:
        run_episode()
        keep = min(task.num_envs, num_episodes - done)
        rounds.append(
            EpisodeRecord(
                **{f.name: getattr(task.episodes.record, f.name)[:keep].clone().cpu() for f in fields(EpisodeRecord)}
            )
        )
        if task.first_start is not None:
            starts.append(Start(**{f.name: getattr(task.first_start, f.name)[:keep].cpu() for f in fields(Start)}))
        done += keep
        wins += int(rounds[-1].held.sum())
        if progress is not None:
            progress(done, num_episodes, wins / done)
    joined = {f.name: torch.cat([getattr(r, f.name) for r in rounds]) for f in fields(EpisodeRecord)}
    names = tuple(o.name for o in task.objects.objects)
    began = {f.name: torch.cat([getattr(s, f.name) for s in starts]) for f in fields(Start)} if starts else None
    return Evaluation(EpisodeRecord(**joined), names, None if began is None else Start(**began))
