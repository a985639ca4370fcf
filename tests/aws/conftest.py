"""Fixtures: an AWS of our own, functions and layers in it, and the command line over them."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.loaders import Loader
from click.testing import CliRunner

from o2_lambda.aws import functions as functions_module
from o2_lambda.cli.main import main

from .cloud import Cloud

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = "Basic dXNlcjpzM2NyM3QtdG9rZW4="
CREDENTIALS = ("--organization", "acme", "--authorization", HEADER)
REGION = "eu-west-1"
OTHER = "us-east-1"


def make_zip(**files: str) -> bytes:
    """A zip that is the same for the same files."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name.replace("__", "/"), (2026, 1, 1, 0, 0, 0)), text)
    return target.getvalue()


@dataclass
class Ran:
    """What a command printed and how it ended."""

    code: int
    text: str

    @property
    def document(self) -> Any:
        return json.loads(self.text)


@cache
def _client(service: str, region: str) -> Any:
    """Made once: the address is the same in all tests, and reading AWS's models takes longest of all."""
    return boto3.client(service, region_name=region, config=Config(retries={"total_max_attempts": 1}))


@cache
def _loader(_search_path: str | None = None) -> Loader:
    """Every command makes a session of its own; here all of them share the models that were read."""
    return Loader()


class Aws:
    """The test's own hands in the cloud."""

    def __init__(self, cloud: Cloud, zips: Path) -> None:
        self.cloud = cloud
        self.zips = zips

    def client(self, service: str = "lambda", region: str = REGION) -> Any:
        return _client(service, region)

    def run(self, *arguments: str, stdin: str | None = None, expect: int | None = 0) -> Ran:
        """Run the command line, in this process; check the exit status unless `expect` is None."""
        result = CliRunner().invoke(main, [*arguments], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert expect is None or result.exit_code == expect, result.output
        return Ran(result.exit_code, result.output)

    def function(self, name: str = "orders", *, region: str = REGION, tags: Any = None, **options: Any) -> str:
        """Create a function; return its ARN."""
        options.setdefault("Architectures", ["x86_64"])
        if options.get("PackageType") == "Image":
            options["Code"] = {"ImageUri": f"123456789012.dkr.ecr.{region}.amazonaws.com/app:latest"}
        else:
            options = {
                "Runtime": "python3.13",
                "Handler": "app.handler",
                "Code": {"ZipFile": make_zip(app="x")},
            } | options
        arn = self.client(region=region).create_function(FunctionName=name, Role=self._role(), **options)["FunctionArn"]
        if tags:
            self.cloud.tags[arn] = tags
        return str(arn)

    def _role(self) -> str:
        iam = self.client("iam", OTHER)
        try:
            return str(iam.get_role(RoleName="lambda")["Role"]["Arn"])
        except iam.exceptions.NoSuchEntityException:
            return str(iam.create_role(RoleName="lambda", AssumeRolePolicyDocument="{}")["Role"]["Arn"])

    def layer(self, name: str, region: str = REGION, description: str = "") -> str:
        """Publish a layer of the user's own; return the version's ARN."""
        answer = self.client(region=region).publish_layer_version(
            LayerName=name, Content={"ZipFile": make_zip(x=name)}, Description=description
        )
        return str(answer["LayerVersionArn"])

    def state(self, name: str = "orders", region: str = REGION) -> dict[str, Any]:
        """Everything about the function's configuration but what every update changes by itself."""
        answer = self.client(region=region).get_function_configuration(FunctionName=name)
        for key in ("ResponseMetadata", "RevisionId", "LastModified", "LastUpdateStatus"):
            answer.pop(key, None)
        return dict(answer)

    def layers(self, name: str = "orders", region: str = REGION) -> list[str]:
        return [layer["Arn"] for layer in self.state(name, region).get("Layers", ())]

    def variables(self, name: str = "orders", region: str = REGION) -> dict[str, str]:
        return dict(self.state(name, region).get("Environment", {}).get("Variables", {}))

    def deploy(self, *more: str) -> None:
        """Publish both architectures, by the command itself."""
        self.run("deploy", "--zips", str(self.zips), *more)
        self.cloud.requests.clear()

    def build(self, content: str) -> None:
        """Make new zips, as a build of other sources would."""
        for architecture in ("x86_64", "arm64"):
            path = self.zips / f"o2-lambda-extension-{architecture}.zip"
            path.write_bytes(make_zip(extensions__o2=content + architecture))


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    yield cloud
    cloud.close()


@pytest.fixture
def aws(running_cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Aws:
    """An empty AWS, its clients' environment, and zips of two architectures."""
    environment = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": running_cloud.url,
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_REGION": REGION,
    }
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_RETRY_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(functions_module, "_POLL_S", 0.001)
    monkeypatch.setattr("botocore.loaders.create_loader", _loader)
    fresh = Cloud.__dataclass_fields__
    with running_cloud._lock:
        for name in fresh:
            setattr(running_cloud, name, fresh[name].default if name == "page_size" else fresh[name].default_factory())
        running_cloud._revisions.clear()
    _reset(running_cloud)
    (tmp_path / "zips").mkdir()
    aws = Aws(running_cloud, tmp_path / "zips")
    aws.build("one")
    return aws


def _reset(cloud: Cloud) -> None:
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(f"{cloud.url}/moto-api/reset", method="POST")) as answer:
        assert answer.status == 200
