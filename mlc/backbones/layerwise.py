"""Layers of a pretrained model that learn more slowly than others, or not at all."""

from typing import Annotated, Literal

from annotated_types import Ge
from torch import nn

from mlc.errors import UserError

Frozen = Literal["none", "embeddings", "all"] | Annotated[int, Ge(1)]


def layer_of_parameter(model: nn.Module) -> tuple[dict[str, int], int]:
    """Which layer each parameter is of, and the number of layers n.

    Returns:
        By name of a parameter: 0 for embeddings, 1 to n for the layers from the lowest, n for what follows;
        and n, or 0 for a model that is no stack of equal layers.
    """
    depth = getattr(model.config, "num_hidden_layers", 0)
    stacks = [
        name for name, part in model.named_modules() if isinstance(part, nn.ModuleList) and len(part) == depth
    ]
    if not stacks:
        return {}, 0
    prefix, found, layer = f"{min(stacks, key=len)}.", {}, 0
    for name, _ in model.named_parameters():
        if name.startswith(prefix):
            layer = 1 + int(name.removeprefix(prefix).partition(".")[0])
        elif layer:
            layer = depth
        found[name] = layer
    return found, depth


def freeze(model: nn.Module, frozen: Frozen) -> None:
    """Stop parameters from learning: all, those of the embeddings, or also those of the lowest layers.

    Raises:
        UserError: the model has no such layers, or fewer.
    """
    if frozen == "none":
        return
    if frozen == "all":
        model.requires_grad_(False)
        return
    layers, depth = layer_of_parameter(model)
    highest = 0 if frozen == "embeddings" else frozen
    if not depth or highest > depth:
        has = f"has {depth} layers" if depth else "is no stack of equal layers"
        raise UserError(f"backbone.frozen={frozen} does not fit a model that {has}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(layers[name] > highest)


def rate_factors(model: nn.Module, *, factor: float, layer_decay: float, prefix: str) -> dict[str, float]:
    """Learning rates relative to the optimiser's: `factor` at the top, times `layer_decay` per layer below.

    Args:
        model: from `build_model`.
        factor: of the top layer.
        layer_decay: 1 where all layers learn alike.
        prefix: what the backbone calls the model.

    Raises:
        UserError: the model has no layers that rates could differ between.

    Source: Howard & Ruder, "Universal Language Model Fine-tuning" (2018), discriminative rates; Clark et al.,
        "ELECTRA" (2020), the same factor from layer to layer.
    """
    layers, depth = layer_of_parameter(model)
    if layer_decay != 1 and not depth:
        raise UserError(
            f"backbone.layer_decay={layer_decay} needs a model that is a stack of equal layers: set it to 1"
        )
    return {
        f"{prefix}.{name}": factor * layer_decay ** (depth - layers.get(name, depth))
        for name, _ in model.named_parameters()
    }
