"""`o2-lambda deploy`: both architectures, several regions, permissions, and what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from o2_lambda.aws.names import LISTED_RUNTIMES, RUNTIMES, RUNTIMES_PER_LAYER_MAX

from .cloud import Fault
from .conftest import OTHER, REGION

if TYPE_CHECKING:
    from .conftest import Aws

BOTH = ("--region", REGION, "--region", OTHER)


def test_both_architectures_are_published_to_every_region(aws: Aws) -> None:
    """Two regions and two architectures make four layers, and every ARN is printed."""
    text = aws.run("deploy", "--zips", str(aws.zips), *BOTH).text
    for region in (REGION, OTHER):
        for architecture in ("x86_64", "arm64"):
            name = f"openobserve-extension-{architecture}"
            assert f"arn:aws:lambda:{region}:123456789012:layer:{name}:1" in text
            version = aws.client(region=region).get_layer_version(LayerName=name, VersionNumber=1)
            assert version["CompatibleArchitectures"] == [architecture]
            assert version["CompatibleRuntimes"] == list(LISTED_RUNTIMES)
            assert version["LicenseInfo"] == "MIT"
    assert "4 published" in text


def test_the_listed_runtimes_fit() -> None:
    """AWS takes 15 runtimes per layer; only the ones it retires first are left out."""
    assert len(LISTED_RUNTIMES) == RUNTIMES_PER_LAYER_MAX
    assert set(RUNTIMES) - set(LISTED_RUNTIMES) == {"nodejs18.x", "nodejs20.x", "python3.9", "python3.10"}


def test_the_same_bytes_are_not_published_twice(aws: Aws) -> None:
    """What is published already is found out by asking, and kept; --force publishes all the same."""
    aws.deploy()
    outcomes = aws.run("deploy", "--zips", str(aws.zips), "--json").document
    assert [each["status"] for each in outcomes] == ["unchanged", "unchanged"]
    assert outcomes[0]["arn"].endswith("openobserve-extension-x86_64:1")
    assert aws.cloud.writes() == []
    outcomes = aws.run("deploy", "--zips", str(aws.zips), "--force", "--json").document
    assert [each["arn"].rpartition(":")[2] for each in outcomes] == ["2", "2"]


def test_new_bytes_make_a_new_version(aws: Aws) -> None:
    """After a build that changed something, deploy publishes."""
    aws.deploy("--arch", "arm64")
    aws.build("two")
    (outcome,) = aws.run("deploy", "--zips", str(aws.zips), "--arch", "arm64", "--json").document
    assert (outcome["status"], outcome["arn"][-2:]) == ("published", ":2")


def test_dry_run_writes_nothing(aws: Aws) -> None:
    """--dry-run tells what would be published, by reading alone."""
    assert "planned" in aws.run("deploy", "--zips", str(aws.zips), "--public", "--dry-run").text
    assert aws.cloud.writes() == []


def test_one_region_down_and_the_rest_is_done(aws: Aws) -> None:
    """A region that fails costs itself alone: the others are published, the exit status is 1."""
    aws.cloud.down = {REGION}
    outcomes = aws.run("deploy", "--zips", str(aws.zips), *BOTH, "--json", expect=1).document
    assert {(each["region"], each["status"]) for each in outcomes} == {(REGION, "failed"), (OTHER, "published")}
    assert "bad day" in outcomes[0]["detail"]
    text = aws.run("deploy", "--zips", str(aws.zips), *BOTH, expect=1).text
    assert "2 unchanged, 2 failed" in text


@pytest.mark.parametrize(
    ("option", "principal"), [(["--public"], None), (["--org-id", "o-a1b2c3d4e5"], "o-a1b2c3d4e5")]
)
def test_permission_is_given_once(aws: Aws, option: list[str], principal: str | None) -> None:
    """--public and --org-id let others use the version; saying so again is no error."""
    aws.run("deploy", "--zips", str(aws.zips), "--arch", "arm64", *option)
    (sent,) = [each for each in aws.cloud.writes() if each.path.endswith("/policy")]
    assert sent.body["Action"] == "lambda:GetLayerVersion"
    assert sent.body["Principal"] == "*"
    assert sent.body.get("OrganizationId") == principal
    conflict = Fault("POST", "/policy$", 409, "ResourceConflictException", "The statement id provided already exists.")
    aws.cloud.faults.append(conflict)
    assert "unchanged" in aws.run("deploy", "--zips", str(aws.zips), "--arch", "arm64", *option).text
    assert conflict.times == 0


def test_what_a_permission_opens_is_told_before_and_after(aws: Aws) -> None:
    """To open a layer to the world is told by the dry run, also where nothing is left to publish."""
    deploy = ("deploy", "--zips", str(aws.zips), "--arch", "arm64", "--json")

    def told(*options: str) -> tuple[str, str]:
        (outcome,) = aws.run(*deploy, *options).document
        return outcome["status"], outcome["detail"].rpartition(", ")[2]

    assert told("--public", "--dry-run") == ("planned", "permitted to every account")
    assert told() == ("published", "")
    assert told("--public", "--dry-run") == ("unchanged", "to be permitted to every account")
    assert told("--public") == ("unchanged", "permitted to every account")
    assert told("--org-id", "o-a1b2c3d4e5") == ("unchanged", "permitted to organization o-a1b2c3d4e5")


def test_a_refused_permission_still_names_the_version(aws: Aws) -> None:
    """The version stands when only the permission fails: its ARN and the reason are both told."""
    aws.cloud.faults.append(Fault("POST", "/policy$", 403, "AccessDeniedException", "User may not do that"))
    (outcome,) = aws.run("deploy", "--zips", str(aws.zips), "--arch", "arm64", "--public", "--json", expect=1).document
    assert outcome["status"] == "failed"
    assert outcome["arn"].endswith(":1")
    assert "published, but not permitted" in outcome["detail"]
    assert "User may not do that" in outcome["detail"]


def test_a_region_that_lags_behind_gets_the_runtimes_it_knows(aws: Aws) -> None:
    """A partition without the newest runtimes refuses the list; the ones that it names are used."""
    message = (
        "1 validation error detected: Value '[python3.14]' at 'compatibleRuntimes' failed to satisfy constraint: "
        "Member must satisfy enum value set: [python3.13, java21, nodejs22.x]"
    )
    aws.cloud.faults.append(Fault("POST", "/versions$", 400, "InvalidParameterValueException", message))
    aws.run("deploy", "--zips", str(aws.zips), "--arch", "arm64")
    version = aws.client().get_layer_version(LayerName="openobserve-extension-arm64", VersionNumber=1)
    assert version["CompatibleRuntimes"] == ["python3.13", "nodejs22.x", "java21"]


def test_a_missing_zip_names_the_build_command(aws: Aws) -> None:
    """One line: which file, and how to make it."""
    (aws.zips / "o2-lambda-extension-arm64.zip").unlink()
    text = aws.run("deploy", "--zips", str(aws.zips), expect=1).text
    assert text.endswith("o2-lambda-extension-arm64.zip is missing: run `o2-lambda build --arch arm64`\n")
    assert aws.cloud.requests == []


@pytest.mark.parametrize("content", [b"not a zip", b""])
def test_a_broken_zip_is_not_uploaded(aws: Aws, content: bytes) -> None:
    """What is no zip is found before AWS is asked."""
    (aws.zips / "o2-lambda-extension-arm64.zip").write_bytes(content)
    assert "is no zip file" in aws.run("deploy", "--zips", str(aws.zips), expect=1).text
    assert aws.cloud.requests == []


def test_no_region_is_one_line(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any region the next step is named."""
    monkeypatch.delenv("AWS_REGION")
    assert "no region: give --region or set AWS_REGION" in aws.run("deploy", "--zips", str(aws.zips), expect=1).text


def test_an_empty_region_is_one_line(aws: Aws) -> None:
    """As of a shell variable that is not set: no other region is taken instead."""
    assert aws.run("list", "--region", "", expect=1).text.startswith("Error: --region is empty")


def test_a_region_that_is_not_enabled_is_hinted_at(aws: Aws) -> None:
    """It answers as if the credentials were wrong."""
    aws.cloud.faults.append(Fault("GET", "/", 403, "UnrecognizedClientException", "The security token is invalid."))
    assert "or enable the region for the account" in aws.run("status", expect=1).text


def test_no_credentials_is_one_line_per_layer(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials the next step is named; no traceback."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    text = aws.run("deploy", "--zips", str(aws.zips), expect=1).text
    assert "no AWS credentials found: sign in" in text


def test_an_unknown_profile_is_one_line(aws: Aws) -> None:
    """A typo in --profile is told, with the command that names the profiles."""
    text = aws.run("list", "--profile", "nobody", expect=1).text
    assert text.startswith("Error: The config profile (nobody) could not be found")


def test_throttling_is_retried(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings of the user's own, a throttled call is repeated until it passes."""
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    throttle = Fault("POST", "/versions$", 429, "TooManyRequestsException", "Rate exceeded")
    aws.cloud.faults.append(throttle)
    assert "published" in aws.run("deploy", "--zips", str(aws.zips), "--arch", "arm64").text
    assert throttle.times == 0
