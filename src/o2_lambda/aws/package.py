"""The layer's zip on disk: its bytes, digest and sizes."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from o2_lambda.aws.errors import AwsError
from o2_lambda.aws.limits import UNZIPPED_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

    from o2_lambda.aws.names import Layer

# Direct upload to PublishLayerVersion ends here; more would need a bucket. Ours is a few megabytes.
UPLOAD_BYTES_MAX = 50 * 1024 * 1024
_UNZIPPED = re.compile(r"\bunzipped (\d+) bytes\b")


@dataclass(frozen=True)
class Package:
    """A layer ready to be published. `sha256` is base64, as AWS tells it."""

    layer: Layer
    content: bytes
    sha256: str
    unzipped_bytes: int


def read_package(folder: Path, layer: Layer) -> Package:
    """Read and check the layer's zip in the folder. Raises AwsError naming what to do."""
    path = folder / layer.zip_name
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise AwsError(f"{path} is missing: run `o2-lambda build {layer.options}`") from None
    except OSError as error:
        raise AwsError(f"{path} cannot be read: {error.strerror}") from None
    rebuild = f"run `o2-lambda build {layer.options}` again"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile:
        raise AwsError(f"{path} is no zip file: {rebuild}") from None
    if not any(entry.filename.startswith("extensions/") for entry in entries):
        raise AwsError(f"{path} holds no extensions/ folder: {rebuild}")
    if len(content) > UPLOAD_BYTES_MAX:
        raise AwsError(f"{path} has {len(content)} bytes, a layer is uploaded with {UPLOAD_BYTES_MAX} at most")
    unzipped_bytes = sum(entry.file_size for entry in entries)
    if unzipped_bytes > UNZIPPED_BYTES_MAX:
        raise AwsError(f"{path} has {unzipped_bytes} bytes unzipped, Lambda takes {UNZIPPED_BYTES_MAX}")
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return Package(layer, content, digest, unzipped_bytes)


def describe(package: Package, version: str) -> str:
    """The layer version's description, from which `unzipped_bytes` reads the size back: AWS itself does not tell it."""
    return f"o2-lambda {version}, unzipped {package.unzipped_bytes} bytes"


def unzipped_bytes(description: str) -> int:
    """The size told by a description; 0 if it tells none."""
    matched = _UNZIPPED.search(description)
    return int(matched[1]) if matched else 0
