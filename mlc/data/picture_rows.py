"""Pictures as bytes: a quarter of the memory of float32, in memory or mapped from a file."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from mlc.data.standardise import standardise
from mlc.inputs import InputSpec

_WHITE = 255
_CHUNK_BYTES = 1 << 24  # of pixels that are looked at or moved at a time


@dataclass(frozen=True)
class PictureRows:
    """N pictures, picked from M; a batch is float32 B×C×H×W, 0..1, standardised once that is fitted.

    Args:
        pixels_MCHW: uint8, 0..255; may be mapped from a file that is larger than the memory.
        rows_N: int64, the picture of each row; a picture may stand in several rows.
        mean_C: what is taken away from each channel on the scale 0..1; None before it is fitted.
        scale_C: what it is divided by.
        notes: sentences on how the pictures were read.
    """

    pixels_MCHW: Tensor
    rows_N: Tensor
    mean_C: Tensor | None = None
    scale_C: Tensor | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def every(cls, pixels_MCHW: Tensor) -> "PictureRows":
        """One row for each picture, in their order."""
        return cls(pixels_MCHW, torch.arange(len(pixels_MCHW), device=pixels_MCHW.device))

    def __len__(self) -> int:
        return len(self.rows_N)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The pictures of these rows, float32 B×C×H×W."""
        x_BCHW = self.pixels_MCHW[self.rows_N[rows]].float().div_(_WHITE)
        if self.mean_C is None or self.scale_C is None:
            return x_BCHW
        return standardise(x_BCHW, mean=self.mean_C, scale=self.scale_C)

    def view(self, rows: Tensor) -> Self:
        """The same pictures restricted to these rows; no pixel is copied."""
        return replace(self, rows_N=self.rows_N[rows])

    def to(self, device: str) -> Self:
        """The same rows on another device, which gets a copy of their own pictures and no others."""
        if torch.device(device) == self.pixels_MCHW.device:
            return self
        pixels_NCHW = self.pixels_MCHW.new_empty((len(self), *self.spec.shape), device=device)
        start = 0
        for rows in self._chunks():
            pixels_NCHW[start : start + len(rows)] = self.pixels_MCHW[rows].to(device)
            start += len(rows)
        return replace(
            self,
            pixels_MCHW=pixels_NCHW,
            rows_N=torch.arange(len(self), device=device),
            mean_C=None if self.mean_C is None else self.mean_C.to(device),
            scale_C=None if self.scale_C is None else self.scale_C.to(device),
        )

    @property
    def spec(self) -> InputSpec:
        """Pictures of this many channels, this high and wide."""
        channels, height, width = self.pixels_MCHW.shape[1:]
        return InputSpec("pictures", (channels, height, width))

    def standardised(self, *, mean: Tensor, scale: Tensor) -> Self:
        """The same rows, whose batches have `mean` taken away and are divided by `scale`, per channel."""
        return replace(self, mean_C=mean, scale_C=scale)

    def fit(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over all rows, on the scale 0..1, in one pass.

        The pixels are counted by their value, so that the result is exact and needs no float pictures.

        Returns:
            `mean` and `scale`, float32 C. The scale of a constant channel is infinite: see
            `fit_standardisation`.
        """
        channels = self.spec.shape[0]
        counts_CV = torch.zeros(channels, _WHITE + 1, dtype=torch.float64)
        for rows in self._chunks():
            pixels_BCHW = self.pixels_MCHW[rows]
            for channel in range(channels):
                values = pixels_BCHW[:, channel].flatten()
                counts_CV[channel] += torch.bincount(values, minlength=_WHITE + 1).cpu()
        value_V = torch.arange(_WHITE + 1, dtype=torch.float64) / _WHITE
        share_CV = counts_CV / counts_CV.sum(1, keepdim=True).clamp(min=1)
        mean_C = share_CV @ value_V
        variance_C = (share_CV * (value_V - mean_C[:, None]).square()).sum(1)
        constant_C = (counts_CV > 0).sum(1) <= 1
        scale_C = variance_C.sqrt().masked_fill(constant_C, torch.inf)
        return mean_C.float().to(self.rows_N.device), scale_C.float().to(self.rows_N.device)

    def _chunks(self) -> tuple[Tensor, ...]:
        """The pictures of all rows, a bounded number of bytes at a time."""
        each = max(1, self.pixels_MCHW[:1].numel())
        chunks: tuple[Tensor, ...] = self.rows_N.split(max(1, _CHUNK_BYTES // each))
        return chunks
