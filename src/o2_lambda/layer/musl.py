"""The C library, musl, as a folder that the compiler links with: its sources come with the compiler.

Left to itself the compiler makes all of musl for each target, 1300 files in as many processes, and 500 are linked.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from o2_lambda.layer import linked
from o2_lambda.layer.process import JOBS, run

if TYPE_CHECKING:
    from o2_lambda.layer.store import Store
    from o2_lambda.layer.toolchain import Target

LIBRARY = "lib/libc.a"
# Below the compiler's lib folder; the linker's headers of the kernel, then musl's own, of which the last are generated.
HEADERS = ("any-linux-any", "{kernel}-linux-any", "generic-musl", "{machine}-linux-musl")
INCLUDES = (
    *("libc/musl/arch/{machine}", "libc/musl/arch/generic", "libc/musl/src/include", "libc/musl/src/internal"),
    *("libc/musl/include", "libc/include/{machine}-linux-musl", "libc/include/generic-musl", "include"),
)
KERNEL = {"x86_64": "x86"}  # where the kernel has another name for the machine
# musl's own flags, and ours.
FLAGS = (
    *("-std=c99", "-ffreestanding", "-nostdinc", "-D_XOPEN_SOURCE=700", "-DNDEBUG", "-w", "-Qunused-arguments"),
    *("-fexcess-precision=standard", "-frounding-math", "-ffp-contract=off", "-fno-strict-aliasing"),
    *("-fno-PIC", "-fno-stack-protector", "-ffunction-sections", "-fdata-sections", "-Wa,--noexecstack"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-fomit-frame-pointer"),
)
TUNING = {"x86_64": ("-mtune=x86-64",)}  # as zig's cc does for all else
FAST = ("internal", "malloc", "string")  # folders for which musl prefers speed to size
# What else the linker looks for is in libc.a; nothing here has constructors in sections of the old kind.
EMPTY = ("crti.o", "crtn.o", *(f"lib{name}.a" for name in ("dl", "m", "pthread", "rt", "util")))


def musl(store: Store, zig: Path, target: Target, *, complete: bool = False) -> Path:
    """The folder with `include` and `lib`; `complete`: with all that there is, to find out what is linked."""
    names = sources(zig) if complete else linked.names("musl")
    recipe = [Path(__file__), zig.parents[1].name, target, names]
    library = zig.parent / "lib"
    source = library / "libc/musl/src"

    def make(output: Path, scratch: Path) -> None:
        includes = [f"-I{library / folder.format(machine=target.machine)}" for folder in INCLUDES]
        command: list[str | Path] = [zig, "clang", "--no-default-config", "-target", target.triple]
        command += [*FLAGS, *TUNING.get(target.machine, ()), *includes]

        def compile_folder(folder: str, files: list[Path]) -> list[Path]:
            """A process for all; the members of the archive are named like their sources."""
            place = scratch / folder
            place.mkdir(parents=True, exist_ok=True)
            level = "-O3" if folder.startswith(FAST) else "-Os"
            run([*command, level, "-c", *files], cwd=place, log=place / "log")
            return [
                (place / f"{file.stem}.o").rename(scratch / f"{linked.member(f'{folder}/{file.name}')}.o")
                for file in files
            ]

        folders = [
            (folder, [_for_machine(source / name, target.machine) for name in group])
            for folder, group in groupby(names, lambda name: name.rpartition("/")[0])
        ]
        (output / "lib").mkdir()
        with ThreadPoolExecutor(JOBS) as pool:
            objects = [made for several in pool.map(compile_folder, *zip(*folders, strict=True)) for made in several]
        run([*command, "-Os", "-DCRT", "-c", library / "libc/musl/crt/crt1.c"], cwd=output / "lib", log=scratch / "log")
        run([zig, "ar", "rcsD", output / LIBRARY, *objects], log=scratch / "log")
        for name in EMPTY:
            run([zig, "ar", "rcsD", output / "lib" / name], log=scratch / "log")
        for folder in HEADERS:
            kernel = KERNEL.get(target.machine, target.machine)
            headers = library / "libc/include" / folder.format(kernel=kernel, machine=target.machine)
            shutil.copytree(headers, output / "include", dirs_exist_ok=True)

    return store.result(f"musl-{target.arch}-complete" if complete else f"musl-{target.arch}", recipe, make)


def sources(zig: Path) -> list[str]:
    """The names of all of musl's sources: of its two allocators the newer one, which is its default."""
    source = zig.parent / "lib/libc/musl/src"
    found = [*source.glob("*/*.c"), *source.glob("malloc/mallocng/*.c")]
    return sorted(file.relative_to(source).as_posix() for file in found)


def _for_machine(file: Path, machine: str) -> Path:
    """The source that stands in for another on a machine; the other one where there is none."""
    return next(iter((file.parent / machine).glob(f"{file.stem}.[csS]")), file)
