"""The C libraries that CPython's modules need: zlib, and as much of OpenSSL as an HTTPS client uses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from o2_lambda.layer.inputs import OPENSSL, ZLIB, Inputs
from o2_lambda.layer.process import run
from o2_lambda.layer.toolchain import COMPILE_FLAGS, SOURCE_DATE_EPOCH, Toolchain

if TYPE_CHECKING:
    from o2_lambda.layer.store import Store

# All but TLS 1.2 and 1.3 with AES-GCM or ChaCha20, RSA, ECDSA, EdDSA and X25519 or the NIST curves.
OPENSSL_WITHOUT = [
    "afalgeng",
    "apps",
    "argon2",
    "aria",
    "async",
    "atexit",
    "autoerrinit",  # error_texts.h loads the texts when they are needed
    "autoload-config",
    "bf",
    "blake2",
    "brotli",
    "camellia",
    "capieng",
    "cast",
    "cmp",
    "cms",
    "comp",
    "ct",
    "des",
    "dgram",
    "docs",
    "dsa",
    "dso",
    "dtls",
    "ec2m",
    "engine",
    "filenames",
    "fips",
    "gost",
    "http",
    "idea",
    "integrity-only-ciphers",
    "jitter",
    "ktls",
    "legacy",
    "md4",
    "mdc2",
    "ml-dsa",
    "module",
    "multiblock",
    "nextprotoneg",
    "ocb",
    "ocsp",
    "padlockeng",
    "psk",
    "quic",
    "rc2",
    "rc4",
    "rc5",
    "rfc3779",
    "rmd160",
    "scrypt",
    "sctp",
    "secure-memory",
    "seed",
    "shared",
    "siphash",
    "siv",
    "slh-dsa",
    "sm2",
    "sm3",
    "sm4",
    "srp",
    "srtp",
    "ssl-trace",
    "ssl3",
    "tests",
    "tls1",
    "tls1_1",
    "ts",
    "ui-console",
    "uplink",
    "whirlpool",
    "zlib",
    "zstd",
]
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


def openssl(store: Store, inputs: Inputs, toolchain: Toolchain) -> Path:
    """The folder with OpenSSL's `include` and `lib`."""
    source = inputs.source(OPENSSL)
    recipe = [Path(__file__), OPENSSL, COMPILE_FLAGS, SOURCE_DATE_EPOCH, toolchain.identity, toolchain.target]

    def make(output: Path, scratch: Path) -> None:
        _lay_out(output)
        log = scratch / "log"
        options = [f"no-{feature}" for feature in OPENSSL_WITHOUT]
        places = ["--prefix=/usr", "--libdir=lib", "--openssldir=/etc/ssl"]
        configure: list[str | Path] = [
            "perl",
            source / "Configure",
            toolchain.target.openssl,
            *options,
            *places,
            "-O2",
            *COMPILE_FLAGS,
        ]
        run(configure, cwd=scratch, env=toolchain.env, log=log)
        toolchain.make(scratch, "build_libs", log=log)
        for library in ("libssl.a", "libcrypto.a"):
            shutil.copy(scratch / library, output / "lib" / library)
        for tree in (source / "include/openssl", scratch / "include/openssl"):
            shutil.copytree(tree, output / "include/openssl", dirs_exist_ok=True)

    return store.result(f"openssl-{toolchain.target.arch}", recipe, make)


def _lay_out(output: Path) -> None:
    (output / "include").mkdir()
    (output / "lib").mkdir()
