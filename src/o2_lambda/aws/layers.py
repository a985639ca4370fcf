"""Calls on layers: what versions there are, publish one, permit it, delete it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from o2_lambda.aws.errors import code_of, message_of
from o2_lambda.aws.package import describe, unzipped_bytes

if TYPE_CHECKING:
    from o2_lambda.aws.names import Layer
    from o2_lambda.aws.package import Package

LICENSE = "MIT"
_PERMITTED_ACTION = "lambda:GetLayerVersion"
_KNOWN_RUNTIMES = re.compile(r"enum value set: \[([^\]]*)\]")


@dataclass(frozen=True)
class LayerVersion:
    """One published version. `created` is ISO-8601 as AWS gives it."""

    region: str
    layer: Layer
    version: int
    arn: str
    description: str
    created: str


def list_versions(client: Any, region: str, layer: Layer) -> list[LayerVersion]:
    """All versions of a layer in the client's account, newest first; none if there is no layer."""
    found = []
    try:
        for page in client.get_paginator("list_layer_versions").paginate(LayerName=layer.name):
            found += [
                LayerVersion(
                    region,
                    layer,
                    each["Version"],
                    each["LayerVersionArn"],
                    each.get("Description", ""),
                    each.get("CreatedDate", ""),
                )
                for each in page["LayerVersions"]
            ]
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
    return sorted(found, key=lambda each: each.version, reverse=True)


def newest_versions(client: Any) -> dict[str, int]:
    """The layers whose newest version is of our making, each as its ARN without version, and that version."""
    return {
        each["LayerArn"]: each["LatestMatchingVersion"]["Version"]
        for page in client.get_paginator("list_layers").paginate()
        for each in page["Layers"]
        if unzipped_bytes(each["LatestMatchingVersion"].get("Description", ""))
    }


def sha256_of(client: Any, version: LayerVersion) -> str:
    """The digest of the version's zip, base64."""
    answer = client.get_layer_version(LayerName=version.layer.name, VersionNumber=version.version)
    return str(answer["Content"].get("CodeSha256", ""))


def publish(client: Any, region: str, package: Package, project_version: str) -> LayerVersion:
    """Upload the zip as a new version."""
    request = {
        "LayerName": package.layer.name,
        "Description": describe(package, project_version),
        "Content": {"ZipFile": package.content},
        "CompatibleRuntimes": list(package.layer.compatible_runtimes),
        "CompatibleArchitectures": [package.layer.architecture],
        "LicenseInfo": LICENSE,
    }
    try:
        answer = client.publish_layer_version(**request)
    except ClientError as error:
        known = _known_runtimes(error)
        if not known:
            raise
        request["CompatibleRuntimes"] = [name for name in package.layer.compatible_runtimes if name in known]
        answer = client.publish_layer_version(**request)
    return LayerVersion(
        region,
        package.layer,
        answer["Version"],
        answer["LayerVersionArn"],
        answer.get("Description", ""),
        answer.get("CreatedDate", ""),
    )


def _known_runtimes(error: ClientError) -> set[str]:
    """Regions and partitions get new runtimes at different times; one that lags behind answers with those it knows."""
    message = message_of(error)
    matched = _KNOWN_RUNTIMES.search(message)
    if matched is None or "ompatibleRuntimes" not in message:
        return set()
    return {name.strip() for name in matched[1].split(",")}


def permit(client: Any, version: LayerVersion, organization: str | None) -> None:
    """Let an AWS organization, or without one everybody, use the version. Permitting twice is no error."""
    request = {
        "LayerName": version.layer.name,
        "VersionNumber": version.version,
        "StatementId": organization or "public",
        "Action": _PERMITTED_ACTION,
        "Principal": "*",
    }
    if organization:
        request["OrganizationId"] = organization
    try:
        client.add_layer_version_permission(**request)
    except ClientError as error:
        if code_of(error) != "ResourceConflictException":
            raise


def delete(client: Any, version: LayerVersion) -> None:
    """Delete the version; functions that have it keep running with it. Deleting twice is no error."""
    client.delete_layer_version(LayerName=version.layer.name, VersionNumber=version.version)
