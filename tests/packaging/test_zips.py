"""The zips: what they hold, and that they depend on nothing but the sources."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import zipfile
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from o2_lambda.layer import notices
from o2_lambda.layer.build import build
from o2_lambda.layer.inputs import AWS_LC, CPYTHON, ZLIB, Inputs
from o2_lambda.layer.linked import placed
from o2_lambda.layer.linking import DEFAULT_FLAVOUR, LINK_LOG, MODULE_UNITS, Builder
from o2_lambda.layer.names import DEFAULT_VARIANTS, zip_name
from o2_lambda.layer.store import Store
from o2_lambda.layer.toolchain import host
from tests.packaging.conftest import CACHE, skip_unavailable

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.xdist_group("serial"), pytest.mark.timeout(900)]

ZIP_BYTES_MAX = 4_000_000
CORE = [
    "extensions/o2-lambda-extension",
    "o2/ca/*",
    *(f"o2/licenses/{name}.txt" for name in ("aws-lc", "cpython", "mozilla-ca-certificates", "musl")),
    *(f"o2/licenses/{name}.txt" for name in ("o2-lambda-extension", "zig-compiler-rt", "zlib")),
    "o2/sbom.spdx.json",
]
BYTE_CODE = [f"__pycache__/*.cpython-{version}.pyc" for version in ("39", "310", "311", "312", "313", "314")]
TRACING = [
    *(f"o2/node/{name}" for name in ("handler.js", "module.mjs", "package.json", "sender.js", "tracer.js")),
    *(f"o2/node/lib/{name}.js" for name in ("databases", "environment", "http_events", "message_events", "sampling")),
    "o2/node/lib/stacks.js",
    *(f"o2/node/lib/bridge/{name}.js" for name in ("contexts", "propagator", "registry", "spans", "values")),
    *(f"o2/node/lib/patches/{name}.js" for name in ("aws_messages", "aws_requests", "aws_sdk", "aws_sdk_2")),
    *(f"o2/node/lib/patches/{name}.js" for name in ("ioredis", "mongodb", "mysql2", "pg", "published")),
    *(f"o2/node/lib/patches/{name}.js" for name in ("redis", "redis_1", "redis_calls")),
    "o2/python/boot.py", "otel-instrument",
    *(f"o2/python/o2_tracing/{name}" for name in ("*.py", "patches/*.py", *BYTE_CODE)),
]  # fmt: skip
SHORTENED = re.compile(
    r"^(o2/ca/)[0-9a-f]{8}(\.\d)$|^(o2/python/o2_tracing/(?:patches/)?(?:__pycache__/)?)\w+(\.py|\.cpython-\d+\.pyc)$"
)


@pytest.fixture(scope="session")
def flavour() -> str:
    """What is packed around the executable does not depend on it."""
    return DEFAULT_FLAVOUR[host().arch]


def is_core(path: Path) -> bool:
    return "-core-" in path.name


def test_a_zip_holds_exactly_the_files_that_belong_there(zips: list[Path]) -> None:
    """Nothing is forgotten and nothing slips in, in any variant."""
    for path in zips:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        assert names == sorted(names)
        kinds = {SHORTENED.sub(lambda match: f"{match[1] or match[3]}*{match[4] or ''}", name) for name in names}
        assert sorted(kinds) == sorted(CORE if is_core(path) else CORE + TRACING)


def test_only_the_executable_may_be_run_and_all_may_be_read(zips: list[Path]) -> None:
    """Lambda unpacks permissions as they stand in the zip."""
    for path in zips:
        with zipfile.ZipFile(path) as archive:
            modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
        for name in ("extensions/o2-lambda-extension", *([] if is_core(path) else ["otel-instrument"])):
            assert modes.pop(name) == 0o100755
        assert set(modes.values()) == {0o100644}


def test_a_zip_is_small(zips: list[Path]) -> None:
    """The size counts against the function's own limit, and in every cold start."""
    for path in zips:
        assert path.stat().st_size <= ZIP_BYTES_MAX


def test_packing_twice_gives_the_same_bytes(zips: list[Path], flavour: str, tmp_path: Path) -> None:
    """Whoever builds the same sources can verify a published layer."""
    arch = zips[0].stem.rpartition("-")[2]
    again = build([arch], DEFAULT_VARIANTS, tmp_path, CACHE, flavour=flavour)
    assert [path.name for path in again] == [zip_name(arch, variant) for variant in DEFAULT_VARIANTS]
    for one, other in zip(zips, again, strict=True):
        assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()


def test_a_variant_that_is_named_twice_is_built_once(flavour: str, tmp_path: Path) -> None:
    """As by build.sh for node and python, which are one: two threads would write one file."""
    with skip_unavailable():
        assert len(build([host().arch], ["core", "core"], tmp_path, CACHE, flavour=flavour)) == 1


def test_every_date_is_the_same(zips: list[Path]) -> None:
    """The date of the build is no part of the result."""
    with zipfile.ZipFile(zips[0]) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_bill_of_materials_names_every_component_with_its_licence(layer: Path) -> None:
    """SPDX 2.3: what is described is what is linked in, and each licence's text lies beside it."""
    document = json.loads((layer / "o2/sbom.spdx.json").read_text())
    assert document["spdxVersion"] == "SPDX-2.3"
    packages = {package["name"]: package for package in document["packages"]}
    assert {path.stem for path in (layer / "o2/licenses").iterdir()} == set(packages)
    identifiers = {package["SPDXID"] for package in packages.values()} | {"SPDXRef-DOCUMENT"}
    for relation in document["relationships"]:
        assert {relation["spdxElementId"], relation["relatedSpdxElement"]} <= identifiers
    assert packages["aws-lc"]["licenseDeclared"].startswith("ISC AND Apache-2.0")
    for name, package in packages.items():
        if name != "o2-lambda-extension":
            assert re.fullmatch("[0-9a-f]{64}", package["checksums"][0]["checksumValue"])


def test_scanners_find_the_components(layer: Path) -> None:
    """By the package that a component comes in, or by its name in the database of vulnerabilities."""
    document = json.loads((layer / "o2/sbom.spdx.json").read_text())
    found = {each["name"]: {ref["referenceLocator"] for ref in each["externalRefs"]} for each in document["packages"]}
    assert f"cpe:2.3:a:python:python:{CPYTHON.version}:*:*:*:*:*:*:*" in found["cpython"]
    assert f"cpe:2.3:a:zlib:zlib:{ZLIB.version}:*:*:*:*:*:*:*" in found["zlib"]
    assert f"pkg:cargo/aws-lc-sys@{AWS_LC.version}" in found["aws-lc"]
    assert f"pkg:pypi/certifi@{version('certifi')}" in found["mozilla-ca-certificates"]


def test_whoever_wrote_a_part_of_cpython_is_named(layer: Path, flavour: str) -> None:
    """Licences of files within CPython ask for their notices in every copy: those of all files that are linked."""
    store = Store(CACHE)
    log = Builder(store).executable(host(), flavour).with_name(LINK_LOG).read_text()
    source = Inputs(store).source(CPYTHON)
    core = {
        path.name: path
        for folder in ("Modules", "Objects", "Parser", "Python")
        for path in source.glob(f"{folder}/*.c")
    }
    files = [
        *(core[name] for name in placed(log, "libpython.a", core)),
        *(source / "Modules" / name for name in MODULE_UNITS),
    ]
    assert len(files) > 100
    granted = re.compile("Permission to use, copy|Permission is hereby granted|Redistribution and use in")
    others = {path.relative_to(source).as_posix() for path in files if granted.search(path.read_text())}
    others.remove("Modules/selectmodule.c")  # kqueue, which Linux does not have
    assert others == set(notices.CPYTHON_PARTS)
    text = (layer / "o2/licenses/cpython.txt").read_text()
    authors = (
        "David M. Gay",
        "David Gottner",
        "Don Owens",
        "HACL* Contributors",
        "Jeffrey Roberson",
        "Marek Majkowski",
    )
    assert all(f"{name} holds work" in text for name in others)
    assert all(author in text for author in (*authors, "Secret Labs AB"))


def test_certificates_bear_the_names_under_which_openssl_looks_for_them(layer: Path) -> None:
    """A wrong name makes a root unknown, without any error."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl command here")
    files = sorted((layer / "o2/ca").iterdir())
    assert len(files) > 100
    for file in files:
        command = [openssl, "x509", "-in", file, "-noout", "-subject_hash"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == file.stem
