"""What the layer says about its origin: licence texts, and a bill of materials in SPDX 2.3."""

from __future__ import annotations

import json
import re
from importlib.metadata import distribution, version
from typing import TYPE_CHECKING, NamedTuple

import certifi

from o2_lambda import __version__
from o2_lambda.layer.inputs import AWS_LC, AWS_LC_VERSION, CPYTHON, MUSL_VERSION, ZIG, ZLIB, Inputs
from o2_lambda.layer.packing import Entry
from o2_lambda.layer.process import LayerError
from o2_lambda.layer.store import digest

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "o2/licenses"
SBOM = "o2/sbom.spdx.json"
_CREATED = "1980-01-01T00:00:00Z"  # a date of the build would differ from build to build
# Files of CPython with works of others in them, each with a notice that has to go wherever the work goes.
CPYTHON_PARTS = (
    "Modules/_hacl/Hacl_Hash_SHA2.c",
    *(f"Python/{name}.c" for name in ("dtoa", "getopt", "hashtable", "pyhash", "qsbr")),
    "Objects/unicodeobject.c",
)
_NOTICE = re.compile(r"/\*(?:(?!\*/).)*copyright.*?\*/", re.DOTALL | re.IGNORECASE)
_MPL_NOTICE = """\
The certificates in /opt/o2/ca are taken from Mozilla's list of trusted roots (cacert.pem of certifi {version}),
which is subject to the terms of the Mozilla Public License, v. 2.0: https://mozilla.org/MPL/2.0/
Copyright: Mozilla Contributors. The list in its source form is part of Mozilla's NSS, and of the Python package
certifi of that version.
"""


class Component(NamedTuple):
    """A work that is part of the layer."""

    name: str
    version: str
    license: str  # SPDX
    supplier: str
    sha256: str  # of the archive or file it comes from; empty for our own code
    text: str  # of its licence
    relation: str = "STATIC_LINK"
    purl: str = ""  # where a package manager knows it, or what it comes in
    cpe: str = ""  # vendor:product in the database of vulnerabilities, where that knows it


def components(inputs: Inputs) -> list[Component]:
    """Everything that the layer holds, our own code first."""
    zig = inputs.zig().parent
    certifi_version = version("certifi")
    compiler_sha256 = ZIG.sha256[min(ZIG.sha256)]  # the same sources are in each machine's wheel
    return [
        Component("o2-lambda-extension", __version__, "MIT", "o2-lambda contributors", "", _own_text()),
        Component(
            "cpython",
            CPYTHON.version,
            "PSF-2.0 AND BSD-2-Clause AND BSD-3-Clause AND dtoa AND HPND AND MIT",
            "Python Software Foundation",
            CPYTHON.sha256,
            _cpython_text(inputs.source(CPYTHON)),
            cpe="python:python",
        ),
        Component(
            "aws-lc",
            AWS_LC_VERSION,
            "ISC AND Apache-2.0 AND MIT AND (Apache-2.0 OR ISC) AND (Apache-2.0 OR ISC OR MIT) "
            "AND (Apache-2.0 OR ISC OR MIT-0)",
            "Amazon Web Services",
            AWS_LC.sha256,
            _text(inputs.crate(AWS_LC) / "aws-lc/LICENSE"),
            purl=f"pkg:cargo/{AWS_LC.package}@{AWS_LC.version}",
        ),
        Component(
            "zlib",
            ZLIB.version,
            "Zlib",
            "Jean-loup Gailly and Mark Adler",
            ZLIB.sha256,
            _text(inputs.source(ZLIB) / "LICENSE"),
            cpe="zlib:zlib",
        ),
        Component(
            "musl",
            MUSL_VERSION,
            "MIT",
            "musl contributors",
            compiler_sha256,
            _text(zig / "lib/libc/musl/COPYRIGHT"),
            cpe="musl-libc:musl",
        ),
        Component(
            "zig-compiler-rt",
            ZIG.version,
            "MIT",
            "Zig contributors",
            compiler_sha256,
            _text(zig / "LICENSE"),
            purl=f"pkg:pypi/{ZIG.package}@{ZIG.version}",
        ),
        Component(
            "mozilla-ca-certificates",
            certifi_version,
            "MPL-2.0",
            "Mozilla Contributors",
            digest(certifi.contents().encode()),
            _MPL_NOTICE.format(version=certifi_version),
            "CONTAINS",
            purl=f"pkg:pypi/certifi@{certifi_version}",
        ),
    ]


def entries(works: list[Component], files: dict[str, Entry]) -> dict[str, Entry]:
    """The licence files and the bill of materials of a layer that holds `files`."""
    licences = {f"{ROOT}/{work.name}.txt": Entry(work.text.encode()) for work in works}
    document = json.dumps(_document(works, files), indent=1) + "\n"
    return {**licences, SBOM: Entry(document.encode())}


def _document(works: list[Component], files: dict[str, Entry]) -> dict[str, object]:
    own, *others = works
    told = [(name, digest(files[name].content)) for name in sorted(files)]
    contents = digest(json.dumps([told, works]).encode())  # no two documents may have the same namespace
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{own.name}-{own.version}",
        "documentNamespace": f"urn:sha256:{contents}",
        "creationInfo": {"created": _CREATED, "creators": [f"Tool: o2-lambda-{__version__}"]},
        "packages": [_package(work) for work in works],
        "relationships": [
            _relation("SPDXRef-DOCUMENT", "DESCRIBES", _identifier(own)),
            *(_relation(_identifier(own), work.relation, _identifier(work)) for work in others),
        ],
    }


def _package(work: Component) -> dict[str, object]:
    package: dict[str, object] = {
        "SPDXID": _identifier(work),
        "name": work.name,
        "versionInfo": work.version,
        "supplier": f"Organization: {work.supplier}",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": work.license,
        "licenseDeclared": work.license,
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            _reference("PACKAGE-MANAGER", "purl", work.purl or f"pkg:generic/{work.name}@{work.version}"),
            *([_reference("SECURITY", "cpe23Type", _cpe(work))] if work.cpe else []),
        ],
    }
    if work.sha256:
        package["checksums"] = [{"algorithm": "SHA256", "checksumValue": work.sha256}]
    return package


def _identifier(work: Component) -> str:
    return f"SPDXRef-{work.name}"


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _reference(category: str, kind: str, locator: str) -> dict[str, str]:
    return {"referenceCategory": category, "referenceType": kind, "referenceLocator": locator}


def _cpe(work: Component) -> str:
    return f"cpe:2.3:a:{work.cpe}:{work.version}:*:*:*:*:*:*:*"


def _own_text() -> str:
    """Out of the package's own metadata: without a checkout as well. Raises LayerError."""
    text = distribution("o2-lambda").read_text("licenses/LICENSE")
    if text is None:
        raise LayerError("o2-lambda is installed without its licence: install it again")
    return text


def _cpython_text(source: Path) -> str:
    """CPython's own licence, and the notices of others in files of it. Raises LayerError where one has gone."""
    texts = [_text(source / "LICENSE")]
    for part in CPYTHON_PARTS:
        notice = _NOTICE.search(_text(source / part))
        if notice is None:
            raise LayerError(f"{part} holds no notice any more")
        texts.append(f"{part} holds work of others, under these terms:\n\n{notice[0]}\n")
    return "\n".join(texts)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
