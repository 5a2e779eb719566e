from dataclasses import fields
from pathlib import Path

import pytest
import torch

from mlc.batch import LabelStatistics
from mlc.errors import UserError
from mlc.inputs import InputSpec
from mlc.training.run_files import Facts, RunFiles, load_facts, save_classifier
from tests.unit.training import tiny

SINGLE = LabelStatistics.from_targets(torch.eye(3))
DOCUMENTED = Path(__file__).parents[3] / "docs" / "run_folder.md"


def facts(**changes: object) -> Facts:
    values: dict[str, object] = {
        "inputs": tiny.INPUTS,
        "label_names": tiny.NAMES,
        "labels": tiny.statistics(),
        "preparation": {
            "mean": torch.tensor(0.1).double(),
            "schema": torch.tensor([1, 2], dtype=torch.uint8),
        },
    }
    return Facts(**(values | changes))  # type: ignore[arg-type]


def test_every_file_lies_in_the_folder_under_its_documented_name() -> None:
    files = RunFiles(Path("runs/a"))
    text = DOCUMENTED.read_text(encoding="utf-8")
    paths = [getattr(files, name) for name in vars(RunFiles) if isinstance(vars(RunFiles)[name], property)]
    assert len(set(paths)) == len(paths) == 10
    for path in paths:
        assert f"{path.relative_to('runs/a').as_posix()}" in text


def test_facts_come_back_as_they_were(tmp_path: Path) -> None:
    path, classifier = tmp_path / "new" / "classifier.safetensors", tiny.classifier()
    save_classifier(path, classifier, facts())
    loaded, _ = load_facts(path)
    assert loaded.inputs == tiny.INPUTS
    assert loaded.auxiliary is None
    assert loaded.label_names == tiny.NAMES
    for field in fields(LabelStatistics):
        found, expected = (
            getattr(statistics, field.name) for statistics in (loaded.labels, tiny.statistics())
        )
        if isinstance(expected, torch.Tensor):
            assert torch.equal(found, expected)
            assert found.dtype == expected.dtype
        else:
            assert (type(found), found) == (type(expected), expected)
    assert loaded.preparation.keys() == facts().preparation.keys()
    for name, tensor in facts().preparation.items():
        assert torch.equal(loaded.preparation[name], tensor)
        assert loaded.preparation[name].dtype == tensor.dtype


@pytest.mark.parametrize(
    "changes",
    [
        {
            "inputs": {
                "x": InputSpec("tokens", (7,), vocabulary=20, padding=1, encoder='{"größe": 3}'),
                "picture": InputSpec("pictures", (3, 28, 28)),
            }
        },
        {"preparation": {}},
        {"labels": SINGLE},
        {"auxiliary": SINGLE},
        {"label_names": ("a", "b/c", "")},
    ],
)
def test_facts_of_other_kinds_come_back_too(tmp_path: Path, changes: dict[str, object]) -> None:
    save_classifier(tmp_path / "a", tiny.classifier(), facts(**changes))
    loaded, _ = load_facts(tmp_path / "a")
    for name, value in changes.items():
        if isinstance(value, LabelStatistics):
            assert getattr(loaded, name).single_label is True
            assert getattr(loaded, name).rows == 3
        else:
            assert getattr(loaded, name) == value


def test_the_state_of_every_part_comes_back(tmp_path: Path) -> None:
    saved, other = tiny.classifier(seed=0), tiny.classifier(seed=1)
    saved.calibrator.slope_L.uniform_()  # type: ignore[operator, union-attr]
    saved.decision.threshold_L.uniform_()  # type: ignore[operator, union-attr]
    saved.network({"x": tiny.split().inputs["x"]})  # running statistics
    save_classifier(tmp_path / "a", saved, facts())
    _, parts = load_facts(tmp_path / "a")
    assert parts.keys() == saved.parts().keys()
    for name, part in other.parts().items():
        part.load_state_dict(parts[name])
    for name, part in saved.parts().items():
        expected, found = part.state_dict(), other.parts()[name].state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    save_classifier(tmp_path / "a", tiny.classifier(), facts())
    content = bytearray((tmp_path / "a").read_bytes())
    content[-3] ^= 1
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match="checksum"):
        load_facts(tmp_path / "a")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        load_facts(tmp_path / "a")
