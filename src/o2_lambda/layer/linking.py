"""The executable: launcher, interpreter, libraries and frozen modules, linked statically."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from o2_lambda.layer import cpython, freezing, libraries, linked, musl, profile
from o2_lambda.layer.inputs import CPYTHON, Inputs
from o2_lambda.layer.names import EXECUTABLE
from o2_lambda.layer.process import JOBS, run
from o2_lambda.layer.toolchain import COMPILE_FLAGS, TARGETS, Target, Toolchain, host, runner

if TYPE_CHECKING:
    from o2_lambda.layer.store import Store

NATIVE = Path(__file__).parent / "native"
_COMMON_UNITS = ("interpreter.c", "modules.c", "getpath.c")
# plain starts CPython and the extension in each process; snapshot resumes a process in which that has been done.
FLAVOUR_UNITS = {
    "plain": ("plain.c", *_COMMON_UNITS),
    "snapshot": ("snapshot.c", "arena.c", "image.c", "check.c", *_COMMON_UNITS),
}
FLAVOURS = tuple(FLAVOUR_UNITS)
DEFAULT_FLAVOUR = {"x86_64": "snapshot", "arm64": "snapshot"}
HEADERS = ("interpreter.h", "arena.h", "image.h", "check.h")
# One function a line: those that a life with one invocation runs, by first use. Together they take few pages.
# scripts/hot_functions.py writes it; a name that has gone is ignored.
HOT_FUNCTIONS = NATIVE / "hot_functions.txt"
SNAPSHOT_LAYOUT = NATIVE / "snapshot.ld"
# High addresses: the checker takes every word for a pointer that could be one, and small numbers are frequent.
SNAPSHOT_FLAGS = ("-Wl,--image-base=0x60000000",)
# What a snapshot holds: these and whatever they import, which is all that an invocation needs. What a person's command,
# passive mode and the like need is imported when it is needed. To import `_ssl` is to make its types and tables;
# AWS-LC, which reads random numbers, is not called before the first context: the checker sees to that.
SNAPSHOT_MODULES = tuple(f"o2_lambda.extension.{name}" for name in ("main", "boot", "serve", "io.loop", "io.tls"))
GENERATOR = "generator"
LINK_LOG = "link.log"  # beside an executable; with the linker's map
# CPython's extension modules that are linked in, from its Modules folder.
MODULE_UNITS = (
    "_json.c",
    "_ssl.c",
    "_struct.c",
    "_hacl/Hacl_Hash_SHA2.c",
    "binascii.c",
    "selectmodule.c",
    "sha2module.c",
    "socketmodule.c",
    "zlibmodule.c",
)
FOREIGN_KEYS = NATIVE / "foreign_keys.h"
AWS_LC = NATIVE / "aws_lc.h"
MODULE_FLAGS: dict[str, list[str | Path]] = {
    "_json.c": ["-include", FOREIGN_KEYS],
    "_ssl.c": ["-include", AWS_LC],
}
# musl gives a thread 128 KiB of stack unless the executable says otherwise: too little for CPython's recursion limit.
STACK_BYTES = 1024 * 1024
LINK_FLAGS = (
    "-static",
    "-no-pie",
    "-Wl,--gc-sections",
    "-Wl,--build-id=none",
    "-Wl,-z,norelro",
    f"-Wl,-z,stack-size={STACK_BYTES}",
)


class Builder:
    """Builds executables; every step's result is kept in the store."""

    def __init__(self, store: Store, *, instrumented: bool = False, complete: bool = False) -> None:
        """Executables of one kind.

        `instrumented`: they count what runs in CPython, and write it down at their end.
        `complete`: they are linked of all files of the libraries, to find out which ones are linked.
        """
        self._store = store
        self._instrumented = instrumented
        self._complete = complete
        self.inputs = Inputs(store)

    def executable(self, target: Target, flavour: str) -> Path:
        """The path of the executable for a target."""
        toolchain = self._toolchain(target)
        if target != host():  # while another thread configures CPython for the host, and so for all
            libraries.aws_lc(self._store, self.inputs, toolchain)
        parts = [
            self._cpython(toolchain),
            libraries.aws_lc(self._store, self.inputs, toolchain),
            libraries.zlib(self._store, self.inputs, toolchain),
        ]
        modules = self._modules(toolchain, *parts)
        frozen = self._frozen()
        units = [NATIVE / unit for unit in (*FLAVOUR_UNITS[flavour], *(["profile.c"] if self._instrumented else []))]
        files = [Path(__file__), *units, *(NATIVE / header for header in HEADERS), SNAPSHOT_LAYOUT, HOT_FUNCTIONS]
        recipe = [*files, COMPILE_FLAGS, LINK_FLAGS, modules.name, frozen.name, *(part.name for part in parts)]
        recipe.append(toolchain.libc.name)

        def make(output: Path, scratch: Path) -> None:
            flags = [*self._flags(parts[0]), f"-I{NATIVE}"]
            log = scratch / "log"
            sources = [*units, frozen / "frozen.c"]
            with ThreadPoolExecutor(JOBS) as pool:
                # A snapshot never reads its frozen modules: at the end they do not separate what it does read.
                *objects, table = pool.map(
                    lambda c: toolchain.compile(c, scratch / f"{c.stem}.o", flags, log=log), sources
                )
            archives = [
                *sorted(modules.glob("*.o")),
                parts[0] / cpython.LIBRARY,
                parts[1] / "lib/libcrypto.a",
                parts[2] / "lib/libz.a",
            ]
            layout = scratch / "layout.ld"
            layout.write_text(_order() + (SNAPSHOT_LAYOUT.read_text() if flavour == "snapshot" else ""))
            link: list[str | Path] = [
                "o2-cc",
                *COMPILE_FLAGS,
                *LINK_FLAGS,
                f"-Wl,-T,{layout}",
                *objects,
                *archives,
                table,
                linked.PRINT_MAP,
            ]
            snapshot = flavour == "snapshot"
            link += [*SNAPSHOT_FLAGS, "-o", output / GENERATOR] if snapshot else ["-s", "-o", output / EXECUTABLE]
            with linked.explained():
                run(link, cwd=output, env=toolchain.env, log=output / LINK_LOG)
            if snapshot:
                write_snapshot(target, output / GENERATOR, output / EXECUTABLE, log=log)

        name = f"{flavour}-{target.arch}-complete" if self._complete else f"{flavour}-{target.arch}"
        return self._store.result(self._name(name), recipe, make) / EXECUTABLE

    def linked(self) -> list[str]:
        """The files that linked.LINKED is to name: those of any executable, and of what a build itself runs."""
        native = self._cpython(self._toolchain(host()))
        executables = [self.executable(target, flavour) for target in TARGETS.values() for flavour in FLAVOURS]
        logs = [native / cpython.LOG, *(executable.with_name(LINK_LOG) for executable in executables)]
        maps = [log.read_text() for log in logs]
        sources = musl.sources(self.inputs.zig())
        return sorted({f"musl/{name}" for text in maps for name in linked.placed(text, "libc.a", sources)})

    def _name(self, step: str) -> str:
        return f"{step}-instrumented" if self._instrumented else step

    def _toolchain(self, target: Target) -> Toolchain:
        return Toolchain(self._store, self.inputs, target, complete=self._complete or self._instrumented)

    def _cpython(self, toolchain: Toolchain) -> Path:
        return cpython.cpython(self._store, self.inputs, toolchain, instrumented=self._instrumented)

    def _modules(self, toolchain: Toolchain, core: Path, aws_lc: Path, zlib: Path) -> Path:
        """The folder with the object files of the extension modules."""
        source = self.inputs.source(CPYTHON)
        recipe = [Path(__file__), FOREIGN_KEYS, AWS_LC, core.name, aws_lc.name, zlib.name]

        def make(output: Path, scratch: Path) -> None:
            headers = [f"-I{folder / 'include'}" for folder in (aws_lc, zlib, source / "Modules/_hacl")]
            profiling = profile.INSTRUMENT if self._instrumented else profile.flags(self._store)
            common = [*self._flags(core), "-DPy_BUILD_CORE_BUILTIN", *headers, *profiling]

            def compile_unit(unit: str) -> None:
                flags = [*common, *MODULE_FLAGS.get(unit, [])]
                toolchain.compile(
                    source / "Modules" / unit, output / f"{Path(unit).stem}.o", flags, log=scratch / "log"
                )

            with ThreadPoolExecutor(JOBS) as pool:
                list(pool.map(compile_unit, MODULE_UNITS))

        return self._store.result(self._name(f"modules-{toolchain.target.arch}"), recipe, make)

    def _frozen(self) -> Path:
        """The folder with the frozen modules; bytecode is the same for every target."""
        native = cpython.cpython(self._store, self.inputs, self._toolchain(host()))
        library = self.inputs.source(CPYTHON) / "Lib"
        sources = [(module.name, module.path) for module in freezing.modules(library)]
        recipe = [Path(freezing.__file__), freezing.FREEZER, sources, native.name]

        def make(output: Path, _scratch: Path) -> None:
            freezing.freeze(native / cpython.INTERPRETER, library, output)

        return self._store.result("frozen", recipe, make)

    def _flags(self, core: Path) -> list[str]:
        include = self.inputs.source(CPYTHON) / "Include"
        return [
            "-w",
            "-std=gnu2x",
            *cpython.OPTIMIZE.split(),
            "-DPy_BUILD_CORE",
            f"-I{core}",
            f"-I{include}",
            f"-I{include / 'internal'}",
        ]


def write_snapshot(
    target: Target, generator: Path, image: Path, *, log: Path, imports: str = f"import {', '.join(SNAPSHOT_MODULES)}"
) -> None:
    """Writes an executable in which a Python statement has been run. Raises LayerError where that must not be."""
    run([*runner(target), generator, generator, image, imports], log=log)


def _order() -> str:
    """The part of a linker script that puts first what is used first: libc's assembler, then functions in order."""
    rows = "".join(f"        *(.text.{name})\n" for name in HOT_FUNCTIONS.read_text().split())
    first = "        *crt1.o(.text)\n        *libc.a:*(.text)\n"
    return f"SECTIONS {{\n    .hot : {{\n{first}{rows}    }}\n}} INSERT AFTER .eh_frame;\n"
