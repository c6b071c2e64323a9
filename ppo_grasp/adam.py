"""Adam for a CUDA graph: learning rate and whether to step at all are tensors on the device."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS = (0.9, 0.999)
EPS = 1e-8


class Adam:
    """torch's fused Adam through its functional form.

    The class torch.optim.Adam would do, but its constructor imports all of torch's compiler, which takes two seconds, and
    takes gradients and the flag to skip a step by attributes.
    """

    def __init__(self, params: Sequence[Tensor], learning_rate: float) -> None:
        self.params: List[Tensor] = list(params)
        device = self.params[0].device
        self.learning_rate = torch.tensor(learning_rate, device=device)
        """(), written in place."""
        self._steps = [torch.zeros((), device=device) for _ in self.params]
        self._means = [torch.zeros_like(p, memory_format=torch.preserve_format) for p in self.params]
        self._squares = [torch.zeros_like(p, memory_format=torch.preserve_format) for p in self.params]

    @torch.no_grad()
    def step(self, grads: Sequence[Tensor], skip: Tensor) -> None:
        """One step along grads, one for each parameter; where skip, (), is true nothing changes, decided on the device."""
        adam(
            self.params,
            list(grads),
            self._means,
            self._squares,
            [],
            self._steps,
            fused=True,
            capturable=self.learning_rate.is_cuda,
            found_inf=skip.float(),
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=EPS,
            maximize=False,
        )

    def state_dict(self) -> Dict[str, Any]:
        """In the form of torch.optim's."""
        moments = zip(self._steps, self._means, self._squares)
        state = {i: {"step": s, "exp_avg": m, "exp_avg_sq": v} for i, (s, m, v) in enumerate(moments)}
        return {"state": state, "param_groups": [{"lr": self.learning_rate}]}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restores `state_dict`, possibly from another kind of device.  Raises KeyError or RuntimeError if it does not fit."""
        with torch.no_grad():
            self.learning_rate.copy_(state["param_groups"][0]["lr"])
            for i, (step, mean, square) in enumerate(zip(self._steps, self._means, self._squares)):
                old = state["state"][i]
                step.copy_(old["step"])
                mean.copy_(old["exp_avg"])
                square.copy_(old["exp_avg_sq"])
