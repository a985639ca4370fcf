"""`deploy.sh`: the commands and variables that users know, over the same program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import OTHER, REGION

if TYPE_CHECKING:
    from .conftest import Aws

SCRIPT = Path(__file__).resolve().parents[2] / "deploy.sh"


def run(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in {"AWS_REGION", "DEPLOY_ARCH"}}
    return subprocess.run(
        [SCRIPT, *arguments],
        input=stdin,
        env=environment | variables,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_deploy_list_and_delete(aws: Aws) -> None:
    """The life of a layer by the script alone: both regions, one architecture, a question before deleting."""
    variables = {"DEPLOY_ARCH": "arm64", "AWS_REGION": f"{REGION},{OTHER}"}
    ran = run("deploy", "--zips", str(aws.zips), **variables)
    assert ran.returncode == 0, ran.stderr
    assert "2 published" in ran.stdout
    assert "x86_64" not in ran.stdout
    listed = run("list", **variables).stdout
    assert f"{REGION}:123456789012:layer:openobserve-extension-arm64:1" in listed
    assert f"{OTHER}:123456789012:layer:openobserve-extension-arm64:1" in listed
    ran = run("delete", stdin="n\n", **variables)
    assert ran.returncode == 1
    assert "Delete these 2 versions?" in ran.stdout
    assert run("delete", stdin="y\n", **variables).returncode == 0
    assert "no layer in" in run("list", **variables).stdout


@pytest.mark.parametrize("option", [["--region", REGION], [f"--region={REGION}"]])
def test_a_region_as_option_is_the_only_one(aws: Aws, option: list[str]) -> None:
    """AWS_REGION, which many shells export, is a default: --region takes its place, above all when deleting."""
    aws.deploy("--region", REGION, "--region", OTHER)
    ran = run("delete", *option, "--yes", AWS_REGION=OTHER)
    assert ran.returncode == 0, ran.stderr
    assert "2 deleted" in ran.stdout
    assert "no layer in" in run("list", AWS_REGION=REGION).stdout
    assert "arm64:1" in run("list", AWS_REGION=OTHER).stdout


def test_help_needs_nothing() -> None:
    """Help lists the commands and variables."""
    ran = run("help", PATH="/usr/bin:/bin")
    assert ran.returncode == 0
    for word in ("deploy", "list", "delete", "DEPLOY_ARCH", "AWS_REGION"):
        assert word in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["destroy"], {}, "unknown command 'destroy'"),
        (["list"], {"DEPLOY_ARCH": "mips"}, "DEPLOY_ARCH must be all, x86_64 or arm64, got 'mips'"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], variables: dict[str, str], message: str) -> None:
    """A word that the script does not know is named; exit status 2."""
    ran = run(*arguments, **variables)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1
