"""What the layer is built from: upstream sources and the compiler, pinned by name, version and sha256.

Sources come from Debian through apt and out of a crate through cargo, the compiler from the Python package index
through pip: whichever mirrors this machine's own configuration names. apt gets a private configuration, so that nothing
of the system's changes.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from o2_lambda.layer.process import LayerError, UnavailableError, read, require, run
from o2_lambda.layer.store import Store, digest

DEBIAN_SUITES = {"debian": ("trixie", "trixie-updates"), "debian-security": ("trixie-security",)}
DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Source(NamedTuple):
    """An upstream release as Debian carries it: never patched, so that the version says it all."""

    package: str
    version: str
    file: str
    sha256: str
    unneeded: tuple[str, ...] = ()  # folders below the top one that are not unpacked


class Crate(NamedTuple):
    """A package of Rust's registry, for the C that is in it: nothing of it is run."""

    package: str
    version: str
    sha256: str


class Wheel(NamedTuple):
    """A tool out of the Python package index; sha256 per machine that it runs on."""

    package: str
    version: str
    sha256: dict[str, str]


CPYTHON = Source(
    "python3.13",
    "3.13.5",
    "python3.13_3.13.5.orig.tar.xz",
    "93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640",
    ("Doc", "Lib/test", "Lib/idlelib", "Lib/tkinter", "Mac", "PC", "PCbuild"),
)
AWS_LC = Crate("aws-lc-sys", "0.47.0", "8bfbe32ac36b3c428696ce315464181bc4029d689fd58e3f2a4e58c252242f52")
AWS_LC_VERSION = "5.12.0"
ZLIB = Source(
    "zlib",
    "1.3.1",
    "zlib_1.3.dfsg+really1.3.1.orig.tar.gz",
    "60dd315c07f616887caa029408308a018ace66e3d142726a97db164b3b8f69fb",
    ("contrib", "examples", "test"),
)
ZIG = Wheel(  # musl comes with it, as source
    "ziglang",
    "0.15.2",
    {
        "x86_64": "806316453d1ede7174ed3fefb8e5348154629089c3bb5fe812dfd0e172fac130",
        "aarch64": "edc0aa60ec964a4cf462d40f68d7de242ddf37fd9a80f2afaee6397059463230",
    },
)
MUSL_VERSION = "1.2.5"


class Inputs:
    """Fetches inputs once and hands out their unpacked folders."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def source(self, source: Source) -> Path:
        """The folder of a source's unpacked tree."""

        def make(output: Path, scratch: Path) -> None:
            archive = self._apt_source(source, scratch)
            check(archive, source.sha256)
            _unpack(archive, output, source.unneeded)

        return self.store.result(f"source-{source.package}", source, make)

    def crate(self, crate: Crate) -> Path:
        """The folder of a crate's unpacked tree."""

        def make(output: Path, scratch: Path) -> None:
            require("cargo")
            (scratch / "Cargo.toml").write_text(
                f'[package]\nname = "input"\nversion = "0.0.0"\nedition = "2021"\n[lib]\npath = "Cargo.toml"\n'
                f'[dependencies]\n{crate.package} = {{ version = "={crate.version}", default-features = false }}\n'
            )
            try:
                run(["cargo", "vendor", "--quiet", "--versioned-dirs", "all"], cwd=scratch, log=scratch / "cargo.log")
            except LayerError as error:
                raise UnavailableError(
                    f"{crate.package} {crate.version} cannot be fetched, which takes cargo 1.70: {error}"
                ) from None
            unpacked = scratch / "all" / f"{crate.package}-{crate.version}"
            found = json.loads((unpacked / ".cargo-checksum.json").read_text())["package"]  # which cargo has checked
            if found != crate.sha256:
                raise LayerError(f"{unpacked.name} has sha256 {found}, pinned is {crate.sha256}: do not use it")
            shutil.copytree(unpacked, output, dirs_exist_ok=True)

        return self.store.result(f"crate-{crate.package}", crate, make)

    def fetch_sources(self) -> None:
        """Fetches ahead what a build needs, while the compiler is fetched."""
        self.source(CPYTHON)
        self.crate(AWS_LC)
        self.source(ZLIB)

    def zig(self) -> Path:
        """The compiler's executable."""
        return self.wheel(ZIG, executable="ziglang/zig")

    def wheel(self, wheel: Wheel, executable: str) -> Path:
        """The executable of that path in the unpacked wheel."""
        machine = platform.machine()
        if machine not in wheel.sha256:
            raise UnavailableError(f"the layer can be built on {' and '.join(wheel.sha256)}, not on {machine}")
        sha256 = wheel.sha256[machine]

        def make(output: Path, scratch: Path) -> None:
            pinned = scratch / "requirements.txt"
            pinned.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{sha256}\n")
            pip: list[str | Path] = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--disable-pip-version-check",
                "--no-input",
                "--no-deps",
            ]
            exact: list[str | Path] = ["--only-binary=:all:", "--require-hashes", "-r", pinned, "--dest", scratch]
            try:
                run([*pip, *exact], log=scratch / "pip.log")
            except LayerError as error:
                raise UnavailableError(f"{wheel.package} {wheel.version} cannot be fetched: {error}") from None
            (archive,) = scratch.glob("*.whl")
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(output)  # noqa: S202 - its sha256 is pinned
            (output / executable).chmod(0o755)

        name = Path(executable).name
        return self.store.result(name, [wheel.package, wheel.version, sha256], make) / executable

    def _apt_source(self, source: Source, scratch: Path) -> Path:
        require("apt-get", "apt-cache")
        log = scratch / "apt.log"
        with self.store.locked("apt"):
            for env in _private_apt(self.store.root / "apt"):
                command = ["apt-get", "source", "--download-only", "--tar-only", "--only-source"]
                try:
                    if _debian_version(source, env) is None:
                        run(["apt-get", "update"], log=log, env=env)
                    version = _debian_version(source, env)
                    if version is not None:
                        run([*command, f"{source.package}={version}"], cwd=scratch, log=log, env=env)
                        return scratch / source.file
                except LayerError:
                    continue  # offline, or an index names what its archive does not hold; the other one may
        raise UnavailableError(
            f"{source.file} with the pinned sha256 is not (no longer?) offered by this machine's Debian mirror: "
            f"pin the current release of {source.package} in {Path(__file__).name}"
        )


def _private_apt(root: Path) -> list[dict[str, str]]:
    """Environments for apt with configurations of our own below `root`, one per archive of the system's mirrors."""
    signed = f"[signed-by={DEBIAN_KEYRING}] " if DEBIAN_KEYRING.exists() else ""
    addresses = read(["apt-get", "indextargets", "--format", "$(REPO_URI)"]).split()
    environments = []
    for archive, suites in DEBIAN_SUITES.items():
        address = next((address for address in addresses if PurePosixPath(address).name == archive), None)
        if address is None:
            continue
        place = root / archive
        (place / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (place / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        (place / "sources.list").write_text("".join(f"deb-src {signed}{address} {suite} main\n" for suite in suites))
        (place / "apt.conf").write_text(
            f'Dir::State "{place}";\nDir::Cache "{place}";\n'
            f'Dir::Etc::sourcelist "{place}/sources.list";\nDir::Etc::sourceparts "-";\n'
            'APT::Sandbox::User "root";\nAcquire::Languages "none";\n'
        )
        environments.append({"APT_CONFIG": str(place / "apt.conf")})
    if not environments:
        raise UnavailableError("apt on this machine knows no Debian archive: build on Debian, or in a Debian container")
    return environments


def _debian_version(source: Source, env: dict[str, str]) -> str | None:
    """The version of Debian's package that carries exactly this archive, None where there is none (any more)."""
    try:
        stanzas = read(["apt-cache", "showsrc", "--only-source", source.package], env=env)
    except LayerError:
        return None
    for stanza in stanzas.split("\n\n"):
        if source.sha256 in stanza:
            for line in stanza.splitlines():
                if line.startswith("Version: "):
                    return line.removeprefix("Version: ")
    return None


def check(archive: Path, sha256: str) -> None:
    """Raises LayerError where the file is not the pinned one."""
    found = digest(archive.read_bytes())
    if found != sha256:
        raise LayerError(f"{archive.name} has sha256 {found}, pinned is {sha256}: do not use it")


def _unpack(archive: Path, output: Path, unneeded: tuple[str, ...]) -> None:
    """Unpacks without the archive's top folder."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _top, _slash, name = member.name.removeprefix("./").partition("/")
            if not name or name.startswith(tuple(f"{folder}/" for folder in unneeded)):
                continue
            if member.isfile() or member.isdir():
                tar.extract(member.replace(name=name, deep=False), output, filter="data")
