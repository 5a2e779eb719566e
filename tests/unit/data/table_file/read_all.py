from pathlib import Path
from typing import Any

from mlc.data.table_file.opening import open_table


def read_all(path: Path, *, chunk_rows: int = 2) -> tuple[dict[str, list[Any]], list[int]]:
    """All cells of every column, and the places of the rows."""
    table = open_table(path)
    cells: dict[str, list[Any]] = {name: [] for name in table.names}
    places: list[int] = []
    for chunk in table.chunks(table.names, chunk_rows=chunk_rows):
        assert 0 < len(chunk.places) <= chunk_rows
        places += chunk.places
        for name, column in chunk.cells.items():
            assert len(column) == len(chunk.places)
            cells[name] += column
    return cells, places
