"""Writes the list of functions that a short life of the extension runs, in the order of their first use.

The linker puts them together, so that a start reads and maps few pages. A life: start, two invocations over TLS, the
end. To be run when CPython or a library changes; a list that is out of date costs time, nothing else.
"""

from __future__ import annotations

import bisect
import re
import sys
import tempfile
from pathlib import Path

from o2_lambda.layer.build import project_root
from o2_lambda.layer.linking import GENERATOR, HOT_FUNCTIONS, Builder
from o2_lambda.layer.process import read
from o2_lambda.layer.store import Store
from o2_lambda.layer.toolchain import host

sys.path.insert(0, str(project_root() / "bench"))
from life import Life
from starts import Candidate


def functions(generator: Path) -> tuple[list[int], list[str]]:
    """The addresses of all functions, in order, and their names."""
    symbols = read(["nm", "-n", generator])
    found = [line.split() for line in symbols.splitlines() if re.search(r" [tT] ", line)]
    return [int(address, 16) for address, _kind, _name in found], [name for _address, _kind, name in found]


def trace(image: Path, folder: Path) -> list[int]:
    """The addresses of blocks of code as an emulator meets them for the first time."""
    log, script = folder / "log", folder / image.name
    script.write_text(f'#!/bin/sh\nexec qemu-{host().machine}-static -d in_asm,nochain -D "{log}" "{image}"\n')
    script.chmod(0o755)
    with Life(Candidate("traced", script), tls=True, O2_FLUSH_STRATEGY="end", O2_FLUSH_BUDGET_MS="20000") as life:
        for lines in (10, 3):
            life.invoke(lines)
        life.shutdown()
    return [
        int(match[1], 16) for match in re.finditer(r"^0x([0-9a-f]+):", log.read_text(errors="replace"), re.MULTILINE)
    ]


def main() -> None:
    """Builds, runs and writes."""
    image = Builder(Store(project_root() / ".cache" / "layer")).executable(host(), "snapshot")
    addresses, names = functions(image.parent / GENERATOR)
    with tempfile.TemporaryDirectory() as folder:
        places = [bisect.bisect(addresses, address) - 1 for address in trace(image, Path(folder))]
    hot = dict.fromkeys(names[place] for place in places if place >= 0)
    HOT_FUNCTIONS.write_text("".join(f"{name}\n" for name in hot))
    print(f"{len(hot)} of {len(names)} functions")


if __name__ == "__main__":
    main()
