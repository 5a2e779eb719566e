"""Which files can be downloaded: files.toml as values."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file that can be downloaded.

    Args:
        name: the name it gets.
        url: where it is.
        licence: of the data, as its publishers state it.
        homepage: where to read about it.
        checksum: of what is downloaded, "sha256:..." or "md5:..."; None where none is known.
        bytes: size of what is downloaded; None where it is not known.
        member: the file is this member of a zip archive at `url`; None where `url` is the file itself.
    """

    name: str
    url: str
    licence: str
    homepage: str
    checksum: str | None = None
    bytes: int | None = None
    member: str | None = None


def known_file(*parts: str) -> RemoteFile | None:
    """The source of the file at `parts` below the data root, or None where there is none."""
    return known_files().get("/".join(parts))


@cache
def known_files() -> Mapping[str, RemoteFile]:
    """All files of files.toml, by folder/name."""
    text = resources.files(__package__).joinpath("files.toml").read_text(encoding="utf-8")
    return {
        f"{folder}/{name}": RemoteFile(
            **{
                "name": name,
                "url": group["base"] + name,
                "licence": group["licence"],
                "homepage": group["homepage"],
                **facts,
            }
        )
        for folder, group in tomllib.loads(text).items()
        for name, facts in group["files"].items()
    }
