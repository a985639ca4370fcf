"""The C libraries that CPython's modules need: zlib, and AWS-LC, which speaks TLS."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from o2_lambda.layer.inputs import AWS_LC, ZLIB, Inputs
from o2_lambda.layer.process import run
from o2_lambda.layer.toolchain import COMPILE_FLAGS, Target, Toolchain

if TYPE_CHECKING:
    from o2_lambda.layer.store import Store

# The crate's own lists of what to compile, for every system and for each; less what nothing here refers to.
AWS_LC_LISTS = "builder/cc_builder/{}.rs"
AWS_LC_UNNEEDED = re.compile(
    r"/(test|hrss|ocsp_\w+|spake25519|trust_token)/|jitterentropy|_win|windows|s2n-bignum.*/mldsa/"
    r"|crypto/decrepit/(?!ripemd)|fork_ube_detect"  # randomness.c stands in for the last
)
# No second source of entropy that measures the CPU's jitter; the kernel and the CPU's own instruction are used.
AWS_LC_FLAGS = [
    "-Os",
    "-DBORINGSSL_IMPLEMENTATION",
    "-DDISABLE_CPU_JITTER_ENTROPY",
    "-DHAVE_LINUX_RANDOM_H",
    "-DNDEBUG",
    "-w",
]
# The TLS half is C++ that takes no runtime. One unit compiles in a fifth of the time; these define names twice.
AWS_LC_CPP_FLAGS = ["-std=c++14", "-fno-exceptions", "-fno-rtti"]
AWS_LC_APART = ("bio_ssl.cc", "handshake_server.cc", "ssl_privkey.cc", "tls13_client.cc", "tls13_server.cc")
RANDOMNESS = Path(__file__).parent / "native" / "randomness.c"
ZLIB_UNITS = [
    "adler32",
    "compress",
    "crc32",
    "deflate",
    "infback",
    "inffast",
    "inflate",
    "inftrees",
    "trees",
    "uncompr",
    "zutil",
]


def zlib(store: Store, inputs: Inputs, toolchain: Toolchain) -> Path:
    """The folder with zlib's `include` and `lib`."""
    source = inputs.source(ZLIB)
    recipe = [Path(__file__), ZLIB, COMPILE_FLAGS, toolchain.identity, toolchain.target]

    def make(output: Path, scratch: Path) -> None:
        _lay_out(output)
        log = scratch / "log"
        flags = ["-DHAVE_UNISTD_H", "-D_LARGEFILE64_SOURCE=1"]
        objects = [toolchain.compile(source / f"{u}.c", scratch / f"{u}.o", flags, log=log) for u in ZLIB_UNITS]
        run(["o2-ar", "rcsD", output / "lib/libz.a", *objects], env=toolchain.env, log=log)
        for header in ("zlib.h", "zconf.h"):
            shutil.copy(source / header, output / "include" / header)

    return store.result(f"zlib-{toolchain.target.arch}", recipe, make)


def aws_lc(store: Store, inputs: Inputs, toolchain: Toolchain) -> Path:
    """The folder with AWS-LC's `include` and `lib`."""
    crate = inputs.crate(AWS_LC)
    recipe = [Path(__file__), RANDOMNESS, AWS_LC, COMPILE_FLAGS, toolchain.identity, toolchain.target]

    def make(output: Path, scratch: Path) -> None:
        _lay_out(output)
        log = scratch / "log"
        source = crate / "aws-lc"
        bignum = source / "third_party/s2n-bignum/s2n-bignum-imported"
        includes = [f"-I{folder}" for folder in (source / "include", bignum / "include", source / "ssl")]

        def compile_unit(unit: Path) -> Path:
            standard = {".cc": AWS_LC_CPP_FLAGS, ".c": ["-std=c11", "-D_XOPEN_SOURCE=700"]}.get(unit.suffix, [])
            name = "-".join(unit.relative_to(unit.anchor).parts[-4:])
            return toolchain.compile(unit, scratch / f"{name}.o", [*AWS_LC_FLAGS, *standard, *includes], log=log)

        with ThreadPoolExecutor(toolchain.jobs) as pool:
            objects = list(pool.map(compile_unit, [*_aws_lc_units(crate, toolchain.target, scratch), RANDOMNESS]))
        run(["o2-ar", "rcsD", output / "lib/libcrypto.a", *objects], env=toolchain.env, log=log)
        shutil.copytree(source / "include/openssl", output / "include/openssl")

    return store.result(f"aws-lc-{toolchain.target.arch}", recipe, make)


def _aws_lc_units(crate: Path, target: Target, scratch: Path) -> list[Path]:
    """What to compile, the two longest first."""
    lists = [crate / AWS_LC_LISTS.format(name) for name in ("universal", f"linux_{target.machine}")]
    crypto = [
        crate / "aws-lc" / unit
        for path in lists
        for unit in re.findall(r'^ *"(.+)",$', path.read_text(), re.MULTILINE)
        if not AWS_LC_UNNEEDED.search(unit)
    ]
    apart = [crate / "aws-lc/ssl" / name for name in AWS_LC_APART]
    names = sorted(path.name for path in (crate / "aws-lc/ssl").glob("*.cc") if not path.stem.endswith("_test"))
    together = scratch / "together.cc"
    together.write_text("".join(f'#include "{name}"\n' for name in names if name not in AWS_LC_APART))
    return [together, *sorted(crypto, key=lambda unit: unit.name != "bcm.c"), *apart]


def _lay_out(output: Path) -> None:
    (output / "include").mkdir()
    (output / "lib").mkdir()
