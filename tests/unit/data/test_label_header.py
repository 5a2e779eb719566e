from pathlib import Path

import pytest

from mlc.data.label_header import read_label_header
from mlc.errors import UserError


def header(path: Path, text: str) -> Path:
    file = path / "set.xml"
    file.write_text(text, encoding="utf-8")
    return file


def test_names_with_namespace_hierarchy_and_entities(tmp_path: Path) -> None:
    text = """<?xml version="1.0" encoding="utf-8"?>
    <labels xmlns="http://mulan.sourceforge.net/labels">
    <label name="b"><label name="b.1"/></label><label name="r&amp;d"></label>
    </labels>"""
    assert read_label_header(header(tmp_path, text)) == ("b", "b.1", "r&d")


def test_cut_file_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set\.xml, line 2: .* not valid XML"):
        read_label_header(header(tmp_path, '<labels>\n<label name="a"></lab'))


@pytest.mark.parametrize("text", ["<labels></labels>", '<labels><label name="a"/><label/></labels>'])
def test_labels_without_names(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="each with its name"):
        read_label_header(header(tmp_path, text))


def test_label_listed_twice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="label a is listed twice"):
        read_label_header(header(tmp_path, '<labels><label name="a"/><label name="a"/></labels>'))
