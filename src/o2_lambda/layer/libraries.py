"""The C libraries that CPython's modules need: zlib, and AWS-LC, which speaks TLS."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from o2_lambda.layer.inputs import AWS_LC, ZLIB, Inputs
from o2_lambda.layer.process import JOBS, run
from o2_lambda.layer.toolchain import COMPILE_FLAGS, Target, Toolchain

if TYPE_CHECKING:
    from o2_lambda.layer.store import Store

# The crate's own lists of what to compile, for every system and for each; less what nothing here refers to.
AWS_LC_LISTS = "builder/cc_builder/{}.rs"
AWS_LC_UNNEEDED = re.compile(
    r"/(test|hrss|ocsp|spake25519|trust_token|ui|ecdh_extra|pkcs7/bio)/|jitterentropy|_win|windows|s2n-bignum.*/mldsa/"
    r"|crypto/decrepit/(?!ripemd)|asn1/a_bool|bio/(bio_addr|dgram|md|pair)\.|ec_extra/(ec_derive|hash_to_curve)"
    r"|cipher_extra/(cipher_extra|cts|e_aesctrhmac|e_aesgcmsiv|e_aes_cbc_hmac_\w+|aes128gcmsiv.*|aesni-sha.*)\."
    r"|evp_extra/(scrypt|sign)\.|pkcs7/pkcs7(_x509)?\.|rand_extra/(ccrandom|deterministic|getentropy)|refcount_lock"
    r"|rsa_print|/thread(_none)?\.|x509/(t_crl|t_req|x509rset|x509spki)\."
    r"|fork_ube_detect"  # randomness.c stands in for it
)
AWS_LC_UNNEEDED_TLS = re.compile(r"_test\.cc$|^bio_ssl\.cc$")
# No second source of entropy that measures the CPU's jitter; the kernel and the CPU's own instruction are used.
AWS_LC_FLAGS = [
    "-Os",
    "-DBORINGSSL_IMPLEMENTATION",
    "-DDISABLE_CPU_JITTER_ENTROPY",
    "-DHAVE_LINUX_RANDOM_H",
    "-DNDEBUG",
    "-w",
]
AWS_LC_STANDARDS = {
    ".c": ["-std=c11", "-D_XOPEN_SOURCE=700"],
    ".cc": ["-std=c++14", "-fno-exceptions", "-fno-rtti"],  # the TLS half, which takes no runtime
}
# Most of a small file's time goes into its headers: the files of a language are one unit, which takes a quarter of the
# time. These stay by themselves: they define a name or a macro that another one does, or take long: the other core's.
AWS_LC_APART = {
    ".c": re.compile(
        r"/(bcm|des|dsa|dsa_asn1|ecdsa_asn1|evp_asn1|name_print|p_rsa_asn1|poly1305_vec|rsa_asn1|rsa_crypt|socket"
        r"|thread_pthread|urandom|v3_utl|x509_lu|x509_vfy|x509_vpm|x_x509)\.c$"
    ),
    ".cc": re.compile(r"/(handshake_server|ssl_privkey|tls13_client|tls13_server)\.cc$"),
}
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

        names = f"-fmacro-prefix-map={source}/="  # of files, in the library's messages

        def compile_unit(unit: Path) -> Path:
            name = "-".join(unit.relative_to(unit.anchor).parts[-4:])
            flags = [*AWS_LC_FLAGS, *AWS_LC_STANDARDS.get(unit.suffix, []), *includes, names]
            return toolchain.compile(unit, scratch / f"{name}.o", flags, log=log)

        with ThreadPoolExecutor(JOBS) as pool:
            objects = list(pool.map(compile_unit, [*_aws_lc_units(crate, toolchain.target, scratch), RANDOMNESS]))
        run(["o2-ar", "rcsD", output / "lib/libcrypto.a", *objects], env=toolchain.env, log=log)
        shutil.copytree(source / "include/openssl", output / "include/openssl")

    return store.result(f"aws-lc-{toolchain.target.arch}", recipe, make)


def _aws_lc_units(crate: Path, target: Target, scratch: Path) -> list[Path]:
    """What to compile, the longest first."""
    files = aws_lc_files(crate, target)
    together = [scratch / f"together{suffix}" for suffix in AWS_LC_APART]
    for unit in together:
        unit.write_text("".join(f'#include "{file}"\n' for file in files if is_together(file, unit.suffix)))
    apart = [file for file in files if not is_together(file, file.suffix)]
    return sorted([*together, *apart], key=lambda file: (file.name != "bcm.c", file not in together))


def aws_lc_files(crate: Path, target: Target) -> list[Path]:
    """The source files of what is linked."""
    lists = [crate / AWS_LC_LISTS.format(name) for name in ("universal", f"linux_{target.machine}")]
    crypto = [
        crate / "aws-lc" / unit
        for path in lists
        for unit in re.findall(r'^ *"(.+)",$', path.read_text(), re.MULTILINE)
        if not AWS_LC_UNNEEDED.search(unit)
    ]
    tls = [path for path in sorted((crate / "aws-lc/ssl").glob("*.cc")) if not AWS_LC_UNNEEDED_TLS.search(path.name)]
    return [*crypto, *tls]


def is_together(file: Path, suffix: str) -> bool:
    """Whether the file is compiled in one unit with the others of its language."""
    return file.suffix == suffix and suffix in AWS_LC_APART and not AWS_LC_APART[suffix].search(file.as_posix())


def _lay_out(output: Path) -> None:
    (output / "include").mkdir()
    (output / "lib").mkdir()
