"""CPython's core as a static library per target, and an interpreter of the same version that runs on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from o2_lambda.layer import profile
from o2_lambda.layer.inputs import CPYTHON, Inputs
from o2_lambda.layer.process import run
from o2_lambda.layer.toolchain import COMPILE_FLAGS, SOURCE_DATE_EPOCH, Toolchain, host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from o2_lambda.layer.store import Store

OPTIONS = (
    "--disable-shared",
    "--disable-test-modules",
    "--enable-ipv6",
    "--with-computed-gotos",
    "--with-hash-algorithm=siphash13",
    "--without-doc-strings",
    "--without-ensurepip",
    "--without-mimalloc",
    "--without-readline",
)
# What configure would find out by running programs. For a foreign target it assumes the worst instead, silently: slow
# dispatch of bytecodes, a weak hash, a broken clock.
ANSWERS = {
    "ac_cv_aligned_required": "no",
    "ac_cv_broken_sem_getvalue": "no",
    "ac_cv_buggy_getaddrinfo": "no",
    "ac_cv_computed_gotos": "yes",
    "ac_cv_file__dev_ptc": "no",
    "ac_cv_file__dev_ptmx": "yes",
    "ac_cv_posix_semaphores_enabled": "yes",
    "ac_cv_pthread_system_supported": "yes",
    "ac_cv_working_tzset": "yes",
}
# Objects come out of blocks of 256 KiB, not of 1 MiB with a search tree over them: less memory in use, more returned.
OPTIMIZE = "-DNDEBUG -O3 -fwrapv -DWITH_PYMALLOC_RADIX_TREE=0"
LIBRARY = "libpython.a"
INTERPRETER = "_bootstrap_python"  # CPython's own name for it: no extension modules, the library read from the sources
_GOALS = """
o2-library: $(LIBRARY_OBJS_OMIT_FROZEN) $(MODOBJS)
\t$(AR) rcsD {library} $^
"""


def cpython(store: Store, inputs: Inputs, toolchain: Toolchain, *, instrumented: bool = False) -> Path:
    """The folder with `libpython.a` (without frozen modules) and `pyconfig.h`; for the host `_bootstrap_python` too.

    `instrumented`: a library that counts what runs, to write the profile with which the other one is optimized.
    """
    source = inputs.source(CPYTHON)
    target, native = toolchain.target, toolchain.target == host() and not instrumented
    ingredients = profile.INSTRUMENT if instrumented else profile.INGREDIENTS
    recipe = [
        *(Path(__file__), CPYTHON, COMPILE_FLAGS, SOURCE_DATE_EPOCH, toolchain.identity, target, native),
        *ingredients,
    ]
    profiling = profile.INSTRUMENT if instrumented else profile.flags(store)

    def make(output: Path, scratch: Path) -> None:
        log = scratch / "log"
        env = {**toolchain.env, **ANSWERS, "READELF": "true"}
        run(_configure(source, scratch, toolchain, profiling), cwd=scratch, env=env, log=log)
        _no_extension_modules(scratch)
        toolchain.make(scratch, "Makefile", log=log)  # makes itself anew from the lists of modules
        with (scratch / "Makefile").open("a") as makefile:
            makefile.write(_GOALS.format(library=output / LIBRARY))
        goals = ["o2-library", INTERPRETER] if native else ["o2-library"]
        toolchain.make(scratch, *goals, log=log)
        shutil.copy(scratch / "pyconfig.h", output)
        if native:
            shutil.copy(scratch / INTERPRETER, output)
            library = output / "lib" / f"python{_minor(CPYTHON.version)}"  # where it looks for it
            library.parent.mkdir()
            library.symlink_to(Path("..", "..", source.name, "Lib"))

    name = f"cpython-{target.arch}-instrumented" if instrumented else f"cpython-{target.arch}"
    return store.result(name, recipe, make)


def _configure(source: Path, scratch: Path, toolchain: Toolchain, profiling: Sequence[str]) -> list[str | Path]:
    build = f"{host().machine}-pc-linux-gnu"
    command: list[str | Path] = [source / "configure", f"--build={build}", *OPTIONS]
    if toolchain.target == host():
        command.append(f"--host={build}")
    else:
        # Only asked for its version: what it would be run for is left out of the goals.
        interpreter = scratch / "build-python"
        interpreter.write_text(f"#!/bin/sh\necho {_minor(CPYTHON.version)}\n")
        interpreter.chmod(0o755)
        command += [f"--host={toolchain.target.triple}", f"--with-build-python={interpreter}"]
    return [
        *command,
        f"CFLAGS={' '.join([*COMPILE_FLAGS, *profiling])} {toolchain.path_flag} -w",
        f"OPT={OPTIMIZE}",
        "LDFLAGS=-static",
        "MODULE_BUILDTYPE=static",
    ]


def _no_extension_modules(scratch: Path) -> None:
    """Leaves only the modules of the core itself; the few others are compiled with the executable."""
    for name in ("Setup.local", "Setup.stdlib"):
        (scratch / "Modules" / name).write_text("*static*\n")


def _minor(version: str) -> str:
    return version.rpartition(".")[0]
