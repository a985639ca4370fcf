"""Which Python modules go into the executable, and how they get there: as bytecode, in a table in C."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from o2_lambda.layer.process import LayerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PACKAGE = Path(__file__).parents[1]
FREEZER = Path(__file__).with_name("freezer.py")
STAND_INS = Path(__file__).with_name("stand_ins")
# The import system comes first, in a table of its own.
BOOTSTRAP: dict[str, str | Path] = {
    "_frozen_importlib": "importlib/_bootstrap.py",
    "_frozen_importlib_external": STAND_INS / "import_system.py",
}
# What CPython imports while it starts, and the only Python module of the standard library that the extension uses.
LIBRARY: dict[str, str | Path] = {
    "encodings": STAND_INS / "codec_search.py",
    "io": STAND_INS / "streams.py",
    "stat": "stat.py",
}


class Module(NamedTuple):
    """A module to be frozen."""

    name: str
    path: Path
    package: bool
    ours: bool  # not CPython's


def modules(standard_library: Path) -> list[Module]:
    """Every module of the executable, the import system first."""
    return [*_library(standard_library, BOOTSTRAP), *_library(standard_library, LIBRARY), *_ours()]


def _library(folder: Path, files: Mapping[str, str | Path]) -> Iterator[Module]:
    for name, file in files.items():
        path = folder / file  # a stand-in's path is absolute
        yield Module(name, path, package=False, ours=STAND_INS in path.parents)


def _ours() -> Iterator[Module]:
    yield Module("o2_lambda", PACKAGE / "__init__.py", package=True, ours=True)
    for path in sorted((PACKAGE / "extension").rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        package = parts[-1] == "__init__"
        yield Module(".".join(parts[:-1] if package else parts), path, package, ours=True)


def freeze(interpreter: Path, standard_library: Path, output: Path) -> Path:
    """Compiles all modules and writes the table `frozen.c` into `output`; returns its path. Raises LayerError."""
    frozen = modules(standard_library)
    lines = "".join(f"{m.name}\t{m.path}\t{m.package:d}\t{m.ours:d}\n" for m in frozen)
    command = [interpreter, FREEZER, output]
    done = subprocess.run(  # noqa: S603 - the interpreter that this build made
        command,
        input=lines,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LayerError(f"a module cannot be compiled: {done.stderr.strip()[-2000:]}")
    table = output / "frozen.c"
    table.write_text(_table(frozen))
    return table


def _table(frozen: list[Module]) -> str:
    # Among the functions that a start does not call: a snapshot has run its modules and never reads most of them.
    placed = '__attribute__((section(".text.frozen")))'
    arrays = [
        f'static const unsigned char code_{i}[] {placed} = {{\n#embed "{m.name}.bin"\n}};\n'
        for i, m in enumerate(frozen)
    ]
    rows = [f'    {{"{m.name}", code_{i}, sizeof code_{i}, {str(m.package).lower()}}},\n' for i, m in enumerate(frozen)]
    return (
        '#include "Python.h"\n#include "pycore_import.h"\n'
        + "".join(arrays)
        + _array("bootstrap", rows[: len(BOOTSTRAP)])
        + _array("library", rows[len(BOOTSTRAP) :])
        + _array("none", [])
        + "const struct _frozen *_PyImport_FrozenBootstrap = bootstrap;\n"
        "const struct _frozen *_PyImport_FrozenStdlib = library;\n"
        "const struct _frozen *_PyImport_FrozenTest = none;\n"
        "const struct _frozen *PyImport_FrozenModules = NULL;\n"
        "static const struct _module_alias aliases[] = {\n"
        '    {"_frozen_importlib", "importlib._bootstrap"},\n'
        '    {"_frozen_importlib_external", "importlib._bootstrap_external"},\n'
        "    {NULL, NULL},\n};\n"
        "const struct _module_alias *_PyImport_FrozenAliases = aliases;\n"
    )


def _array(name: str, rows: list[str]) -> str:
    return f"static const struct _frozen {name}[] = {{\n{''.join(rows)}    {{NULL}},\n}};\n"
