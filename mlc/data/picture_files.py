"""Pictures from files: decoded once, by worker processes, into one array that later runs map into memory."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mlc.data.notes import counted
from mlc.data.picture_cache import PictureCache
from mlc.data.picture_decoding import (
    Colour,
    DecodedPictures,
    PictureError,
    Size,
    check_file,
    decode_files,
    picture_size,
)
from mlc.data.picture_rows import PictureRows
from mlc.errors import Fault, UserError

_CHUNK_BYTES = 1 << 24  # of pixels that a worker hands back at a time
_CHUNK_PICTURES = 64
_SHOWN = 3  # files named in a message
_CHANGES = {
    "resized": "of other sizes were stretched or shrunk to this one",
    "transparent": "are partly transparent and are shown on white",
    "16-bit": "have 16 bits a pixel and were rounded to 8",
    "animated": "are animations, of which the first picture is taken",
}


def load_pictures(
    paths: Sequence[str],
    *,
    folder: Path,
    size: Sequence[int] | None,
    colour: Colour,
    workers: int,
    cache: bool,
) -> PictureRows:
    """Pictures from files, one row for each path.

    A file is decoded once, however many rows name it. Pictures are turned upright as their EXIF data say;
    the notes of the result count what else was done.

    Args:
        paths: relative to the folder, or absolute and below it.
        folder: where the pictures are.
        size: height and width that all are resized to, whatever their proportions; None where all have the
            same size, which is kept.
        colour: "grey" (one channel) or "rgb" (three).
        workers: processes that decode; 0 decodes in this one.
        cache: keep the decoded pictures in the folder "pictures" of the data root for later runs, which
            decode again when a file or an option has changed. Else they are in memory.

    Returns:
        Rows without mean and scale.

    Raises:
        UserError: a path leads out of the folder, or a file is missing, damaged, no picture, far too large
            or of another size than the others.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name the one that has the pictures.")
    if not paths:
        raise UserError(f"no row names a picture in {folder}; give at least one.")
    place_of = {path: place for place, path in enumerate(dict.fromkeys(paths))}
    files = [inside(folder, path) for path in place_of]
    stamps = _check_files(files, folder)
    kept = PictureCache.of(folder, list(place_of), stamps, size=size, colour=colour) if cache else None
    pixels_MCHW = None if kept is None else kept.read()
    if kept is not None and pixels_MCHW is not None:
        then = " ".join(kept.read_notes()).rstrip(".")  # said of another run, and so within this one's note
        notes = [f"The decoded pictures are taken from {kept.path}{f', where {then}' if then else ''}."]
    else:
        shape = _shape(files[0], folder, size)
        job = _Decoding(folder, files, shape, colour=colour, resize=size is not None, workers=workers)
        pixels_MCHW, notes = job.into_memory() if kept is None else job.into(kept)
    rows_N = torch.tensor([place_of[path] for path in paths], dtype=torch.int64)
    return PictureRows(torch.from_numpy(pixels_MCHW), rows_N, notes=tuple(notes))


def inside(folder: Path, path: str) -> Path:
    """The file at `path` in the folder; links are followed, as whoever filled the folder wanted it.

    Raises:
        UserError: the path is empty or leads out of the folder.
    """
    root = os.path.abspath(folder)
    full = os.path.abspath(os.path.join(root, path))
    if not path or full == root or not Path(full).is_relative_to(root):
        raise UserError(f"The picture {path!r} is not a file below {folder}; name the pictures from there.")
    return Path(full)


class _Decoding:
    """The work of decoding files to one array."""

    def __init__(
        self, folder: Path, files: Sequence[Path], size: Size, *, colour: Colour, resize: bool, workers: int
    ) -> None:
        self._folder = folder
        self._files = files
        self._workers = workers
        self.shape = (len(files), 1 if colour == "grey" else 3, *size)
        self._decode = partial(decode_files, size=size, colour=colour, resize=resize)
        self._failures: dict[int, str] = {}
        self._changes: Counter[str] = Counter()

    def into_memory(self) -> tuple[NDArray[np.uint8], list[str]]:
        """The pixels M×C×H×W, and what to say about them."""
        try:
            pixels_MCHW = np.empty(self.shape, dtype=np.uint8)
        except MemoryError:
            raise UserError(
                f"{counted(len(self._files), 'picture')} of {self.shape[2]}×{self.shape[3]} pixels: too much "
                "for the memory; give a smaller size or use the cache."
            ) from None
        start = 0
        for pixels_BCHW in self._chunks():
            pixels_MCHW[start : start + len(pixels_BCHW)] = pixels_BCHW
            start += len(pixels_BCHW)
        return pixels_MCHW, self._notes()

    def into(self, kept: PictureCache) -> tuple[NDArray[np.uint8], list[str]]:
        """The pixels, written to the cache and mapped from there, and what to say about them."""
        with kept.writing(self.shape) as file:
            for pixels_BCHW in self._chunks():
                file.write(pixels_BCHW.tobytes())
        notes = self._notes()
        kept.write_notes(notes)
        pixels_MCHW = kept.read()
        if pixels_MCHW is None:
            raise Fault(f"{kept.path} was just written and cannot be read: look at the disk")
        return pixels_MCHW, [*notes, f"The decoded pictures are kept in {kept.path} for later runs."]

    def _chunks(self) -> Iterator[NDArray[np.uint8]]:
        """The pixels, chunk after chunk.

        Raises:
            UserError: after the last chunk, if a picture could not be read.
        """
        each = max(1, int(np.prod(self.shape[1:])))
        n = max(1, min(_CHUNK_PICTURES, _CHUNK_BYTES // each))
        chunks = [self._files[start : start + n] for start in range(0, len(self._files), n)]
        start = 0
        for decoded in self._decoded(chunks):
            self._failures |= {start + place: why for place, why in decoded.failures.items()}
            for changes in decoded.changes:
                self._changes.update(changes)
            start += len(decoded.pixels_BCHW)
            yield decoded.pixels_BCHW
        _refuse(self._failures, self._files, self._folder)

    def _decoded(self, chunks: Sequence[Sequence[Path]]) -> Iterator[DecodedPictures]:
        workers = min(self._workers, len(chunks))
        if workers < 2:  # another process would only cost its start
            yield from map(self._decode, chunks)
            return
        # Spawned, because a fork of a process that runs torch's threads may hang.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            try:
                yield from pool.map(self._decode, chunks)
            except BrokenProcessPool as error:
                raise Fault(
                    f"a process that decoded pictures of {self._folder} was killed, perhaps for its memory: "
                    "use fewer workers"
                ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _notes(self) -> list[str]:
        n, channels, height, width = self.shape
        kind = "grey" if channels == 1 else "colour"
        changed = [f"{self._changes[key]} {text}" for key, text in _CHANGES.items() if self._changes[key]]
        told = f"{counted(n, 'picture was', 'pictures were')} decoded to {kind}, {height}×{width} pixels"
        return ["; ".join([told, *changed]) + "."]


def _shape(first: Path, folder: Path, size: Sequence[int] | None) -> Size:
    """Height and width of the result."""
    if size is not None:
        height, width = size
        return height, width
    try:
        return picture_size(first)
    except PictureError as error:
        _refuse({0: str(error)}, [first], folder)
        raise


def _check_files(files: Sequence[Path], folder: Path) -> list[tuple[int, int]]:
    stamps, failures = [], {}
    for place, file in enumerate(files):
        try:
            stamps.append(check_file(file))
        except PictureError as error:
            failures[place] = str(error)
    _refuse(failures, files, folder)
    return stamps


def _refuse(failures: dict[int, str], files: Sequence[Path], folder: Path) -> None:
    """Raise a UserError that names the first files that cannot be used, if there are any."""
    if not failures:
        return
    named = [
        f"{os.path.relpath(files[place], folder)} {why}" for place, why in list(failures.items())[:_SHOWN]
    ]
    more = f" and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
    raise UserError(
        f"{len(failures)} of {counted(len(files), 'picture')} in {folder} cannot be used: "
        f"{', '.join(named)}{more}; mend these files or take their rows out."
    )
