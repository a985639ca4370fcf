"""`o2-lambda attach`: what it adds, what it never touches, and what it refuses."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .cloud import Fault
from .conftest import CREDENTIALS, HEADER, OTHER, REGION

if TYPE_CHECKING:
    from .conftest import Aws

OTHER_HEADER = "Basic b2xkOm9sZA=="


def own(architecture: str = "x86_64", version: int = 1, region: str = REGION) -> str:
    return f"arn:aws:lambda:{region}:123456789012:layer:openobserve-extension-{architecture}:{version}"


def test_layer_and_variables_are_added_and_nothing_is_dropped(aws: Aws) -> None:
    """Existing layers keep their order in front, existing variables their values."""
    aws.deploy()
    theirs = [aws.layer("alpha"), aws.layer("beta")]
    aws.function(Layers=theirs, Environment={"Variables": {"TABLE": "orders", "EMPTY": ""}})
    aws.run("attach", "orders", *CREDENTIALS, "--set", "O2_STREAM=shop")
    assert aws.layers() == [*theirs, own()]
    variables = aws.variables()
    assert variables.pop("O2_LAMBDA_ATTACHED") == ":layer O2_AUTHORIZATION_HEADER O2_ORGANIZATION_ID O2_STREAM"
    assert variables == {
        "TABLE": "orders",
        "EMPTY": "",
        "O2_ORGANIZATION_ID": "acme",
        "O2_AUTHORIZATION_HEADER": HEADER,
        "O2_STREAM": "shop",
    }


def test_the_function_s_architecture_decides_the_layer(aws: Aws) -> None:
    """arm64 functions get the arm64 layer, x86_64 functions the other, without being told."""
    aws.deploy()
    aws.function("intel")
    aws.function("graviton", Architectures=["arm64"])
    aws.run("attach", "intel", "graviton", *CREDENTIALS)
    assert aws.layers("intel") == [own("x86_64")]
    assert aws.layers("graviton") == [own("arm64")]


def test_a_layer_for_the_wrong_architecture_is_replaced_in_place(aws: Aws) -> None:
    """A function that moved to arm64 keeps the layer's position and gets the right build."""
    aws.deploy()
    after = aws.layer("after")
    aws.function(Architectures=["arm64"], Layers=[own("x86_64"), after])
    aws.run("attach", "orders", *CREDENTIALS)
    assert aws.layers() == [own("arm64"), after]


def test_another_extension_of_the_same_layer_name_is_not_attached(aws: Aws) -> None:
    """The extension that this one replaces bears its layer name: its newest version is not taken for ours."""
    aws.deploy()
    aws.function()
    theirs = aws.layer("openobserve-extension-x86_64", description="OpenObserve Lambda extension")
    text = aws.run("attach", "orders", *CREDENTIALS, expect=1).text
    assert f"{theirs}, the newest, was not published by `o2-lambda deploy`" in text
    assert aws.layers() == []
    aws.run("attach", "orders", *CREDENTIALS, "--layer-arn", theirs)
    aws.deploy()
    aws.run("attach", "orders")
    assert aws.layers() == [own(version=3)]


def test_attaching_again_upgrades_in_place(aws: Aws) -> None:
    """A newer version takes the older one's position; settings given once need not be given again."""
    aws.deploy()
    aws.function()
    aws.run("attach", "orders", *CREDENTIALS)
    aws.client().update_function_configuration(FunctionName="orders", Layers=[own(), aws.layer("later")])
    aws.client().get_function_configuration(FunctionName="orders")
    aws.build("two")
    aws.deploy()
    before = aws.variables()
    aws.run("attach", "orders")
    assert aws.layers() == [own(version=2), aws.layers()[1]]
    assert aws.variables() == before


def test_attaching_twice_changes_nothing(aws: Aws) -> None:
    """The second time there is nothing to do, and nothing is written."""
    aws.deploy()
    aws.function()
    aws.run("attach", "orders", *CREDENTIALS, "--tracing")
    aws.cloud.requests.clear()
    assert aws.run("attach", "orders", *CREDENTIALS, "--tracing").text.startswith("unchanged")
    assert aws.cloud.writes() == []


def test_dry_run_shows_the_diff_and_writes_nothing(aws: Aws) -> None:
    """Every change is shown as - and + lines, secrets as ***; AWS is only read."""
    aws.deploy()
    aws.function(Environment={"Variables": {"O2_STREAM": "old"}})
    aws.cloud.requests.clear()
    text = aws.run("attach", "orders", *CREDENTIALS, "--set", "O2_STREAM=new", "--force", "--dry-run").text
    assert aws.cloud.writes() == []
    assert aws.layers() == []
    assert text.splitlines() == [
        "planned   eu-west-1  orders",
        f"    + layer {own()}",
        "    + O2_AUTHORIZATION_HEADER=***",
        "    + O2_LAMBDA_ATTACHED=***",
        "    + O2_ORGANIZATION_ID=acme",
        "    - O2_STREAM=old",
        "    + O2_STREAM=new",
    ]


def test_tracing_sets_the_wrapper(aws: Aws) -> None:
    """--tracing needs no other variable."""
    aws.deploy()
    aws.function()
    aws.run("attach", "orders", *CREDENTIALS, "--tracing")
    assert aws.variables()["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/otel-instrument"


def test_a_foreign_wrapper_is_kept_unless_forced(aws: Aws) -> None:
    """Another vendor's wrapper is not overwritten in silence; with --force it is, and remembered."""
    aws.deploy()
    aws.function(Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/other"}})
    text = aws.run("attach", "orders", *CREDENTIALS, "--tracing", expect=1).text
    assert "AWS_LAMBDA_EXEC_WRAPPER is set already, to /opt/other, and not by this command: --force" in text
    assert aws.layers() == []
    aws.run("attach", "orders", *CREDENTIALS, "--tracing", "--force")
    assert aws.variables()["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/otel-instrument"


def test_a_wrapper_that_came_later_is_foreign_too(aws: Aws) -> None:
    """That an earlier attach set the wrapper gives no right to overwrite what someone put there since."""
    aws.deploy()
    aws.function()
    aws.run("attach", "orders", *CREDENTIALS, "--tracing")
    changed = aws.variables() | {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/later"}
    aws.client().update_function_configuration(FunctionName="orders", Environment={"Variables": changed})
    aws.client().get_function_configuration(FunctionName="orders")
    assert "/opt/later" in aws.run("attach", "orders", "--tracing", expect=1).text


@pytest.mark.parametrize("runtime", ["provided.al2023", "ruby3.3", "dotnet8", "java8.al2"])
def test_a_wrapper_is_not_set_where_none_traces(aws: Aws, runtime: str) -> None:
    """Some runtimes start no wrapper, some it cannot trace: the rest is attached, the remark says what to do."""
    aws.deploy()
    aws.function(Runtime=runtime)
    assert "use an OpenTelemetry SDK" in aws.run("attach", "orders", *CREDENTIALS, "--tracing").text
    assert "AWS_LAMBDA_EXEC_WRAPPER" not in aws.variables()
    assert aws.layers() == [own()]


def test_a_header_that_is_typed_is_asked_for_and_not_shown(aws: Aws) -> None:
    """At a terminal, --authorization - does not wait in silence, and what is typed does not stay on the screen."""
    aws.deploy()
    aws.function()
    command = [Path(sys.executable).with_name("o2-lambda"), "attach", "orders", "--organization", "a"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command, "--authorization", "-", "--json"],
        stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            asked = b""
            while not asked.endswith(b": "):  # the blank comes when the terminal shows nothing any more
                assert select.select([process.stderr], [], [], 20)[0], "nothing is asked"
                asked += os.read(process.stderr.fileno(), 100)
            os.write(ours, f"{HEADER}\n".encode())
            printed, _rest = process.communicate(timeout=20)
        finally:
            process.kill()
    assert asked == b"O2_AUTHORIZATION_HEADER: "
    assert json.loads(printed)[0]["status"] == "changed"
    assert aws.variables()["O2_AUTHORIZATION_HEADER"] == HEADER
    assert select.select([ours], [], [], 0)[0] == [], "what is typed is echoed"
    os.close(ours)
    os.close(theirs)


def test_new_credentials_replace_those_of_an_earlier_attach(aws: Aws) -> None:
    """They need no --force, and - reads them from standard input."""
    aws.deploy()
    aws.function()
    aws.run("attach", "orders", "--organization", "acme", "--authorization", OTHER_HEADER)
    assert aws.variables()["O2_AUTHORIZATION_HEADER"] == OTHER_HEADER
    aws.run("attach", "orders", "--authorization", "-", stdin=f"{HEADER}\n")
    assert aws.variables()["O2_AUTHORIZATION_HEADER"] == HEADER


def test_missing_credentials_are_refused_per_function(aws: Aws) -> None:
    """The extension would be useless without them: nothing is written, and the option is named."""
    aws.deploy()
    aws.function()
    assert "--organization is needed" in aws.run("attach", "orders", expect=1).text
    assert "--authorization is needed" in aws.run("attach", "orders", "--organization", "a", expect=1).text
    assert aws.cloud.writes()[1:] == []  # the first one created the function


def test_settings_are_checked_as_the_extension_checks_them(aws: Aws) -> None:
    """A value that would turn the extension passive is refused before it reaches a function."""
    aws.deploy()
    aws.function()
    text = aws.run("attach", "orders", *CREDENTIALS, "--set", "O2_FLUSH_STRATEGY=sometimes", expect=1).text
    assert "O2_FLUSH_STRATEGY must be one of auto, end, continuous, periodic, got 'sometimes'" in text
    assert aws.layers() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "O2_STREEM=x"], "did you mean O2_STREAM?"),
        (["--set", f"O2_AUTHORISATION_HEADER={HEADER}"], "did you mean O2_AUTHORIZATION_HEADER?"),
        (["--set", "O2_STREAM"], "--set takes NAME=VALUE"),
        (["--set", "AWS_REGION=x"], "reserved"),
        (["--all"], "one of the three"),
        (["--layer-arn", "arn:aws:lambda:eu-west-1:123456789012:layer:other:1"], "is no version of a layer named"),
        (["--layer-arn", own(region=OTHER)], f"is in {OTHER}, and no function in {REGION} can have it"),
        (["--set", "A=1"], "--set A: a variable's name is a letter and one or more letters, digits and _"),
        (["--set", "Aé=1"], "--set Aé: a variable's name"),
    ],
)
def test_arguments_that_cannot_be_meant(aws: Aws, arguments: list[str], message: str) -> None:
    """Contradictions and typos are told before AWS is asked, without repeating a value."""
    ran = aws.run("attach", "orders", *arguments, expect=None)
    assert ran.code in {1, 2}
    assert message in ran.text
    assert HEADER not in ran.text
    assert aws.cloud.requests == []


def test_a_version_or_alias_is_refused(aws: Aws) -> None:
    """Published versions never change."""
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:orders:live"
    assert "is a version or an alias" in aws.run("attach", arn, expect=1).text


def test_an_arn_brings_its_region(aws: Aws) -> None:
    """A function given by ARN is changed in its own region."""
    aws.deploy("--region", OTHER)
    arn = aws.function(region=OTHER)
    aws.run("attach", arn, *CREDENTIALS)
    assert aws.layers(region=OTHER) == [own(region=OTHER)]


def test_an_arn_of_another_account_is_not_this_account_s_function(aws: Aws) -> None:
    """What has the same name here is a different function and stays as it is."""
    aws.deploy()
    foreign = aws.function().replace("123456789012", "210987654321")
    assert "failed" in aws.run("attach", foreign, *CREDENTIALS, expect=1).text
    assert aws.layers() == []


@pytest.mark.parametrize(
    ("configuration", "why"),
    [
        ({"SnapStart": {"ApplyOn": "PublishedVersions"}}, "SnapStart"),
        ({"CapacityProviderConfig": {"LambdaManagedInstancesCapacityProviderConfig": {}}}, "managed instances"),
    ],
)
def test_functions_that_run_published_versions_need_a_new_one(
    aws: Aws, configuration: dict[str, Any], why: str
) -> None:
    """Whoever attaches to such a function, or detaches, is told, unless nothing changed."""
    aws.deploy()
    aws.function()
    aws.cloud.patches[f"{REGION}/orders"] = configuration
    told = f"{why}: it takes effect in the next version that you publish"
    assert told in aws.run("attach", "orders", *CREDENTIALS).text
    assert told not in aws.run("attach", "orders", *CREDENTIALS).text
    assert told in aws.run("detach", "orders").text


def test_a_chosen_version_is_used(aws: Aws) -> None:
    """--layer-arn takes precedence over the newest version."""
    aws.deploy()
    aws.build("two")
    aws.deploy()
    aws.function()
    aws.run("attach", "orders", *CREDENTIALS, "--layer-arn", own(version=1))
    assert aws.layers() == [own(version=1)]


def test_functions_are_chosen_by_tag(aws: Aws) -> None:
    """--tag finds the functions over all pages; repeated tags must all match."""
    aws.deploy()
    for number in range(5):
        aws.function(f"shop-{number}", tags={"team": "shop", "stage": "prod" if number else "test"})
    aws.function("other", tags={"team": "billing"})
    outcomes = aws.run("attach", "--tag", "team=shop", "--tag", "stage=prod", *CREDENTIALS, "--json").document
    assert [each["function"] for each in outcomes] == ["shop-1", "shop-2", "shop-3", "shop-4"]
    assert {each["status"] for each in outcomes} == {"changed"}


@pytest.mark.parametrize("tags", [["stage="], ["stage=prod", "stage=test"]])
def test_tags_that_would_choose_other_functions_than_meant(aws: Aws, tags: list[str]) -> None:
    """An empty value, as of a shell variable that is not set, chooses nothing; nor is a second value the only one."""
    options = [word for tag in tags for word in ("--tag", tag)]
    text = aws.run("detach", *options, expect=2).text
    assert "--tag takes KEY=VALUE, each key once and with a value" in text
    assert aws.cloud.requests == []


def test_all_functions_of_two_regions(aws: Aws) -> None:
    """--all covers every page of every region."""
    aws.deploy("--region", REGION, "--region", OTHER)
    for region in (REGION, OTHER):
        for number in range(3):
            aws.function(f"f{number}", region=region)
    text = aws.run("attach", "--all", "--region", REGION, "--region", OTHER, *CREDENTIALS).text
    assert "6 changed" in text
    for region in (REGION, OTHER):
        assert all(aws.layers(f"f{number}", region) == [own(region=region)] for number in range(3))


def test_a_region_that_is_down_costs_itself_alone(aws: Aws) -> None:
    """The functions elsewhere are done; the summary names the region; exit status 1."""
    aws.deploy("--region", REGION, "--region", OTHER)
    aws.function()
    aws.cloud.down = {OTHER}
    both = ("--region", REGION, "--region", OTHER)
    outcomes = aws.run("attach", "--all", *both, *CREDENTIALS, "--json", expect=1).document
    assert {(each["region"], each["status"]) for each in outcomes} == {(REGION, "changed"), (OTHER, "failed")}
    assert aws.layers() == [own()]


def test_a_container_image_is_skipped_with_the_reason(aws: Aws) -> None:
    """Images take no layers; that is no failure, and the way to do it is named."""
    aws.deploy()
    aws.function("image", PackageType="Image")
    aws.function()
    text = aws.run("attach", "--all", *CREDENTIALS).text
    assert "skipped   eu-west-1  image  a container image takes no layers: copy the extension into it" in text
    assert "1 changed, 1 skipped" in text


def test_no_layer_in_the_region_names_the_command(aws: Aws) -> None:
    """Without a published layer the next step can be pasted."""
    aws.function()
    text = aws.run("attach", "orders", *CREDENTIALS, expect=1).text
    assert "run `o2-lambda deploy --region eu-west-1 --arch x86_64`" in text


def test_an_unknown_function_is_told_and_the_others_are_done(aws: Aws) -> None:
    """A typo in one name costs that name alone."""
    aws.deploy()
    aws.function()
    text = aws.run("attach", "ordres", "orders", *CREDENTIALS, expect=1).text
    assert "failed    eu-west-1  ordres  not found: Function not found" in text
    assert aws.layers() == [own()]


def test_five_layers_are_the_limit(aws: Aws) -> None:
    """A function with five layers is refused with a reason, one that has ours among them is upgraded."""
    aws.deploy()
    theirs = [aws.layer(f"layer-{number}") for number in range(5)]
    aws.function("full", Layers=theirs)
    aws.function("five", Layers=[*theirs[:2], own(), *theirs[2:4]])
    aws.build("two")
    aws.deploy()
    text = aws.run("attach", "full", "five", *CREDENTIALS, expect=1).text
    assert "it has 5 layers already and Lambda takes 5" in text
    assert aws.layers("full") == theirs
    assert aws.layers("five") == [*theirs[:2], own(version=2), *theirs[2:4]]


def test_four_kilobytes_of_environment_are_the_limit(aws: Aws) -> None:
    """The size is measured before anything is written."""
    aws.deploy()
    aws.function(Environment={"Variables": {"BIG": "x" * 4000}})
    text = aws.run("attach", "orders", *CREDENTIALS, expect=1).text
    assert "its environment variables would take 41" in text
    assert aws.layers() == []


def test_the_unzipped_limit_where_it_is_known(aws: Aws) -> None:
    """When what AWS tells is too large already, it is refused at once; AWS's own refusal is passed on otherwise."""
    aws.deploy()
    aws.function("huge")
    aws.cloud.patches[f"{REGION}/huge"] = {"CodeSize": 262_144_000}
    assert "at least 2621440" in aws.run("attach", "huge", *CREDENTIALS, expect=1).text
    aws.function()
    message = "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes."
    aws.cloud.faults.append(Fault("PUT", "/configuration", 400, "InvalidParameterValueException", message))
    assert message.rstrip(".") in aws.run("attach", "orders", *CREDENTIALS, expect=1).text


def test_variables_that_cannot_be_read_are_not_overwritten(aws: Aws) -> None:
    """Without the KMS key the environment is not told; writing it would drop every variable."""
    aws.deploy()
    aws.function()
    error = {"ErrorCode": "AccessDeniedException", "Message": "no kms:Decrypt"}
    aws.cloud.patches[f"{REGION}/orders"] = {"Environment": {"Error": error}}
    aws.cloud.requests.clear()
    text = aws.run("attach", "orders", *CREDENTIALS, expect=1).text
    assert "its environment variables cannot be read (no kms:Decrypt)" in text
    assert aws.cloud.writes() == []


def test_secrets_appear_nowhere(aws: Aws) -> None:
    """Neither in diffs nor in documents nor in what AWS says about a failure, whosever secret it is."""
    aws.deploy()
    theirs, replaced = "hunter2-hunter2", "Basic cmVwbGFjZWQ="
    aws.function(Environment={"Variables": {"DB_PASSWORD": theirs, "O2_AUTHORIZATION_HEADER": replaced}})
    message = f'exceeded the 4KB limit for {HEADER} and {theirs}. String measured: {{"PET":"a cat","X":"{HEADER}"}}'
    aws.cloud.faults.append(Fault("PUT", "/configuration", 400, "InvalidParameterValueException", message))
    printed = [
        aws.run("attach", "orders", *CREDENTIALS, "--force", expect=1).text,
        aws.run("attach", "orders", *CREDENTIALS, expect=1).text,
        aws.run("attach", "orders", *CREDENTIALS, "--force", "--dry-run").text,
        aws.run("attach", "orders", *CREDENTIALS, "--force", "--json").text,
        aws.run("status", "--json").text,
        aws.run("detach", "orders", "--json").text,
    ]
    for text in printed:
        for secret in (HEADER, theirs, replaced):
            assert secret.rpartition(" ")[2] not in text
    assert "exceeded the 4KB limit for *** and ***" in printed[0]
    assert "a cat" not in printed[0]  # Lambda repeats the whole environment: that is cut off
