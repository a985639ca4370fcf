"""Which of the libraries' files are linked: no others are compiled.

The linker tells, in its maps of executables for which all files were compiled. What is missing in the list is a symbol
that the linker misses; what is in it for nothing costs time alone.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from o2_lambda.layer.process import LayerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LINKED = Path(__file__).parent / "native" / "linked.txt"  # scripts/write_linked.py writes it: library/path
PRINT_MAP = "-Wl,--print-map"
_PLACED = re.compile(r"/(lib\w+\.a)\(([^()]+)\.o\):\(\.(?!debug)")


def names(library: str) -> list[str]:
    """The files of a library that are linked, by their paths in its source."""
    prefix = f"{library}/"
    return [line.removeprefix(prefix) for line in LINKED.read_text().splitlines() if line.startswith(prefix)]


def member(name: str) -> str:
    """How the object of a source is called in its library's archive, without its suffix."""
    return str(Path(name).with_suffix("")).replace("/", "-")


def placed(link: str, archive: str, sources: Iterable[str]) -> set[str]:
    """Those of an archive's sources that the linker has placed something of, by the map that it printed."""
    members = {match[2] for match in _PLACED.finditer(link) if match[1] == archive}
    return {source for source in sources if member(source) in members}


@contextmanager
def explained() -> Iterator[None]:
    """Says what to do where the linker misses a symbol."""
    try:
        yield
    except LayerError as error:
        if "undefined symbol" in str(error):
            hint = f"If a library defines it, {LINKED.name} is old: run scripts/write_linked.py"
            raise LayerError(f"{error}\n{hint}") from None
        raise
