import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util

from mlc.training.dashboard import _LAYOUT, Dashboard, flatten
from mlc.training.figures import draw_evaluation

NAMES = ("a/b", "a b", "a_b", "größe $x (1)")
SETTINGS = {"seed": 3, "head": {"_target_": "mlc.heads.sigmoid.SigmoidHead"}, "optimizer": {"lr": 0.01}}


def open_dashboard(
    folder: Path, *, names: tuple[str, ...] = NAMES, purge_step: int | None = None
) -> Dashboard:
    positives_L = torch.arange(len(names), 0, -1)
    return Dashboard(folder=folder, label_names=names, positives_L=positives_L, purge_step=purge_step)


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance=dict.fromkeys(("scalars", "images", "tensors"), 0))
    return events.Reload()


def points(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(point.step, pytest.approx(point.value, rel=1e-6)) for point in events.Scalars(tag)]


def text(events: EventAccumulator, tag: str) -> str:
    (event,) = events.Tensors(f"{tag}/text_summary")
    return tensor_util.make_ndarray(event.tensor_proto)[0].decode()


@pytest.fixture(scope="module")
def finished(make_evaluation, tmp_path_factory: pytest.TempPathFactory):
    """A whole run, and its validation and test."""
    folder = tmp_path_factory.mktemp("run")
    evaluations = {"valid": make_evaluation(), "test": make_evaluation(seed=1)}
    with open_dashboard(folder) as dashboard:
        dashboard.introduce(config_yaml="seed: 3\n", notes=["a note"])
        for step in (1, 2):
            dashboard.train(step, loss=1 / step, learning_rate=0.01, examples_per_s=100.0)
        dashboard.validate(2, evaluations["valid"].suite, loss=0.4)
        figures = draw_evaluation(NAMES, evaluations["test"], split="test", score_is_probability=True)
        dashboard.finish(2, evaluations, figures=figures, hyperparameters=SETTINGS)
    return folder, evaluations


def test_everything_lies_in_one_event_file_in_the_run_folder(finished) -> None:
    folder, _ = finished
    (file,) = folder.iterdir()
    assert file.name.startswith("events.out.tfevents.")


def test_training_and_validation_points(finished) -> None:
    events, valid = read(finished[0]), finished[1]["valid"]
    assert points(events, "train/loss") == [(1, 1.0), (2, 0.5)]
    assert points(events, "train/learning_rate") == [(1, 0.01), (2, 0.01)]
    assert points(events, "train/examples_per_s") == [(1, 100), (2, 100)]
    assert points(events, "valid/loss") == [(2, 0.4)]
    assert points(events, "valid/micro_f1") == [(2, valid.metrics["micro_f1"])]
    assert points(events, "valid/classwise_ece_uncalibrated") == [
        (2, valid.metrics["classwise_ece_uncalibrated"])
    ]


def test_each_label_has_its_own_curves_whatever_its_name(finished) -> None:
    events, per_label = read(finished[0]), finished[1]["valid"].suite.per_label
    for i, name in enumerate(NAMES):
        assert points(events, f"f1/{name}") == [(2, float(per_label["f1"][i]))]
        assert points(events, f"ece/{name}") == [(2, float(per_label["ece"][i]))]
    assert sum(tag.startswith("f1/") for tag in events.Tags()["scalars"]) == 4


def test_what_is_not_defined_is_no_point(make_evaluation, tmp_path: Path) -> None:
    evaluation = make_evaluation(no_probabilities="scores only")
    columns = {**evaluation.suite.per_label, "f1": torch.tensor([0.5, float("nan"), 0.5, 0.5])}
    with open_dashboard(tmp_path) as dashboard:
        dashboard.validate(1, replace(evaluation.suite, per_label=columns), loss=0.4)
    tags = read(tmp_path).Tags()["scalars"]
    assert "valid/classwise_ece" not in tags
    assert not any(tag.startswith("ece/") for tag in tags)
    assert [tag for tag in tags if tag.startswith("f1/")] == ["f1/a/b", "f1/a_b", "f1/größe $x (1)"]


def test_config_and_notes_are_text(finished) -> None:
    events = read(finished[0])
    assert text(events, "run/config") == "```yaml\nseed: 3\n```"
    assert text(events, "run/notes") == "- a note"


def test_of_many_labels_the_most_frequent_hundred_have_curves_and_it_is_said(
    make_evaluation, tmp_path: Path
) -> None:
    names = tuple(f"label {i}" for i in range(130))
    with open_dashboard(tmp_path, names=names) as dashboard:
        dashboard.introduce(config_yaml="")
        dashboard.validate(1, make_evaluation(n_labels=130).suite, loss=0.4)
    events = read(tmp_path)
    shown = {tag for tag in events.Tags()["scalars"] if tag.startswith("f1/")}
    assert shown == {f"f1/label {i}" for i in range(100)}
    assert "100 most frequent of 130 labels" in text(events, "run/notes")


def test_images_are_png(finished) -> None:
    events = read(finished[0])
    assert sorted(events.Tags()["images"]) == ["figures/label_f1", "figures/reliability"]
    for tag in events.Tags()["images"]:
        (event,) = events.Images(tag)
        image = Image.open(io.BytesIO(event.encoded_image_string))
        assert image.format == "PNG"
        assert image.size == (event.width, event.height)


def test_precision_recall_curves_hold_the_counts_of_the_test_rows(finished) -> None:
    events, test = read(finished[0]), finished[1]["test"]
    support = int(test.suite.per_label["support"][0])
    (event,) = events.Tensors("precision_recall/a/b")
    tp, fp, tn, fn, precision, recall = tensor_util.make_ndarray(event.tensor_proto)
    assert np.allclose(tp + fn, support)
    assert np.allclose(tp + fp + tn + fn, 300)
    assert np.allclose(precision, tp / (tp + fp))
    assert np.allclose(recall, tp / support)
    assert recall[0] == 1
    assert np.all(np.diff(recall) <= 0)


def test_hparams_stand_in_the_run_itself_with_metrics_that_exist(finished) -> None:
    events, test = read(finished[0]), finished[1]["test"]
    content = events.PluginTagToContent("hparams")
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    assert {name: start.hparams[name].number_value for name in ("seed", "optimizer.lr")} == {
        "seed": 3,
        "optimizer.lr": 0.01,
    }
    assert start.hparams["head"].string_value == "SigmoidHead"
    experiment = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG])
    metrics = [info.name.tag for info in experiment.metric_infos]
    assert "final/test_micro_f1" in metrics
    assert set(metrics) <= set(events.Tags()["scalars"])
    assert points(events, "final/test_micro_f1") == [(3, test.metrics["micro_f1"])]
    assert metadata.SESSION_END_INFO_TAG in content


def test_every_chart_of_the_layout_finds_its_curves(finished) -> None:
    events = read(finished[0])
    (event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor_util.make_ndarray(event.tensor_proto).item())
    assert [category.title for category in layout.category] == list(_LAYOUT)
    tags = events.Tags()["scalars"]
    for category in layout.category:
        for chart in category.chart:
            for pattern in chart.multiline.tag:
                assert any(re.match(pattern, tag) for tag in tags), pattern


def test_a_resumed_run_doubles_no_point(make_evaluation, tmp_path: Path) -> None:
    suite = make_evaluation().suite
    with open_dashboard(tmp_path) as dashboard:
        dashboard.introduce(config_yaml="seed: 3\n")
        for step in range(1, 7):
            dashboard.train(step, loss=1.0, learning_rate=0.01, examples_per_s=1.0)
        dashboard.validate(3, suite, loss=1.0)
        dashboard.validate(6, suite, loss=1.0)
    with open_dashboard(tmp_path, purge_step=4) as dashboard:
        for step in range(4, 9):
            dashboard.train(step, loss=2.0, learning_rate=0.01, examples_per_s=1.0)
        dashboard.validate(6, suite, loss=2.0)
    events = read(tmp_path)
    assert points(events, "train/loss") == [(step, 1.0 if step < 4 else 2.0) for step in range(1, 9)]
    assert points(events, "valid/loss") == [(3, 1.0), (6, 2.0)]
    assert text(events, "run/config") == "```yaml\nseed: 3\n```"


def test_a_run_that_is_finished_again_replaces_its_final_points(make_evaluation, tmp_path: Path) -> None:
    evaluations = {"valid": make_evaluation(), "test": make_evaluation(seed=1)}
    figures = draw_evaluation(NAMES, evaluations["test"], split="test", score_is_probability=True)
    for purge_step in (None, 3):
        with open_dashboard(tmp_path, purge_step=purge_step) as dashboard:
            dashboard.finish(2, evaluations, figures=figures, hyperparameters=SETTINGS)
    events = read(tmp_path)
    assert len(events.Scalars("final/test_micro_f1")) == 1
    assert len(events.Images("figures/reliability")) == 1


def test_a_run_that_fails_keeps_its_points(tmp_path: Path) -> None:
    def fail() -> None:
        with open_dashboard(tmp_path) as dashboard:
            dashboard.train(1, loss=1.0, learning_rate=0.01, examples_per_s=1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert points(read(tmp_path), "train/loss") == [(1, 1.0)]


def test_hyperparameters_are_flat_numbers_and_text() -> None:
    nested = {
        "seed": 0,
        "head": {
            "_target_": "mlc.heads.factorised.FactorisedHead",
            "count": {"_target_": "a.Poisson", "floor": 0.1},
        },
        "trainer": {"clip_norm": None, "fused": True, "hidden": [64, 64]},
    }
    assert flatten(nested) == {
        "seed": 0,
        "head": "FactorisedHead",
        "head.count": "Poisson",
        "head.count.floor": 0.1,
        "trainer.clip_norm": "None",
        "trainer.fused": "True",
        "trainer.hidden": "[64, 64]",
    }


def test_tensorboard_is_imported_when_a_dashboard_opens() -> None:
    code = (
        "import sys, mlc.training.dashboard; assert not any(m.startswith('tensorboard') for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
