import json
import logging
from pathlib import Path

import pytest
import torch

from mlc.data.examples import Codes, Examples
from mlc.data.new_texts import read_texts, text_batch
from mlc.data.preparation import fit_preparation
from mlc.data.schema import Attribute, Schema
from mlc.data.text.words import Words
from mlc.errors import UserError

TEXTS = ["red green", "blue", "", "green green"]


@pytest.fixture(scope="module")
def preparation() -> dict[str, torch.Tensor]:
    train = Examples(label_names=(), y_NL=torch.empty(2, 0), text=["red green blue", "green"])
    fitted, _ = fit_preparation(train, text=Words(min_count=1), standardise=False)
    return fitted


def tokens(batches: object) -> list[list[int]]:
    """The ids of every text without its padding, 0."""
    return [[i for i in row if i] for batch in batches for row in batch["x"].tolist()]  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl"])
@pytest.mark.parametrize("chunk_rows", [1, 3, 9])
def test_files_give_what_the_texts_give(
    suffix: str, chunk_rows: int, preparation: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / f"new{suffix}"
    path.write_text(
        {
            ".txt": "".join(f"{text}\r\n" for text in TEXTS),
            ".csv": "id,text\n" + "".join(f'7,"{text}"\n' for text in TEXTS),
            ".jsonl": "".join(json.dumps({"id": 7, "text": text}) + "\n" for text in TEXTS),
        }[suffix]
    )
    batches = list(read_texts(path, preparation=preparation, chunk_rows=chunk_rows))
    assert max(len(batch["x"]) for batch in batches) <= chunk_rows
    assert tokens(batches) == tokens([text_batch(TEXTS, preparation=preparation)])


def test_a_text_that_is_null_is_counted(
    preparation: dict[str, torch.Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "new.jsonl"
    path.write_text('{"text": "red"}\n{"text": null}\n')
    with caplog.at_level(logging.WARNING):
        (batch,) = read_texts(path, preparation=preparation, chunk_rows=9)
    assert len(batch["x"]) == 2
    assert "1 row has no text" in caplog.text


def test_numbers_go_beside_the_text() -> None:
    codes = Codes(Schema((Attribute("a"),)), torch.tensor([[1.0], [3.0]]).double().numpy())
    train = Examples(label_names=(), y_NL=torch.empty(2, 0), text=["red", "blue"], codes=codes)
    fitted, _ = fit_preparation(train, text=Words(min_count=1), standardise=True)
    batch = text_batch(["blue", "red"], preparation=fitted, codes=codes)
    assert batch["numbers"].tolist() == [[-1.0], [1.0]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("new.csv", b"title\nred\n", "has no column 'text'"),
        ("new.txt", b"red\n\xff\n", "line 2: the text is not UTF-8"),
        ("new.docx", b"", "tables are read from"),
        ("new.txt", None, "does not exist"),
    ],
)
def test_what_cannot_be_read(
    name: str, content: bytes | None, problem: str, preparation: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=problem):
        list(read_texts(path, preparation=preparation, chunk_rows=9))
