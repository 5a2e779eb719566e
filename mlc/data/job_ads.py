"""Job adverts: sentences in English and German with language, field and terms of the job as labels."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Interval
from torch import Tensor

from mlc.batch import BatchInput
from mlc.data.dataset import Dataset
from mlc.data.new_texts import read_texts, text_batch
from mlc.data.table import Table
from mlc.data.text.encoder import TextEncoder

SAMPLE = Path(__file__).parent / "samples" / "job_ads.tsv"


class JobAds:
    """The sample of job adverts that is part of this package, with training and test lines as it has them.

    It was written for this project to show multi-label text on a fresh checkout, with no download. It is an
    illustration and never evidence: no real adverts, and one author. The rules for its labels are in
    docs/job_ads.md.

    Args:
        valid_fraction: share of the training lines held out for validation.
        folds: number of folds of a cross-validation over all lines; null for the split of the sample.
        fold: which fold tests, from 0.
    """

    def __init__(
        self,
        *,
        valid_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.15,
        folds: Annotated[int, Ge(2)] | None = None,
        fold: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.table = Table(
            path=str(SAMPLE),
            text="text",
            labels="labels",
            label_delimiter="|",
            split="split",
            valid_fraction=valid_fraction,
            folds=folds,
            fold=fold,
        )

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        """Read the sample and prepare the texts."""
        return self.table.load(seed=seed, text=text, preparation=preparation)

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, BatchInput]]:
        """Stream new texts from a file; see `read_texts`."""
        yield from read_texts(path, preparation=preparation, chunk_rows=chunk_rows)

    def text_inputs(
        self, texts: Sequence[str], *, preparation: Mapping[str, Tensor]
    ) -> Mapping[str, BatchInput]:
        """The inputs of these texts as one batch."""
        return text_batch(texts, preparation=preparation)
