import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from mlc.data.archives import DAMAGED, Limits, copy_zip_member, read_gzip, read_tar_gz
from mlc.errors import UserError

NOISE = random.Random(0).randbytes(5000)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.gz").write_bytes(gzip.compress(NOISE))
    with tarfile.open("a.tar.gz", "w:gz") as archive:
        for name, data in (("./b/one", NOISE), ("two", b"2"), ("three", b"3")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/one", NOISE)


def unzipped(limits: Limits) -> bytes:
    sink = io.BytesIO()
    copy_zip_member(Path("a.zip"), "b/one", sink, limits=limits)
    return sink.getvalue()


def test_what_is_asked_for_is_read() -> None:
    assert read_gzip(Path("a.gz")) == NOISE
    assert read_tar_gz(Path("a.tar.gz"), ["one", "three", "four"]) == {"one": NOISE, "three": b"3"}
    assert unzipped(Limits()) == NOISE


def test_the_limit_is_exact() -> None:
    assert read_gzip(Path("a.gz"), limits=Limits(5000, 1, 5000)) == NOISE
    assert unzipped(Limits(5000, 1, 5000)) == NOISE
    for read in (lambda limits: read_gzip(Path("a.gz"), limits=limits), unzipped):
        with pytest.raises(UserError, match="unpack to more than the 4999 bytes"):
            read(Limits(most_bytes=4999, most_times=1000, free_bytes=1 << 20))


def test_the_ratio_counts_above_what_is_free() -> None:
    Path("zeros.gz").write_bytes(packed := gzip.compress(bytes(100_000)))
    assert Limits(1 << 20, 3, 0).of(Path("zeros.gz")) == 3 * len(packed)
    assert Limits(1 << 20, 3, 200_000).of(Path("zeros.gz")) == 200_000
    assert Limits(7, 3, 200_000).of(Path("zeros.gz")) == 7
    assert len(read_gzip(Path("zeros.gz"), limits=Limits(1 << 20, 3, 100_000))) == 100_000
    with pytest.raises(UserError, match="unpack to more than"):
        read_gzip(Path("zeros.gz"), limits=Limits(1 << 20, 3, 99_999))


@pytest.mark.parametrize("name", ["a.gz", "a.tar.gz", "a.zip"])
@pytest.mark.parametrize("keep", [5, 30, -40])
def test_a_cut_archive_is_damaged(name: str, keep: int) -> None:
    path = Path(name)
    path.write_bytes(path.read_bytes()[:keep])
    read = {
        "a.gz": lambda: read_gzip(path),
        "a.tar.gz": lambda: read_tar_gz(path, ["one", "three"]),
        "a.zip": lambda: unzipped(Limits()),
    }[name]
    with pytest.raises(DAMAGED):
        read()
