"""Augmentation: training batches are changed at random, on the device, in ways that keep their labels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated

from annotated_types import Interval
from torch import Tensor, nn

from mlc.batch import BatchInput
from mlc.errors import UserError
from mlc.inputs import MAIN, InputSpec


class Augmentation(ABC):
    """Changes the inputs of training batches; validation, test and prediction never see it.

    All randomness comes from torch's global generators, which a checkpoint keeps, so that a resumed run sees
    the same changes.
    """

    @abstractmethod
    def __call__(self, inputs: Mapping[str, BatchInput]) -> dict[str, BatchInput]:
        """The inputs of one batch, changed; the given ones stay as they are."""


class PictureAugmentation(Augmentation):
    """Pictures are moved, turned, resized, mirrored, and change their light, each picture on its own.

    Standardised pictures are brought back to 0..1 for it, so that what comes in at an edge is black, and
    light is light; then they are standardised again. All other inputs stay as they are.

    Args:
        inputs: what is known of each input; those that are pictures are changed.
        preparation: mean and scale of the pictures, as fitted on the training rows.
        shift: largest move to each side, as a share of width and height.
        rotation: largest turn to each side, degrees.
        zoom: largest change of the size, as a share: 0.1 is from 0.9 to 1.1 times.
        flip: half of the pictures are mirrored, left to right. Not for digits and letters.
        brightness: largest number that is added to all pixels or taken from them, on the scale 0..1.
        contrast: largest share by which all pixels are multiplied up or down.

    Raises:
        UserError: there are no pictures, nothing would change, or kornia is not installed.

    Source: the transforms are those of kornia: E. Riba et al. (2020), Kornia: an Open Source Differentiable
        Computer Vision Library for PyTorch.
    """

    def __init__(
        self,
        *,
        inputs: Mapping[str, InputSpec],
        preparation: Mapping[str, Tensor],
        shift: Annotated[float, Interval(ge=0, lt=1)],
        rotation: Annotated[float, Interval(ge=0, le=180)],
        zoom: Annotated[float, Interval(ge=0, lt=1)],
        flip: bool,
        brightness: Annotated[float, Interval(ge=0, le=1)],
        contrast: Annotated[float, Interval(ge=0, le=1)],
    ) -> None:
        self._names = [name for name, spec in inputs.items() if spec.kind == "pictures"]
        if not self._names:
            raise UserError(
                f"augmentation changes pictures, and the input of this data set is {inputs[MAIN].kind}: "
                "use augmentation=none"
            )
        # Data sets of pictures alone keep theirs as "mean" and "scale".
        prefix = "picture." if "picture.mean" in preparation else ""
        self._mean_C, self._scale_C = preparation[f"{prefix}mean"], preparation[f"{prefix}scale"]
        self._change = _transforms(
            shift=shift, rotation=rotation, zoom=zoom, flip=flip, brightness=brightness, contrast=contrast
        )

    def __call__(self, inputs: Mapping[str, BatchInput]) -> dict[str, BatchInput]:
        """The inputs with their pictures changed."""
        changed = dict(inputs)
        for name in self._names:
            x_BCHW = inputs[name]
            assert isinstance(x_BCHW, Tensor), "pictures are dense"
            changed[name] = self._changed(x_BCHW)
        return changed

    def _changed(self, x_BCHW: Tensor) -> Tensor:
        mean_C11 = self._mean_C.to(x_BCHW.device)[:, None, None]
        scale_C11 = self._scale_C.to(x_BCHW.device)[:, None, None]
        constant_C11 = scale_C11.isinf()  # such a channel is 0 everywhere, and stays so
        light_BCHW = x_BCHW * scale_C11.masked_fill(constant_C11, 0) + mean_C11
        changed_BCHW: Tensor = self._change(light_BCHW.clamp(0, 1))
        return (changed_BCHW - mean_C11) / scale_C11


def _transforms(
    *, shift: float, rotation: float, zoom: float, flip: bool, brightness: float, contrast: float
) -> nn.Sequential:
    try:
        from kornia import augmentation
    except ImportError:
        raise UserError(
            "augmentation needs kornia, which is not installed: pip install 'mlc[images]', or use "
            "augmentation=none"
        ) from None

    parts: list[nn.Module] = []
    if shift or rotation or zoom:
        parts.append(
            augmentation.RandomAffine(
                degrees=rotation,
                translate=(shift, shift) if shift else None,
                scale=(1 - zoom, 1 + zoom) if zoom else None,
                padding_mode="zeros",
                p=1.0,
            )
        )
    if flip:
        parts.append(augmentation.RandomHorizontalFlip(p=0.5))
    if brightness:
        parts.append(augmentation.RandomBrightness((1 - brightness, 1 + brightness), p=1.0))
    if contrast:
        parts.append(augmentation.RandomContrast((1 - contrast, 1 + contrast), p=1.0))
    if not parts:
        raise UserError(
            "this augmentation changes nothing: raise one of its options, or use augmentation=none"
        )
    return nn.Sequential(*parts)
