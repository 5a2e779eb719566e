"""One optimiser step: from a loss to changed weights, or to none where a number is not finite."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm

from mlc.training import processes
from mlc.training.position import is_count
from mlc.training.settings import TrainerSettings

_ORDINARY_SCALE = 1.0  # above it, gradients that overflow in fp16 only say that the scale is too large


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
        _give_momentum(optimizer)
        self._on_device = device != "cpu" and getattr(optimizer, "_step_supports_amp_scaling", False)
        self._statistics = [
            buffer
            for layer in network.modules()
            if isinstance(layer, _BatchNorm)
            for buffer in layer.buffers(recurse=False)
        ]
        self._before: list[Tensor] = []
        self._losses: list[Tensor] = []
        self.left_out: Tensor | bool = False  # the last step, also where only the scale was too large

    def begin(self) -> None:
        """Before the forward pass of a step."""
        self._before = [buffer.clone() for buffer in self._statistics]
        self._losses = []

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss to those that are there."""
        if self._scaler is None:
            loss.backward()
            return
        self._losses.append(loss.detach())
        self._scaler.scale(loss).backward()

    def step(self) -> Tensor | bool:
        """Clip the gradients and change the weights, and clear the gradients.

        Returns:
            Whether the gradients were not finite, so that all is as before; on CUDA one bool there. False
            where only the scale of fp16 was too large, though all is as before then, too.
        """
        if self._scaler is not None:
            self._scaler.unscale_(self._optimizer)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        settings = self._settings
        norm = None if settings.clip_norm is None else get_total_norm(gradients)
        bad = left_out = self.left_out = _not_finite(gradients, norm)
        if settings.clip_value is not None:
            clip_grad_value_(self._parameters, settings.clip_value)
            norm = None if norm is None else get_total_norm(gradients)
        if settings.clip_norm is not None and norm is not None:
            clip_grads_with_norm_(self._parameters, settings.clip_norm, norm)
        if self._scaler is not None:
            bad = bool(left_out) and not self._only_scaled_too_far()
            self._scaler.step(self._optimizer)
            self._scaler.update()
        elif self._on_device:
            fused: Any = self._optimizer
            fused.grad_scale, fused.found_inf = None, torch.as_tensor(left_out).float()
            fused.step()
        elif not left_out:
            self._optimizer.step()
        for parameter in self._parameters:
            parameter.grad = None
        if left_out is not False:  # on CUDA it is not known here
            for buffer, before in zip(self._statistics, self._before, strict=True):
                buffer.copy_(torch.where(torch.as_tensor(left_out), before, buffer))
        return bad

    def _only_scaled_too_far(self) -> bool:
        """Whether a smaller scale may help: not where the loss itself is not finite."""
        assert self._scaler is not None
        large = self._scaler.get_scale() > _ORDINARY_SCALE
        mendable = large and all(loss.isfinite() for loss in self._losses)
        (hopeless,) = processes.any_of(not mendable)
        return not hopeless

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the optimiser's own state."""
        return {} if self._scaler is None else {"scaler": self._scaler.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take `state()` back.

        Raises:
            ValueError: it is not the state of such a stepper.
        """
        own = self.state()
        if state.keys() != own.keys():
            raise ValueError("it was stored with another trainer.precision")
        if self._scaler is None:
            return
        new = {"scale": state["scaler"]["scale"], "_growth_tracker": state["scaler"]["_growth_tracker"]}
        if type(new["scale"]) is not float or not 0 < new["scale"] < math.inf:
            raise ValueError("the loss was not scaled by such a number")
        if not is_count(new["_growth_tracker"]):
            raise ValueError("the scale did not stay for so many steps")
        self._scaler.load_state_dict(own["scaler"] | new)


def _not_finite(gradients: list[Tensor], norm: Tensor | None) -> Tensor | bool:
    """Whether a gradient has an entry that is not finite: by their norm if it is known, else by their sums.

    Sums are cheaper than a norm, and not finite wherever an entry is not.
    """
    if not gradients:
        return False
    if gradients[0].device.type == "cpu":
        sums = [norm] if norm is not None else [gradient.sum() for gradient in gradients]
        return not math.isfinite(sum(value.item() for value in sums))
    if norm is None:
        norm = torch.stack([gradient.sum() for gradient in gradients]).sum()
    return ~norm.isfinite()


def _give_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Start the momentum of a fused SGD at 0.

    PyTorch takes memory for it that is not cleared, and does not write there if the first step is left out.
    With dampening a first step from 0 is another one: then the host decides whether a step is left out.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    groups = [group for group in optimizer.param_groups if group["fused"] and group["momentum"]]
    if any(group["dampening"] for group in groups):
        vars(optimizer)["_step_supports_amp_scaling"] = False
        return
    for group in groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
