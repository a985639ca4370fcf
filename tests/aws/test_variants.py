"""Variants of the layer: each is a layer of its own, and a function gets the one that can trace it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from o2_lambda.aws.names import JAVA_RUNTIMES

from .conftest import CREDENTIALS, REGION, make_zip

if TYPE_CHECKING:
    from .conftest import Aws


def own(variant: str = "", version: int = 1) -> str:
    return f"arn:aws:lambda:{REGION}:123456789012:layer:openobserve-extension-{variant}x86_64:{version}"


@pytest.fixture
def both(aws: Aws) -> Aws:
    """The usual layer and the one for Java are there; the functions `jvm` and `script` have none."""
    for architecture in ("x86_64", "arm64"):
        path = aws.zips / f"o2-lambda-extension-java-{architecture}.zip"
        path.write_bytes(make_zip(extensions__o2="java" + architecture))
    aws.deploy()
    aws.deploy("--variant", "java")
    aws.function("jvm", Runtime="java21")
    aws.function("script")
    return aws


def test_the_java_variant_is_a_layer_of_its_own(both: Aws) -> None:
    """It has its own name and zip, is offered for Java alone, and stands in the list beside the other."""
    answer = both.client().get_layer_version(LayerName="openobserve-extension-java-arm64", VersionNumber=1)
    assert answer["CompatibleRuntimes"] == list(JAVA_RUNTIMES)
    versions = both.run("list", "--json").document["versions"]
    assert sorted((each["layer"], each["variant"], each["architecture"]) for each in versions) == [
        ("openobserve-extension-arm64", "full", "arm64"),
        ("openobserve-extension-java-arm64", "java", "arm64"),
        ("openobserve-extension-java-x86_64", "java", "x86_64"),
        ("openobserve-extension-x86_64", "full", "x86_64"),
    ]
    assert len(both.run("list", "--json", "--variant", "java").document["versions"]) == 2


def test_a_missing_zip_names_the_variant(aws: Aws) -> None:
    """One line says what to build."""
    text = aws.run("deploy", "--zips", str(aws.zips), "--variant", "java", "--arch", "arm64", expect=1).text
    assert "run `o2-lambda build --arch arm64 --variant java`" in text


def test_delete_of_one_variant_leaves_the_others(both: Aws) -> None:
    """Deleting the Java variant touches nothing else."""
    both.run("delete", "--variant", "java", "--yes")
    assert {each["variant"] for each in both.run("list", "--json").document["versions"]} == {"full"}


def test_tracing_gives_a_java_function_the_layer_with_the_agent(both: Aws) -> None:
    """With --tracing a JVM gets the java variant, everything else the usual one; without it all get the usual one."""
    both.run("attach", "jvm", "script", *CREDENTIALS)
    assert both.layers("jvm") == both.layers("script") == [own()]
    both.run("attach", "jvm", "script", "--tracing")
    assert both.layers("jvm") == [own("java-")]
    assert both.layers("script") == [own()]


def test_a_traced_java_function_keeps_its_variant(both: Aws) -> None:
    """Attaching again, without a word of tracing, upgrades within the variant; detach undoes all of it."""
    before = both.state("jvm")
    both.run("attach", "jvm", *CREDENTIALS, "--tracing")
    path = both.zips / "o2-lambda-extension-java-x86_64.zip"
    path.write_bytes(make_zip(extensions__o2="newer"))
    both.deploy("--variant", "java", "--arch", "x86_64")
    both.run("attach", "jvm")
    assert both.layers("jvm") == [own("java-", 2)]
    both.run("detach", "jvm")
    assert both.state("jvm") == before


def test_a_variant_that_someone_chose_stays(both: Aws) -> None:
    """The core variant, given by its ARN, is upgraded as such, until tracing asks for more than it has."""
    theirs = both.layer("openobserve-extension-core-x86_64")
    both.function("lean", Layers=[theirs])
    both.client().delete_layer_version(LayerName="openobserve-extension-core-x86_64", VersionNumber=1)
    assert (
        "there is no layer openobserve-extension-core-x86_64" in both.run("attach", "lean", *CREDENTIALS, expect=1).text
    )
    (both.zips / "o2-lambda-extension-core-x86_64.zip").write_bytes(make_zip(extensions__o2="core"))
    both.deploy("--variant", "core", "--arch", "x86_64")
    both.run("attach", "lean", *CREDENTIALS)
    assert both.layers("lean") == [own("core-", 2)]
    both.run("attach", "lean", "--tracing")
    assert both.layers("lean") == [own()]


def test_a_variant_given_by_its_arn_is_the_one(both: Aws) -> None:
    """--layer-arn decides the variant as well, for functions of its architecture and region that are not traced."""
    core = own("core-", 7)
    both.function("arm", Architectures=["arm64"])

    def chosen(*arguments: str) -> list[str]:
        options = (*CREDENTIALS, "--layer-arn", core, "--dry-run", "--json")
        outcomes = both.run("attach", *arguments, *options).document
        return [outcome["changes"][0]["after"] for outcome in outcomes]

    assert chosen("script", "arm") == [core, own().replace("x86_64", "arm64")]
    assert chosen("script", "--tracing") == [own()]


def test_without_the_java_variant_tracing_names_what_to_deploy(aws: Aws) -> None:
    """One line with the command; the function stays as it was."""
    aws.deploy()
    aws.function("jvm", Runtime="java17")
    text = aws.run("attach", "jvm", *CREDENTIALS, "--tracing", expect=1).text
    assert f"run `o2-lambda deploy --region {REGION} --arch x86_64 --variant java`" in text
    assert aws.layers("jvm") == []


def test_status_tells_the_variant_and_when_it_cannot_trace(both: Aws) -> None:
    """A JVM that is traced without the agent's layer is pointed out."""
    wrapper = {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-instrument"}}
    both.function("wrong", Runtime="java21", Layers=[own()], Environment=wrapper)
    both.run("attach", "jvm", *CREDENTIALS, "--tracing")
    found = {each["function"]: each for each in both.run("status", "--json").document["functions"]}
    assert (found["jvm"]["variant"], found["jvm"]["newest"], found["jvm"]["remark"]) == ("java", 1, "")
    assert (found["wrong"]["variant"], found["wrong"]["remark"]) == (
        "full",
        "its traces need the java variant: attach again",
    )
    both.run("attach", "wrong", *CREDENTIALS)
    assert both.layers("wrong") == [own("java-")]
