"""Decoded pictures kept below the data root, so that they are decoded once."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mlc.data.root import data_root
from mlc.errors import UserError

_VERSION = 1  # raise it when decoding changes


@dataclass(frozen=True)
class PictureCache:
    """One array of decoded pictures, which is there whole or not at all.

    Args:
        path: its .npy file.
        n_pictures: how many pictures it must hold.
    """

    path: Path
    n_pictures: int

    @classmethod
    def of(
        cls,
        folder: Path,
        names: Sequence[str],
        stamps: Sequence[tuple[int, int]],
        *,
        size: Sequence[int] | None,
        colour: str,
    ) -> "PictureCache":
        """The cache of these files, as they are now, decoded in this way.

        Args:
            folder: where the pictures are.
            names: the files.
            stamps: bytes and time of the last change of each.
            size: height and width of the result, or None.
            colour: of the result.
        """
        import PIL

        how = [
            _VERSION,
            PIL.__version__,
            os.path.abspath(folder),
            None if size is None else list(size),
            colour,
        ]
        digest = hashlib.sha256(json.dumps(how).encode())
        for name, stamp in zip(names, stamps, strict=True):
            digest.update(json.dumps([name, *stamp]).encode())
        return cls(data_root() / "pictures" / f"{digest.hexdigest()[:32]}.npy", len(names))

    def read(self) -> NDArray[np.uint8] | None:
        """The pictures M×C×H×W, mapped from the file; None where there is none or it was cut."""
        try:
            # Copy on write, because torch warns of arrays that it must not change. Nothing is ever written.
            pixels = np.load(self.path, mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        whole = pixels.dtype == np.uint8 and pixels.ndim == 4 and len(pixels) == self.n_pictures
        return pixels if whole else None

    def read_notes(self) -> list[str]:
        """What was said when the pictures were decoded."""
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return [str(note) for note in notes] if isinstance(notes, list) else []

    @contextmanager
    def writing(self, shape: tuple[int, ...]) -> Iterator[BinaryIO]:
        """A file to write the pixels to, one picture after the other; it counts only once it is whole.

        Raises:
            UserError: the folder cannot be written to, or the disk is full.
        """
        unfinished = self.path.with_name(f"{self.path.stem}.{os.getpid()}.unfinished")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("wb") as file:
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                    yield file
                unfinished.replace(self.path)
            finally:
                unfinished.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.path.parent} cannot keep the decoded pictures ({error.strerror or error}); make room "
                "there, or set MLC_DATA to another data root."
            ) from error

    def write_notes(self, notes: Sequence[str]) -> None:
        """Keep what was said, for `read_notes`."""
        self._notes.write_text(json.dumps(list(notes), ensure_ascii=False), encoding="utf-8")

    @property
    def _notes(self) -> Path:
        return self.path.with_suffix(".json")
