"""What the layer says about its origin: licence texts, and a bill of materials in SPDX 2.3."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

import certifi

from o2_lambda import __version__
from o2_lambda.layer.inputs import AWS_LC, AWS_LC_VERSION, CPYTHON, MUSL_VERSION, ZIG, ZLIB, Inputs
from o2_lambda.layer.packing import Entry
from o2_lambda.layer.store import digest

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "o2/licenses"
SBOM = "o2/sbom.spdx.json"
_CREATED = "1980-01-01T00:00:00Z"  # a date of the build would differ from build to build
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
    purl: str = ""  # where a package manager knows it


def components(inputs: Inputs, project: Path) -> list[Component]:
    """Everything that the layer holds, our own code first. `project` is the root of the checkout."""
    zig = inputs.zig().parent
    certifi_version = version("certifi")
    compiler_sha256 = ZIG.sha256[min(ZIG.sha256)]  # the same sources are in each machine's wheel
    return [
        Component("o2-lambda-extension", __version__, "MIT", "o2-lambda contributors", "", _text(project / "LICENSE")),
        Component(
            "cpython",
            CPYTHON.version,
            "PSF-2.0",
            "Python Software Foundation",
            CPYTHON.sha256,
            _text(inputs.source(CPYTHON) / "LICENSE"),
        ),
        Component(
            "aws-lc",
            AWS_LC_VERSION,
            "ISC AND Apache-2.0 AND MIT AND (Apache-2.0 OR ISC) AND (Apache-2.0 OR ISC OR MIT-0)",
            "Amazon Web Services",
            AWS_LC.sha256,
            _text(inputs.crate(AWS_LC) / "aws-lc/LICENSE"),
        ),
        Component(
            "zlib",
            ZLIB.version,
            "Zlib",
            "Jean-loup Gailly and Mark Adler",
            ZLIB.sha256,
            _text(inputs.source(ZLIB) / "LICENSE"),
        ),
        Component(
            "musl",
            MUSL_VERSION,
            "MIT",
            "musl contributors",
            compiler_sha256,
            _text(zig / "lib/libc/musl/COPYRIGHT"),
        ),
        Component("zig-compiler-rt", ZIG.version, "MIT", "Zig contributors", compiler_sha256, _text(zig / "LICENSE")),
        Component(
            "mozilla-ca-certificates",
            certifi_version,
            "MPL-2.0",
            "Mozilla Contributors",
            digest(certifi.contents().encode()),
            _MPL_NOTICE.format(version=certifi_version),
            "CONTAINS",
        ),
    ]


def entries(works: list[Component], files: dict[str, Entry]) -> dict[str, Entry]:
    """The licence files and the bill of materials of a layer that holds `files`."""
    licences = {f"{ROOT}/{work.name}.txt": Entry(work.text.encode()) for work in works}
    document = json.dumps(_document(works, files), indent=1) + "\n"
    return {**licences, SBOM: Entry(document.encode())}


def _document(works: list[Component], files: dict[str, Entry]) -> dict[str, object]:
    own, *others = works
    contents = digest("".join(f"{name} {digest(files[name].content)}\n" for name in sorted(files)).encode())
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
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": work.purl or f"pkg:generic/{work.name}@{work.version}",
            }
        ],
    }
    if work.sha256:
        package["checksums"] = [{"algorithm": "SHA256", "checksumValue": work.sha256}]
    return package


def _identifier(work: Component) -> str:
    return f"SPDXRef-{work.name}"


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
