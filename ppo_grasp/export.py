"""Writes a policy for use without this program: `python -m ppo_grasp.export --out policy.onnx`.

An .onnx or .pt file has one input, `obs` (batch, num_obs), raw, and one output, `action` (batch, num_actions), deterministic, within
[-1, 1].  The normaliser is inside.  A .safetensors file has the weights and the normaliser by name, and this program reads it
as it reads a checkpoint.  What the numbers mean is in the file, too, as JSON under the key `interface`: in the metadata of ONNX
and of safetensors, or in TorchScript's extra file of that name.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, NoReturn, Optional, Sequence, Union

import torch
from torch import Tensor

from ppo_grasp.actor_critic import ActorCritic
from ppo_grasp.checkpoint import SAFETENSORS, load_policy, save_safetensors, shipped_policy

PathLike = Union[str, "os.PathLike[str]"]

TOLERANCE = 1e-4
"""By how much an exported action may differ from the program's own."""
DESCRIBED_BY = ("tasks.evaluation.interface",)
"""Modules that may know what a policy's numbers mean, by `describe(policy, meta)`.  One that is not installed is left out."""
KEY = "interface"


class ExportError(ValueError):
    """An export that cannot be written, or whose actions are wrong.  The message is one line."""


def describe(policy: ActorCritic, meta: Mapping[str, Any]) -> Dict[str, Any]:
    """What the numbers of a policy mean, as plain values; empty if no task knows it.  meta: of `load_policy`."""
    for name in DESCRIBED_BY:
        with contextlib.suppress(ImportError, ValueError):
            return dict(importlib.import_module(name).describe(policy, meta))
    return {}


def export_onnx(policy: ActorCritic, path: PathLike, interface: Optional[Mapping[str, Any]] = None) -> None:
    """Writes the deterministic policy as ONNX.  interface: plain values to keep with it, see `describe`."""
    example = torch.zeros(1, policy.cfg.num_obs)
    axes = {"obs": {0: "batch"}, "action": {0: "batch"}}
    names: Dict[str, Any] = {"input_names": ["obs"], "output_names": ["action"], "dynamic_axes": axes}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # this exporter needs no further package, and warns that it is the old one
        torch.onnx.export(_on_cpu(policy), (example,), str(path), dynamo=False, **names)
    if interface:
        import onnx

        model = onnx.load(str(path))
        model.metadata_props.add(key=KEY, value=json.dumps(interface))
        onnx.save(model, str(path))


def export_torchscript(policy: ActorCritic, path: PathLike, interface: Optional[Mapping[str, Any]] = None) -> None:
    """Writes the deterministic policy as TorchScript, for C++ or a Python without this package.  interface: see `export_onnx`."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(_on_cpu(policy), torch.zeros(1, policy.cfg.num_obs))
        torch.jit.save(traced, str(path), _extra_files={KEY: json.dumps(interface)} if interface else {})


def run_onnx(path: PathLike) -> Callable[[Tensor], Tensor]:
    """The policy in an ONNX file, run by onnxruntime.  Raises ExportError if that is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportError("checking an ONNX file needs onnxruntime: pip install onnx onnxruntime") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda obs: torch.from_numpy(session.run(["action"], {"obs": obs.numpy()})[0])


def run_torchscript(path: PathLike) -> Callable[[Tensor], Tensor]:
    """The policy in a TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(str(path))


def largest_difference(policy: ActorCritic, exported: Callable[[Tensor], Tensor]) -> float:
    """The largest difference of an action, over observations as the policy met them and far beyond."""
    normalizer = policy.obs_normalizer
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    with torch.no_grad():
        for batch, spread in ((1, 1.0), (257, 1.0), (64, 100.0)):
            noise = torch.randn(batch, policy.cfg.num_obs, generator=generator)
            obs = normalizer.mean + spread * noise / normalizer.inv_std
            action = exported(obs)
            if action.shape != (batch, policy.cfg.num_actions):
                raise ExportError(f"the exported policy gives actions of shape {tuple(action.shape)}")
            difference = (action - policy(obs)).abs().max().nan_to_num(nan=float("inf"))
            worst = max(worst, float(difference))
    return worst


def export(
    policy: ActorCritic,
    out: PathLike,
    interface: Optional[Mapping[str, Any]] = None,
    meta: Optional[Mapping[str, Any]] = None,
) -> float:
    """Writes the policy to FILE.onnx, FILE.pt or FILE.safetensors and checks the file against the policy; returns the largest
    difference.

    interface: plain values to keep with it, see `describe`.  meta: of `load_policy`, which safetensors keep, too.

    Raises ExportError if a package is missing, or if the actions differ by more than TOLERANCE.  Then no file is left.
    """
    out, policy = Path(out), _on_cpu(policy)
    texts = {KEY: json.dumps(interface)} if interface else {}
    formats: Dict[str, Any] = {
        ".onnx": (export_onnx, run_onnx),
        ".pt": (export_torchscript, run_torchscript),
        SAFETENSORS: (
            lambda policy, path, _: save_safetensors(path, policy, dict(meta or {}), **texts),
            lambda path: load_policy(path)[0],
        ),
    }
    if out.suffix.lower() not in formats:
        raise ExportError(f"--out {out}: the name must end in .onnx, .pt or .safetensors")
    if out.is_dir():
        raise ExportError(f"--out {out}: is a directory; give another name")
    write, run = formats[out.suffix.lower()]
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.stem}.{os.getpid()}{out.suffix}")
    try:
        try:
            write(policy, temporary, interface)
            difference = largest_difference(policy, run(temporary))
        except (ExportError, OSError):
            raise
        except Exception as error:  # a package is missing, or two of them do not fit; what they raise differs
            reason = " ".join(str(error).split())[:150]
            raise ExportError(
                f"{out.suffix} cannot be written here ({reason}): pip install onnx onnxruntime"
            ) from error
        if difference > TOLERANCE:
            raise ExportError(
                f"the exported actions differ by {difference:.2g} from the program's: nothing was written"
            )
        os.replace(temporary, out)
    finally:
        if temporary.exists():
            temporary.unlink()
    return difference


def main(words: Optional[Sequence[str]] = None) -> None:
    """The command.  Bad input ends with one line `error: ...` and status 2."""
    parser = _Parser(
        prog="python -m ppo_grasp.export", description="Writes a policy as ONNX, TorchScript or safetensors."
    )
    parser.add_argument("--checkpoint", "--model", type=Path, help="the policy; by default the one that ships")
    parser.add_argument(
        "--out", type=Path, required=True, help="FILE.onnx, FILE.safetensors, or FILE.pt for TorchScript"
    )
    args = parser.parse_args(words)
    try:
        path = args.checkpoint or shipped_policy()
        policy, meta = load_policy(path)
        interface = describe(policy, meta)
        difference = export(policy, args.out, interface, meta)
    except OSError as error:
        _fail(f"--out {args.out}: cannot be written ({error.strerror or error}); give another name")
    except ValueError as error:
        _fail(str(error))
    print(
        f"{path} -> {args.out}: obs (batch, {policy.cfg.num_obs}) to action (batch, {policy.cfg.num_actions}); "
        f"its actions equal the program's within {max(difference, 1e-7):.0e}; "
        + (f"what they mean is in its {KEY}" if interface else "no task here knows what they mean")
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _fail(f"{message}; --help lists the options")


def _fail(message: str) -> NoReturn:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(2)


def _on_cpu(policy: ActorCritic) -> ActorCritic:
    copy = ActorCritic(policy.cfg)
    copy.load_state_dict(policy.state_dict())
    return copy.eval()


if __name__ == "__main__":
    main()
