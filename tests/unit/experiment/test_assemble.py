import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from mlc.backbones.base import PretrainedBackbone
from mlc.batch import LabelStatistics
from mlc.data.dataset import Dataset, Split
from mlc.data.text.encoder import TextEncoder
from mlc.errors import UserError
from mlc.experiment.assemble import make_job, read_run_config, read_trained_run
from mlc.experiment.changes import changes
from mlc.experiment.instantiate import Maker
from mlc.experiment.recipe import Recipe, read_recipe
from mlc.inputs import InputSpec
from mlc.training.job import Job, config_yaml
from mlc.training.run_files import RunFiles, save_classifier
from tests.contract.grid import names, numbers
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

    def __init__(self, shape: tuple[int, ...] = (3,), *, auxiliary: bool = False, side: bool = False) -> None:
        self.shape = shape
        self.auxiliary = auxiliary
        self.side = side
        self.fitted: Mapping[str, Tensor] = {"mean": torch.arange(3.0)}

    def split(self, rows: int, seed: int) -> Split:
        made = split(rows, seed, self.shape)
        inputs = {**made.inputs, "numbers": torch.ones(rows, 2)} if self.side else made.inputs
        auxiliary_NA = torch.eye(2).repeat(rows // 2, 1) if self.auxiliary else None
        return replace(made, inputs=inputs, auxiliary_NA=auxiliary_NA)

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        return Dataset(
            name="made up",
            label_names=NAMES,
            train=self.split(12, seed),
            valid=self.split(6, seed + 1),
            test=self.split(6, seed + 2),
            preparation=preparation or self.fitted,
            notes=("a note of the data",),
        )

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, Tensor]]:
        raise NotImplementedError


def recipe(**chosen: str) -> Recipe:
    backbone, shape = fitting_backbone(chosen.get("head", "sigmoid"), otherwise="mlp")
    return replace(read_recipe(config(seed=3, **({"backbone": backbone} | chosen))), source=MadeUp(shape))


def made(its: Recipe, folder: Path) -> Job:
    return make_job(its, folder, fresh=True)


@pytest.mark.parametrize("head", names("head"))
def test_a_job_has_all_that_a_run_needs(head: str, tmp_path: Path) -> None:
    job = made(recipe(head=head), tmp_path)
    _, shape = fitting_backbone(head, otherwise="mlp")
    expected = MadeUp(shape).load(seed=3)
    assert torch.equal(job.dataset.train.y_NL, expected.train.y_NL), "loaded with another seed"
    assert job.facts.labels.rows == 12
    assert torch.equal(job.facts.labels.positives_L, expected.train.y_NL.double().sum(0))
    assert job.facts.inputs == numbers(*shape)
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
    job = made(recipe(head=head), tmp_path)
    chosen = job.config["choices"]
    assert "auto" not in (chosen["decision"], chosen["calibration"])
    for group in ("decision", "calibration"):
        assert job.config[group] == node(group, chosen[group])
    assert read_recipe(yaml.safe_load(config_yaml(job.config))).config == job.config


@pytest.mark.parametrize("head", names("head"))
def test_rows_without_gradient_are_counted(head: str, tmp_path: Path) -> None:
    notes = made(recipe(head=head), tmp_path).notes
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
        made(replace(read_recipe(content), source=MadeUp()), tmp_path)
    with pytest.raises(UserError, match="backbone=cnn reads pictures"):
        made(recipe(backbone="cnn"), tmp_path)
    with pytest.raises(UserError, match="calibration=platt"):
        made(recipe(head="softmax", calibration="temperature"), tmp_path)


def test_the_same_recipe_makes_the_same_weights(tmp_path: Path) -> None:
    first, second = (made(recipe(), tmp_path).classifier.network.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def finished(folder: Path, **chosen: str) -> Job:
    """A run folder with a classifier of random weights and fitted values."""
    folder.mkdir(exist_ok=True)
    job = made(recipe(**chosen), folder)
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
    x = {"x": torch.randn(7, *job.facts.inputs["x"].shape)}
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
    assert facts.inputs == numbers(3)
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


def started_from(folder: Path, **changes: Any) -> Recipe:
    """A recipe with another seed that starts with the backbone of the run in this folder."""
    content = config(backbone="mlp") | {"seed": 8, "init_from": str(folder)}
    content["backbone"] |= changes
    return replace(read_recipe(content), source=MadeUp())


def test_init_from_takes_the_backbone_and_the_preparation_of_another_run(tmp_path: Path) -> None:
    earlier = finished(tmp_path / "a")
    facts = replace(earlier.facts, preparation={"mean": torch.full((3,), 7.0)})
    save_classifier(RunFiles(tmp_path / "a").classifier, earlier.classifier, facts)
    job = made(started_from(tmp_path / "a"), tmp_path / "b")
    other, network = earlier.classifier.network, job.classifier.network
    expected, state = other.backbone.state_dict(), network.backbone.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    key = "logits.weight"
    assert not torch.equal(network.head.state_dict()[key], other.head.state_dict()[key])
    assert job.dataset.preparation["mean"].tolist() == job.facts.preparation["mean"].tolist() == [7, 7, 7]
    assert f"The backbone starts with the weights of {tmp_path / 'a'}." in job.notes
    assert job.config["init_from"] == str(tmp_path / "a")


def test_a_resumed_run_takes_its_weights_from_its_checkpoint(tmp_path: Path) -> None:
    other = finished(tmp_path / "a").classifier.network.backbone.state_dict()
    job = make_job(started_from(tmp_path / "a"), tmp_path / "b", fresh=False)
    state = job.classifier.network.backbone.state_dict()
    assert not any(torch.equal(state[key], other[key]) for key in other)


def test_init_from_another_backbone_says_how_to_get_the_same(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    place = re.escape(f"init_from={tmp_path / 'a'}")
    usual = node("backbone", "mlp")["widths"]
    words = f"backbone=mlp backbone.widths={usual}".replace(" ", "").replace("mlpb", "mlp b")
    with pytest.raises(UserError, match=rf"^{place} has another backbone: .*{re.escape(words)}, as it has$"):
        made(started_from(tmp_path / "a", widths=[8]), tmp_path / "b")
    linear = replace(
        read_recipe(config(backbone="linear") | {"init_from": str(tmp_path / "a")}), source=MadeUp()
    )
    with pytest.raises(UserError, match=rf"^{place} has another backbone: give this run backbone=mlp, as it"):
        made(linear, tmp_path / "b")
    other = replace(started_from(tmp_path / "a"), source=MadeUp((4,)))
    with pytest.raises(
        UserError, match=r"reads numbers of shape \(3,\), and this run numbers of shape \(4,\);"
    ):
        made(other, tmp_path / "b")


def test_a_run_goes_on_without_the_run_that_it_started_from(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    its = started_from(tmp_path / "a")
    preparation = made(its, tmp_path / "b").facts.preparation
    shutil.rmtree(tmp_path / "a")
    job = make_job(its, tmp_path / "b", fresh=False)
    assert job.facts.preparation.keys() == preparation.keys() == {"mean"}
    assert torch.equal(job.facts.preparation["mean"], preparation["mean"])
    with pytest.raises(UserError, match="is no run"):
        made(its, tmp_path / "c")


def test_init_from_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run: it has no config\.yaml"):
        made(started_from(tmp_path / "a"), tmp_path / "b")


def test_pretrained_weights_are_loaded_only_into_a_new_backbone(tmp_path: Path) -> None:
    calls: list[str] = []

    class Known(PretrainedBackbone):
        def __init__(self, *, inputs: Mapping[str, InputSpec]) -> None:
            super().__init__()
            self.feature_sizes = {"pooled": 3}

        def load_pretrained(self) -> None:
            calls.append("loaded")

        def forward(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
            return {"pooled": inputs["x"]}

    its = recipe()
    its = replace(its, makers={**its.makers, "backbone": Maker(Known, "backbone", {})})
    made(its, tmp_path)
    assert calls == ["loaded"]
    make_job(its, tmp_path, fresh=False)
    assert calls == ["loaded"]


def test_data_without_text_have_no_encoder_in_the_config(tmp_path: Path) -> None:
    its = recipe()
    assert its.config["choices"]["text"] == "tfidf"
    job = made(its, tmp_path)
    assert (job.config["choices"]["text"], job.config["text"]) == ("none", {})
    source = MadeUp()
    source.fitted = {"text.kind": torch.zeros(1)}
    assert made(replace(its, source=source), tmp_path).config["choices"]["text"] == "tfidf"


def test_auxiliary_targets_are_counted_where_a_head_reads_them(tmp_path: Path) -> None:
    content = config(backbone="mlp", auxiliary="sigmoid")
    shared = replace(read_recipe(content), source=MadeUp(auxiliary=True))
    assert made(shared, tmp_path).facts.auxiliary is None
    content["auxiliary"]["targets"] = "own"
    own = replace(read_recipe(content), source=MadeUp(auxiliary=True))
    job = made(own, tmp_path)
    assert job.facts.auxiliary is not None
    assert job.facts.auxiliary.positives_L.tolist() == [6, 6]
    with pytest.raises(UserError, match=r"auxiliary\.targets=own needs"):
        made(replace(own, source=MadeUp()), tmp_path)
    RunFiles(tmp_path).config.write_text(config_yaml(job.config), encoding="utf-8")
    save_classifier(RunFiles(tmp_path).classifier, job.classifier, job.facts)
    assert read_trained_run(tmp_path).classifier.network.auxiliary is not None


@pytest.mark.parametrize("join", ["none", "dense"])
def test_inputs_that_are_not_used_are_said(join: str, tmp_path: Path) -> None:
    job = made(replace(recipe(join=join), source=MadeUp(side=True)), tmp_path)
    said = "The inputs numbers are not used (join=none)."
    assert (said in job.notes) is (join == "none")
    assert set(job.facts.inputs) == {"x", "numbers"}


@pytest.mark.parametrize(
    ("options", "fresh", "chunk"),
    [
        ({"label_shards": True}, True, 2),
        ({"label_shards": True}, False, "auto"),  # its checkpoint has the chunks it began with
        ({"label_shards": True, "label_chunk": 1}, True, 1),
        ({"label_update": "at_step"}, True, "auto"),
    ],
)
def test_an_automatic_chunk_for_shards_is_written_down(
    options: dict[str, Any], fresh: bool, chunk: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlc.training.processes.size", lambda: 2)
    content = config(seed=3, backbone="mlp")
    content["trainer"] |= {"label_chunk": "auto"} | options
    its = replace(read_recipe(content), source=MadeUp())
    job = make_job(its, tmp_path, fresh=fresh)
    assert job.settings.label_chunk == job.config["trainer"]["label_chunk"] == chunk
    assert any("trainer.label_chunk=auto is 2 in 2 processes" in note for note in job.notes) is (chunk == 2)
    assert not changes(its.config, job.config), "resume=auto knows the run by the same words"
    # The run then goes on in one process, which has another rule.
    monkeypatch.setattr("mlc.training.processes.size", lambda: 1)
    config_of_run = {**job.config, "trainer": {**job.config["trainer"], "label_shards": False}}
    alone = make_job(replace(read_recipe(config_of_run), source=MadeUp()), tmp_path, fresh=False)
    assert alone.settings.label_chunk == chunk


def test_what_an_automatic_chunk_is_stands_among_the_notes(tmp_path: Path) -> None:
    content = config(seed=3, backbone="mlp")
    for chunk, told in (("auto", 1), (2, 0)):
        content["trainer"] |= {"label_chunk": chunk}
        job = make_job(replace(read_recipe(content), source=MadeUp()), tmp_path, fresh=True)
        assert sum("trainer.label_chunk=auto takes" in note for note in job.notes) == told


def test_a_calibration_that_chunks_change_is_among_the_notes(tmp_path: Path) -> None:
    content = config(head="softmax", loss="categorical_cross_entropy", backbone="mlp")
    content["trainer"]["label_chunk"] = 2
    job = made(replace(read_recipe(content), source=MadeUp()), tmp_path)
    assert job.config["choices"]["calibration"] == "none"
    assert sum("calibration=auto is none" in note for note in job.notes) == 1
