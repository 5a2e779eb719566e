"""One optimiser step: from a loss to changed weights, or to none where a number is not finite."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm

from mlc.training.settings import TrainerSettings

_ORDINARY_SCALE = 1.0  # above it, an overflow in fp16 only says that the scale is too large


class Stepper:
    """Takes the optimiser's steps, and leaves out those whose gradients are not finite.

    Whether a step is left out is decided on the device: with a fused optimiser the host does not wait.

    Args:
        network: what a forward pass changes in it (the statistics of batch normalisation) is put back with a
            step that is left out.
        optimizer: of all parameters that learn.
        settings: precision and clipping.
        device: where the network is.
    """

    def __init__(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, settings: TrainerSettings, device: str
    ):
        self._optimizer = optimizer
        self._settings = settings
        self._parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
        self._scaler = (
            torch.amp.GradScaler(torch.device(device).type) if settings.precision == "fp16" else None
        )
        self._on_device = device != "cpu" and getattr(optimizer, "_step_supports_amp_scaling", False)

        self._statistics = [
            buffer
            for layer in network.modules()
            if isinstance(layer, _BatchNorm)
            for buffer in layer.buffers(recurse=False)
        ]
        self._before: list[Tensor] = []

    def begin(self) -> None:
        """Before the forward pass of a step."""
        self._before = [buffer.clone() for buffer in self._statistics]

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss to those that are there."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()

    def step(self) -> Tensor:
        """Clip the gradients and change the weights, and clear the gradients.

        Returns:
            Whether the gradients were not finite, so that the weights are as before: one bool on the device.
        """
        if self._scaler is not None:
            self._scaler.unscale_(self._optimizer)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = get_total_norm(gradients)
        bad = ~norm.isfinite()
        settings = self._settings
        if settings.clip_value is not None:
            clip_grad_value_(self._parameters, settings.clip_value)
            norm = get_total_norm(gradients)
        if settings.clip_norm is not None:
            clip_grads_with_norm_(self._parameters, settings.clip_norm, norm)
        if self._scaler is not None:
            bad = bad & (self._scaler.get_scale() <= _ORDINARY_SCALE)
            self._scaler.step(self._optimizer)
            self._scaler.update()
        elif self._on_device:
            fused: Any = self._optimizer
            fused.grad_scale, fused.found_inf = None, bad.float()
            fused.step()
        elif not bad:
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(self._statistics, self._before, strict=True):
            buffer.copy_(torch.where(bad, before, buffer))
        return bad

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the optimiser's own state."""
        return {} if self._scaler is None else {"scaler": self._scaler.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take `state()` back."""
        if self._scaler is not None:
            self._scaler.load_state_dict(dict(state["scaler"]))
