"""Reading the XML file that says which attributes of a MULAN set are labels."""

from pathlib import Path
from xml.etree import ElementTree

from mlc.errors import UserError


def read_label_header(path: Path) -> tuple[str, ...]:
    """The label names, in the order of the file; labels nested in others (a hierarchy) count like any.

    Raises:
        UserError: the file is not valid XML, has no labels or has one twice.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        line, _ = error.position
        raise UserError(
            f"{path}, line {line}: the label header is not valid XML (was it cut short?)."
        ) from error
    names = [element.get("name") for element in root.iter() if element.tag.rpartition("}")[2] == "label"]
    if not names or None in names:
        raise UserError(
            f'{path}: the label header must hold <label name="..."> elements, each with its name.'
        )
    labels = tuple(name for name in names if name is not None)
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise UserError(f"{path}: the label {repeated[0]} is listed twice; each label stands once.")
    return labels
