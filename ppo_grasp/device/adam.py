"""Adam for a CUDA graph: learning rate, clipping and whether to step at all are tensors on the device."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS = (0.9, 0.999)
EPS = 1e-8
CHUNKS = 36
"""How many tensors torch's fused Adam takes in one launch.  It gives a thread block to each 65,536 elements of each tensor.
Networks of the usual size, each parameter in a tensor of its own, leave nine tenths of a large GPU idle.  All parameters in
one tensor that is cut into this many parts keep it busy."""
ALIGNMENT = 8
"""Matrices begin at multiples of this many elements, as tensor cores want it, whatever the type."""


class Flat:
    """One tensor of zeros, and views of it in the shapes of a list of tensors.  There may be gaps between the views."""

    def __init__(self, like: Sequence[Tensor], dtype: torch.dtype = torch.float32, spare: int = 0) -> None:
        """spare: elements behind the tensor, for numbers that travel with it."""
        sizes = [x.numel() + -x.numel() % ALIGNMENT for x in like]
        block = CHUNKS * ALIGNMENT
        size = sum(sizes) + -sum(sizes) % block
        self.with_spare = torch.zeros(size + spare, dtype=dtype, device=like[0].device)
        """(P + spare,)"""
        self.all, self.spare = self.with_spare[:size], self.with_spare[size:]
        """(P,) and (spare,), views of it."""
        parts = self.all[: sum(sizes)].split(sizes)
        self.each: List[Tensor] = [part[: x.numel()].view(x.shape) for part, x in zip(parts, like)]
        self.chunks: List[Tensor] = list(self.all.view(CHUNKS, -1).unbind(0))

    @torch.no_grad()
    def hold(self, params: Sequence[Tensor]) -> None:
        """Moves parameters into this tensor: each keeps its values and becomes a view.  params: all, or the first few, of the
        list that this was made for."""
        for view, param in zip(self.each, params):
            view.copy_(param)
            param.data = view


class Adam:
    """torch's fused Adam through its functional form, on all parameters as one tensor.

    The class torch.optim.Adam would do the same, but its constructor imports all of torch's compiler, which takes two
    seconds, and it takes gradients and the flag to skip a step through attributes.
    """

    def __init__(self, params: Sequence[Tensor], learning_rate: float, spare: int = 0, eps: float = EPS) -> None:
        """The parameters, in float32, become views of `params.all`.  spare: of the gradients, see `Flat`."""
        self._eps = eps
        self.params, self._means, self._squares = (Flat(params) for _ in range(3))
        self.grads = Flat(params, spare=spare)
        self.params.hold(params)
        device = self.params.all.device
        self.learning_rate = torch.tensor(learning_rate, device=device)
        """(), written in place."""
        self._steps = [torch.zeros((), device=device) for _ in range(CHUNKS)]

    @torch.no_grad()
    def step(self, scale: Tensor, skip: Tensor) -> None:
        """One step along `grads / scale`, or none if skip is true; the device decides.  scale and skip: ()."""
        adam(
            self.params.chunks,
            self.grads.chunks,
            self._means.chunks,
            self._squares.chunks,
            [],
            self._steps,
            fused=True,
            capturable=self.learning_rate.is_cuda,
            grad_scale=scale,
            found_inf=skip.float(),
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=self._eps,
            maximize=False,
        )

    def state_dict(self) -> Dict[str, Any]:
        """In the form of torch.optim's state."""
        moments = zip(self._means.each, self._squares.each)
        state = {i: {"step": self._steps[0], "exp_avg": m, "exp_avg_sq": v} for i, (m, v) in enumerate(moments)}
        return {"state": state, "param_groups": [{"lr": self.learning_rate}]}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restores `state_dict`, also from another kind of device.  Raises KeyError or RuntimeError if it does not fit."""
        with torch.no_grad():
            self.learning_rate.copy_(state["param_groups"][0]["lr"])
            for i, (mean, square) in enumerate(zip(self._means.each, self._squares.each)):
                old = state["state"][i]
                mean.copy_(old["exp_avg"])
                square.copy_(old["exp_avg_sq"])
            for step in self._steps:
                step.copy_(old["step"])
