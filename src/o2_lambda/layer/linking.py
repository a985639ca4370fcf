"""The executable: launcher, interpreter, libraries and frozen modules, linked statically."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from o2_lambda.layer import cpython, freezing, libraries
from o2_lambda.layer.inputs import CPYTHON, Inputs
from o2_lambda.layer.process import run
from o2_lambda.layer.toolchain import JOBS, Target, Toolchain, host

if TYPE_CHECKING:
    from o2_lambda.layer.store import Store

EXECUTABLE = "o2-lambda-extension"
NATIVE = Path(__file__).parent / "native"
NATIVE_UNITS = ("launcher.c", "modules.c", "getpath.c")
# CPython's extension modules that are linked in, from its Modules folder.
MODULE_UNITS = (
    "_json.c",
    "_ssl.c",
    "_hacl/Hacl_Hash_SHA2.c",
    "binascii.c",
    "selectmodule.c",
    "sha2module.c",
    "socketmodule.c",
    "zlibmodule.c",
)
# musl gives a thread 128 KiB of stack unless the executable says otherwise: too little for CPython's recursion limit.
STACK_BYTES = 1024 * 1024
LINK_FLAGS = (
    "-static",
    "-no-pie",
    "-s",
    "-Wl,--gc-sections",
    "-Wl,--build-id=none",
    "-Wl,-z,norelro",
    f"-Wl,-z,stack-size={STACK_BYTES}",
)


class Builder:
    """Builds executables; every step's result is kept in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.inputs = Inputs(store)

    def executable(self, target: Target) -> Path:
        """The path of the executable for a target."""
        toolchain = Toolchain(self._store, self.inputs, target)
        with ThreadPoolExecutor() as pool:
            core = pool.submit(cpython.cpython, self._store, self.inputs, toolchain)
            openssl = pool.submit(libraries.openssl, self._store, self.inputs, toolchain)
            zlib = pool.submit(libraries.zlib, self._store, self.inputs, toolchain)
            parts = [core.result(), openssl.result(), zlib.result()]
        modules = self._modules(toolchain, *parts)
        frozen = self._frozen()
        units = [NATIVE / unit for unit in NATIVE_UNITS]
        recipe = [Path(__file__), *units, LINK_FLAGS, modules.name, frozen.name, *(part.name for part in parts)]

        def make(output: Path, scratch: Path) -> None:
            flags = self._flags(parts[0])
            log = scratch / "log"
            sources = [*units, frozen / "frozen.c"]
            with ThreadPoolExecutor(JOBS) as pool:
                objects = list(
                    pool.map(lambda c: toolchain.compile(c, scratch / f"{c.stem}.o", flags, log=log), sources)
                )
            archives = [
                *sorted(modules.glob("*.o")),
                parts[0] / cpython.LIBRARY,
                *(parts[1] / "lib" / library for library in ("libssl.a", "libcrypto.a")),
                parts[2] / "lib/libz.a",
            ]
            command: list[str | Path] = ["o2-cc", *LINK_FLAGS, *objects, *archives, "-lm", "-o", output / EXECUTABLE]
            run(command, cwd=scratch, env=toolchain.env, log=log)

        return self._store.result(f"executable-{target.arch}", recipe, make) / EXECUTABLE

    def _modules(self, toolchain: Toolchain, core: Path, openssl: Path, zlib: Path) -> Path:
        """The folder with the object files of the extension modules."""
        source = self.inputs.source(CPYTHON)
        recipe = [Path(__file__), core.name, openssl.name, zlib.name]

        def make(output: Path, scratch: Path) -> None:
            headers = [f"-I{folder / 'include'}" for folder in (openssl, zlib, source / "Modules/_hacl")]
            flags = [*self._flags(core), "-DPy_BUILD_CORE_BUILTIN", *headers]
            with ThreadPoolExecutor(JOBS) as pool:
                list(
                    pool.map(
                        lambda unit: toolchain.compile(
                            source / "Modules" / unit, output / f"{Path(unit).stem}.o", flags, log=scratch / "log"
                        ),
                        MODULE_UNITS,
                    )
                )

        return self._store.result(f"modules-{toolchain.target.arch}", recipe, make)

    def _frozen(self) -> Path:
        """The folder with the frozen modules; bytecode is the same for every target."""
        native = cpython.cpython(self._store, self.inputs, Toolchain(self._store, self.inputs, host()))
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
