"""Writes a policy for use without this program: `python -m ppo_grasp.export --out policy.onnx`.

An .onnx or .pt file has one input, `obs` (batch, num_obs), raw, and one output, `action` (batch, num_actions), deterministic, within
[-1, 1].  The normaliser is inside.  A .safetensors file has the weights and the normaliser by name, and this program reads it
as it reads a checkpoint.  What the numbers mean is in the file, too, as JSON under the key `interface`: in the metadata of ONNX
and of safetensors, or in TorchScript's extra file of that name.

With `--targets` an .onnx or .pt file also has the inputs `joint_pos` and `targets` (batch, num_actions), and the output `new_targets`:
where the drives should go, within limits.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, NoReturn, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from ppo_grasp.actor_critic import ActorCritic
from ppo_grasp.checkpoint import SAFETENSORS, load_policy, save_safetensors, shipped_policy

PathLike = Union[str, "os.PathLike[str]"]

TOLERANCE = 1e-4
"""By how much an exported action may differ from the program's own."""
DESCRIBED_BY = ("tasks.evaluation.interface",)
"""Modules that may know what a policy's numbers mean, by `describe(policy, meta)`.  One that is not installed is left out."""
GUARDED_BY = ("tasks.evaluation.guarded",)
"""Modules that may know where its actions move drives, by `guarded(policy, meta, **limits)`."""
KEY = "interface"
LIMITS = ("workspace_low", "workspace_high", "most_per_step", "torque_share")
"""Options of `--targets`."""


class ExportError(ValueError):
    """An export that cannot be written, or whose actions are wrong.  The message is one line."""


def describe(policy: ActorCritic, meta: Mapping[str, Any]) -> Dict[str, Any]:
    """What the numbers of a policy mean, as plain values; empty if no task knows it.  meta: of `load_policy`."""
    for name in DESCRIBED_BY:
        with contextlib.suppress(ImportError, ValueError):
            return dict(importlib.import_module(name).describe(policy, meta))
    return {}


def guarded(policy: ActorCritic, meta: Mapping[str, Any], limits: Mapping[str, Any]) -> nn.Module:
    """The policy with the targets of its drives.  meta: of `load_policy`.  Raises ExportError if no task here knows them."""
    for name in GUARDED_BY:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name).guarded(_on_cpu(policy), meta, **limits)
    raise ExportError("--targets: no task here knows what the policy's actions move")


def ports(policy: nn.Module) -> Tuple[Dict[str, int], Tuple[str, ...]]:
    """The sizes of a policy's inputs by name, and the names of its outputs."""
    if isinstance(policy, ActorCritic):
        return {"obs": policy.cfg.num_obs}, ("action",)
    made: Any = policy
    return made.inputs, made.outputs


def export_onnx(policy: nn.Module, path: PathLike, interface: Optional[Mapping[str, Any]] = None) -> None:
    """Writes the deterministic policy as ONNX.  interface: plain values to keep with it, see `describe`."""
    inputs, outputs = ports(policy)
    axes = {name: {0: "batch"} for name in (*inputs, *outputs)}
    names: Dict[str, Any] = {"input_names": list(inputs), "output_names": list(outputs), "dynamic_axes": axes}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # this exporter needs no further package, and warns that it is the old one
        torch.onnx.export(_on_cpu(policy), _zeros(inputs), str(path), dynamo=False, **names)
    if interface:
        import onnx

        model = onnx.load(str(path))
        model.metadata_props.add(key=KEY, value=json.dumps(interface))
        onnx.save(model, str(path))


def export_torchscript(policy: nn.Module, path: PathLike, interface: Optional[Mapping[str, Any]] = None) -> None:
    """Writes the deterministic policy as TorchScript, for C++ or a Python without this package.  interface: see `export_onnx`."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(_on_cpu(policy), _zeros(ports(policy)[0]))
        torch.jit.save(traced, str(path), _extra_files={KEY: json.dumps(interface)} if interface else {})


def run_onnx(path: PathLike) -> Callable[..., Any]:
    """The policy in an ONNX file, run by onnxruntime: tensors to a tensor, or to a tuple of several.

    Raises ExportError if onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportError("checking an ONNX file needs onnxruntime: pip install onnx onnxruntime") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = [one.name for one in session.get_inputs()]

    def run(*given: Tensor) -> Any:
        found = session.run(None, {name: value.numpy() for name, value in zip(inputs, given)})
        values = tuple(map(torch.from_numpy, found))
        return values if len(values) > 1 else values[0]

    return run


def run_torchscript(path: PathLike) -> Callable[..., Any]:
    """The policy in a TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(str(path))


def largest_difference(policy: nn.Module, exported: Callable[..., Any]) -> float:
    """The largest difference of an output, over observations as the policy met them and far beyond."""
    normalizer: Any = policy.obs_normalizer
    inputs, outputs = ports(policy)
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    with torch.no_grad():
        for batch, spread in ((1, 1.0), (257, 1.0), (64, 100.0)):
            obs, *more = (torch.randn(batch, size, generator=generator) for size in inputs.values())
            given = (normalizer.mean + spread * obs / normalizer.inv_std, *more)
            for name, found, right in zip(outputs, _several(exported(*given)), _several(policy(*given))):
                if found.shape != right.shape:
                    raise ExportError(f"the exported policy gives {name} of shape {tuple(found.shape)}")
                worst = max(worst, float((found - right).abs().max().nan_to_num(nan=float("inf"))))
    return worst


def export(
    policy: nn.Module,
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
    parser.add_argument(
        "--targets", action="store_true", help="also give targets of the drives, within limits (.onnx and .pt)"
    )
    for end in ("low", "high"):
        help_text = f"m, {end} end of the box that the palm's targets stay in"
        parser.add_argument(f"--workspace-{end}", type=_finite, nargs=3, metavar=("X", "Y", "Z"), help=help_text)
    parser.add_argument(
        "--most-per-step", type=_positive, help="rad, by which a finger's target moves in a step, at most"
    )
    parser.add_argument(
        "--torque-share", type=_positive, help="of a finger drive's limit, that its gain asks for at most"
    )
    args = parser.parse_args(words)
    limits = {name: value for name, value in vars(args).items() if name in LIMITS and value is not None}
    try:
        path = args.checkpoint or shipped_policy()
        policy, meta = load_policy(path)
        interface = describe(policy, meta)
        written = guarded(policy, meta, limits) if args.targets or limits else policy
        if written is not policy:
            if args.out.suffix.lower() == SAFETENSORS:
                raise ExportError("--targets: .safetensors holds weights alone; write .onnx or .pt")
            interface = {**interface, "guarded": {"inputs": ports(written)[0], "limits": limits}}
        difference = export(written, args.out, interface, meta)
    except OSError as error:
        _fail(f"--out {args.out}: cannot be written ({error.strerror or error}); give another name")
    except ValueError as error:
        _fail(str(error))
    print(
        f"{path} -> {args.out}: obs (batch, {policy.cfg.num_obs}) to action (batch, {policy.cfg.num_actions})"
        f"{', joint_pos and targets to new_targets' if written is not policy else ''}; its actions equal the program's within {max(difference, 1e-7):.0e}; "
        + (f"what they mean is in its {KEY}" if interface else "no task here knows what they mean")
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _fail(f"{message}; --help lists the options")


def _fail(message: str) -> NoReturn:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(2)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text}: must be a finite number")
    return value


def _positive(text: str) -> float:
    if not _finite(text) > 0:
        raise argparse.ArgumentTypeError(f"{text}: must be greater than 0")
    return float(text)


def _zeros(inputs: Mapping[str, int]) -> Tuple[Tensor, ...]:
    return tuple(torch.zeros(1, size) for size in inputs.values())


def _several(found: Any) -> Tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


def _on_cpu(policy: nn.Module) -> nn.Module:
    if not isinstance(policy, ActorCritic):
        return policy.cpu().eval()
    copy = ActorCritic(policy.cfg)
    copy.load_state_dict(policy.state_dict())
    return copy.eval()


if __name__ == "__main__":
    main()
