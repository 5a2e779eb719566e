"""Reuters-21578: newswire of 1987, in the ModApte split with the 90 topics that occur on both sides."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor

from mlc.batch import BatchInput
from mlc.data.archives import DAMAGED, read_tar_gz
from mlc.data.dataset import Dataset
from mlc.data.examples import TEST, TRAIN, Examples
from mlc.data.new_texts import read_texts, text_batch
from mlc.data.pipeline import build_dataset
from mlc.data.root import data_file
from mlc.data.splitting import Splitting
from mlc.data.text.encoder import TextEncoder
from mlc.errors import UserError

_ARCHIVE = ("reuters21578", "reuters21578.tar.gz")
_MEMBERS = tuple(f"reut2-{number:03}.sgm" for number in range(22))
_SPLITS = {"TRAIN": TRAIN, "TEST": TEST}

_DOCUMENT = re.compile(r"<REUTERS\b([^>]*)>(.*?)</REUTERS>", re.DOTALL)
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_TOPICS = re.compile(r"<TOPICS>(.*?)</TOPICS>", re.DOTALL)
_TOPIC = re.compile(r"<D>(.*?)</D>", re.DOTALL)
_TEXT = re.compile(r"<TEXT\b([^>]*)>(.*?)</TEXT>", re.DOTALL)
_TITLE = re.compile(r"<TITLE>(.*?)</TITLE>", re.DOTALL)
_BODY = re.compile(r"<BODY>(.*?)</BODY>", re.DOTALL)
_ENTITY = re.compile(r"&(?:#(\d+)|(lt|gt|amp|quot));")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SIGNS = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}


@dataclass(frozen=True)
class Document:
    """One story.

    Args:
        split: TRAIN or TEST of the ModApte split.
        topics: its topics, each once.
        text: title and body.
    """

    split: int
    topics: frozenset[str]
    text: str


class Reuters:
    """Stories with the topics that an indexer gave them: 7770 to train and validate, 3019 to test, 90 topics.

    ModApte takes the stories with TOPICS="YES" and splits them by LEWISSPLIT. A topic counts if at least one
    training and one test story have it; stories with none of these topics are left out, and counted. The text
    of a story is its title and body. The archive reuters21578.tar.gz is in the folder "reuters21578" of the
    data root; it is downloaded on first use.

    Args:
        valid_fraction: share of the training stories held out for validation; with folds, of those that do
            not test.
        title_weight: how often the title stands before the body: headlines name the topic, and count more for
            a model that counts words. New texts are taken as they are.
        folds: number of folds of a cross-validation over all stories; null for the ModApte split.
        fold: which fold tests, from 0.

    Source: D. Lewis (1997), Reuters-21578, Distribution 1.0, README; C. Apté, F. Damerau and S. Weiss (1994),
        Automated Learning of Decision Rules for Text Categorization.
    """

    def __init__(
        self,
        *,
        valid_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.15,
        title_weight: Annotated[int, Ge(1)] = 1,
        folds: Annotated[int, Ge(2)] | None = None,
        fold: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.title_weight = title_weight
        self.splitting = Splitting(valid_fraction=valid_fraction, folds=folds, fold=fold)

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        """Read the archive and prepare the texts; takes some seconds.

        Raises:
            UserError: the archive is missing and cannot be downloaded, or is damaged.
        """
        pages = read_archive(data_file(*_ARCHIVE))
        documents = [
            document for page in pages for document in read_documents(page, title_weight=self.title_weight)
        ]
        return build_dataset(
            examples_of(documents),
            name="reuters",
            splitting=self.splitting,
            text=text,
            standardise=False,
            seed=seed,
            preparation=preparation,
        )

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


def read_archive(path: Path) -> list[str]:
    """The text of the 22 sgm files, in order. Each is read from the archive by its name; nothing is unpacked.

    Raises:
        UserError: the archive is damaged or lacks a file.
    """
    try:
        found = read_tar_gz(path, _MEMBERS)
    except DAMAGED as error:
        raise UserError(f"{path} is not a whole tar.gz archive; get it again.") from error
    missing = [name for name in _MEMBERS if name not in found]
    if missing:
        raise UserError(
            f"{path} lacks {len(missing)} of {len(_MEMBERS)} files, {missing[0]} first; get it again."
        )
    return [found[name].decode("latin-1") for name in _MEMBERS]  # every byte is a sign of it


def read_documents(page: str, *, title_weight: int = 1) -> Iterator[Document]:
    """The stories of one sgm file that the ModApte split uses; their titles so often."""
    for header, inside in _DOCUMENT.findall(page):
        attributes = dict(_ATTRIBUTE.findall(header))
        if attributes.get("TOPICS") == "YES" and attributes.get("LEWISSPLIT") in _SPLITS:
            topics = frozenset(_TOPIC.findall(_first(_TOPICS, inside)))
            text = _text(inside, title_weight=title_weight)
            yield Document(_SPLITS[attributes["LEWISSPLIT"]], topics, text)


def examples_of(documents: Sequence[Document]) -> Examples:
    """The stories that have a topic of both splits, and these topics as labels, by name.

    Raises:
        UserError: no topic occurs in both splits.
    """
    topics = {
        split: {topic for document in documents if document.split == split for topic in document.topics}
        for split in (TRAIN, TEST)
    }
    label_names = tuple(sorted(topics[TRAIN] & topics[TEST]))
    if not label_names:
        raise UserError(
            "the Reuters archive has no topic with both a training and a test story; get it again."
        )
    places = {topic: place for place, topic in enumerate(label_names)}
    used = [document for document in documents if not document.topics.isdisjoint(places)]
    y_NL = torch.zeros(len(used), len(label_names))
    for row, document in enumerate(used):
        y_NL[row, [places[topic] for topic in document.topics if topic in places]] = 1
    return Examples(
        label_names=label_names,
        y_NL=y_NL,
        text=[document.text for document in used],
        part_N=np.array([document.split for document in used], dtype=np.int8),
        notes=_notes(documents, used, len(topics[TRAIN] | topics[TEST]), len(label_names)),
    )


def _text(inside: str, *, title_weight: int) -> str:
    """Title, so often, and body of a story; all of its text where it has no such parts."""
    kind, whole = next(iter(_TEXT.findall(inside)), ("", ""))
    title, body = _first(_TITLE, whole), _first(_BODY, whole)
    parts = [whole] if "UNPROC" in kind or not (title or body) else [*[title] * title_weight, body]
    return "\n".join(_plain(part) for part in parts if part).strip()


def _plain(text: str) -> str:
    """The text with its entities resolved and without control characters.

    Only entities that end in a semicolon count: a company called A&LT is no <.
    """
    resolved = _ENTITY.sub(lambda found: _SIGNS[found[2]] if found[2] else chr(int(found[1])), text)
    return _CONTROL.sub("", resolved)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _notes(
    documents: Sequence[Document], used: Sequence[Document], n_topics: int, n_labels: int
) -> tuple[str, ...]:
    counts = {
        split: (sum(d.split == split for d in documents), sum(d.split == split for d in used))
        for split in (TRAIN, TEST)
    }
    left_out = " and ".join(
        f"{before - after} of {before} {name} stories"
        for name, (before, after) in zip(("training", "test"), counts.values(), strict=True)
    )
    notes = [
        f"{n_labels} of {n_topics} topics have both a training and a test story; {left_out} have none of "
        "them and are left out."
    ]
    n_empty = sum(not document.text for document in used)
    if n_empty:
        notes.append(f"{n_empty} of {len(used)} stories {'has' if n_empty == 1 else 'have'} no text.")
    return tuple(notes)
