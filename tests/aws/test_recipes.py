"""The recipes in deploy/: each is read by its own tool, and gives a function the layer and its settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from o2_lambda.aws.names import WRAPPER, WRAPPER_VARIABLE, Layer, own_layer
from o2_lambda.extension.config import load
from o2_lambda.layer.names import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Mapping

RECIPES = Path(__file__).resolve().parents[2] / "deploy"
LAYER = "arn:aws:lambda:eu-west-1:123456789012:layer:openobserve-extension-arm64:3"
CDK_PYTHON = RECIPES.parent / ".cache" / "recipes" / "bin" / "python"
SERVERLESS = RECIPES.parent / ".cache" / "recipes" / "node_modules" / ".bin" / "serverless"
HEADER = "Basic dXNlcjp0b2tlbg=="


def run(*command: str | Path, cwd: Path, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run(
        command, cwd=cwd, env=os.environ | variables, capture_output=True, text=True, timeout=280, check=False
    )
    assert not check or ran.returncode == 0, ran.stdout + ran.stderr
    return ran


def check_variables(variables: Mapping[str, Any]) -> None:
    """The extension accepts the recipe's variables; references stand for what they will be."""
    assert variables[WRAPPER_VARIABLE] == WRAPPER
    load({"O2_ORGANIZATION_ID": "acme", "O2_AUTHORIZATION_HEADER": HEADER} | {
        name: value for name, value in variables.items() if isinstance(value, str) and "${" not in value
    })  # fmt: skip
    assert {"O2_ORGANIZATION_ID", "O2_AUTHORIZATION_HEADER"} <= variables.keys()


def test_every_permission_that_the_commands_take_is_named() -> None:
    """Whoever writes a role for them finds all, and nothing that they do not use."""
    calls = re.compile(r"\b(?:client|\))\.(?:get_paginator\(\"(\w+)\"|(\w+)\()")
    sources = [path.read_text() for path in (RECIPES.parent / "src/o2_lambda/aws").glob("*.py")]
    found = {name for source in sources for pair in calls.findall(source) for name in pair if "_" in name}
    used = {name.title().replace("_", "") for name in found - {"get_paginator"}}
    table = (RECIPES / "README.md").read_text().partition("IAM actions")[2]
    assert used == set(re.findall(r"`(?:\w+:)?([A-Z]\w+)`", table))


class Tagged(yaml.SafeLoader):
    """CloudFormation's short forms, `!Ref x` as {"Ref": "x"}."""


Tagged.add_constructor("!Ref", lambda loader, node: {"Ref": loader.construct_scalar(node)})  # type: ignore[no-untyped-call]


def test_sam() -> None:
    """cfn-lint, which carries AWS's own schemas and the SAM translator, finds nothing."""
    template = RECIPES / "sam" / "template.yaml"
    ran = run(Path(sys.executable).with_name("cfn-lint"), template, cwd=RECIPES)
    assert ran.stdout == ""
    function = yaml.load(template.read_text(encoding="utf-8"), Tagged)["Globals"]["Function"]
    assert function["Layers"] == [{"Ref": "O2Layer"}]
    check_variables(function["Environment"]["Variables"])


def test_cfn_lint_would_object(tmp_path: Path) -> None:
    """The check above can fail: a misspelt property of the recipe is found."""
    text = (RECIPES / "sam" / "template.yaml").read_text(encoding="utf-8")
    broken = tmp_path / "template.yaml"
    broken.write_text(text.replace("Architectures:", "Architecture:"), encoding="utf-8")
    assert run(Path(sys.executable).with_name("cfn-lint"), broken, cwd=tmp_path, check=False).returncode != 0


@pytest.mark.timeout(300)
@pytest.mark.skipif(
    not CDK_PYTHON.exists() or shutil.which("node") is None,
    reason="the CDK is too large for the project's own dependencies: `make recipes` installs it and runs this test",
)
def test_cdk(tmp_path: Path) -> None:
    """The app synthesises a function with the layer and the variables."""
    context = json.dumps({"o2-layer": LAYER, "o2-organization": "acme"})
    out = tmp_path / "out"
    run(CDK_PYTHON, "app.py", cwd=RECIPES / "cdk", CDK_OUTDIR=str(out), CDK_CONTEXT_JSON=context)
    template = json.loads((out / "Hello.template.json").read_text(encoding="utf-8"))
    (function,) = [each for each in template["Resources"].values() if each["Type"] == "AWS::Lambda::Function"]
    assert function["Properties"]["Layers"] == [LAYER]
    check_variables(function["Properties"]["Environment"]["Variables"])


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
def test_terraform(tmp_path: Path) -> None:
    """`terraform validate` accepts the recipe with the AWS provider's schema, and `terraform fmt` its form."""
    shutil.copy(RECIPES / "terraform" / "main.tf", tmp_path)
    run("terraform", "fmt", "-check", cwd=tmp_path)
    if run("terraform", "init", "-backend=false", "-input=false", cwd=tmp_path, check=False).returncode != 0:
        pytest.skip(
            "terraform finds no AWS provider: allow the network, or name a folder in TF_CLI_ARGS_init=-plugin-dir="
        )
    assert json.loads(run("terraform", "validate", "-json", cwd=tmp_path).stdout)["valid"]


def test_serverless() -> None:
    """Layer and variables stand where the framework's schema has them, for all functions of the service."""
    provider = yaml.safe_load((RECIPES / "serverless" / "serverless.yml").read_text(encoding="utf-8"))["provider"]
    assert provider["layers"] == ["${env:O2_LAYER}"]
    assert provider["architecture"] in ARCHITECTURES
    check_variables(provider["environment"])


@pytest.mark.timeout(300)
@pytest.mark.skipif(
    not SERVERLESS.exists(),
    reason="the Serverless Framework is too large for the project's own packages: `make recipes` installs it",
)
def test_serverless_packages_it(tmp_path: Path) -> None:
    """The framework finds nothing to object to, and the function in its template has the layer and the variables.

    Its last version that can be installed as a package knows no runtime after python3.11.
    """
    text = (RECIPES / "serverless" / "serverless.yml").read_text(encoding="utf-8")
    text = text.replace("runtime: python3.13", "runtime: python3.11") + "\nconfigValidationMode: error\n"
    (tmp_path / "serverless.yml").write_text(text, encoding="utf-8")
    (tmp_path / "index.py").touch()
    run(
        SERVERLESS, "package", cwd=tmp_path, O2_LAYER=LAYER, O2_ORGANIZATION_ID="acme", O2_AUTHORIZATION_HEADER=HEADER,
        SLS_TELEMETRY_DISABLED="1", SLS_NOTIFICATIONS_MODE="off",
    )  # fmt: skip
    template = json.loads((tmp_path / ".serverless" / "cloudformation-template-update-stack.json").read_bytes())
    (function,) = [each for each in template["Resources"].values() if each["Type"] == "AWS::Lambda::Function"]
    assert function["Properties"]["Layers"] == [LAYER]
    check_variables(function["Properties"]["Environment"]["Variables"])


def test_container(tmp_path: Path) -> None:
    """Each COPY --from names a stage of the file; the RUN line unpacks the zip of the machine's architecture."""
    text = (RECIPES / "container" / "Dockerfile").read_text(encoding="utf-8")
    stages = re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE)
    assert re.findall(r"^COPY --from=(\w+) /layer /opt$", text, re.MULTILINE) == stages == ["o2"]
    (line,) = re.findall(r"^RUN --mount=from=zips,target=/zips \\\n *(.*)$", text, re.MULTILINE)
    for machine, architecture in (("x86_64", "x86_64"), ("aarch64", "arm64")):
        shell = line.replace("unzip", "echo").replace("$(uname -m", f"$(echo {machine}")
        assert Layer(architecture).zip_name in run("sh", "-c", shell, cwd=tmp_path).stdout


def test_the_recipes_show_a_layer_of_ours() -> None:
    """The ARN that these tests put in is one that deploy prints."""
    assert own_layer(LAYER) is not None


def test_every_recipe_is_listed() -> None:
    """deploy/README.md names each recipe, and none that is not there."""
    text = (RECIPES / "README.md").read_text(encoding="utf-8")
    listed = {Path(link).parts[0] for link in re.findall(r"\]\((\w[\w./]*)\)", text)}
    assert listed == {path.name for path in RECIPES.iterdir() if path.is_dir()}
