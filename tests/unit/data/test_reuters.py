import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from mlc.data.examples import TEST, TRAIN
from mlc.data.reuters import Document, Reuters, examples_of, read_archive, read_documents
from mlc.data.text.words import Words
from mlc.errors import UserError
from tests.unit.data.real_data import real_file

NAMES = [f"reut2-{number:03}.sgm" for number in range(22)]


def story(split: str, topics: str, text: str, *, used: str = "YES", kind: str = "", more: str = "") -> str:
    marked = "".join(f"<D>{topic}</D>" for topic in topics.split())
    return (
        f'<REUTERS TOPICS="{used}" LEWISSPLIT="{split}"{more} CGISPLIT="X" OLDID="1" NEWID="2">\n'
        f"<DATE>26-FEB-1987</DATE>\n<TOPICS>{marked}</TOPICS>\n<PLACES><D>usa</D></PLACES>\n"
        f"<UNKNOWN> \n&#5;&#5;C T\n</UNKNOWN>\n<TEXT{kind}>&#2;\n{text}&#3;</TEXT>\n</REUTERS>\n"
    )


def full(title: str, body: str) -> str:
    return f"<TITLE>{title}</TITLE>\n<DATELINE>  SALVADOR, Feb 26 - </DATELINE><BODY>{body}\n&#3;</BODY>"


def only(page: str) -> Document:
    (document,) = read_documents(page)
    return document


def write_archive(path: Path, files: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_title_and_body_without_markup() -> None:
    document = only(story("TRAIN", "cocoa corn cocoa", full("BAHIA", "Showers\nfell.")))
    assert document == Document(TRAIN, frozenset({"cocoa", "corn"}), "BAHIA\nShowers\nfell.")


def test_a_title_may_count_more_than_once() -> None:
    (document,) = read_documents(story("TRAIN", "corn", full("BAHIA", "Showers.")), title_weight=2)
    assert document.text == "BAHIA\nBAHIA\nShowers."


def test_entities_and_control_characters() -> None:
    text = "A &lt;B>, &amp;lt; C&amp;D, A&LT, R&D; &#34;x&#34;&#127;&#31;\x05\x9f caf\xe9"
    assert only(story("TEST", "", full("T", text))).text == 'T\nA <B>, &lt; C&D, A&LT, R&D; "x" caf\xe9'


def test_a_story_in_brief_has_its_title() -> None:
    page = story("TRAIN", "earn", "******<TITLE>SHARES UP\n</TITLE>Blah blah.\n", kind=' TYPE="BRIEF"')
    assert only(page).text == "SHARES UP"


def test_an_unprocessed_story_has_all_its_text() -> None:
    page = story("TRAIN", "earn", "WEEKLY 1 - FEB\n  x...644 vs.....1,337\n", kind=' TYPE="UNPROC"')
    assert only(page).text == "WEEKLY 1 - FEB\n  x...644 vs.....1,337"


@pytest.mark.parametrize(
    ("split", "used"),
    [("TRAIN", "NO"), ("TRAIN", "BYPASS"), ("NOT-USED", "YES")],
)
def test_stories_that_modapte_does_not_use(split: str, used: str) -> None:
    assert list(read_documents(story(split, "earn", full("T", "B"), used=used))) == []


def test_a_further_attribute_in_the_header() -> None:
    assert only(story("TEST", "earn", full("T", "B"), more=' CSECS="540385847"')).split == TEST


def test_topics_of_both_sides_are_labels() -> None:
    documents = [
        Document(TRAIN, frozenset({"wheat", "grain"}), "a"),
        Document(TRAIN, frozenset({"rare"}), "b"),
        Document(TRAIN, frozenset(), "c"),
        Document(TEST, frozenset({"grain", "new"}), ""),
        Document(TEST, frozenset({"wheat"}), "e"),
        Document(TEST, frozenset({"new"}), "f"),
    ]
    examples = examples_of(documents)
    assert examples.label_names == ("grain", "wheat")
    assert examples.text == ["a", "", "e"]
    assert examples.y_NL[:].tolist() == [[1, 1], [1, 0], [0, 1]]
    assert examples.part_N is not None
    assert examples.part_N.tolist() == [TRAIN, TEST, TEST]
    assert examples.notes == (
        "2 of 4 topics have both a training and a test story; 2 of 3 training stories and 1 of 3 test "
        "stories have none of them and are left out.",
        "1 of 3 stories has no text.",
    )


def test_nothing_in_common() -> None:
    with pytest.raises(UserError, match="no topic with both"):
        examples_of([Document(TRAIN, frozenset({"a"}), "x"), Document(TEST, frozenset({"b"}), "x")])


def test_files_of_the_archive_in_order_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "r.tar.gz"
    backwards = {f"./{name}": name.encode() for name in reversed(NAMES)}
    write_archive(path, {"./README.txt": b"x", "../reut2-022.sgm": b"x", **backwards})
    assert read_archive(path) == NAMES
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_are_latin_1(tmp_path: Path) -> None:
    write_archive(tmp_path / "r.tar.gz", dict.fromkeys(NAMES, b"caf\xe9 \xfc"))
    assert set(read_archive(tmp_path / "r.tar.gz")) == {"café ü"}


def test_damaged_archives(tmp_path: Path) -> None:
    path = tmp_path / "r.tar.gz"
    write_archive(path, dict.fromkeys(NAMES, b"x" * 5000))
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"is not a whole tar\.gz archive|lacks"):
            read_archive(path)
    write_archive(path, dict.fromkeys(NAMES[:-1], b"x"))
    with pytest.raises(UserError, match=r"lacks 1 of 22 files, reut2-021\.sgm first"):
        read_archive(path)


def test_load_and_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    (tmp_path / "reuters21578").mkdir()
    stories = [
        story(split, topic, full(f"{topic} {number}", "body text"))
        for split, n in (("TRAIN", 12), ("TEST", 3))
        for topic in ("corn", "earn")
        for number in range(n)
    ]
    pages = dict.fromkeys(NAMES, b"") | {NAMES[3]: "".join(stories).encode("latin-1")}
    write_archive(tmp_path / "reuters21578" / "reuters21578.tar.gz", pages)
    source = Reuters(valid_fraction=0.25)
    dataset = source.load(seed=0, text=Words(min_count=1))
    assert [len(split) for split in (dataset.train, dataset.valid, dataset.test)] == [18, 6, 6]
    assert dataset.label_names == ("corn", "earn")
    batch = source.text_inputs(["corn 1", "body"], preparation=dataset.preparation)
    assert len(batch["x"]) == 2


@pytest.mark.data
def test_the_real_archive_is_r90() -> None:
    path = real_file("reuters21578", "reuters21578.tar.gz")
    examples = examples_of([document for page in read_archive(path) for document in read_documents(page)])
    assert examples.part_N is not None
    assert [(examples.part_N == part).sum() for part in (TRAIN, TEST)] == [7770, 3019]
    assert len(examples.label_names) == 90
    assert float(examples.y_NL[:].sum()) / len(examples) == pytest.approx(1.235, abs=5e-4)
    assert examples.text is not None
    assert examples.text[0].startswith(
        "BAHIA COCOA REVIEW\nShowers continued throughout the week in\nthe Bahia"
    )
    assert not any("&lt;" in text or "<BODY" in text or not text for text in examples.text)
