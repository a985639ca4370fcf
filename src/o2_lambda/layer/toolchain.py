"""The cross-compiler and its targets: zig's clang with musl, the same bytes from every build machine."""

from __future__ import annotations

import platform
import shutil
from typing import TYPE_CHECKING, NamedTuple

from o2_lambda.layer.musl import musl
from o2_lambda.layer.process import JOBS, UnavailableError, require, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from o2_lambda.layer.inputs import Inputs
    from o2_lambda.layer.store import Store

# Dates that compilers and tools write become this one: 1980-01-01, the first that a zip can hold.
SOURCE_DATE_EPOCH = 315_532_800


class Target(NamedTuple):
    """An architecture, in the vocabulary of each tool."""

    arch: str  # as Lambda calls it
    machine: str  # as the kernel and clang call it

    @property
    def triple(self) -> str:
        """As zig calls it."""
        return f"{self.machine}-linux-musl"


TARGETS = {
    "x86_64": Target("x86_64", "x86_64"),
    "arm64": Target("arm64", "aarch64"),
}

# Sections of their own let the linker drop what is not used; nothing here unwinds or is debugged in place. Links take
# them as well: for other flags zig compiles its runtime library anew, 20 s long.
COMPILE_FLAGS = (
    "-g0",
    "-fno-sanitize=undefined",  # the name that zig knows: for any other it links a library, which it compiles for 12 s
    "-fno-stack-protector",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-fomit-frame-pointer",  # zig keeps them otherwise
    "-momit-leaf-frame-pointer",
)


def host() -> Target:
    """The target whose programs run on this machine."""
    for target in TARGETS.values():
        if target.machine == platform.machine():
            return target
    raise UnavailableError(f"the layer can be built on x86_64 and aarch64, not on {platform.machine()}")


def runner(target: Target) -> list[str]:
    """The command in front of a target's program on this machine: none, or an emulator. Raises LayerError."""
    if target == host():
        return []
    emulator = f"qemu-{target.machine}-static"
    if shutil.which(emulator) is None:
        raise UnavailableError(
            f"the snapshot for {target.arch} is written under {emulator}: install it "
            "(Debian: apt-get install qemu-user-static), or build with --flavour plain"
        )
    return [emulator]


class Toolchain:
    """Compiler, archiver and linker for one target, as the commands `o2-cc`, `o2-c++`, `o2-ar` and `o2-ranlib`.

    They are called by name and found through PATH, so that no path of this machine gets into what they make.
    """

    def __init__(self, store: Store, inputs: Inputs, target: Target, *, complete: bool = False) -> None:
        """`complete`: with all of the C library, not what is linked."""
        require("make", "nice")
        self.target = target
        zig = inputs.zig()
        self.identity = zig.parents[1].name
        scripts = {
            "o2-cc": f"cc -target {target.triple}",
            "o2-c++": f"c++ -target {target.triple}",
            "o2-ar": "ar",
            "o2-ranlib": "ranlib",
        }

        def make(output: Path, _scratch: Path) -> None:
            for name, arguments in scripts.items():
                (output / name).write_text(f'#!/bin/sh\nexec "$O2_ZIG" {arguments} "$@"\n')
                (output / name).chmod(0o755)

        folder = store.result(f"toolchain-{target.arch}", [scripts, self.identity], make)
        self.libc = musl(store, zig, target, complete=complete)
        cache = str(store.root / "zig-cache")
        # Names of source files in messages begin below the store.
        self.path_flag = f"-ffile-prefix-map={store.root}/="
        self.env = {
            "PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin",
            "O2_ZIG": str(zig),
            "ZIG_LIBC": str(_libc_paths(store, self.libc)),
            "ZIG_GLOBAL_CACHE_DIR": cache,
            "ZIG_LOCAL_CACHE_DIR": cache,
            "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH),
            "CC": "o2-cc",
            "AR": "o2-ar",
            "RANLIB": "o2-ranlib",
            "LC_ALL": "C",
            "TZ": "UTC",
        }

    def compile(self, source: Path, output: Path, flags: Sequence[str | Path], *, log: Path) -> Path:
        """Compiles one file of C, C++ or assembler to an object file."""
        compiler = "o2-c++" if source.suffix == ".cc" else "o2-cc"
        command = [compiler, *COMPILE_FLAGS, self.path_flag, "-O2", *flags, "-c", source.name, "-o", output]
        run(command, cwd=source.parent, env=self.env, log=log)
        return output

    def make(self, folder: Path, *goals: str, log: Path) -> None:
        """Runs make, bounded in parallelism."""
        run(["make", f"-j{JOBS}", *goals], cwd=folder, env=self.env, log=log)


def _libc_paths(store: Store, libc: Path) -> Path:
    """The file that tells zig where the C library lies, so that it makes none."""
    include = libc / "include"
    folders = {"include_dir": include, "sys_include_dir": include, "crt_dir": libc / "lib"}
    lines = [f"{name}={folders.get(name, '')}\n" for name in (*folders, "msvc_lib_dir", "kernel32_lib_dir", "gcc_dir")]

    def make(output: Path, _scratch: Path) -> None:
        (output / "paths").write_text("".join(lines))

    return store.result(f"{libc.name.rpartition('-')[0]}-paths", lines, make) / "paths"
