"""Measures speed and memory of a simulator by the number of convex hulls that each object has.

    python benchmarks/hulls.py --json hulls.json                    with --sim mujoco --num-envs 32 where there is no GPU

The same random convex shapes are cut into 1, 2, 4 and 8 overlapping convex pieces.  So rows differ in the number of hulls, but
not in the shapes to grasp.  A policy plays one episode in each world on each set.  Once hands hold objects, each control step is
timed as a whole; then the simulator's sub-steps are timed alone, from the same state.  Both are CUDA graphs, and figures are
medians.  MuJoCo C is timed within the whole step.  Each set has a process of its own, because the memory of the one before would
count.  GPU memory is as in scaling.py, but without the buffers of a training.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Column as Header
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent))

from scaling import Column, used_gb

from ppo_grasp import load_policy
from ppo_grasp.device.graphs import CapturedFunction, side_stream
from ppo_grasp.device.policy_runner import PolicyRunner
from tasks.commands.compile_kernels import compile_missing
from tasks.grasp.build import make_task
from tasks.grasp.config import GraspCfg
from tasks.grasp.environment import GraspTask
from tasks.objects import ObjectSet
from tasks.objects.build import build
from tasks.objects.geometry import convex_hull
from tasks.objects.model import MAX_PARTS
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.registry import choose

SIDES, MASSES = ((0.08, 0.14), (0.045, 0.07), (0.035, 0.06)), (0.05, 0.3)
"""The ranges of an object's three sides, m, and of its mass, kg."""
OVERLAP = 0.1
"""The share of the cut side that both pieces keep."""
EPISODE = GraspCfg().episode_steps


@dataclass
class Args:
    """The simulator by the number of convex hulls of an object."""

    hulls: Tuple[int, ...] = (1, 2, 4, 8)
    """Hulls of each object; a row for each number."""
    num_envs: int = 4096
    """Hands in parallel."""
    num_objects: int = 64
    """Objects of a set."""
    checkpoint: Path = Path("checkpoints/shadow_grasp.pt")
    """The policy that plays."""
    sim: str = "auto"
    """The simulator."""
    seed: int = 0
    """The seed of objects and episodes."""
    warm_up: int = 60
    """Control steps before anything is timed.  Most hands hold their object then; the rest of the episode is timed."""
    physics: PhysicsCfg = field(default_factory=PhysicsCfg)
    """How the simulator integrates."""
    json: Optional[Path] = None
    """A file for all figures."""


COLUMNS = (
    Column("physics ms", "physics_ms", "{:.2f}"),
    Column("control step ms", "step_ms", "{:.2f}"),
    Column("control steps/s", "steps_per_s", "{:,.0f}"),
    Column("GPU memory GB", "gpu_used_gb", "{:.2f}"),
    Column("overflow, % of worlds", "overflow_share", "{:.2f}", 100.0),
    Column("held %", "held", "{:.1f}", 100.0),
)


def cut(points: np.ndarray) -> List[np.ndarray]:
    """Cuts the convex hull of (N, 3) points in two across its longest side.  Both pieces keep OVERLAP of that side."""
    along = points[:, np.ptp(points, axis=0).argmax()]
    middle, reach = (along.min() + along.max()) / 2, OVERLAP / 2 * np.ptp(along)
    pieces = []
    for side in (1, -1):
        depth = side * (middle - along) + reach
        inside, outside = depth >= 0, depth < 0
        share = (depth[inside, None] / (depth[inside, None] - depth[outside]))[..., None]
        cuts = points[inside, None] * (1 - share) + points[outside] * share  # the points where lines meet the plane
        pieces.append(convex_hull(np.concatenate([points[inside], cuts.reshape(-1, 3)])).vertices)
    return pieces


def objects_of(hulls: int, count: int, seed: int) -> ObjectSet:
    """A set of objects with `hulls` hulls each.  Their shapes do not depend on `hulls`."""
    objects = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        points = rng.standard_normal((24, 3))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        points *= [rng.uniform(*side) for side in SIDES] / np.ptp(points, axis=0)
        parts = [points]
        while len(parts) < hulls:  # cuts the longest piece
            parts += cut(parts.pop(int(np.argmax([np.ptp(part, axis=0).max() for part in parts]))))
        objects.append(build(f"cut_{index:04d}", "hull", parts, mass=rng.uniform(*MASSES)))
    return ObjectSet.of(f"{hulls} hulls", objects)


def timed_on_gpu(task: GraspTask, step: Callable[[], Any], count: int) -> Tuple[List[float], List[float]]:
    """The milliseconds of physics alone, and of the whole step, for each of the next `count` control steps."""
    import mujoco_warp  # takes seconds, and a processor needs none of it
    import warp
    from physics_limit import KEPT, milliseconds

    simulator: Any = task.simulator
    arrays = [warp.to_torch(getattr(simulator.data, name)) for name in KEPT]
    state = [array.clone() for array in arrays]

    def substeps() -> None:
        with simulator._on_stream():
            for _ in range(simulator.substeps):
                mujoco_warp.step(simulator.model, simulator.data)

    captured = CapturedFunction(substeps, context=simulator.capture, name="physics")
    physics, whole = [], []
    for index in range(-2, count):  # the first two warm up and record
        torch._foreach_copy_(state, arrays)
        physics.append(milliseconds(captured, 1))
        torch._foreach_copy_(arrays, state)
        if index >= 0:
            whole.append(milliseconds(step, 1))
    return physics[2:], whole


def timed_on_processor(task: GraspTask, step: Callable[[], Any], count: int) -> Tuple[List[float], List[float]]:
    """As `timed_on_gpu`, but physics is timed inside each whole step."""
    times: Tuple[List[float], List[float]] = ([], [])

    def timed(function: Callable[..., Any], into: List[float], *values: Any) -> None:
        begin = time.perf_counter()
        function(*values)
        into.append(1e3 * (time.perf_counter() - begin))

    task.simulator.step = partial(timed, task.simulator.step, times[0])  # type: ignore[method-assign]
    for _ in range(count):
        timed(step, times[1])
    return times


def measure(args: Args, hulls: int) -> Dict[str, Any]:
    """Plays an episode on a set and returns the figures of a row."""
    on_gpu = choose(args.sim).compiles_kernels
    before = used_gb() if on_gpu else 0.0
    torch.manual_seed(args.seed)
    objects = objects_of(hulls, args.num_objects, args.seed)
    if on_gpu:
        compile_missing(objects, args.num_envs, args.physics)
        # Without a capture the times would be those of single launches.
        warnings.filterwarnings("error", message=".*cannot be captured")
    task = make_task(args.sim, objects, args.num_envs, settings=args.physics, evaluation=True)
    runner = PolicyRunner(task, load_policy(args.checkpoint, task.device)[0].act_deterministic)
    with side_stream(task.device), torch.no_grad():
        runner.play(args.warm_up)
        times = (timed_on_gpu if on_gpu else timed_on_processor)(task, runner._step, EPISODE - args.warm_up)
    physics, whole = map(statistics.median, times)
    return {
        **{"physics_ms": physics, "step_ms": whole},
        "steps_per_s": 1e3 * args.num_envs / whole,
        **({"gpu_used_gb": used_gb() - before} if on_gpu else {}),
        "overflow_share": task.diagnostics()["contact_overflow_worlds"] / args.num_envs,
        "held": float(task.episodes.record.held.float().mean()),
        "hardware": torch.cuda.get_device_name() if on_gpu else "the processor",
    }


def main(args: Args) -> None:
    """Prints the table, and why rows are missing in it."""
    if not args.hulls or min(args.hulls) < 1 or max(args.hulls) > MAX_PARTS or not 2 <= args.warm_up < EPISODE:
        raise SystemExit(f"error: --hulls must be from 1 to {MAX_PARTS}, --warm-up from 2 to {EPISODE - 1}")
    rows: List[Dict[str, Any]] = []
    headers = [Header(column.title, justify="right") for column in COLUMNS]
    table = Table("hulls", *headers, title=f"{args.num_objects} objects, {args.num_envs} environments")
    for hulls in args.hulls:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            try:
                row = process.submit(measure, args, hulls).result()
            except Exception as error:
                row = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}
                print(f"{hulls} hulls: failed: {row['failed']}", flush=True)
        rows.append({"hulls": hulls, **row})
        table.add_row(str(hulls), *(c.form.format(c.scale * row[c.key]) if c.key in row else "-" for c in COLUMNS))
        if args.json:
            args.json.write_text(json.dumps({"args": asdict(args), "rows": rows}, indent=2, default=str))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    raise SystemExit(int(all("failed" in row for row in rows)))


if __name__ == "__main__":
    main(tyro.cli(Args))
