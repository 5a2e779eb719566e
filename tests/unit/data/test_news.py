from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from mlc.data.examples import TEST, TRAIN, VALID
from mlc.data.news import CHANNELS, News
from mlc.data.text.words import Words
from mlc.errors import UserError
from tests.unit.data.real_data import real_file

SIDES = ["num_hrefs", "num_imgs"]
HEADER = f"Id,url, num_hrefs, num_imgs, {', '.join(CHANNELS.values())}, shares"
N_ROWS = 40


def row(number: int) -> str:
    """Two stories a day from 2014-09-01; the channel is the number modulo 7, of which 6 is none."""
    day = date(2014, 9, 1) + timedelta(days=number // 2)
    channels = ",".join("1" if number % 7 == channel else "0" for channel in range(6))
    return (
        f"{number},http://mashable.com/{day:%Y/%m/%d}/some-story-{number}/,{number},{number % 3},"
        f"{channels},{shares(number)}"
    )


def shares(number: int) -> int:
    return 100 + 37 * number % 101


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    monkeypatch.setenv("MLC_OFFLINE", "1")
    (tmp_path / "news").mkdir()
    write(tmp_path / "news")
    return tmp_path / "news"


def write(folder: Path, *, name: str = "mashable_2014_09_12.csv", lines: list[str] | None = None) -> None:
    rows = [HEADER, *map(row, range(N_ROWS))] if lines is None else lines
    (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8-sig")


def test_titles_side_inputs_and_channels(folder: Path) -> None:
    examples = News(side_inputs=SIDES).examples(seed=0)
    assert examples.text is not None
    assert examples.text[:2] == ["some story 0", "some story 1"]
    assert examples.codes is not None
    assert [attribute.name for attribute in examples.codes.schema.attributes] == SIDES
    assert examples.codes.codes_NA.tolist() == [[n, n % 3] for n in range(N_ROWS)]
    assert examples.label_names[3:] == tuple(CHANNELS)
    expected = [[float(n % 7 == channel) for channel in range(6)] for n in range(N_ROWS)]
    assert examples.y_NL[:][:, 3:].tolist() == expected


def test_the_last_days_test_and_those_before_them_validate(folder: Path) -> None:
    examples = News(side_inputs=SIDES, valid_fraction=0.25, test_fraction=0.2).examples(seed=0)
    part_N = examples.part_N
    assert part_N is not None
    assert part_N.tolist() == [TRAIN] * 24 + [VALID] * 8 + [TEST] * 8
    assert (
        "Stories by date: train from 2014-09-01 to 2014-09-12, valid from 2014-09-13 to 2014-09-16, "
        "test from 2014-09-17 to 2014-09-20."
    ) in examples.notes


def test_a_day_is_never_cut(folder: Path) -> None:
    part_N = News(side_inputs=SIDES, valid_fraction=0.27, test_fraction=0.22).examples(seed=0).part_N
    assert part_N is not None
    assert (part_N[::2] == part_N[1::2]).all()


def test_thresholds_are_quantiles_of_the_training_rows(folder: Path) -> None:
    examples = News(side_inputs=SIDES, valid_fraction=0.25, test_fraction=0.2).examples(seed=0)
    assert examples.label_names[:3] == ("shares_above_median", "shares_top_25", "shares_top_10")
    everything = np.array([shares(n) for n in range(N_ROWS)])
    for column, quantile in enumerate((0.5, 0.75, 0.9)):
        threshold = np.quantile(everything[:24], quantile)
        assert examples.y_NL[:][:, column].tolist() == (everything > threshold).astype(float).tolist()
        assert f"above {threshold:g}" in examples.notes[-1]
    assert "the 24 training rows" in examples.notes[-1]


def test_dates_bound_the_stories(folder: Path) -> None:
    examples = News(side_inputs=SIDES, since="2014-09-03", until="2014-09-12").examples(seed=0)
    assert examples.text is not None
    assert (examples.text[0], examples.text[-1]) == ("some story 4", "some story 23")
    assert examples.notes[0] == "20 of 40 stories are not from the dates asked for."
    assert len(News(side_inputs=SIDES, since=None, until=None).examples(seed=0)) == N_ROWS


def test_the_whole_file_has_the_same_stories(folder: Path) -> None:
    """It has other columns, all numbers with a point, no row numbers, and stories of other days."""
    examples = News(side_inputs=SIDES).examples(seed=0)
    (folder / "mashable_2014_09_12.csv").unlink()
    rows = [
        line.split(",", 1)[1].replace(",", ".0, ").replace("/.0", "/, 9.0")
        for line in map(row, range(N_ROWS))
    ]
    early = rows[0].replace("2014/09/01", "2013/01/07")
    header = HEADER.split(",", 1)[1].replace("url,", "url, timedelta,")
    write(folder, name="OnlineNewsPopularity.csv", lines=[header, early, *rows])
    whole = News(side_inputs=SIDES).examples(seed=0)
    assert whole.text == examples.text
    assert whole.y_NL[:].equal(examples.y_NL[:])
    assert whole.codes is not None
    assert examples.codes is not None
    assert whole.codes.codes_NA.tolist() == examples.codes.codes_NA.tolist()


def test_without_either_file_it_says_what_to_put_where(folder: Path) -> None:
    (folder / "mashable_2014_09_12.csv").unlink()
    with pytest.raises(UserError, match=r"OnlineNewsPopularity\.zip, take .* and put it at"):
        News(side_inputs=SIDES).load(seed=0)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"side_inputs": ["num_imgs", "shares"]}, "shares, which is what the labels are made of"),
        ({"side_inputs": ["data_channel_is_tech"]}, "data_channel_is_tech, which is what"),
        ({"side_inputs": ["num_imgs", "num_imgs"]}, "has a column twice"),
        ({"side_inputs": [], "since": "1.9.2014"}, r"since=1\.9\.2014 is no date"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        News(**options)  # type: ignore[arg-type]


def test_dates_without_stories(folder: Path) -> None:
    with pytest.raises(UserError, match="no story from 2020-01-01"):
        News(side_inputs=SIDES, since="2020-01-01", until=None).examples(seed=0)


def test_an_unknown_side_input(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"no column 'num_img', which dataset\.side_inputs names; did you mean"
    ):
        News(side_inputs=["num_img"]).examples(seed=0)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("/2014/09/01/", "/2014/13/01/", "does not end in /year/month/day/title/"),
        ("/some-story-1/", "/", "does not end in"),
        (",1,1,0,1,", ",1,many,0,1,", "'many' in the column num_imgs is not a number"),
        (",1,1,0,1,", ",1,nan,0,1,", "'nan' in the column num_imgs is not a number"),
        (",1,1,0,1,", ",1,,0,1,", "'' in the column num_imgs is not a number"),
        (",1,1,0,1,", ",1,1,0,2,", "data_channel_is_... column is not 0 or 1"),
    ],
)
def test_a_malformed_row_is_named(old: str, new: str, problem: str, folder: Path) -> None:
    assert old in row(1)
    write(folder, lines=[HEADER, row(0), row(1).replace(old, new), row(2)])
    with pytest.raises(UserError, match=rf"mashable_2014_09_12\.csv, line 3: .*{problem}"):
        News(side_inputs=SIDES).examples(seed=0)


def test_new_rows_are_prepared_like_the_others(folder: Path, tmp_path: Path) -> None:
    source = News(side_inputs=SIDES)
    dataset = source.load(seed=0, text=Words(min_count=1))
    expected = dataset.train.select(torch.tensor([3, 4])).inputs
    (tmp_path / "titles.csv").write_text(
        'title,num_imgs,num_hrefs\n"Some, Story: 3!",0,3\nsome story 4,1,4\n'
    )
    (tmp_path / "urls.csv").write_text("\n".join([HEADER, row(3), row(4)]))
    for name in ("titles.csv", "urls.csv"):
        (batch,) = source.read_inputs(tmp_path / name, preparation=dataset.preparation, chunk_rows=8)
        assert torch.equal(batch["x"], expected["x"])  # type: ignore[arg-type]
        assert torch.equal(batch["numbers"], expected["numbers"])  # type: ignore[arg-type]


def test_a_title_alone_has_average_numbers(folder: Path) -> None:
    source = News(side_inputs=SIDES)
    dataset = source.load(seed=0, text=Words(min_count=1))
    batch = source.text_inputs(["Some Story 3", "?"], preparation=dataset.preparation)
    assert torch.allclose(batch["numbers"], torch.zeros(2, 2), atol=1e-6)  # type: ignore[arg-type]


def test_without_side_inputs_there_is_only_the_title(folder: Path) -> None:
    dataset = News(side_inputs=[]).load(seed=0, text=Words(min_count=1))
    assert set(dataset.train.inputs) == {"x"}


@pytest.mark.data
def test_the_real_file() -> None:
    real_file("news", "mashable_2014_09_12.csv")
    examples = News(side_inputs=["n_tokens_content", "num_keywords"]).examples(seed=0)
    assert len(examples) == 7795
    assert examples.text is not None
    assert examples.text[0] == "americans held in north korea"
    y_NL = examples.y_NL[:]
    assert y_NL[:, 3:].sum(0).tolist() == [279, 1536, 946, 207, 1089, 2488]
    train = y_NL[torch.from_numpy(examples.part_N == TRAIN)]
    # A quantile with many equal values above it has fewer rows above it than its share, never more.
    assert (train[:, :3].mean(0) <= torch.tensor([0.5, 0.25, 0.1])).all()
    assert train[:, :3].mean(0).tolist() == pytest.approx([0.5, 0.25, 0.1], abs=0.03)
