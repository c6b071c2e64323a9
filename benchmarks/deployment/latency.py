"""How long a policy takes for one action: batch 1, from an observation in the host's memory to an action there.

    python benchmarks/deployment/latency.py --json latency.json

Measures this program's own policy, its TorchScript file and its ONNX file on the processor; and on a GPU, if there is one, the
policy, the TorchScript file, and the policy as a CUDA graph.  The copies to the GPU and back are part of the time.  Each way is
first checked: its actions must be the policy's.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ppo_grasp import load_policy, shipped_policy
from ppo_grasp.actor_critic import ActorCritic
from ppo_grasp.device.graphs import CapturedFunction, side_stream
from ppo_grasp.export import TOLERANCE, export, run_torchscript
from tasks.commands import errors
from tasks.evaluation.page.runs import environment

Act = Callable[[np.ndarray], np.ndarray]
"""obs (1, O) float32 -> action (1, A)"""


@dataclass
class Args:
    """What to measure."""

    checkpoint: Optional[Path] = None
    """The policy; by default the one that ships."""
    calls: int = 5000
    """Actions of each way that are timed."""
    warm_up: int = 200
    """Actions before these."""
    threads: int = 1
    """Of the processor, for one action.  More than one only costs time with networks this small."""
    json: Optional[Path] = None
    """The figures as a file."""


class Latency(NamedTuple):
    """Of one way to run the policy, in microseconds."""

    p50: float
    p99: float
    longest: float


def on_device(policy: Callable[[Tensor], Tensor], device: torch.device) -> Act:
    """A policy of tensors on a device, called with arrays of the host."""

    def act(obs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return policy(torch.from_numpy(obs).to(device)).cpu().numpy()

    return act


def as_cuda_graph(policy: ActorCritic) -> Act:
    """The policy on the GPU as one CUDA graph, with pinned memory on the host's side."""
    device = next(policy.parameters()).device
    obs = torch.zeros(1, policy.cfg.num_obs, device=device)
    graph = CapturedFunction(lambda: policy(obs), name="the policy")
    given = torch.zeros(obs.shape, pin_memory=True)
    taken = torch.zeros(1, policy.cfg.num_actions, pin_memory=True)

    def act(values: np.ndarray) -> np.ndarray:
        given.numpy()[:] = values
        with torch.no_grad():
            obs.copy_(given, non_blocking=True)
            taken.copy_(graph(), non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return taken.numpy()

    return act


def with_onnxruntime(path: Path, threads: int) -> Act:
    """The policy in an ONNX file, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda obs: session.run(["action"], {"obs": obs})[0]  # type: ignore[no-any-return]


def ways(policy: ActorCritic, folder: Path, threads: int) -> Dict[str, Act]:
    """All ways to run a policy here, by name.  folder: for the exported files."""
    script, onnx = folder / "policy.pt", folder / "policy.onnx"
    export(policy, script)
    export(policy, onnx)
    cpu = torch.device("cpu")
    found = {
        "torch, processor": on_device(policy, cpu),
        "TorchScript, processor": on_device(run_torchscript(script), cpu),
        "ONNX, processor": with_onnxruntime(onnx, threads),
    }
    if torch.cuda.is_available():
        gpu = torch.device("cuda")
        copy = ActorCritic(policy.cfg).to(gpu)
        copy.load_state_dict(policy.state_dict())
        copy.eval()
        loaded: Any = run_torchscript(script)
        found["torch, GPU"] = on_device(copy, gpu)
        found["TorchScript, GPU"] = on_device(loaded.to(gpu), gpu)
        found["CUDA graph, GPU"] = as_cuda_graph(copy)
    return found


def observations(policy: ActorCritic, count: int = 64) -> List[np.ndarray]:
    """(1, O) float32 each, as far from the mean as the policy met them."""
    normalizer, generator = policy.obs_normalizer, torch.Generator().manual_seed(0)
    noise = torch.randn(count, 1, policy.cfg.num_obs, generator=generator)
    return list((normalizer.mean + noise / normalizer.inv_std).float().numpy())


def check(name: str, act: Act, policy: ActorCritic, seen: List[np.ndarray]) -> None:
    """Raises ValueError if a way's actions are not the policy's."""
    with torch.no_grad():
        for obs in seen:
            difference = float(np.abs(act(obs) - policy(torch.from_numpy(obs)).numpy()).max())
            if not difference <= TOLERANCE:
                raise ValueError(f"{name}: its actions differ from the policy's by {difference:.2g}")


def measure(act: Act, seen: List[np.ndarray], calls: int, warm_up: int) -> Latency:
    """Times each call by itself."""
    for index in range(warm_up):
        act(seen[index % len(seen)])
    took = np.empty(calls)
    for index in range(calls):
        obs = seen[index % len(seen)]
        begin = time.perf_counter_ns()
        act(obs)
        took[index] = time.perf_counter_ns() - begin
    return Latency(*(float(np.percentile(took, share)) / 1e3 for share in (50, 99, 100)))


def main(args: Args) -> None:
    """Measures, prints a table, and writes the figures.  Raises ValueError for counts that cannot be meant."""
    if args.calls < 1 or args.warm_up < 0 or args.threads < 1:
        raise ValueError("--calls and --threads must be at least 1, and --warm-up at least 0")
    torch.set_num_threads(args.threads)
    path = args.checkpoint or shipped_policy()
    policy, _ = load_policy(path)
    seen, results = observations(policy), {}
    table = Table("", "p50", "p99", "longest", title=f"{path.name}: microseconds for one action")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder, side_stream(device):
        for name, act in ways(policy, Path(folder), args.threads).items():
            check(name, act, policy, seen)
            results[name] = found = measure(act, seen, args.calls, args.warm_up)
            table.add_row(name, *(f"{value:.0f}" for value in found))
    where = {**environment(), "threads": args.threads, "load": os.getloadavg()[0]}
    Console().print(table, ", ".join(f"{key} {value}" for key, value in where.items()), highlight=False)
    if args.json is not None:
        figures = {name: found._asdict() for name, found in results.items()}
        told = {"checkpoint": str(path), "calls": args.calls, "microseconds": figures, "machine": where}
        args.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    errors.run(lambda: main(tyro.cli(Args)))
