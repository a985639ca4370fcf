"""Fixtures: the layer, built as a user builds it (from the cache where there is one), and unpacked."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from o2_lambda.layer.build import build, project_root
from o2_lambda.layer.linking import FLAVOURS
from o2_lambda.layer.names import EXECUTABLE
from o2_lambda.layer.process import UnavailableError, read
from o2_lambda.layer.toolchain import TARGETS, host, runner
from tests.integration.rig import Arena

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = project_root() / ".cache" / "layer"
ENTER = Path(__file__).with_name("enter-sandbox")
CANNOT_ENTER = 125  # its exit status where it is not allowed


@contextlib.contextmanager
def skip_unavailable() -> Iterator[None]:
    """Skips where this machine cannot build the layer."""
    if sys.platform != "linux":
        pytest.skip("the layer is built on Linux")
    try:
        yield
    except UnavailableError as reason:
        pytest.skip(f"the layer cannot be built here: {reason}")


def built(arch: str, flavour: str, folder: Path) -> list[Path]:
    """The zips of an architecture."""
    with skip_unavailable():
        return build([arch], ["full", "core"], folder, CACHE, flavour=flavour)


def unpacked(archive: Path, folder: Path) -> Path:
    """What Lambda makes of a layer: its files below `/opt`, read by anyone, run bits kept."""
    with zipfile.ZipFile(archive) as layer:
        for info in layer.infolist():
            path = Path(layer.extract(info, folder))
            path.chmod(info.external_attr >> 16 & 0o777)
    return folder


@pytest.fixture(scope="session", params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    """Each flavour is as good as the other: all tests are for both."""
    return str(request.param)


@pytest.fixture(scope="session")
def zips(flavour: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The zips for this machine's own architecture: full, core."""
    return built(host().arch, flavour, tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="session")
def layer(zips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The full layer, unpacked."""
    return unpacked(zips[0], tmp_path_factory.mktemp("opt"))


@pytest.fixture(scope="session")
def executable(layer: Path) -> Path:
    """The layer's executable."""
    return layer / "extensions" / EXECUTABLE


@pytest.fixture(scope="session")
def arm64_executable(flavour: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executable for arm64, as a script that runs it under emulation on other machines."""
    folder = unpacked(built("arm64", flavour, tmp_path_factory.mktemp("target"))[0], tmp_path_factory.mktemp("opt"))
    program = folder / "extensions" / EXECUTABLE
    with skip_unavailable():
        emulator = runner(TARGETS["arm64"])
    if not emulator:
        return program
    script = tmp_path_factory.mktemp("emulated") / EXECUTABLE
    script.write_text(f'#!/bin/sh\nexec {emulator[0]} -0 {EXECUTABLE} "{program}" "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    """Stubs of Lambda and OpenObserve around the executable."""
    made = Arena(tmp_path)
    with made.stack:
        yield made


@pytest.fixture
def bare_root(layer: Path, tmp_path: Path) -> BareRoot:
    """A root that holds nothing but the layer and what Lambda's sandbox has in any runtime."""
    return BareRoot(layer, tmp_path / "root")


class BareRoot:
    """A folder that becomes the root of the executable's world, entered as Lambda's unprivileged user."""

    def __init__(self, layer: Path, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(layer, folder / "opt")
        (folder / "opt").chmod(0o755)  # the copy of a test's own folder is for its owner only
        for name in ("tmp", "proc", "etc"):
            (folder / name).mkdir()
        (folder / "etc/hosts").write_text("127.0.0.1 localhost sandbox.localdomain sandbox\n")
        self.executable = folder.with_name("enter") / EXECUTABLE
        self.executable.parent.mkdir()
        self.executable.write_text(f'#!/bin/sh\nexec "{ENTER}" "{folder}" "{folder}/tmp" {EXECUTABLE} "$@"\n')
        self.executable.chmod(0o755)
        trial = subprocess.run([self.executable, "--version"], capture_output=True, text=True, check=False)
        if trial.returncode == CANNOT_ENTER:
            pytest.skip(f"this user may not make a sandbox here: {trial.stderr.strip()}")

    def resolve_through(self, *servers: str) -> None:
        """Writes the only file that says where names are resolved."""
        (self.folder / "etc/resolv.conf").write_text("".join(f"nameserver {server}\n" for server in servers))


def elf(path: Path, *options: str) -> str:
    """What readelf says about a file; skips without it."""
    if shutil.which("readelf") is None:
        pytest.skip("no readelf here")
    return read(["readelf", "-W", *options, path])
