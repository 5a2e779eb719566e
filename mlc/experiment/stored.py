"""Building a classifier from a file that somebody else may have written: never larger than the file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mlc.data.preparation import check_preparation
from mlc.errors import UserError
from mlc.heads.linear_on_rows import LinearOnRows


@contextmanager
def no_larger_than(parts: Mapping[str, Mapping[str, Tensor]], path: Path) -> Iterator[None]:
    """Stop building a network as soon as it has more numbers than the file has for it.

    A config may ask for a billion layers; what was trained has its weights in the file. Each parameter is
    counted when its module gets it, which is before it is filled, and so before it takes any memory.

    Raises:
        UserError: from within the block, at the first parameter too many.
    """
    left = sum(tensor.numel() for tensor in parts["network"].values())

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        if parameter is None or isinstance(module, LinearOnRows):  # in the place of a layer that was counted
            return
        left -= parameter.numel()
        if left < 0:
            raise UserError(
                f"{path} does not fit the config.yaml beside it, which asks for a larger network: one of the "
                f"two has been changed"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def check_stored(preparation: Mapping[str, Tensor], path: Path) -> None:
    """Read once what new rows would be prepared with.

    Raises:
        UserError: it is not what a run of mlc writes.
    """
    try:
        check_preparation(preparation)
    except UserError:
        raise
    except Exception as error:  # tokenisers of other packages raise anything
        raise UserError(
            f"{path} is refused: what it prepares new rows with cannot be read "
            f"({type(error).__name__}); train the run again"
        ) from error
