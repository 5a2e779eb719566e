"""What every output model answers, and how a batch of outputs is cut and joined."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from typing import Any, NoReturn, Self, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree

from mlc.errors import UserError


class NotDefinedError(UserError):
    """The output model does not define the quantity asked for; the message names what to use instead."""


# Metadata of a dataclass field whose tensor has no row for each example: it belongs to all rows of the value.
SHARED: Mapping[str, bool] = {"shared": True}


class TensorStruct:
    """A frozen dataclass of tensors (or of further TensorStructs), each with B rows first.

    Fields declared with `field(metadata=SHARED)` are the exception: they have no rows of their own, so
    cutting and joining rows leaves them alone.
    """

    def map_tensors(self, function: Callable[[Tensor], Tensor], *, shared: bool = False) -> Self:
        """The same value with `function` applied to every tensor that has a row for each example.

        Args:
            function: for example a selection of rows, or a change of type.
            shared: whether to apply it to shared tensors as well (detaching, moving to a device).
        """
        return type(self)(*(_map(self, f, function, shared) for f in fields(self)))  # type: ignore[arg-type]

    def detach(self) -> Self:
        """The same value without its autograd history."""
        return self.map_tensors(Tensor.detach, shared=True)


def _map(
    struct: TensorStruct, f: Field[Any], function: Callable[[Tensor], Tensor], shared: bool
) -> Tensor | TensorStruct:
    value: Tensor | TensorStruct = getattr(struct, f.name)
    if not isinstance(value, Tensor):
        return value.map_tensors(function, shared=shared)
    return value if _is_shared(f) and not shared else function(value)


def _is_shared(f: Field[Any]) -> bool:
    return bool(f.metadata.get("shared", False))


S = TypeVar("S", bound=TensorStruct)


def concatenate(parts: Sequence[S]) -> S:
    """Join values of one type along their rows; shared tensors are those of the first."""
    first = parts[0]
    joined: list[Tensor | TensorStruct] = []
    for f in fields(first):  # type: ignore[arg-type]
        values = [getattr(part, f.name) for part in parts]
        if not isinstance(values[0], Tensor):
            joined.append(concatenate(values))
        else:
            joined.append(values[0] if _is_shared(f) else torch.cat(values))
    return type(first)(*joined)


def register_pytree(cls: type[S]) -> type[S]:
    """Class decorator: make a TensorStruct a pytree, so that it passes through DDP, compile and vmap."""
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    _pytree.register_pytree_node(
        cls,
        lambda value: ([getattr(value, name) for name in names], None),
        lambda leaves, _: cls(*leaves),
        serialized_type_name=f"{cls.__module__}.{cls.__name__}",
    )
    return cls


class LabelOutput(TensorStruct, ABC):
    """A batch of distributions over label sets (or of less, where a method says so).

    A quantity that a model does not define raises NotDefinedError; nothing is guessed.
    """

    @abstractmethod
    def score_logits(self) -> Tensor:
        """B×L scores on an unbounded scale: larger = more relevant, comparable across labels.

        A strictly increasing function of `scores()` that does not saturate in float32; ranking metrics
        and calibrators work on it.
        """

    @abstractmethod
    def scores(self) -> Tensor:
        """B×L scores in the model's own unit (probability, share, expected labels); thresholds are on it."""

    @abstractmethod
    def marginals(self) -> Tensor:
        """B×L probabilities P(y_l = 1 | x)."""

    @abstractmethod
    def cardinality(self) -> Tensor:
        """B×(L+1) probabilities P(Σy = k | x), k = 0..L."""

    @abstractmethod
    def expected_count(self) -> Tensor:
        """B expected numbers of labels, E[Σy | x]."""

    @abstractmethod
    def log_prob(self, y_BL: Tensor) -> Tensor:
        """B log probabilities (nats) of the label sets y_BL.

        Args:
            y_BL: 0 or 1, NaN where unknown. Unknown labels are summed out: the result is the log probability
                of what is known, 0 where nothing is. Neither it nor its gradient is NaN because of them.
        """

    @abstractmethod
    def mode(self) -> Tensor:
        """B×L booleans: the most probable label set."""

    @property
    def model(self) -> "LabelOutput":
        """The model underneath a calibration; itself where there is none."""
        return self

    @property
    def n_labels(self) -> int:
        """Number of labels L."""
        return self.score_logits().shape[1]


def not_defined(output: object, quantity: str, instead: str) -> NoReturn:
    """Raise NotDefinedError for a quantity that this output model does not define."""
    raise NotDefinedError(f"{type(output).__name__} has no {quantity}: {instead}")
