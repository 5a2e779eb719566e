"""Optimisers whose state is small beside the weights; each takes a step of one block of weights at a time.

Bytes per weight: Adam 8, `LightAdam` 4, `RowAdagrad` and `Adafactor` nearly none.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval, Len
from torch import Tensor, nn

from mlc.rows import RowPerInput

_LOW_BITS = 0xFFFF  # of a float32, which bfloat16 does not have
_AT_ONCE = 2**16  # numbers whose step is taken while they are in the nearest cache
_OFFSETS = 4099  # a prime: how many cuts of the noise there are


class BlockedWeight(nn.Parameter):
    """K blocks of a weight, each D×C with a column per output: they are treated one by one."""


class BlockOptimizer(torch.optim.Optimizer, ABC):
    """An optimiser that changes a parameter block by block, and keeps a state for each block.

    An ordinary parameter is one block, with its first dimension (the outputs of a layer) as columns; of a
    weight for sparse rows the second one is the outputs'.
    """

    def __init__(self, params: Iterable[Any], **defaults: Any):
        super().__init__(params, defaults)
        self.register_load_state_dict_post_hook(lambda _: self._own_types())

    @abstractmethod
    def start(self, blocks_KDC: Tensor) -> Mapping[str, Tensor]:
        """The state of a parameter before its first step: tensors with K blocks first."""

    @abstractmethod
    def change(
        self, weight_DC: Tensor, gradient_DC: Tensor, state: Mapping[str, Tensor], group: Mapping[str, Any]
    ) -> None:
        """Take a step of one block, in place: its weights and its state."""

    def start_like(self, parameter: Tensor) -> Mapping[str, Tensor]:
        """That state without its numbers: types and shapes, on the meta device."""
        return self.start(_blocks(parameter.detach().to("meta"), like=parameter))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take a step of every parameter that has a gradient."""
        assert closure is None, "no loop of this project passes one"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                self.begin(parameter)
                for block, gradient_DC in enumerate(_blocks(parameter.grad, like=parameter)):
                    self.update_block(parameter, block, gradient_DC)

    def begin(self, parameter: Tensor) -> None:
        """Before the first block of a parameter's step."""
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state.update(self.start(_blocks(parameter.detach(), like=parameter)))
        state["step"] += 1

    @torch.no_grad()
    def update_block(self, parameter: Tensor, block: int, gradient_DC: Tensor) -> None:
        """Take the step of one block of a parameter."""
        group, state = group_of(self, parameter), self.state[parameter]
        parts = {name: value[block] for name, value in state.items() if isinstance(value, Tensor)}
        now = {**group, "step": state["step"], "block": block}
        self.change(_blocks(parameter.detach(), like=parameter)[block], gradient_DC, parts, now)

    def _own_types(self) -> None:
        """Torch loads every state in the type of its parameter: give each its own type back."""
        for parameter, state in self.state.items():
            fresh = self.start(_blocks(parameter.detach(), like=parameter)[:0])
            for name, example in fresh.items():
                state[name] = state[name].to(example.dtype)


def group_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    """The parameter group that a parameter is in."""
    return next(group for group in optimizer.param_groups if any(p is parameter for p in group["params"]))


def _blocks(tensor: Tensor, *, like: Tensor) -> Tensor:
    """K×D×C: the blocks of a parameter, or of its gradient; of a parameter it is a view."""
    if isinstance(like, BlockedWeight):
        return tensor
    if isinstance(like, RowPerInput):
        return tensor[None]
    if like.ndim < 2:
        return tensor.reshape(1, 1, -1)
    if not like.is_contiguous():  # channels last; a row holds the same numbers in another order
        tensor = tensor.movedim(1, -1)
    return tensor.reshape(len(tensor), -1).T[None]


def _pieces(*blocks: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Some rows at a time of matrices of one shape, few enough to stay in the nearest cache."""
    rows = max(1, _AT_ONCE // blocks[0].shape[1])
    return zip(*(block.split(rows) for block in blocks), strict=True)


class LightAdam(BlockOptimizer):
    """Adam with decoupled weight decay, whose two moments are bfloat16: 4 bytes per weight where Adam has 8.

    The second moment moves by at most 1 - β₂ in a step, which bfloat16's three digits would swallow: it is
    rounded up or down at random, so that it is right on average. The noise is the same in every run.

    Args:
        params: as of every optimiser.
        lr: learning rate.
        betas: decay of the two moments.
        eps: added to the root of the second.
        weight_decay: decoupled, as in AdamW.

    Source: Kingma & Ba, 2015; Loshchilov & Hutter, 2019; stochastic rounding as in Zhang, Ullah, Schultheis &
        Babbar, "ELMO", ICML 2025.
    Differs: the weights stay float32.
    """

    def __init__(
        self,
        *,
        params: Iterable[Any],
        lr: Annotated[float, Gt(0)],
        betas: Annotated[list[Annotated[float, Interval(ge=0, lt=1)]], Len(2, 2)],
        eps: Annotated[float, Gt(0)],
        weight_decay: Annotated[float, Ge(0)],
    ):
        super().__init__(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
        self._noise = torch.empty(0, dtype=torch.int32)

    def start(self, blocks_KDC: Tensor) -> Mapping[str, Tensor]:
        """Both moments, in bfloat16."""
        zeros_KDC = torch.zeros_like(blocks_KDC, dtype=torch.bfloat16)
        return {"mean": zeros_KDC, "square": zeros_KDC.clone()}

    def change(
        self, weight_DC: Tensor, gradient_DC: Tensor, state: Mapping[str, Tensor], group: Mapping[str, Any]
    ) -> None:
        """One step."""
        noise_DC = self._noise_like(weight_DC, offset=(7 * group["step"] + group["block"]) % _OFFSETS)
        tensors = (weight_DC, gradient_DC, state["mean"], state["square"], noise_DC)
        for weight_RC, gradient_RC, mean_RC, square_RC, noise_RC in _pieces(*tensors):
            _light_adam(weight_RC, gradient_RC, mean_RC, square_RC, noise_RC, group)

    def _noise_like(self, block_DC: Tensor, *, offset: int) -> Tensor:
        """Integers below 2^16, one per number of a block: each step has another cut of the same noise."""
        wanted = block_DC.numel() + _OFFSETS
        if len(self._noise) < wanted or self._noise.device != block_DC.device:
            generator = torch.Generator().manual_seed(0)
            noise = torch.randint(_LOW_BITS + 1, (wanted,), generator=generator, dtype=torch.int32)
            self._noise = noise.to(block_DC.device)
        return self._noise[offset : offset + block_DC.numel()].view(block_DC.shape)


def _light_adam(
    weight_RC: Tensor,
    gradient_RC: Tensor,
    mean_RC: Tensor,
    square_RC: Tensor,
    noise_RC: Tensor,
    group: Mapping[str, Any],
) -> None:
    """The step of some rows of a block, in place."""
    (beta1, beta2), step, lr = group["betas"], group["step"], group["lr"]
    wide_mean_RC = mean_RC.float().lerp_(gradient_RC, 1 - beta1)
    wide_square_RC = square_RC.float().mul_(beta2).addcmul_(gradient_RC, gradient_RC, value=1 - beta2)
    mean_RC.copy_(wide_mean_RC)
    if group["weight_decay"]:
        weight_RC.mul_(1 - lr * group["weight_decay"])
    root_RC = wide_square_RC.sqrt().mul_((1 - beta2**step) ** -0.5).add_(group["eps"])
    weight_RC.addcdiv_(wide_mean_RC, root_RC, value=-lr / (1 - beta1**step))
    wide_square_RC.view(torch.int32).add_(noise_RC).bitwise_and_(~_LOW_BITS)
    square_RC.copy_(wide_square_RC)


class RowAdagrad(BlockOptimizer):
    """Adagrad with one number per output: all weights of a label share their step size.

    Args:
        params: as of every optimiser.
        lr: learning rate.
        eps: added to the root of the sum.

    Source: Gupta, Bengio & Weston, "Training highly multiclass classifiers", JMLR 2014; row-wise state as in
        Mudigere et al., "Software-hardware co-design for fast and scalable training of deep learning
        recommendation models", ISCA 2022.
    """

    def __init__(self, *, params: Iterable[Any], lr: Annotated[float, Gt(0)], eps: Annotated[float, Gt(0)]):
        super().__init__(params, lr=lr, eps=eps)

    def start(self, blocks_KDC: Tensor) -> Mapping[str, Tensor]:
        """One sum per column."""
        blocks, _, columns = blocks_KDC.shape
        return {"sum": blocks_KDC.new_zeros(blocks, columns)}

    def change(
        self, weight_DC: Tensor, gradient_DC: Tensor, state: Mapping[str, Tensor], group: Mapping[str, Any]
    ) -> None:
        """One step."""
        for (gradient_RC,) in _pieces(gradient_DC):
            state["sum"].add_(gradient_RC.square().sum(0), alpha=1 / len(gradient_DC))
        rate_C = -group["lr"] / (state["sum"].sqrt() + group["eps"])
        for weight_RC, gradient_RC in _pieces(weight_DC, gradient_DC):
            weight_RC.addcmul_(gradient_RC, rate_C)


class Adafactor(BlockOptimizer):
    """Adam's second moment as the product of one number per input and one per output, and no first moment.

    Args:
        params: as of every optimiser.
        lr: learning rate.
        decay_power: the second moment decays by 1 - t^-power in step t.
        clip: largest root mean square of a block's step, in units of lr.
        weight_decay: decoupled.

    Source: Shazeer & Stern, "Adafactor: adaptive learning rates with sublinear memory cost", ICML 2018,
        algorithm 4.
    Differs: the factors are those of each block of labels and not of the whole matrix, so that a block's step
        needs nothing else; the step size is lr, and not relative to the size of the weights.
    """

    def __init__(
        self,
        *,
        params: Iterable[Any],
        lr: Annotated[float, Gt(0)],
        decay_power: Annotated[float, Interval(gt=0, le=1)],
        clip: Annotated[float, Gt(0)],
        weight_decay: Annotated[float, Ge(0)],
    ):
        super().__init__(params, lr=lr, decay_power=decay_power, clip=clip, weight_decay=weight_decay)

    def start(self, blocks_KDC: Tensor) -> Mapping[str, Tensor]:
        """A mean square per row and per column."""
        blocks, rows, columns = blocks_KDC.shape
        return {"row": blocks_KDC.new_zeros(blocks, rows), "column": blocks_KDC.new_zeros(blocks, columns)}

    def change(
        self, weight_DC: Tensor, gradient_DC: Tensor, state: Mapping[str, Tensor], group: Mapping[str, Any]
    ) -> None:
        """One step."""
        new = group["step"] ** -group["decay_power"]
        row_D, column_C = state["row"], state["column"]
        sum_C, means = torch.zeros_like(column_C), []
        for (gradient_RC,) in _pieces(gradient_DC):
            square_RC = gradient_RC.square().add_(1e-30)
            means.append(square_RC.mean(1))
            sum_C += square_RC.sum(0)
        row_D.lerp_(torch.cat(means), new)
        column_C.lerp_(sum_C / len(gradient_DC), new)

        by_row_D1 = (row_D / row_D.mean()).rsqrt()[:, None].expand_as(gradient_DC)
        by_column_C = column_C.rsqrt()
        squares = [
            (gradient_RC * by_row_R1).mul_(by_column_C).square_().sum()
            for gradient_RC, by_row_R1 in _pieces(gradient_DC, by_row_D1)
        ]
        size = (torch.stack(squares).sum() / gradient_DC.numel()).sqrt()
        rate_C = by_column_C * (-group["lr"] / (size / group["clip"]).clamp(min=1))
        if group["weight_decay"]:
            weight_DC.mul_(1 - group["lr"] * group["weight_decay"])
        for weight_RC, gradient_RC, by_row_R1 in _pieces(weight_DC, gradient_DC, by_row_D1):
            weight_RC.addcmul_(gradient_RC * by_row_R1, rate_C)
