"""Writes zips that depend on their contents alone: fixed order, dates, permissions and compression."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
_UNIX = 3
_REGULAR_FILE = 0o100000
_LEVEL = 9


class Entry(NamedTuple):
    """A file of the layer."""

    content: bytes
    executable: bool = False

    @property
    def mode(self) -> int:
        """Permissions: readable by whoever Lambda runs us as."""
        return 0o755 if self.executable else 0o644


def write_zip(path: Path, entries: Mapping[str, Entry]) -> None:
    """Writes the entries, by name in order, to a new file that takes the place of `path` when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with zipfile.ZipFile(unfinished, "w") as archive:
        for name in sorted(entries):
            entry = entries[name]
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = _UNIX
            info.external_attr = (_REGULAR_FILE | entry.mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, entry.content, compresslevel=_LEVEL)
    unfinished.replace(path)


def sizes(path: Path) -> dict[str, tuple[int, int, int]]:
    """Part of the layer, a file or a folder two levels deep -> (files, bytes unpacked, bytes in the zip)."""
    totals: dict[str, tuple[int, int, int]] = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            part = "/".join(info.filename.split("/")[:2])
            files, unpacked, packed = totals.get(part, (0, 0, 0))
            totals[part] = (files + 1, unpacked + info.file_size, packed + info.compress_size)
    return totals
