import csv
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
import torch
import yaml

from mlc.data.job_ads import SAMPLE, JobAds
from mlc.data.text.tfidf import Tfidf
from mlc.rows import SparseRows
from tests.contract.grid import CONFIGS

DOCS = Path(__file__).parents[3] / "docs" / "job_ads.md"
LANGUAGES = {"English", "German"}
TERMS = {"Management", "Part-time", "Entry level", "Remote"}


def lines() -> list[dict[str, str]]:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))


def labels(line: dict[str, str]) -> list[str]:
    return line["labels"].split("|")


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold()))


def tfidf() -> Tfidf:
    return Tfidf(word_ngrams=[1, 1], char_ngrams=None)


def test_every_line_is_whole() -> None:
    for line in lines():
        assert line.keys() == {"text", "labels", "split"}
        assert line["split"] in ("train", "test")
        assert line["text"] == " ".join(line["text"].split())
        assert 5 <= len(line["text"]) <= 200, line["text"]
        assert '"' not in line["text"]  # a reader that knows quotes reads the same
        assert len(labels(line)) == len(set(labels(line))), line["text"]
        assert LANGUAGES & set(labels(line)), line["text"]
        assert all(label == label.strip() != "" for label in labels(line))


def test_parts_are_as_large_as_the_docs_and_the_config_say() -> None:
    counts = Counter(line["split"] for line in lines())
    said = f"{counts['train']} training and {counts['test']} test lines"
    assert said in DOCS.read_text(encoding="utf-8")
    assert said in (CONFIGS / "dataset" / "job_ads.yaml").read_text(encoding="utf-8")


def test_every_label_is_explained_and_has_enough_lines() -> None:
    counts = {part: Counter[str]() for part in ("train", "test")}
    for line in lines():
        counts[line["split"]].update(labels(line))
    assert counts["train"].keys() == counts["test"].keys()
    assert min(counts["train"].values()) >= 15
    assert min(counts["test"].values()) >= 3
    docs = DOCS.read_text(encoding="utf-8")
    fields = set(re.findall(r"^\| (.+?) \|", docs, flags=re.MULTILINE)) - {"field"}
    assert fields | LANGUAGES | TERMS == counts["train"].keys()
    assert all(f"**{label}**" in docs for label in LANGUAGES | TERMS)


def test_no_line_stands_twice_or_nearly_so() -> None:
    assert len({"".join(line["text"].casefold().split()) for line in lines()}) == len(lines())
    for (one, one_words), (other, other_words) in combinations(
        [(line["text"], words(line["text"])) for line in lines()], 2
    ):
        shared = len(one_words & other_words) / len(one_words | other_words)
        assert shared <= 0.5, f"{one!r} and {other!r} are nearly the same"


def test_the_line_to_try_is_in_neither_part() -> None:
    assert all({"java", "senior", "engineer", "uk"} - words(line["text"]) for line in lines())


def test_the_source_gives_what_the_file_says() -> None:
    dataset = JobAds().load(seed=0, text=tfidf())
    assert set(dataset.label_names) == {label for line in lines() for label in labels(line)}
    test = [line for line in lines() if line["split"] == "test"]
    y_NL = dataset.test.y_NL[: len(test)]
    found = [
        {name for name, true in zip(dataset.label_names, row, strict=True) if true} for row in y_NL.tolist()
    ]
    assert found == [set(labels(line)) for line in test]
    n_train = sum(line["split"] == "train" for line in lines())
    assert len(dataset.train) + len(dataset.valid) == n_train
    assert len(dataset.valid) == pytest.approx(0.15 * n_train, abs=6)
    assert isinstance(dataset.test.inputs["x"], SparseRows)


def test_folds_deal_all_lines_anew() -> None:
    sizes = [len(JobAds(folds=4, fold=fold).load(seed=0, text=tfidf()).test) for fold in range(4)]
    assert sum(sizes) == len(lines())


def test_typed_and_filed_texts_are_read_alike(tmp_path: Path) -> None:
    source = JobAds()
    preparation = source.load(seed=0, text=tfidf()).preparation
    texts = ["Java Senior Engineer in UK", "Krankenpfleger (m/w/d) für die Tagesklinik"]
    file = tmp_path / "new.txt"
    file.write_text("\n".join(texts), encoding="utf-8")
    (batch,) = source.read_inputs(file, preparation=preparation, chunk_rows=10)
    typed = source.text_inputs(texts, preparation=preparation)
    assert isinstance(batch["x"], SparseRows)
    assert isinstance(typed["x"], SparseRows)
    torch.testing.assert_close(batch["x"].dense(), typed["x"].dense())
    assert (batch["x"].dense() != 0).any(1).all()


def test_the_config_spells_out_every_option() -> None:
    content = yaml.safe_load((CONFIGS / "dataset" / "job_ads.yaml").read_text(encoding="utf-8"))
    options = {key: value for key, value in content.items() if key not in ("defaults", "_target_")}
    assert options == {"valid_fraction": 0.15, "folds": None, "fold": 0}
