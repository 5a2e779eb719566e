from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from mlc.batch import LabelStatistics
from mlc.data.dataset import Dataset, Split
from mlc.errors import UserError
from mlc.experiment.assemble import make_job, read_run_config, read_trained_run
from mlc.experiment.recipe import Recipe, read_recipe
from mlc.training.job import Job, config_yaml
from mlc.training.run_files import RunFiles, save_classifier
from tests.contract.grid import names
from tests.unit.experiment.shipped import brought, config, fitting_backbone, node

NAMES = ("plain", "größe", 'quote " comma ,', "line\nbreak", "x")


def targets(rows: int, seed: int) -> Tensor:
    y_NL = (torch.rand(rows, 5, generator=torch.Generator().manual_seed(seed)) < 0.4).float()
    y_NL[:2] = torch.tensor([[0.0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    return y_NL


def split(rows: int, seed: int, shape: tuple[int, ...]) -> Split:
    x = torch.randn(rows, *shape, generator=torch.Generator().manual_seed(seed))
    return Split(inputs={"x": x}, y_NL=targets(rows, seed))


class MadeUp:
    """A source of made-up data; the seed it is loaded with decides the rows."""

    def __init__(self, shape: tuple[int, ...] = (3,)) -> None:
        self.shape = shape

    def load(self, *, seed: int) -> Dataset:
        return Dataset(
            name="made up",
            label_names=NAMES,
            train=split(12, seed, self.shape),
            valid=split(6, seed + 1, self.shape),
            test=split(6, seed + 2, self.shape),
            preparation={"mean": torch.arange(3.0)},
            notes=("a note of the data",),
        )

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, Tensor]]:
        raise NotImplementedError


def recipe(**chosen: str) -> Recipe:
    backbone, shape = fitting_backbone(chosen.get("head", "sigmoid"), otherwise="mlp")
    return replace(read_recipe(config(seed=3, **({"backbone": backbone} | chosen))), source=MadeUp(shape))


@pytest.mark.parametrize("head", names("head"))
def test_a_job_has_all_that_a_run_needs(head: str, tmp_path: Path) -> None:
    job = make_job(recipe(head=head), tmp_path)
    _, shape = fitting_backbone(head, otherwise="mlp")
    expected = MadeUp(shape).load(seed=3)
    assert torch.equal(job.dataset.train.y_NL, expected.train.y_NL), "loaded with another seed"
    assert job.facts.labels.rows == 12
    assert torch.equal(job.facts.labels.positives_L, expected.train.y_NL.double().sum(0))
    assert job.facts.input_shape == shape
    assert job.facts.label_names == NAMES
    assert job.folder == tmp_path
    assert job.seed == 3
    assert job.classifier.network({"x": torch.zeros(2, *shape)}).n_labels == 5
    optimizer = job.make_optimizer(job.classifier.network.parameters())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(
        list(job.classifier.network.parameters())
    )


@pytest.mark.parametrize("head", names("head"))
def test_the_jobs_config_leaves_nothing_open(head: str, tmp_path: Path) -> None:
    job = make_job(recipe(head=head), tmp_path)
    chosen = job.config["choices"]
    assert "auto" not in (chosen["decision"], chosen["calibration"])
    for group in ("decision", "calibration"):
        assert job.config[group] == node(group, chosen[group])
    assert read_recipe(yaml.safe_load(config_yaml(job.config))).config == job.config


@pytest.mark.parametrize("head", names("head"))
def test_rows_without_gradient_are_counted(head: str, tmp_path: Path) -> None:
    notes = make_job(recipe(head=head), tmp_path).notes
    assert notes[0] == "a note of the data"
    said = [note for note in notes if "no label" in note]
    # One training row has no label; only the loss on shares alone learns nothing from it.
    if brought("head", head)["loss"] == "categorical_cross_entropy":
        assert said == ["1 training rows have no label and carry no gradient under this loss."]
    else:
        assert said == []


def test_what_does_not_fit_the_data_is_refused_before_training(tmp_path: Path) -> None:
    content = config(decision="top_k", backbone="mlp")
    content["decision"]["k"] = 6
    with pytest.raises(UserError, match=r"decision\.k=6"):
        make_job(replace(read_recipe(content), source=MadeUp()), tmp_path)
    with pytest.raises(UserError, match="backbone=cnn needs pictures"):
        make_job(recipe(backbone="cnn"), tmp_path)
    with pytest.raises(UserError, match="calibration=platt"):
        make_job(recipe(head="softmax", calibration="temperature"), tmp_path)


def test_the_same_recipe_makes_the_same_weights(tmp_path: Path) -> None:
    first, second = (make_job(recipe(), tmp_path).classifier.network.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def finished(folder: Path, **chosen: str) -> Job:
    """A run folder with a classifier of random weights and fitted values."""
    job = make_job(recipe(**chosen), folder)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for part in job.classifier.parts().values():
            for tensor in part.state_dict().values():
                if tensor.is_floating_point():
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    RunFiles(folder).config.write_text(config_yaml(job.config), encoding="utf-8")
    save_classifier(RunFiles(folder).classifier, job.classifier, job.facts)
    return job


@pytest.mark.parametrize("head", names("head"))
def test_a_trained_run_comes_back_as_it_was(head: str, tmp_path: Path) -> None:
    job = finished(tmp_path, head=head, calibration="platt", decision="per_label_threshold")
    torch.manual_seed(0)
    trained = read_trained_run(tmp_path)
    x = {"x": torch.randn(7, *job.facts.input_shape)}
    outputs = []
    for classifier in (job.classifier, trained.classifier):
        classifier.network.eval()
        outputs.append(classifier.calibrator(classifier.loss.link(classifier.network(x))))
    assert torch.equal(outputs[0].marginals(), outputs[1].marginals())
    decided = [c.decision(o) for c, o in zip((job.classifier, trained.classifier), outputs, strict=True)]
    assert torch.equal(*decided)
    assert torch.equal(trained.classifier.decision.thresholds(), job.classifier.decision.thresholds())
    assert trained.recipe.config == job.config


def test_a_trained_run_is_ready_to_predict(tmp_path: Path) -> None:
    finished(tmp_path)
    classifier = read_trained_run(tmp_path).classifier
    assert not any(part.training for part in classifier.parts().values())
    assert all(p.device.type == "cpu" for p in classifier.network.parameters())


def test_the_facts_of_a_trained_run_need_no_data(tmp_path: Path) -> None:
    finished(tmp_path)
    facts = read_trained_run(tmp_path).facts
    assert facts.label_names == NAMES
    assert facts.input_shape == (3,)
    assert torch.equal(facts.preparation["mean"], torch.arange(3.0))
    expected = LabelStatistics.from_targets(targets(12, 3))
    assert torch.equal(facts.labels.positives_L, expected.positives_L)
    assert facts.labels.positives_L.dtype == torch.float64
    assert (facts.labels.rows, facts.labels.single_label) == (12, False)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run: it has no config\.yaml"):
        read_run_config(tmp_path)


def test_a_run_that_has_not_finished(tmp_path: Path) -> None:
    finished(tmp_path)
    RunFiles(tmp_path).classifier.unlink()
    with pytest.raises(UserError, match=f"not finished training.*resume={tmp_path}"):
        read_trained_run(tmp_path)


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"- 1", b"", b"text", b"a: \t b: c"])
def test_a_config_that_is_none(tmp_path: Path, content: bytes) -> None:
    RunFiles(tmp_path).config.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.yaml") as refused:
        read_run_config(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_strangers_config_runs_no_code(tmp_path: Path) -> None:
    mark = tmp_path / "owned"
    RunFiles(tmp_path).config.write_text(f"seed: !!python/object/apply:os.mkdir ['{mark}']\n")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        read_run_config(tmp_path)
    content = config() | {"head": {"_target_": "pathlib.Path.touch", "self": str(mark)}}
    RunFiles(tmp_path).config.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="refused"):
        read_trained_run(tmp_path)
    assert not mark.exists()


def edited(folder: Path, group: str, **changes: Any) -> None:
    path = RunFiles(folder).config
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content[group] |= changes
    path.write_text(yaml.safe_dump(content))


def test_a_config_changed_after_training_is_noticed(tmp_path: Path) -> None:
    finished(tmp_path)
    edited(tmp_path, "backbone", widths=[8])
    with pytest.raises(UserError, match="one of the two has been changed"):
        read_trained_run(tmp_path)


def test_another_rule_or_calibrator_than_the_fitted_one_is_noticed(tmp_path: Path) -> None:
    finished(tmp_path, calibration="temperature", decision="top_k")
    edited(tmp_path, "calibration", _target_="mlc.calibration.platt.Platt")
    with pytest.raises(UserError, match="one of the two has been changed"):
        read_trained_run(tmp_path)


def test_a_cut_classifier_is_damaged(tmp_path: Path) -> None:
    finished(tmp_path)
    path = RunFiles(tmp_path).classifier
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="damaged or cut"):
        read_trained_run(tmp_path)
