import torch

from mlc.data.dataset import Dataset, Split
from mlc.training.description_figure import description_figure
from mlc.training.figure_style import png


def dataset(y_NL: torch.Tensor, x: torch.Tensor | None = None) -> Dataset:
    split = Split({"x": torch.zeros(len(y_NL), 2) if x is None else x}, y_NL)
    names = tuple(f"${i}" for i in range(y_NL.shape[1]))
    return Dataset(name="made", label_names=names, train=split, valid=split, test=split, preparation={})


Y_NL = torch.tensor([[1.0, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]])


def test_counts_frequencies_and_pairs_are_drawn() -> None:
    counts, labels, pairs = _charts(dataset(Y_NL))
    assert [bar.get_height() for bar in counts.patches] == [1, 1, 1, 1]
    assert labels.lines[0].get_xdata().tolist() == [3, 2, 1]
    assert [text.get_text() for text in labels.texts] == ["3", "2", "1"]
    shares = pairs.images[0].get_array().filled(-1).round(2).tolist()
    assert shares == [[-1, 0.67, 0.33], [1, -1, 0.5], [1, 1, -1]]


def test_beyond_twenty_labels_there_is_a_curve_and_the_map_says_what_it_has() -> None:
    y_NL = (torch.arange(60)[:, None] < 60 - 2 * torch.arange(30)).float()
    y_NL[:, 29] = 0
    _, labels, pairs = _charts(dataset(y_NL))
    assert labels.lines[0].get_ydata().tolist() == [60 - 2 * i for i in range(29)]
    assert "(1 without a row)" in labels.get_xlabel()
    assert pairs.images[0].get_array().shape == (20, 20)
    assert pairs.get_title(loc="left") == "Which labels come together? (the 20 most frequent)"


def test_pictures_are_shown_with_their_labels() -> None:
    figure = description_figure(dataset(Y_NL, torch.rand(4, 3, 5, 6)))
    strip = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert [axes.get_title() for axes in strip] == ["$0, $1", "$0", "$0, $1, $2", "no label"]
    assert strip[0].images[0].get_array().shape == (5, 6, 3)
    assert png(figure, dots_per_inch=20).startswith(b"\x89PNG")


def test_without_any_positive_it_is_drawn_all_the_same() -> None:
    for n_labels in (2, 25):
        figure = description_figure(dataset(torch.zeros(3, n_labels)))
        assert png(figure, dots_per_inch=20).startswith(b"\x89PNG")


def _charts(made: Dataset) -> list:
    counts, pairs, labels = description_figure(made).axes[:3]
    return [counts, labels, pairs]
