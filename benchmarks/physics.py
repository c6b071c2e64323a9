"""Measures what physics settings cost and how they change grasps.  A trained policy plays the same episodes under each setting.

    python benchmarks/physics.py --checkpoint checkpoints/shadow_grasp.pt --json physics.json

A variant is a comma-separated list of PhysicsCfg fields: `timestep=1/60,substeps=2,integrator=discrete`.  Needs a GPU.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import torch
import tyro
import warp as wp

from ppo_grasp import load_policy
from ppo_grasp.device.policy_runner import PolicyRunner
from tasks.evaluation.measure import evaluate
from tasks.grasp.build import make_task
from tasks.objects import load_objects
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.mujoco_warp.simulator import MujocoWarpSimulator

FORMER_DEFAULT = "integrator=implicitfast,timestep=1/120,substeps=4"
VARIANTS = (
    "",
    "iterations=10",
    "integrator=discrete,timestep=1/90,substeps=3",
    FORMER_DEFAULT,
    f"{FORMER_DEFAULT},iterations=4",
    f"{FORMER_DEFAULT},iterations=10",
    f"{FORMER_DEFAULT},iterations=10,condim=3",
    "integrator=implicitfast,timestep=1/240,substeps=8,iterations=20,ls_iterations=50",
    "cone=pyramidal",
)


@dataclass
class Args:
    """Physics variants under one policy."""

    checkpoint: Path
    """The policy that plays."""
    objects: str = "mixed"
    """A named object set, or a directory of meshes."""
    num_envs: int = 4096
    """Hands in parallel, one episode each."""
    variants: Tuple[str, ...] = VARIANTS
    """Physics settings; the empty text is the default."""
    json: Optional[Path] = None
    """A file for all figures."""


def variant_cfg(text: str) -> PhysicsCfg:
    """The default PhysicsCfg with the fields that the text sets."""
    kinds = {f.name: f.type for f in fields(PhysicsCfg)}
    values: Dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        name, value = item.split("=")
        if name not in kinds:
            raise SystemExit(f"error: PhysicsCfg has no field {name!r}")
        if "Literal" in str(kinds[name]):
            values[name] = value
        elif "/" in value:
            values[name] = float(value.split("/")[0]) / float(value.split("/")[1])
        else:
            values[name] = json.loads(value.lower() if value in ("True", "False") else value)
    return replace(PhysicsCfg(), **values)


def measure(text: str, policy: Any, args: Args) -> Dict[str, Any]:
    """Plays one episode in each world and times its second half, when hands hold objects."""
    objects = load_objects(args.objects)
    torch.manual_seed(0)
    start = time.perf_counter()
    task = make_task("mujoco_warp", objects, args.num_envs, settings=variant_cfg(text), evaluation=True)
    simulator = task.simulator
    assert isinstance(simulator, MujocoWarpSimulator)
    runner = PolicyRunner(task, policy.act_deterministic)
    runner.play(3)
    ready = time.perf_counter() - start
    steps = task.cfg.episode_steps
    times = []

    def run_episode() -> None:
        with torch.cuda.stream(torch.cuda.Stream()), torch.no_grad():
            runner.obs.copy_(task.reset()[0])
            for step in range(steps):
                torch.cuda.synchronize()
                begin = time.perf_counter()
                runner._step()
                torch.cuda.synchronize()
                if step >= steps // 2:
                    times.append(time.perf_counter() - begin)

    task.diagnostics()
    result = evaluate(task, run_episode, args.num_envs).summary()
    step_s = sorted(times)[len(times) // 2]
    contact = simulator.data.contact
    count = min(int(simulator.data.nacon.numpy()[0]), contact.dist.shape[0])
    depth = (-wp.to_torch(contact.dist)[:count]).clamp(min=0) * 1e3
    constraints = wp.to_torch(simulator.data.nefc).float()
    row = {
        "variant": text or "default",
        "ms_per_step": 1e3 * step_s,
        "steps_per_s": args.num_envs / step_s,
        "success_rate": result["success_rate"],
        "ever_success_rate": result["ever_success_rate"],
        "contacts": count / args.num_envs,
        "constraints_mean": float(constraints.mean()),
        "constraints_max": float(constraints.max()),
        "penetration_mm_p50": float(depth.quantile(0.5)) if count < 16_000_000 else None,
        "penetration_mm_p99": float(depth[:: max(1, count // 1_000_000)].quantile(0.99)),
        "ready_s": ready,
        **task.diagnostics(),
    }
    simulator.close()
    return row


def main(args: Args) -> None:
    """Prints a line per variant."""
    policy, _ = load_policy(args.checkpoint, "cuda")
    rows = []
    for text in args.variants:
        row = measure(text, policy, args)
        rows.append(row)
        print(
            f"{row['variant']:58s} {row['ms_per_step']:6.2f} ms {row['steps_per_s'] / 1e3:6.0f} k/s  "
            f"held {100 * row['success_rate']:5.1f} % ever {100 * row['ever_success_rate']:5.1f} %  "
            f"contacts {row['contacts']:4.1f} rows {row['constraints_mean']:5.1f} / {row['constraints_max']:.0f}  "
            f"depth {row['penetration_mm_p50']:.2f} / {row['penetration_mm_p99']:.2f} mm  ready {row['ready_s']:.0f} s "
            f"overflow {row['contact_overflow_worlds']:.0f} nan {row['nan_resets']:.0f}",
            flush=True,
        )
        if args.json:
            args.json.write_text(json.dumps({"gpu": torch.cuda.get_device_name(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Args))
